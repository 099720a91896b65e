// The simulator's stand-in for the SDK, held against what the contract says of the real one.

import { readFileSync } from "node:fs";
import { allow, expect, open, test } from "./harness.js";

const TABLE = JSON.parse(readFileSync(new URL("./fixtures/sdk-table.json", import.meta.url), "utf8"));

/** Runs `story(sdk, helpers)` in the page with the stand-in; `more` is among the helpers. */
async function withSdk(page, demo, query, story, more = {}) {
  await open(page, demo, { query });
  const sdk = await page.evaluateHandle((url) => import(url), new URL("/sdk/athos-sdk.js", demo.simulator).href);
  const helpers = await page.evaluateHandle(
    ([sdk, apiBase, more]) => ({
      ...more,
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
    [sdk, demo.simulator.origin, more],
  );
  return sdk.evaluate(story, helpers);
}

/** What a session does and says, in order, in each of the table's acts. */
async function act(page, demo, row) {
  if (row.redeem) {
    await page.route(/\/roleplay\/session$/, (route) => {
      if (row.redeem === "abort") return route.abort();
      const status = row.redeem === "page" ? 200 : 502;
      return route.fulfill({ status, contentType: "text/html", headers: { "access-control-allow-origin": "*" }, body: "<h1>Proxy</h1>" });
    });
  }
  await page.addInitScript((fault) => {
    window.asked = 0;
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      window.asked++;
      if (fault) throw Object.assign(new Error(fault), { name: fault });
      return ask(wanted);
    };
  }, row.microphone ?? null);
  return withSdk(page, demo, row.query ?? "", async (sdk, { mint, apiBase, pause, act: name }) => {
    const session = sdk.AthosRoleplay.create({ token: await mint(), drillKey: "ma-full-sale", apiBase: `${apiBase}/` });
    const heard = [];
    let message = null;
    for (const event of sdk.ATHOS_EVENT_NAMES) {
      session.on(event, (detail) => {
        if (event === "error") message = detail.message;
        if (!event.endsWith("Speaking")) heard.push(detail?.code ? `${event} ${detail.code}` : event);
      });
    }
    const connect = () =>
      session.connect().then(
        () => heard.push("resolved"),
        (error) => heard.push(error instanceof sdk.AthosRoleplayError ? `rejected ${error.code}` : `rejected ${error}`),
      );
    const acts = {
      call: async () => {
        await connect();
        if (heard.at(-1) === "resolved") await session.disconnect();
      },
      "connect twice": async () => {
        await connect();
        await connect();
        await session.disconnect();
      },
      "connect again after a failure": async () => {
        await connect();
        await connect();
      },
      "microphone asked for": async () => {
        await connect();
        await session.disconnect();
      },
      cancel: async () => {
        connect();
        await pause(200);
        await session.disconnect();
        await pause(200);
      },
      "cancel after the microphone": async () => {
        const redeem = window.fetch;
        const asked = new Promise((resolve) => {
          window.fetch = async (...request) => {
            resolve();
            await pause(100);
            return redeem(...request);
          };
        });
        const connected = connect();
        await asked;
        await session.disconnect();
        await connected;
      },
      listen: async () => {
        await connect();
        await pause(4500);
      },
    };
    await acts[name]();
    return name === "microphone asked for" ? { heard: [window.asked ? "asked" : "not asked"] } : { heard, message };
  }, { act: row.act });
}

test("exports what the table lists, all of Athos's codes among it", async ({ page, demo }) => {
  const found = await withSdk(page, demo, "", (sdk) => ({
    exports: Object.keys(sdk).sort(),
    events: [...sdk.ATHOS_EVENT_NAMES],
    codes: [...sdk.ATHOS_ERROR_CODES],
    drills: sdk.ATHOS_DRILL_KEYS.length,
  }));
  const { exports, events, codes } = TABLE;
  expect(codes).toHaveLength(23);
  expect(found).toEqual({ exports, events, codes, drills: 20 });
});

test("each difference from the vendor's SDK has its reason", () => {
  for (const { when, what, standIn, why } of [...TABLE.rows, ...TABLE.timing]) expect(Boolean(standIn), when ?? what).toBe(Boolean(why));
});

test.describe("as the table says, when", () => {
  test.use({ expectedErrors: allow(/\/roleplay\/session$/) });
  for (const row of TABLE.rows) {
    test(row.when, async ({ page, demo }) => {
      const { heard, message } = await act(page, demo, row);
      expect(heard).toEqual(row.standIn ?? row.vendor);
      if (row.message) expect(message).toBe(row.message);
    });
  }
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
    return [again, await code(second.connect()), heard.map(([name, detail]) => [name, detail?.code])];
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
