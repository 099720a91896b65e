// A rep's session from the first click to the score, and all the ways it can take another turn.

import { allow, button, element, expect, goLive, open, requests, scoredCalls, startCall, state, test } from "./harness.js";

const TOKEN = /\/athos\/token$/;
const REDEEM = /\/roleplay\/session$/;
const END = /\/_simulator\/calls\/[^/]+\/end$/;
const DETAIL = /\/athos\/calls\/[^/]+$/;

test.describe(() => {
  test.use({ rep: null, expectedErrors: allow(/401 .*\/athos\/me$/) });

  test("a rep signs in, practises with a microphone, ends the call and sees the score arrive without reloading", async ({ page, demo, context }) => {
    const minted = requests(page, TOKEN, "POST");
    const looked = requests(page, DETAIL);
    await open(page, demo, { query: "?mic=real" });
    await page.evaluate(() => (window.sameDocument = true));
    await button(page, "Riley Chen Rep, Chicago").click();

    await state(page, "idle");
    await page.getByRole("radio", { name: "Objection handling" }).first().check();
    await page.getByRole("radio", { name: "Elite" }).check();
    await page.getByLabel("Customer lives in").selectOption("CA");
    expect(minted, "nothing is minted before the click").toHaveLength(0);

    const redeemed = page.waitForRequest((request) => REDEEM.test(request.url()) && request.method() === "POST");
    await startCall(page);
    expect((await redeemed).postDataJSON()).toEqual({ drillKey: "ma-objection-handling", filters: { state: "CA" }, difficulty: "Elite" });
    await state(page, "live");
    expect(minted).toHaveLength(1);

    await expect(page.locator("athos-practice h2")).not.toBeEmpty();
    await expect(page.getByText(/is speaking$/)).toBeVisible();
    await expect(page.getByRole("timer")).toHaveText("0:01");
    await expect(page.getByLabel("Microphone")).toContainText("Fake");
    await page.getByLabel("Microphone").selectOption({ index: 1 });
    await button(page, "Mute").click();
    await expect(button(page, "Unmute")).toHaveAttribute("aria-pressed", "true");
    await button(page, "Unmute").click();

    const ended = page.waitForRequest((request) => END.test(request.url()));
    await button(page, "End call").click();
    await ended;
    await state(page, "scoring");
    await state(page, "scored");
    const shown = await page.locator(".ring-number").textContent();
    const id = new URL(looked.at(-1).url()).pathname.split("/").pop();
    const call = await (await context.request.get(new URL(`/athos/calls/${id}`, demo.page).href)).json();
    expect(shown).toBe(String(Math.round(call.overallScore)));
    await expect(page.getByText(call.score.summary)).toBeVisible();
    await expect(page.locator(".turn")).toHaveCount(call.transcript.length);

    expect(await page.evaluate(() => window.sameDocument), "the page was not reloaded").toBe(true);
    expect(page.url(), "nothing of the rep's in the address").toBe(new URL("/?mic=real", demo.page).href);
  });
});


test("the live stream alone brings the score", async ({ page, demo }) => {
  await page.clock.install();
  const looked = requests(page, DETAIL);
  await goLive(page, demo);
  await page.clock.pauseAt(Date.now() + 60_000); // From here on no timer of the page's fires: nothing is polled.
  await button(page, "End call").click();
  await state(page, "scored");
  // One when the stream opens, one for each of `processing` and `scored`.
  expect(looked.length).toBeLessThanOrEqual(4);
});

for (const [how, block] of [
  ["refused", (route) => route.abort()],
  ["swallowed", () => {}],
]) {
  test.describe(() => {
    test.use({ expectedErrors: allow(/net::ERR_FAILED .*\/athos\/live/) });
    test(`the score arrives by polling when the live stream is ${how}`, async ({ page, demo }) => {
      await page.route("**/athos/live", block);
      let looks = 0;
      await page.route(DETAIL, (route) => (++looks < 3 ? route.fulfill({ json: { status: "processing" } }) : route.continue()));
      await goLive(page, demo);
      await button(page, "End call").click();
      await state(page, "scored", { timeout: 20_000 });
      expect(looks).toBe(3);
    });
  });
}

test("a live stream that breaks off is resumed where it stopped", async ({ page, demo }) => {
  const resumed = [];
  await page.route("**/athos/live", async (route) => {
    resumed.push(await route.request().headerValue("last-event-id"));
    if (resumed.length > 1) return; // The second one stays open.
    await route.fulfill({ status: 200, contentType: "text/event-stream", body: 'event: call\nid: 41\ndata: {"id":"x","status":"scored"}\n\n' });
  });
  await open(page, demo, { hash: "#/progress" });
  await expect.poll(() => resumed).toEqual([null, "41"]);
});

