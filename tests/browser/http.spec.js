// What the page's own routes answer: caching, policies, progress for the right people, recordings by a fresh link.

import { createServer } from "node:http";
import { once } from "node:events";
import { deliverWebhook, sessionCookie, startService } from "./backend.js";
import { expect, makeCalls, scoredCalls, signIn, test } from "./harness.js";

test("files are cached by their content and sent compressed", async ({ demo }) => {
  for (const [file, type] of [["", "text/html"], ["static/app.js", "text/javascript"], ["static/style.css", "text/css"], ["static/icon.svg", "image/svg+xml"]]) {
    const url = new URL(file, demo.page);
    const first = await fetch(url);
    expect(first.status).toBe(200);
    expect(first.headers.get("content-type")).toContain(type);
    expect(first.headers.get("cache-control")).toBe("no-cache");
    expect(first.headers.get("x-content-type-options")).toBe("nosniff");
    expect(first.headers.get("content-encoding")).toBe("gzip");
    const again = await fetch(url, { headers: { "if-none-match": first.headers.get("etag") } });
    expect(again.status).toBe(304);
    expect(await again.text()).toBe("");
  }
  const missing = await fetch(new URL("/static/../Cargo.toml", demo.page));
  expect(missing.status).toBe(404);
  expect((await missing.json()).error.code).toBe("NOT_FOUND");
});

test("the page's policy allows what it needs and nothing unsafe", async ({ demo }) => {
  const policy = (await fetch(demo.page)).headers.get("content-security-policy");
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain(`script-src 'self' ${demo.simulator.origin};`);
  expect(policy).toContain(`connect-src 'self' ${demo.simulator.origin} https://*.livekit.cloud wss://*.livekit.cloud;`);
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).not.toContain("unsafe");
});

test("the browser is told the SDK's address, the API's when it is not Athos's, and whether this is the demo", async ({ demo }) => {
  const config = await (await fetch(new URL("/athos/config", demo.page))).json();
  expect(config).toEqual({ sdkUrl: new URL("/sdk/athos-sdk.js", demo.simulator).href, apiBase: demo.simulator.origin, demo: true });

  const production = await startService({});
  const told = await (await fetch(new URL("/athos/config", production.page))).json();
  await production.stop();
  expect(told.apiBase).toBeNull();
  expect(told.demo).toBe(false);
});

test("progress adds up, and only for those who may see it", async ({ demo, context, rep }) => {
  const [mine, other] = [rep.user, `${rep.user}_other`];
  const agency = `agency_${rep.user}`;
  await makeCalls(demo, { rep: mine, calls: 3, agency });
  await makeCalls(demo, { rep: other, calls: 1, agency, drillKey: "fe-closing" });
  await makeCalls(demo, { rep: `${rep.user}_stranger`, calls: 1, agency: `${agency}_2` });
  const as = async (person, query = "") => {
    await signIn(context, demo, person);
    const answer = await context.request.get(new URL(`/athos/progress${query}`, demo.page).href);
    expect(answer.headers()["cache-control"]).toBe("no-store");
    return (await answer.json()).data;
  };
  const manager = { user: "mgr", agency, role: "manager" };
  await signIn(context, demo, manager);
  const calls = await scoredCalls(context, demo, 4);
  const scores = calls.filter((call) => call.rep === mine).map((call) => call.overallScore);

  const own = await as({ user: mine });
  expect(own).toHaveLength(1);
  expect(own[0]).toMatchObject({ rep: mine, drillKey: "ma-full-sale", count: 3, best: Math.max(...scores), last: scores[0] });
  expect(own[0].mean).toBeCloseTo(scores.reduce((sum, score) => sum + score) / 3);
  expect(own[0].points.map(({ score }) => score)).toEqual(scores.toReversed());
  expect(await as({ user: mine }, `?rep=${other}`), "filters never widen the scope").toEqual([]);

  expect((await as(manager)).map((one) => one.rep).sort()).toEqual([mine, other]);
  expect((await as(manager, `?rep=${other}`)).map((one) => one.drillKey)).toEqual(["fe-closing"]);
  expect(await as(manager, "?to=2020-01-01T00:00:00.000Z")).toEqual([]);
  const reps = (await as({ user: "admin", role: "admin" })).map((one) => one.rep);
  expect(reps).toEqual(expect.arrayContaining([mine, other, `${rep.user}_stranger`]));

  const wrong = await context.request.get(new URL("/athos/progress?from=yesterday", demo.page).href);
  expect([wrong.status(), (await wrong.json()).error.code]).toEqual([400, "INVALID_REQUEST"]);
  await context.clearCookies();
  const nobody = await context.request.get(new URL("/athos/progress", demo.page).href);
  expect(nobody.status()).toBe(401);
});

