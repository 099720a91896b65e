// The operator's page: against a service whose vendor refuses what a test says, so that events really die and are
// really replayed.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { deliverWebhook, sessionCookie, startService } from "./backend.js";
import { allow, button, expect, expectAccessible, expectFits, keep, signIn, test as base } from "./harness.js";
import { scored, startVendor } from "./vendor.js";

const HOSTILE = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>`;
let calls = 0;

const test = base.extend({
  /** A service with a vendor of its own, for one worker. */
  ops: [
    async ({}, use) => {
      const vendor = await startVendor();
      const crm = await startReceiver();
      const service = await startService({
        ATHOS_BASE_URL: vendor.url,
        RECONCILE_EVERY: "1h",
        FORWARD_URLS: `${crm.url}/hook?key=hidden`,
        FORWARD_SECRETS: `whsec_${Buffer.alloc(32, 7).toString("base64")}`,
      });
      await use({ ...service, vendor, crm, deliver: (event) => deliverWebhook(service.page, event) });
      await service.stop();
      vendor.close();
      crm.close();
    },
    { scope: "worker" },
  ],
  rep: null,
  /** Who opens the console. */
  role: ["admin", { option: true }],
  console: async ({ page, context, ops, role }, use) => {
    await context.addCookies([sessionCookie(ops.page, { sub: "ada", name: "Ada Okafor", role })]);
    ops.vendor.refuse = () => null;
    ops.crm.answer = [200, ""];
    await use(async (hash = "#/") => {
      await page.goto(new URL(`/console${hash}`, ops.page).href);
      await expect(page.locator("h1")).toBeVisible();
    });
  },
});

/** An endpoint that answers as a test says: `answer` is a status and a text. */
async function startReceiver() {
  const crm = { answer: [200, ""], got: [] };
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      crm.got.push(JSON.parse(body));
      response.writeHead(crm.answer[0]).end(crm.answer[1]);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return Object.assign(crm, { url: `http://127.0.0.1:${server.address().port}`, close: () => (server.closeAllConnections(), server.close()) });
}

/** Call ids nobody else uses. */
const fresh = (name) => `athos_call_${name}_${process.pid}_${++calls}`;
const rows = (page) => page.locator(".events tbody tr");
const rowOf = (page, call) => rows(page).filter({ hasText: call });

/** A dead event: the vendor refuses its call for good. */
async function deadEvent(ops, name = "bad") {
  const call = fresh(name);
  ops.vendor.refuse = (id) => (id.includes(`_${name}_`) ? [400, "INVALID_REQUEST"] : null);
  expect((await ops.deliver(scored(call))).status).toBe(200);
  return call;
}