test("an event stream is understood however it is cut", async ({ page, demo }) => {
  await open(page, demo);
  const text = ': hello\r\n\r\nevent: call\r\nid: 7\r\ndata: {"a":1,\r\ndata: "b":2}\r\n\r\nid: 8\ndata: x\n\nevent: call\rdata:y\r\rdata: unfinished';
  const heard = await page.evaluate(async (text) => {
    const { eventParser } = await import("/static/live.js");
    const all = [];
    for (let size = 1; size <= text.length; size++) {
      const events = [];
      const parse = eventParser((event) => events.push(event));
      for (let at = 0; at < text.length; at += size) parse(text.slice(at, at + size));
      all.push(JSON.stringify(events));
    }
    return [...new Set(all)];
  }, text);
  expect(heard.map((one) => JSON.parse(one))).toEqual([
    [
      { type: "call", id: "7", data: '{"a":1,\n"b":2}' },
      { type: "message", id: "8", data: "x" },
      { type: "call", id: null, data: "y" },
    ],
  ]);
});

test("cancelling while the microphone is pending works at once and stays silent", async ({ page, demo }) => {
  const redeemed = requests(page, REDEEM, "POST");
  await page.addInitScript(() => {
    // Without a window, Chromium answers its own question: here nobody does until `answer`.
    const { mediaDevices, permissions } = navigator;
    const ask = mediaDevices.getUserMedia.bind(mediaDevices);
    mediaDevices.getUserMedia = (wanted) => new Promise((resolve) => (window.answer = () => resolve(ask(wanted))));
    permissions.query = async () => Object.assign(new EventTarget(), { state: "prompt" });
  });
  await open(page, demo, { query: "?mic=real" });
  await startCall(page);
  await state(page, "microphone");
  await expect(page.getByRole("heading", { name: "Waiting for your microphone" })).toBeFocused();
  await expect(page.locator("athos-practice [role=status]")).toContainText("Waiting for your microphone");
  await button(page, "Cancel").click();
  await state(page, "idle", { timeout: 500 });
  await expect(button(page, "Start call")).toBeVisible();
  await page.evaluate(() => window.answer()); // Too late to start anything.
  await page.waitForTimeout(500);
  await state(page, "idle");
  expect(redeemed).toHaveLength(0);
});

test("cancelling while the token is minted aborts it", async ({ page, demo }) => {
  let answer;
  await page.route("**/athos/token", (route) => new Promise((resolve) => (answer = () => resolve(route.continue().catch(() => {})))));
  await open(page, demo);
  await startCall(page);
  await state(page, "preparing");
  await button(page, "Cancel").click();
  await state(page, "idle", { timeout: 500 });
  answer();
  await page.waitForTimeout(300);
  await state(page, "idle");
});

test("a call whose connection is cancelled late is ended on the other side", async ({ page, demo }) => {
  await open(page, demo);
  let redeem;
  const held = new Promise((resolve) => (redeem = resolve));
  await page.route(REDEEM, async (route) => {
    await held;
    await route.continue();
  });
  const redeeming = page.waitForRequest(REDEEM);
  const ended = page.waitForRequest((request) => END.test(request.url()));
  await startCall(page);
  await redeeming;
  await button(page, "Cancel").click();
  redeem();
  await ended;
  await state(page, "idle");
});

test("a refused microphone is retried once with the same token, then with a new one", async ({ page, demo }) => {
  const minted = requests(page, TOKEN, "POST");
  await open(page, demo, { query: "?fault=MIC_PERMISSION_DENIED" });
  await startCall(page);
  await expect(page.getByRole("heading", { name: "The microphone is blocked" })).toBeVisible();
  expect(minted).toHaveLength(1);
  await button(page, "Try again").click();
  await expect(page.getByRole("heading", { name: "The microphone is blocked" })).toBeFocused();
  expect(minted).toHaveLength(1);
  await button(page, "Try again").click();
  await expect.poll(() => minted.length).toBe(2);
});

test("the token a refused microphone left unspent starts the call", async ({ page, demo }) => {
  const minted = requests(page, TOKEN, "POST");
  await open(page, demo, { query: "?fault=NO_MIC_AVAILABLE:once" });
  await startCall(page);
  await button(page, "Try again").click();
  await state(page, "live");
  expect(minted).toHaveLength(1);
});

for (const code of ["TOKEN_ALREADY_USED", "TOKEN_EXPIRED"]) {
  test.describe(() => {
    test.use({ expectedErrors: allow(/401 .*\/roleplay\/session$/) });
    test(`a kept token that turns out ${code} is replaced without asking`, async ({ page, demo }) => {
      const minted = requests(page, TOKEN, "POST");
      let refused = 0;
      await page.route(REDEEM, async (route) => {
        if (route.request().method() !== "POST" || refused++) return route.continue();
        const headers = { "access-control-allow-origin": "*" };
        await route.fulfill({ status: 401, headers, json: { error: { code, message: code, requestId: "req_1" } } });
      });
      await open(page, demo, { query: "?fault=MIC_PERMISSION_DENIED:once" });
      await startCall(page);
      await button(page, "Try again").click();
      await state(page, "live");
      expect(refused).toBeGreaterThan(0);
      expect(minted).toHaveLength(2);
    });
  });
}

test("a lost connection shows as a banner, and the call goes on when it is back", async ({ page, demo }) => {
  await goLive(page, demo, { query: "?fault=RECONNECTING" });
  await expect(page.locator(".banner")).toContainText("Reconnecting");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await expect(button(page, "End call")).toBeVisible();
  await expect(page.locator("athos-practice [role=status]")).toHaveText("The connection is back.");
  await expect(page.locator(".banner")).toHaveCount(0);
  await state(page, "live");
});

