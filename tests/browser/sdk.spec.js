// The simulator's stand-in for the SDK, held against what the contract says of the real one.

import { allow, expect, open, test } from "./harness.js";

/** Runs `story(sdk, helpers)` in the page with the stand-in. */
async function withSdk(page, demo, query, story) {
  await open(page, demo, { query });
  const sdk = await page.evaluateHandle((url) => import(url), new URL("/sdk/athos-sdk.js", demo.simulator).href);
  const helpers = await page.evaluateHandle(
    ([sdk, apiBase]) => ({
      apiBase,
      mint: async () => (await (await fetch("/athos/token", { method: "POST" })).json()).token,
      record(session) {
        const heard = [];
        for (const name of sdk.ATHOS_EVENT_NAMES) session.on(name, (detail) => heard.push([name, detail]));
        return heard;
      },
      pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      code: (promise) => promise.then(() => "resolved", (error) => (error instanceof sdk.AthosRoleplayError ? error.code : String(error))),
    }),
    [sdk, demo.simulator.origin],
  );
  return sdk.evaluate(story, helpers);
}

test("exports what the contract lists", async ({ page, demo }) => {
  const found = await withSdk(page, demo, "", (sdk) => ({
    names: Object.keys(sdk).sort(),
    events: sdk.ATHOS_EVENT_NAMES,
    drills: sdk.ATHOS_DRILL_KEYS.length,
    codes: ["MIC_PERMISSION_DENIED", "NETWORK_LOST", "TOKEN_ALREADY_USED"].every((code) => sdk.ATHOS_ERROR_CODES.includes(code)),
  }));
  expect(found).toEqual({
    names: ["ATHOS_DRILL_KEYS", "ATHOS_ERROR_CODES", "ATHOS_EVENT_NAMES", "AthosRoleplay", "AthosRoleplayError", "detectBrowserSupport"],
    events: ["connecting", "ready", "personaSpeaking", "userSpeaking", "reconnecting", "reconnected", "ended", "error"],
    drills: 20,
    codes: true,
  });
});

test("knows the browsers it works in", async ({ page, demo }) => {
  const found = await withSdk(page, demo, "", ({ detectBrowserSupport }) =>
    [
      "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
      "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
      "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
      "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36",
      "curl/8",
    ].map((agent) => detectBrowserSupport(agent)),
  );
  expect(found).toEqual([
    { supported: true },
    { supported: true },
    { supported: false, reason: "safari" },
    { supported: false, reason: "mobile" },
    { supported: false, reason: "unknown" },
  ]);
});

test("creates at once and offline, connects, and ends on disconnect", async ({ page, demo }) => {
  const heard = await withSdk(page, demo, "", async (sdk, { mint, apiBase, record }) => {
    const session = sdk.AthosRoleplay.create({ token: await mint(), drillKey: "ma-full-sale", apiBase });
    if (session instanceof Promise) throw new Error("create must be synchronous");
    const heard = record(session);
    await session.connect();
    await session.disconnect();
    return heard;
  });
  expect(heard.map(([name]) => name)).toEqual(["connecting", "ready", "ended"]);
  expect(heard[1][1].persona.name).toEqual(expect.any(String));
  expect(heard[2][1]).toEqual({ callId: expect.stringMatching(/^athos_call_/), durationSec: expect.any(Number) });
});

test.describe(() => {
  test.use({ expectedErrors: allow(/401 .*\/roleplay\/session$/) });
  test("a session object and a token are single use", async ({ page, demo }) => {
  const found = await withSdk(page, demo, "", async (sdk, { mint, apiBase, record, code }) => {
    const options = { token: await mint(), drillKey: "ma-full-sale", apiBase };
    const first = sdk.AthosRoleplay.create(options);
    await first.connect();
    const again = await code(first.connect());
    await first.disconnect();
    const second = sdk.AthosRoleplay.create(options);
    const heard = record(second);
    return [again, await code(second.connect()), heard.map(([name, { code }]) => [name, code])];
  });
  expect(found).toEqual(["SESSION_ALREADY_CONNECTED", "TOKEN_ALREADY_USED", [["connecting", undefined], ["error", "TOKEN_ALREADY_USED"]]]);
});
});

test("a refused microphone leaves the token unspent", async ({ page, demo }) => {
  const found = await withSdk(page, demo, "?fault=MIC_PERMISSION_DENIED:once", async (sdk, { mint, apiBase, record, code }) => {
    const options = { token: await mint(), drillKey: "ma-full-sale", apiBase };
    const first = sdk.AthosRoleplay.create(options);
    const heard = record(first);
    const refused = await code(first.connect());
    const second = sdk.AthosRoleplay.create(options);
    const connected = await code(second.connect());
    await second.disconnect();
    return [refused, heard.map(([name]) => name), connected];
  });
  expect(found).toEqual(["MIC_PERMISSION_DENIED", ["connecting", "error"], "resolved"]);
});

test("an unanswered microphone leaves connect pending, and cancelling it is silent", async ({ page, demo }) => {
  const found = await withSdk(page, demo, "?fault=MIC_PENDING", async (sdk, { mint, apiBase, record, pause, code }) => {
    const session = sdk.AthosRoleplay.create({ token: await mint(), drillKey: "ma-full-sale", apiBase });
    const heard = record(session);
    const connected = code(session.connect());
    const still = await Promise.race([connected, pause(300).then(() => "pending")]);
    await session.disconnect();
    await pause(300);
    return [still, heard.map(([name]) => name)];
  });
  expect(found).toEqual(["pending", ["connecting"]]);
});

test("acts out a lost connection: reconnecting, the error, the end", async ({ page, demo }) => {
  const heard = await withSdk(page, demo, "?fault=NETWORK_LOST", async (sdk, { mint, apiBase, record, pause }) => {
    const session = sdk.AthosRoleplay.create({ token: await mint(), drillKey: "ma-full-sale", apiBase });
    const heard = record(session);
    await session.connect();
    await pause(4500);
    return heard.map(([name]) => name).filter((name) => !name.endsWith("Speaking"));
  });
  expect(heard).toEqual(["connecting", "ready", "reconnecting", "error", "ended"]);
});

test("stops hearing when told so", async ({ page, demo }) => {
  const count = await withSdk(page, demo, "", async (sdk, { mint, apiBase }) => {
    const session = sdk.AthosRoleplay.create({ token: await mint(), drillKey: "ma-full-sale", apiBase });
    let count = 0;
    const off = session.on("connecting", () => count++);
    const other = () => count++;
    session.on("connecting", other);
    off();
    session.off("connecting", other);
    await session.connect();
    await session.disconnect();
    return count;
  });
  expect(count).toBe(0);
});