test("events come in by themselves, with their state, and the list can be filtered", async ({ page, console, ops }) => {
  await console();
  await expect(page.getByText(/^Live, as of/)).toBeVisible();
  const call = fresh("live");
  await ops.deliver(scored(call));
  await expect(rowOf(page, call)).toContainText("Done");
  await ops.deliver(scored(call));
  await expect(rowOf(page, call)).toContainText("came 2 times");
  const dead = await deadEvent(ops, "filtered");
  await expect(rowOf(page, dead)).toContainText("Athos refuses the request itself");

  await page.getByLabel("State").selectOption("dead");
  await expect(rowOf(page, dead)).toHaveCount(1);
  await expect(rowOf(page, call)).toHaveCount(0);
  await page.getByLabel("State").selectOption("");
  await page.getByLabel("Call id").fill(call);
  await page.keyboard.press("Enter");
  await expect(rows(page)).toHaveCount(1);
  await page.getByLabel("Age").selectOption("Older than a day");
  await expect(page.getByText("No events here.")).toBeVisible();
  await page.getByLabel("Age").selectOption("Last hour");
  await rows(page).getByRole("link").click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(/^Event #\d+$/);
  await page.getByRole("main").getByRole("link", { name: "Inbox" }).click();
  await expect(page.getByLabel("Call id"), "back at the list as it was filtered").toHaveValue(call);
  await expect(rows(page)).toHaveCount(1);
});

test("focus stays where it is while the page looks again", async ({ page, console, ops }) => {
  const call = fresh("focus");
  await ops.deliver(scored(call));
  await console();
  const looked = () => page.waitForResponse((answer) => answer.url().includes("/athos/overview"));
  for (const link of [page.getByRole("link", { name: /^Dead/ }), rowOf(page, call).getByRole("link")]) {
    await link.focus();
    await ops.deliver(scored(fresh("focus")));
    await looked();
    await looked();
    await expect(link).toBeFocused();
  }
});

test("a dead event says what to do, shows its life, and ends scored when it is replayed", async ({ page, console, ops }) => {
  const call = await deadEvent(ops, "replayed");
  await console("#/?state=dead");
  await rowOf(page, call).getByRole("link").click();
  await expect(page.getByRole("heading", { name: "Athos refuses the request itself" })).toBeVisible();
  const moments = page.locator(".life > .moment");
  await expect(moments.filter({ hasText: "Webhook received" })).toContainText("Signed, kept, and acknowledged");
  await expect(moments.filter({ hasText: "Attempt 1: failed; given up" })).toContainText("400 INVALID_REQUEST");
  await expect(moments.filter({ hasText: "Attempt 1" })).toContainText("req_of_the_vendor");
  await expect(moments.last()).toContainText("Dead");
  await expect(page.locator(".body")).toContainText(`"callId":"${call}"`);
  await expect(page.getByText("No token on record can have begun this call")).toBeVisible();

  ops.vendor.refuse = () => null;
  await button(page, "Replay").click();
  await expect(page.getByText("Replayed: it is pending again")).toBeVisible();
  await expect(moments.last()).toContainText("82 of 100");
  await expect(moments.filter({ hasText: "Replayed by ada" })).toContainText("It was dead.");
  await expect(moments.filter({ hasText: "The call ended" })).toContainText("10:12");
  await expect(page.locator(".advice")).toHaveCount(0);
});

test("a range is replayed after a dry run has said how many", async ({ page, console, ops }) => {
  const call = await deadEvent(ops, "range");
  await console("#/?state=dead");
  await expect(rowOf(page, call)).toHaveCount(1);
  const dead = await rows(page).count();
  const asked = [];
  page.on("request", (request) => request.url().endsWith("/athos/events/replay") && asked.push(request.postDataJSON()));
  await button(page, "Replay many…").click();
  const dialog = page.getByRole("dialog");
  await expect(dialog.getByLabel("State")).toHaveValue("dead");
  await button(dialog, "Count them").click();
  await expect(dialog.getByText(`${dead} event${dead === 1 ? "" : "s"} would be replayed.`)).toBeVisible();
  await dialog.getByLabel(/^Came in until/).fill("2020-01-01T00:00:00");
  await dialog.getByLabel("State").focus();
  await expect(dialog.getByRole("button", { name: /^Replay \d/ }), "another range has not been counted").toBeHidden();
  await button(dialog, "Count them").click();
  await expect(dialog.getByText("0 events would be replayed.")).toBeVisible();
  await dialog.getByLabel(/^Came in until/).fill("");
  await button(dialog, "Count them").click();
  expect(asked.every(({ dryRun }) => dryRun)).toBe(true);
  ops.vendor.refuse = () => null;
  await dialog.getByRole("button", { name: /^Replay \d/ }).click();
  await expect(dialog).toHaveCount(0);
  await expect(page.getByText("No events here.")).toBeVisible();
  expect(asked.at(-1)).toMatchObject({ state: "dead", dryRun: false });
});

test("a pause of fetching is said, with what to do", async ({ page, console }) => {
  const paused = { cause: "key_refused", reason: "Athos answered 401 API_KEY_REVOKED: revoked", since: "2026-06-05T14:39:40.295Z", until: "2026-06-05T14:44:40.295Z" };
  let ready = { status: "degraded", store: "ok", worker: "ok", athos: { status: "failing", paused } };
  await page.route("**/readyz", (route) => route.fulfill({ json: ready }));
  await console();
  await expect(page.getByRole("heading", { name: "Fetching is paused: Athos refuses our API key" })).toBeVisible();
  await expect(page.locator(".hold")).toContainText("ATHOS_API_KEY");
  await expect(page.locator(".hold")).toContainText("401 API_KEY_REVOKED");
  ready = { status: "degraded", store: "ok", worker: "ok", athos: { status: "ok" } };
  await expect(page.locator(".hold")).toHaveCount(0);
});

test("the real gate closes on a refused key, and its event waits", async ({ page, console, ops }) => {
  const call = fresh("key");
  await console();
  ops.vendor.refuse = () => [401, "API_KEY_REVOKED"];
  await ops.deliver(scored(call));
  await expect(page.getByRole("heading", { name: "Fetching is paused: Athos refuses our API key" })).toBeVisible();
  await expect(rowOf(page, call)).toContainText("Pending");
  await rowOf(page, call).getByRole("link").click();
  await expect(page.getByRole("heading", { name: "Our API key was revoked" })).toBeVisible();
  await expect(button(page, "Replay"), "it waits already").toBeDisabled();
  ops.vendor.refuse = () => null;
  await expect(page.locator(".life > .moment").last()).toContainText("82 of 100", { timeout: 20_000 });
});

test("the list stands still while it is paused or older events are open", async ({ page, console, ops }) => {
  const many = Array.from({ length: 55 }, () => fresh("many"));
  await Promise.all(many.map((call) => ops.deliver(scored(call))));
  await console();
  await expect(rows(page)).toHaveCount(50);
  await button(page, "Show older").click();
  await expect(rows(page).nth(50).getByRole("link"), "focus goes on where the list goes on").toBeFocused();
  const count = await rows(page).count();
  const [first, second] = [fresh("first"), fresh("second")];
  await ops.deliver(scored(first));
  await page.waitForResponse((answer) => answer.url().includes("/athos/overview"));
  await expect(rows(page)).toHaveCount(count);
  await button(page, "Back to the newest").click();
  await expect(rowOf(page, first)).toHaveCount(1);
  await button(page, "Pause").click();
  await expect(page.getByText("Paused.", { exact: true })).toBeVisible();
  await ops.deliver(scored(second));
  await page.waitForResponse((answer) => answer.url().includes("/athos/overview"));
  await expect(rowOf(page, second)).toHaveCount(0);
  await button(page, "Go on").click();
  await expect(rowOf(page, second)).toHaveCount(1);
});

test.describe("while the service is slow or away", () => {
  test.use({ expectedErrors: allow(/Failed to load resource/) });

  test("one look is under way at a time, and none after leaving the list", async ({ page, console }) => {
    let [open, most, asked] = [0, 0, 0];
    await page.route("**/athos/events?*", async (route) => {
      [open, asked] = [open + 1, asked + 1];
      most = Math.max(most, open);
      await new Promise((resolve) => setTimeout(resolve, 400));
      open -= 1;
      await route.continue().catch(() => {});
    });
    await console();
    for (let n = 0; n < 5; n++) await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await expect(page.getByText(/^Live, as of/)).toBeVisible();
    await expect.poll(() => asked).toBeGreaterThan(1);
    expect(most).toBe(1);
    await page.evaluate(() => (location.hash = "#/tokens"));
    await expect(page.getByRole("heading", { name: "Session tokens" })).toBeVisible();
    const before = asked;
    await page.waitForTimeout(3500);
    expect(asked).toBe(before);
  });

  test("a store that keeps nothing is said, with what to do", async ({ page, console }) => {
    const unready = { status: "unready", store: "failing", worker: "ok", athos: { status: "ok" } };
    await page.route("**/readyz", (route) => route.fulfill({ status: 503, json: unready }));
    await console();
    await expect(page.getByRole("heading", { name: "Webhooks cannot be kept" })).toBeVisible();
    await expect(page.locator(".hold")).toContainText("Check the disk's space");
  });

  test("what was shown stays, and is said not to be up to date", async ({ page, console, ops }) => {
    const call = fresh("stays");
    await ops.deliver(scored(call));
    await console();
    await expect(rowOf(page, call)).toHaveCount(1);
    await page.route("**/athos/overview", (route) => route.abort());
    await expect(page.getByText(/^Not up to date/)).toBeVisible();
    await expect(rowOf(page, call)).toHaveCount(1);
    await page.unroute("**/athos/overview");
    await expect(page.getByText(/^Live, as of/)).toBeVisible({ timeout: 12_000 });
  });
});

const messages = (page) => page.locator(".deliveries tbody tr");

test("what goes on to an endpoint is seen, and what it did not take is sent when somebody says so", async ({ page, console, ops }) => {
  ops.crm.answer = [500, "out of order"];
  const call = fresh("forwarded");
  await ops.deliver(scored(call));
  await console("#/forwarding");
  const endpoint = page.locator(".endpoint");
  await expect(endpoint).toContainText(new URL(ops.crm.url).host);
  await expect(endpoint).not.toContainText("hidden");
  await expect(endpoint).toContainText("Failing since");
  const row = messages(page).filter({ hasText: call });
  await expect(row).toContainText("Waiting");
  await expect(row).toContainText("out of order");
  await button(endpoint, "Send a ping").click();
  await expect(endpoint.getByText(/^It did not take the ping: it answered 500/)).toBeVisible();

  await row.getByRole("link").click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(/^Message #\d+$/);
  await expect(page.locator(".advice")).toContainText("out of order");
  await expect(page.locator(".body")).toContainText(`"id": "${call}"`);
  ops.crm.answer = [200, ""];
  await button(page, "Send it now").click();
  await expect(page.getByText("It is due now, with all its attempts.")).toBeVisible();
  await expect(page.locator(".event-tags .state")).toHaveText("Delivered", { timeout: 20_000 });
  await expect(page.getByText(/by ada$/)).toBeVisible();
  expect(ops.crm.got.at(-1).data.id).toBe(call);
  await keep(page, "console-message-delivered");

  await page.getByRole("main").getByRole("link", { name: "Forwarding" }).click();
  await expect(endpoint).toContainText("Healthy since");
  await button(endpoint, "Send a ping").click();
  await expect(endpoint.getByText(/^It took the ping: 200/)).toBeVisible();
});

test("messages are filtered, and a range of them is replayed after a dry run", async ({ page, console, ops }) => {
  const call = fresh("resent");
  await ops.deliver(scored(call));
  await console("#/forwarding");
  await page.getByLabel("Call id").fill(call);
  await page.keyboard.press("Enter");
  await expect(messages(page)).toHaveCount(1);
  await expect(messages(page)).toContainText("Delivered");
  await page.getByLabel("State").selectOption("failed");
  await expect(page.getByText("No messages here.")).toBeVisible();
  await page.getByLabel("State").selectOption("delivered");
  await page.getByLabel("Endpoint's number").fill("1");
  await page.keyboard.press("Enter");
  await expect(messages(page)).toHaveCount(1);
  await button(page, "Replay many…").click();
  const dialog = page.getByRole("dialog");
  await expect(dialog.getByLabel("State")).toHaveValue("delivered");
  await button(dialog, "Count them").click();
  await expect(dialog.getByText(/^\d+ messages? would be replayed\.$/)).toBeVisible();
  const asked = page.waitForRequest((request) => request.url().endsWith("/athos/deliveries/replay") && !request.postDataJSON().dryRun);
  await dialog.getByRole("button", { name: /^Replay \d/ }).click();
  expect((await asked).postDataJSON()).toMatchObject({ state: "delivered", endpoint: 1 });
  await expect(dialog).toHaveCount(0);
  await expect.poll(() => ops.crm.got.filter(({ data }) => data.id === call).length).toBeGreaterThan(1);
});

for (const role of ["rep", "manager"]) {
  test.describe(`for a ${role}`, () => {
    test.use({ role });
    test("the page says that it is for admins, and asks for nothing", async ({ page, console, ops }) => {
      const asked = [];
      page.on("request", (request) => asked.push(new URL(request.url()).pathname));
      await console();
      await expect(page.getByRole("heading", { name: "This page is for admins" })).toBeVisible();
      expect(asked.filter((path) => /\/athos\/(events|overview|mints|deliveries)/.test(path))).toEqual([]);
      await expect(page.getByRole("link", { name: "To the practice page" })).toHaveAttribute("href", ops.page.href);
    });
  });
}

test.describe("in the demo", () => {
  test.use({ expectedErrors: allow(/401 .*\/athos\/me$/) });

  test("an admin signs in and finds the console; a rep does not", async ({ page, context, demo }) => {
    await page.goto(new URL("/console", demo.page).href);
    await page.getByRole("button", { name: /Ada Okafor/ }).click();
    await expect(page.getByRole("heading", { name: "Inbox", level: 1 })).toBeVisible();
    await page.getByRole("link", { name: "Practice" }).click();
    await page.getByRole("link", { name: "Console" }).click();
    await expect(page.getByRole("heading", { name: "Inbox", level: 1 })).toBeVisible();
    await signIn(context, demo, { user: "rep_console", role: "rep" });
    await page.goto(demo.page.href);
    await expect(page.getByRole("link", { name: "Progress" })).toBeVisible();
    await expect(page.getByRole("link", { name: "Console" })).toHaveCount(0);
  });
});

test("one screen tells a call's life, from its token to its score", async ({ page, context, demo }) => {
  await signIn(context, demo, { user: "rep_life", agency: "agency_chicago", role: "rep" });
  const { token } = await (await context.request.post(new URL("/athos/token", demo.page).href)).json();
  const athos = (path, body, headers) => context.request.post(new URL(path, demo.simulator).href, { data: body, headers });
  const { callId } = await (await athos("/api/external/v1/roleplay/session", { drillKey: "fe-closing" }, { authorization: `Bearer ${token}` })).json();
  await athos(`/_simulator/calls/${callId}/end`, {});
  await signIn(context, demo, { user: "admin_01", role: "admin" });
  await page.goto(new URL(`/console#/?call=${callId}`, demo.page).href);
  await rows(page).getByRole("link").click();
  const titles = page.locator(".life > .moment > .moment-title");
  await expect(titles).toHaveText(["Token minted", "The call began", "The call ended", "Athos scored it", "Webhook received", "Attempt 1: fetched the score", "Scored"]);
  await expect(page.locator(".life > .moment").first()).toContainText("rep_life");
  await keep(page, "console-life");
  await page.getByRole("link", { name: callId }).click();
  await expect(page.locator("article.call")).toBeVisible();
});

test("in the demo, the console shows what arrived at the other end", async ({ page, context, demo }) => {
  await signIn(context, demo, { user: "rep_far", agency: "agency_chicago", role: "rep" });
  const { token } = await (await context.request.post(new URL("/athos/token", demo.page).href)).json();
  const athos = (path, body, headers) => context.request.post(new URL(path, demo.simulator).href, { data: body, headers });
  const { callId } = await (await athos("/api/external/v1/roleplay/session", { drillKey: "fe-closing" }, { authorization: `Bearer ${token}` })).json();
  await athos(`/_simulator/calls/${callId}/end`, {});
  await signIn(context, demo, { user: "admin_01", role: "admin" });
  await page.goto(new URL("/console#/forwarding", demo.page).href);
  await expect(page.locator(".received li").filter({ hasText: callId })).toContainText("call.scored");
  await expect(page.locator(".endpoint")).toContainText("Healthy");
  await keep(page, "console-demo-forwarding");
});

test("an event whose body is gone says why it cannot be replayed", async ({ page, console }) => {
  await page.route("**/athos/events/7", (route) => route.fulfill({ json: { ...lost(), state: "dead", body: "" } }));
  await console("#/events/7");
  await expect(page.getByText("Its body is not kept any more, so it cannot be replayed")).toBeVisible();
  await expect(button(page, "Replay")).toBeDisabled();
});

test("what was done by hand is listed, filtered and saved", async ({ page, console, ops }) => {
  await ops.deliver({ event: "call.unheard", note: "for the audit log" });
  const answer = await page.request.get(new URL("/athos/events?state=ignored&limit=1", ops.page).href);
  const [event] = (await answer.json()).data;
  const replayed = await page.request.post(new URL(`/athos/events/${event.id}/replay`, ops.page).href, { headers: { origin: new URL(ops.page).origin } });
  expect(replayed.ok()).toBe(true);
  await console("#/audit");
  const newest = page.locator(".audit tbody tr").first();
  await expect(newest).toContainText("Replayed");
  await expect(newest).toContainText("ada");
  await expect(newest.getByRole("link", { name: `Event ${event.id}` })).toBeVisible();
  const [file] = await Promise.all([page.waitForEvent("download"), button(page, "Download").click()]);
  expect(file.suggestedFilename()).toMatch(/^audit-.*\.ndjson$/);
  const lines = (await readFile(await file.path(), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
  expect(lines[0]).toMatchObject({ action: "replay", rep: "ada", eventId: event.id });
  await page.getByLabel("Action").selectOption("delete_rep");
  await expect(page.getByText("Nothing was done by hand here.")).toBeVisible();
  await page.getByLabel("Action").selectOption("");
  await page.getByLabel("Person or key").fill("nobody");
  await page.getByLabel("Person or key").press("Enter");
  await expect(page.getByText("Nothing was done by hand here.")).toBeVisible();
  await page.getByLabel("Person or key").fill("");
  await page.getByLabel("Person or key").press("Enter");
  await expect(newest).toBeVisible();
  await keep(page, "console-audit");
  await expectAccessible(page, "audit log");
  await page.setViewportSize({ width: 360, height: 740 });
  await expectFits(page);
});

test("the calls of the chosen time are saved from the inbox", async ({ page, console, ops }) => {
  await ops.deliver(scored("athos_call_file"));
  await console();
  const save = () => Promise.all([page.waitForEvent("download"), button(page, "Download calls").click()]);
  const [all] = await save();
  expect(await readFile(await all.path(), "utf8")).toContain("athos_call_file");
  await page.getByLabel("Age").selectOption("<24"); // It ended long before.
  const [recent] = await save();
  expect(await readFile(await recent.path(), "utf8")).not.toContain("athos_call_file");
  await expect(page.getByText("The file is saved.")).toBeVisible();
  await keep(page, "console-inbox-file");
});

test("hostile text stays text", async ({ page, console, ops }) => {
  await page.route(/\/athos\/events(\/\d+)?(\?.*)?$/, (route) => {
    const event = { ...lost(), state: "dead", reason: HOSTILE, lastCode: HOSTILE, callId: HOSTILE, webhookId: HOSTILE, body: HOSTILE };
    event.history = [{ number: 1, at: event.receivedAt, outcome: HOSTILE, status: 400, code: HOSTILE, delayMs: null, error: HOSTILE, athosRequestId: HOSTILE }];
    event.acts = [{ id: 1, at: event.receivedAt, caller: HOSTILE, rep: HOSTILE, key: HOSTILE, action: HOSTILE, wasState: HOSTILE, wasReason: HOSTILE }];
    return route.fulfill({ json: /\d$/.test(new URL(route.request().url()).pathname) ? event : { data: [event], nextCursor: null } });
  });
  await console();
  await expect(rows(page)).toContainText(HOSTILE);
  await rows(page).getByRole("link").click();
  await expect(page.locator(".body")).toHaveText(HOSTILE);
  expect(await page.evaluate(() => document.querySelectorAll("main img, main script").length)).toBe(0);
  expect(await page.evaluate(() => window.pwned)).toBeUndefined();
});

test("every code the service has a word for has advice", async ({ page, console }) => {
  await console();
  const KNOWN_CODES = await page.evaluate(async () => (await import("/static/console/advice.js")).KNOWN_CODES);
  for (const code of ["CALL_NOT_FOUND", "INVALID_REQUEST", "INVALID_API_KEY", "API_KEY_REVOKED", "TENANT_INACTIVE", "IP_NOT_ALLOWED", "no_key", "timeout", "unreachable", "unreadable", "too_large"]) {
    expect(KNOWN_CODES).toContain(code);
  }
});

/** An event that reconciliation found, tried for hours. */
function lost() {
  const at = (minute) => new Date(Date.UTC(2026, 5, 5, 15, minute)).toISOString();
  const history = Array.from({ length: 12 }, (_, n) => ({ number: n + 1, at: at(n + 1), outcome: "retry", status: 503, code: "SERVICE_UNAVAILABLE", delayMs: 60_000, error: "Athos answered 503 SERVICE_UNAVAILABLE: busy (Athos request req_9)", athosRequestId: "req_9" }));
  return {
    id: 7, webhookId: "reconcile:athos_call_lost", origin: "reconcile", state: "pending", verdict: "accepted", callId: "athos_call_lost", receivedAt: at(0),
    nextAttemptAt: at(30), attempts: 12, deliveries: 1, reason: "Athos answered 503 SERVICE_UNAVAILABLE: busy", lastCode: "SERVICE_UNAVAILABLE", settledAt: null,
    signedAt: at(0), secretFingerprint: null, body: '{"event":"call.scored"}', history, acts: [],
    call: { id: "athos_call_lost", status: "processing", source: "roleplay", rep: "rep_8842", agency: "agency_chicago", drillKey: "ma-full-sale", startedAt: null, endedAt: "2026-06-05T14:49:52.295Z", durationSec: 612, scoredAt: null, overallScore: null, compliancePercent: null, reason: null, reasonMessage: null },
    mints: [{ id: "m1", requestedAt: "2026-06-05T14:38:00.000Z", rep: "rep_8842", agency: "agency_chicago", caller: "user", outcome: "minted", answeredAt: null, expiresAt: null, athosRequestId: null, hasCall: true }],
    siblings: [{ id: 6, receivedAt: at(20), origin: "webhook", state: "done" }],
  };
}

const MINTS = [
  { id: "a", requestedAt: "2026-06-05T14:39:40.295Z", rep: "rep_8842", agency: "agency_chicago", caller: "user", outcome: "minted", answeredAt: null, expiresAt: "2026-06-05T14:44:40.295Z", athosRequestId: null, hasCall: false },
  { id: "b", requestedAt: "2026-06-05T14:38:40.295Z", rep: "rep_2051", agency: null, caller: "service", outcome: "TENANT_QUOTA_EXCEEDED", answeredAt: null, expiresAt: null, athosRequestId: "req_4", hasCall: false },
  { id: "c", requestedAt: "2026-06-05T14:37:40.295Z", rep: "rep_2051", agency: null, caller: "user", outcome: "minted", answeredAt: null, expiresAt: "2026-06-05T14:42:40.295Z", athosRequestId: null, hasCall: true },
  { id: "d", requestedAt: "2026-06-05T14:36:40.295Z", rep: "rep_2051", agency: null, caller: "user", outcome: null, answeredAt: null, expiresAt: null, athosRequestId: null, hasCall: false },
];

test("tokens whose call never appeared are shown as such", async ({ page, console }) => {
  const asked = [];
  await page.route("**/athos/mints?*", (route) => {
    const query = new URL(route.request().url()).searchParams;
    asked.push(Object.fromEntries(query));
    const data = query.get("withoutCall") ? MINTS.slice(0, 1) : MINTS;
    return route.fulfill({ json: { data: query.get("cursor") ? MINTS.slice(3) : data, nextCursor: query.get("cursor") || query.get("withoutCall") ? null : "b" } });
  });
  await console("#/tokens");
  const tokens = page.locator(".tokens tbody tr");
  await expect(tokens).toHaveCount(1);
  await expect(tokens).toContainText("No call appeared");
  await page.getByLabel("Which").selectOption("All");
  await expect(tokens).toHaveCount(4);
  await expect(tokens.nth(1)).toContainText("Refused: TENANT_QUOTA_EXCEEDED");
  await expect(tokens.nth(2)).toContainText("Call seen");
  await button(page, "Show older").click();
  await expect(tokens).toHaveCount(5);
  await page.getByLabel("Rep", { exact: true }).fill("rep_8842");
  await page.keyboard.press("Enter");
  await expect.poll(() => asked.at(-1).rep).toBe("rep_8842");
});

test("the documents' picture is of this page", async ({ page, console }) => {
  const file = new URL("../../docs/console.png", import.meta.url);
  const at = (minute) => new Date(Date.UTC(2026, 5, 5, 15, minute)).toISOString();
  const event = (id, minute, more) => ({
    id, webhookId: `wh_${id}`, origin: "webhook", state: "done", verdict: "accepted", callId: `athos_call_GZ1DjOkZv_VEPoE-C${id}`, receivedAt: at(minute),
    nextAttemptAt: null, attempts: 1, deliveries: 1, reason: null, lastCode: null, settledAt: at(minute), ...more,
  });
  const data = [
    event(1284, 41, { state: "pending", attempts: 2, reason: "Athos answered 503 SERVICE_UNAVAILABLE: try again later (Athos request req_8Xc2)", lastCode: "SERVICE_UNAVAILABLE" }),
    event(1283, 39, {}),
    event(1282, 38, { deliveries: 2 }),
    event(1281, 31, { origin: "reconcile" }),
    event(1280, 22, { state: "dead", attempts: 6, reason: "Given up", lastCode: "CALL_NOT_FOUND" }),
    event(1279, 17, {}),
  ];
  const overview = { now: at(42), waiting: 1, oldestReceivedAt: at(41), dead: 1, repaired: 1, mintsWithoutCall: 3, lastRuns: [{ source: "roleplay", startedAt: at(40), finishedAt: at(40), seen: 12, repaired: 0, error: null }] };
  await page.route("**/athos/events?*", (route) => route.fulfill({ json: { data, nextCursor: null } }));
  await page.route("**/athos/overview", (route) => route.fulfill({ json: overview }));
  await page.setViewportSize({ width: 1200, height: 900 });
  await console();
  await expect(rows(page)).toHaveCount(6);
  if (process.env.UPDATE_SCREENSHOT) await page.screenshot({ path: fileURLToPath(file), animations: "disabled" });
  expect(existsSync(file), "docs/console.png: run scripts/test-browser with UPDATE_SCREENSHOT=1").toBe(true);
});

const ENDPOINTS = [
  { id: 1, host: "crm.example.com", state: "healthy", healthySince: "2026-06-01T08:00:00.000Z", failingSince: null, disabledAt: null, disabledReason: null, lastAttemptAt: "2026-06-05T15:41:00.000Z", lastStatus: 204, lastError: null, waiting: 0, failed: 0 },
  { id: 2, host: "lake.internal.example.com:8443", state: "failing", healthySince: null, failingSince: "2026-06-05T11:02:00.000Z", disabledAt: null, disabledReason: null, lastAttemptAt: "2026-06-05T15:40:00.000Z", lastStatus: 503, lastError: "it answered 503 Service Unavailable: maintenance", waiting: 128, failed: 3 },
  { id: 3, host: "old.example.com", state: "disabled", healthySince: null, failingSince: "2026-05-30T11:02:00.000Z", disabledAt: "2026-06-04T11:02:00.000Z", disabledReason: "it has failed for five days", lastAttemptAt: "2026-06-04T11:02:00.000Z", lastStatus: null, lastError: "no whole answer within 15 s", waiting: 900, failed: 0 },
];

/** An overview in which nothing happens. */
const QUIET = { now: "2026-06-05T15:42:00.000Z", waiting: 0, oldestReceivedAt: null, dead: 0, repaired: 0, mintsWithoutCall: 0, lastRuns: [], endpoints: [] };

function replica(id, more) {
  return {
    id, version: "1.4.0", since: "2026-06-05T08:00:00.000Z", lastHeartbeat: "2026-06-05T15:41:58.000Z", alive: true,
    reloadedAt: "2026-06-05T15:00:00.000Z", credentials: "ab12cd34", clockDifferenceMs: 3, ...more,
  };
}

const REPLICAS = {
  replica: "athos-1.1.5c1e09ab",
  replicas: [
    replica("athos-1.1.5c1e09ab", {}),
    replica("athos-2.1.77aa0c12", { alive: false, lastHeartbeat: "2026-06-05T15:31:00.000Z" }),
    replica("athos-3.1.01f0e2d3", { reloadedAt: "2026-06-05T08:00:00.000Z", credentials: "99887766" }),
  ],
  leaders: [
    { duty: "reconcile_roleplay", replica: "athos-1.1.5c1e09ab", term: 4 },
    { duty: "retention", replica: "athos-1.1.5c1e09ab", term: 4 },
  ],
};

/** A message on its way. */
function message(id, more) {
  return {
    id, messageId: `msg_5f0c_${id}`, endpoint: 1, type: "call.scored", state: "delivered", callId: `athos_call_GZ1DjOkZv_VEPoE-C${id}`, eventId: null, auditId: null,
    writtenAt: "2026-06-05T15:41:00.000Z", dueAt: null, attempts: 1, lastStatus: 204, lastError: null, settledAt: "2026-06-05T15:41:00.000Z", ...more,
  };
}

/** How to get into each state. */
const STATES = {
  "console-inbox": async ({ page, console, ops }) => {
    await deadEvent(ops, "shown");
    await ops.deliver(scored(fresh("shown_well")));
    await ops.deliver({ event: "call.began", callId: fresh("odd") });
    await console();
    await expect(rows(page).first()).toBeVisible();
    await expect(page.locator(".events").getByText("Not understood").or(page.getByText("but not understood")).first()).toBeVisible();
  },
  "console-event-dead": async ({ page, console, ops }) => {
    const call = await deadEvent(ops, "shown_dead");
    await console("#/?state=dead");
    await rowOf(page, call).getByRole("link").click();
    await expect(page.locator(".advice")).toBeVisible();
  },
  "console-event-lost": async ({ page, console }) => {
    await page.route("**/athos/events/7", (route) => route.fulfill({ json: lost() }));
    await page.route("**/readyz", (route) => route.fulfill({ json: { store: "ok", worker: "ok", athos: { paused: { cause: "athos_down", reason: "Athos did not answer in time", since: "2026-06-05T14:39:40.295Z" } } } }));
    await console("#/events/7");
    await page.locator(".fold summary").click();
    await expect(page.locator(".fold .moment")).toHaveCount(4);
  },
  "console-range": async ({ page, console, ops }) => {
    await deadEvent(ops, "shown_range");
    await console("#/?state=dead");
    await button(page, "Replay many…").click();
    await button(page, "Count them").click();
    await expect(page.getByText(/would be replayed/)).toBeVisible();
  },
  "console-replicas": async ({ page, console }) => {
    await page.route("**/athos/overview", (route) => route.fulfill({ json: { ...QUIET, ...REPLICAS } }));
    await console();
    await page.getByText("3 replicas, 2 to look at").click();
    await expect(page.locator(".fold .endpoint")).toHaveCount(3);
    await expect(page.locator(".fold")).toContainText("reconciliation of role-plays, retention");
    await expect(page.locator(".fold .stale")).toHaveText([/^Not heard of for/, /^Other secrets or keys/]);
  },
  "console-forwarding": async ({ page, console }) => {
    const overview = { ...QUIET, endpoints: ENDPOINTS };
    const failed = { endpoint: 2, state: "waiting", attempts: 4, lastStatus: 503, lastError: "it answered 503 Service Unavailable: maintenance", settledAt: null, dueAt: "2026-06-05T17:41:00.000Z" };
    const data = [message(4412, {}), message(4411, failed), message(4410, { ...failed, state: "failed", attempts: 10 }), message(4409, { type: "event.dead", callId: null, eventId: 12 })];
    await page.route("**/athos/overview", (route) => route.fulfill({ json: overview }));
    await page.route("**/athos/deliveries?*", (route) => route.fulfill({ json: { data, nextCursor: null } }));
    await console("#/forwarding");
    await expect(messages(page)).toHaveCount(4);
    await expect(page.locator(".endpoint")).toHaveCount(3);
  },
  "console-message": async ({ page, console }) => {
    const shown = { ...message(4411, { endpoint: 2, state: "waiting", attempts: 4, lastStatus: 503, lastError: "it answered 503 Service Unavailable: maintenance", dueAt: "2026-06-05T17:41:00.000Z", settledAt: null }), body: { type: "call.scored", timestamp: "2026-06-05T15:41:00.000Z", data: { id: "athos_call_GZ1DjOkZv", overallScore: 84 } }, acts: [] };
    await page.route("**/athos/deliveries/4411", (route) => route.fulfill({ json: shown }));
    await console("#/deliveries/4411");
    await expect(page.locator(".body")).toBeVisible();
  },
  "console-tokens": async ({ page, console }) => {
    await page.route("**/athos/mints?*", (route) => route.fulfill({ json: { data: MINTS, nextCursor: "d" } }));
    await console("#/tokens");
    await expect(page.locator(".tokens tbody tr")).toHaveCount(4);
  },
};

for (const colorScheme of ["light", "dark"]) {
  test.describe(`in ${colorScheme}`, () => {
    test.use({ colorScheme, contextOptions: { reducedMotion: "reduce" } });
    for (const [name, reach] of Object.entries(STATES)) {
      test(`the state ${name} is accessible and fits from 360 px to 4k`, async ({ page, console, ops }) => {
        await reach({ page, console, ops });
        await expectAccessible(page, name);
        for (const width of [3840, 1280, 768, 360]) {
          await page.setViewportSize({ width, height: 900 });
          await expectFits(page);
          if (width === 1280 || width === 360) await keep(page, `${name}-${colorScheme}-${width}`);
        }
      });
    }
  });
}