test("a connection that stays lost ends the call, offers a restart, and the score still comes", async ({ page, demo }) => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route(DETAIL, (route) => held.then(() => route.continue()));
  await goLive(page, demo, { query: "?fault=NETWORK_LOST:once" });
  await state(page, "scoring");
  await expect(page.getByText(/The connection was lost and the call ended after/)).toBeVisible();
  await expect(button(page, "Start a new call")).toBeVisible();
  release();
  await state(page, "scored");
});

test("blocked sound has a button that turns it on", async ({ page, demo }) => {
  await goLive(page, demo, { query: "?fault=AUDIO_PLAYBACK_BLOCKED" });
  await button(page, "Turn on sound").click();
  await expect(page.locator(".banner")).toHaveCount(0);
  await state(page, "live");
});

test("a microphone pulled out mid-call is a notice; another one clears it", async ({ page, demo }) => {
  await goLive(page, demo, { query: "?fault=MIC_DEVICE_DISCONNECTED" });
  await expect(page.locator(".banner")).toContainText("Your microphone was disconnected");
  await page.getByLabel("Microphone").selectOption({ label: "Simulated headset" });
  await expect(page.locator(".banner")).toHaveCount(0);
  await state(page, "live");
});

test("End call does not wait for an `ended` that never comes", async ({ page, demo }) => {
  await goLive(page, demo, { query: "?fault=SILENT_END" });
  await button(page, "End call").click();
  await state(page, "ended");
  await expect(page.getByText("Its score will appear in your progress.")).toBeVisible();
});

test("leaving the page during a call asks first and ends it", async ({ page, demo, context }) => {
  await goLive(page, demo);
  const asked = page.waitForEvent("dialog");
  const leaving = page.reload().catch(() => {});
  const dialog = await asked;
  expect(dialog.type()).toBe("beforeunload");
  await dialog.accept();
  await leaving;
  // What a page sends as it goes, only the other side sees: the call ended, and so it was scored.
  await scoredCalls(context, demo, 1);
});

test("leaving before or after a call does not ask", async ({ page, demo }) => {
  page.on("dialog", (dialog) => expect(dialog.type(), "no dialog is expected").toBe("none"));
  await open(page, demo);
  await page.reload();
  await startCall(page);
  await state(page, "live");
  await button(page, "End call").click();
  await state(page, "scoring");
  await page.reload();
  await state(page, "idle");
});

test("moving to another view during a call asks first; staying keeps the call", async ({ page, demo }) => {
  await goLive(page, demo);
  await page.getByRole("link", { name: "Progress" }).click();
  await button(page, "Stay on the call").click();
  await state(page, "live");
  await expect(page.getByRole("heading", { name: "Practise a call" })).toBeVisible();

  await page.getByRole("link", { name: "Progress" }).click();
  const ended = page.waitForRequest((request) => END.test(request.url()));
  await button(page, "End call and leave").click();
  await ended;
  await expect(page.getByRole("heading", { name: "Your progress" })).toBeFocused();
});

test("End call stays in view on a small window", async ({ page, demo }) => {
  await page.setViewportSize({ width: 360, height: 480 });
  await goLive(page, demo);
  await expect(button(page, "End call")).toBeInViewport({ ratio: 1 });
  await page.locator("h1").scrollIntoViewIfNeeded();
  await page.evaluate(() => scrollTo(0, 0));
  await element(page).scrollIntoViewIfNeeded();
  await expect(button(page, "End call")).toBeInViewport({ ratio: 1 });
});

test("a mid-call drill shows where it starts, before the call and during it", async ({ page, demo }) => {
  await open(page, demo);
  for (const name of [/HHC downsell/, /HHC cross-sell/, /HHC upsell/]) {
    await page.getByRole("radio", { name }).check();
    await expect(page.getByText("Starts mid-call.")).toBeVisible();
  }
  await startCall(page);
  await state(page, "live");
  await expect(page.getByText(/Where you are:/)).toBeVisible();
});

test("a drill that is not listed can be typed", async ({ page, demo }) => {
  await open(page, demo);
  await page.getByRole("radio", { name: "Another drill…" }).check();
  await expect(page.getByLabel("Drill key")).toBeFocused();
  await startCall(page);
  await state(page, "idle"); // Nothing was typed.
  await page.getByLabel("Drill key").fill("  ma-full-sale ");
  const redeemed = page.waitForRequest((request) => REDEEM.test(request.url()) && request.method() === "POST");
  await startCall(page);
  expect((await redeemed).postDataJSON()).toEqual({ drillKey: "ma-full-sale", difficulty: "Advanced" });
});

test("with a microphone allowed before, the page is connecting, not waiting for it", async ({ page, demo, context }) => {
  await context.grantPermissions(["microphone"]);
  await open(page, demo, { query: "?mic=real&fault=SLOW_CONNECT" });
  await startCall(page);
  await state(page, "connecting");
  await state(page, "live");
});