test.describe("recordings", () => {
  /** A vendor with one call; each look at it makes another link. */
  const vendor = async (audio) => {
    let links = 0;
    const server = createServer((request, response) => {
      response.setHeader("content-type", "application/json");
      const audioUrl = audio() && `https://recordings.example/${++links}.ogg?X-Amz-Signature=secret`;
      response.end(
        JSON.stringify({
          id: "athos_call_rec", source: "roleplay", status: "scored", externalUserId: "rep_rec", externalAgencyId: null, drillKey: "ma-full-sale",
          startedAt: "2026-06-05T14:39:40.295Z", endedAt: "2026-06-05T14:40:17.536Z", durationSec: 37, scoredAt: "2026-06-05T14:40:54.005Z",
          transcript: [], score: { overallScore: 82, summary: "", feedback: "" }, audioUrl, audioUrlExpiresAt: null,
        }),
      );
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    return { url: `http://127.0.0.1:${server.address().port}/api/external/v1`, close: () => (server.closeAllConnections(), server.close()) };
  };

  test("are reached by a fresh link each time, and only by those who may see the call", async ({ context }) => {
    let available = true;
    const athos = await vendor(() => (available ? "yes" : null));
    const service = await startService({ ATHOS_BASE_URL: athos.url });
    const ask = async (path, sub) => {
      await context.clearCookies();
      if (sub) await context.addCookies([sessionCookie(service.page, { sub })]);
      return context.request.get(new URL(path, service.page).href, { maxRedirects: 0 });
    };
    const call = "/athos/calls/athos_call_rec";
    await deliverWebhook(service.page, {
      event: "call.scored", success: true, callId: "athos_call_rec", source: "roleplay", externalUserId: "rep_rec", externalAgencyId: null,
      occurredAt: "2026-06-05T14:40:54.005Z", requestId: "req_1",
    });
    await expect.poll(async () => (await (await ask(call, "rep_rec")).json()).status).toBe("scored");
    const shown = await (await ask(call, "rep_rec")).text();
    expect(JSON.parse(shown).hasRecording).toBe(true);
    expect(shown).not.toContain("recordings.example");

    const places = [];
    for (let turn = 0; turn < 2; turn++) {
      const answer = await ask(`${call}/recording`, "rep_rec");
      expect(answer.status()).toBe(302);
      expect(answer.headers()["cache-control"]).toBe("no-store");
      places.push(answer.headers().location);
    }
    expect(places[0]).toMatch(/^https:\/\/recordings\.example\/\d+\.ogg\?X-Amz-Signature=secret$/);
    expect(places[1]).not.toBe(places[0]);

    const code = async (answer) => [answer.status(), (await answer.json()).error.code];
    expect(await code(await ask(`${call}/recording`, "rep_other"))).toEqual([404, "CALL_NOT_FOUND"]);
    expect(await code(await ask(`${call}/recording`))).toEqual([401, "UNAUTHENTICATED"]);
    available = false;
    expect(await code(await ask(`${call}/recording`, "rep_rec"))).toEqual([404, "RECORDING_NOT_AVAILABLE"]);
    await service.stop();
    athos.close();
  });
});
