// One attempt at a call owns the page. What an earlier one still says, or what becomes known of it late, changes nothing;
// and while somebody is on the line there is a button that ends the call.

import { readFileSync } from "node:fs";
import { allow, button, element, expect, expectFits, keep, open, startCall, state, test } from "./harness.js";

const SCRIPTED = readFileSync(new URL("./fixtures/scripted-sdk.js", import.meta.url), "utf8");
const DETAIL = /\/athos\/calls\/athos_call_\d+$/;

/** Opens the page on an SDK that says only what `say` tells it to. Tokens are there at once, scores when asked for. */
async function openScripted(page, demo) {
  await page.route(/sdk\/athos-sdk\.js$/, (route) =>
    route.fulfill({ contentType: "text/javascript", headers: { "access-control-allow-origin": "*" }, body: SCRIPTED }),
  );
  await page.route("**/athos/token", (route) => route.fulfill({ json: { token: "t", expiresAt: "2099-01-01T00:00:00.000Z" } }));
  await page.route("**/athos/live", () => {}); // It says nothing: scores are found by looking.
  await page.addInitScript(() => {
    navigator.permissions.query = async () => Object.assign(new EventTarget(), { state: "prompt" });
  });
  await open(page, demo);
}

/** The session of this number, 1 being the first, says these, once it is there. */
const say = async (page, number, ...what) => {
  await expect.poll(() => page.evaluate(() => window.sessions.length)).toBeGreaterThanOrEqual(number);
  await page.evaluate(([number, what]) => what.forEach((one) => window.sessions[number - 1].say(one)), [number, what]);
};

const call = (number, more) => ({
  id: `athos_call_${number}`, status: "scored", source: "roleplay", rep: "rep_1", agency: null, drillKey: "ma-full-sale", durationSec: 7,
  overallScore: 80 + number, compliancePercent: null, transcript: [], score: { overallScore: 80 + number, summary: "", feedback: "" }, ...more,
});

/** How waiting for the score of the first call can come out, late. */
const OUTCOMES = {
  scored: (route) => route.fulfill({ json: call(1) }),
  unscored: (route) => route.fulfill({ json: call(1, { status: "unscored", score: null, reason: "SCORING_INCOMPLETE", reasonMessage: "Too short." }) }),
  "signed out": (route) => route.fulfill({ status: 401, json: { error: { code: "UNAUTHENTICATED", message: "", requestId: "r" } } }),
  failed: (route) => route.abort(),
};

/** From the first call's scoring or failure to each state of the second one, or of none. */
const begin = async (page) => {
  await (await button(page, "Start again").or(button(page, "Practise again"))).click();
  if (await button(page, "Start call").isVisible()) await startCall(page);
  await expect.poll(() => page.evaluate(() => window.sessions.length)).toBe(2);
};
const STATES = {
  idle: async (page) => await (await button(page, "Back to the drills").or(button(page, "Practise again"))).click(),
  microphone: begin,
  connecting: async (page) => {
    await page.evaluate(() => (navigator.permissions.query = async () => Object.assign(new EventTarget(), { state: "granted" })));
    await begin(page);
  },
  live: async (page) => {
    await begin(page);
    await say(page, 2, "ready", "resolve");
  },
  reconnecting: async (page) => {
    await STATES.live(page);
    await say(page, 2, "reconnecting");
    await expect(page.locator(".banner")).toContainText("Reconnecting");
  },
  scoring: async (page) => {
    await STATES.live(page);
    await say(page, 2, "ended");
  },
  scored: async (page) => {
    await page.route("**/athos/calls/athos_call_2", (route) => route.fulfill({ json: call(2) }));
    await STATES.scoring(page);
    await state(page, "scored");
  },
  failed: async (page) => {
    await begin(page);
    await say(page, 2, "error:SERVICE_UNAVAILABLE");
  },
};
const SHOWN = { reconnecting: "live" };

/** What an observer would notice: state, words and buttons; not the time on the call. */
const look = (page) =>
  element(page).evaluate((host) => {
    const stage = host.shadowRoot.querySelector(".stage-area").cloneNode(true);
    stage.querySelector(".timer")?.remove();
    return `${host.dataset.state}: ${stage.textContent.replace(/ in \d+ s/, "")}`;
  });

/** `End call` works, and ends the second session. */
async function expectEndable(page) {
  await button(page, "End call").click();
  await state(page, "scoring");
  expect(await page.evaluate(() => window.sessions.map(({ joined }) => joined))).toEqual([false, false]);
}

const LATE = [
  "connecting", "ready", "personaSpeaking", "userSpeaking", "reconnecting", "reconnected", "ended", "error:INTERNAL_ERROR",
  "error:NETWORK_LOST", "error:AUDIO_PLAYBACK_BLOCKED", "error:MIC_PERMISSION_DENIED", "error:TOKEN_ALREADY_USED", "reject:INTERNAL_ERROR",
];

for (const [name, reach] of Object.entries(STATES)) {
  test(`what an earlier session still says changes nothing in the state ${name}`, async ({ page, demo }) => {
    await page.route("**/athos/calls/athos_call_1", (route) => route.fulfill({ json: { status: "processing" } }));
    await page.route("**/athos/calls/athos_call_2", (route) => route.fulfill({ json: { status: "processing" } }));
    await openScripted(page, demo);
    await startCall(page);
    await state(page, "microphone");
    await say(page, 1, "ended", "error:INTERNAL_ERROR");
    await state(page, "failed");
    await reach(page);
    await state(page, SHOWN[name] ?? name);
    const before = await look(page);
    for (const late of LATE) {
      await say(page, 1, late);
      await page.waitForTimeout(20);
      expect(await look(page), late).toBe(before);
    }
    expect(await page.evaluate(() => window.sessions[0].joined), "a room that is joined late is left").toBe(false);
    await page.waitForTimeout(4200); // Longer than the page would wait for an `ended`.
    expect(await look(page), "later").toBe(before);
    if ((SHOWN[name] ?? name) === "live") await expectEndable(page);
  });

  test.describe(() => {
    test.use({ expectedErrors: allow(/401 .*\/athos\/calls\/athos_call_1$/, /ERR_FAILED .*\/athos\/calls\/athos_call_1$/) });
    for (const [outcome, answer] of Object.entries(OUTCOMES)) {
      test(`an earlier call that turns out ${outcome} changes nothing in the state ${name}`, async ({ page, demo }) => {
        await page.clock.install();
        const held = [];
        await page.route("**/athos/calls/athos_call_1", (route) => held.push(route));
        await page.route("**/athos/calls/athos_call_2", (route) => route.fulfill({ json: { status: "processing" } }));
        await openScripted(page, demo);
        await startCall(page);
        await say(page, 1, "ready", "ended");
        await state(page, "scoring");
        await page.clock.runFor(2500);
        await expect.poll(() => held.length).toBe(1);
        await reach(page);
        await state(page, SHOWN[name] ?? name);
        const before = await look(page);
        for (const route of held) await answer(route).catch(() => {}); // Nobody may be waiting for it any more.
        await page.clock.runFor(30_000);
        expect(held, "nobody asks for the first call again").toHaveLength(1);
        expect(await look(page)).toBe(before);
        if (name !== "scoring") {
          await page.clock.runFor(5 * 60_000);
          expect(await look(page), "nor is it late").toBe(before);
        }
        if ((SHOWN[name] ?? name) === "live") await expectEndable(page);
      });
    }
  });
}

test("waiting for a score that is given up tells nothing, even if the answer was on its way", async ({ page, demo }) => {
  await open(page, demo);
  const told = await page.evaluate(async () => {
    const { awaitScore } = await import("/static/scoring.js");
    const told = [];
    for (const outcome of [{ status: "scored" }, { status: "unscored" }, Object.assign(new Error(), { signedOut: true }), new Error()]) {
      const left = new AbortController();
      let answer;
      const api = { request: () => new Promise(() => {}), call: () => new Promise((resolve, reject) => (answer = outcome instanceof Error ? reject : resolve)) };
      awaitScore(api, "x", { signal: left.signal, onCall: () => told.push("call"), onProblem: () => told.push("problem") });
      while (!answer) await new Promise((resolve) => setTimeout(resolve, 50));
      answer(outcome);
      left.abort();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return told;
  });
  expect(told).toEqual([]);
});

test("in any order of events, whoever is on the line has a button that ends the call", async ({ page, demo }) => {
  test.slow();
  await page.route(DETAIL, (route) => route.fulfill({ json: { status: "processing" } }));
  await openScripted(page, demo);
  const EVENTS = [...LATE, "resolve", "reject:AUDIO_PLAYBACK_BLOCKED", "reject:MIC_DEVICE_DISCONNECTED"];
  const wrong = await element(page).evaluate(async (host, events) => {
    const root = host.shadowRoot;
    const press = (name) => [...root.querySelectorAll("button")].find(({ textContent }) => textContent === name)?.click();
    const moment = () =>
      new Promise((resolve) => {
        const { port1, port2 } = new MessageChannel(); // Timers are throttled.
        port1.onmessage = resolve;
        port2.postMessage(null);
      });
    // Hundreds of calls: without the way to the test and back for each of their requests.
    window.fetch = async (url) => {
      if (/token$/.test(url)) return Response.json({ token: "t", expiresAt: "2099-01-01T00:00:00.000Z" });
      return new Promise(() => {});
    };
    const wrong = [];
    const heard = [[], ["ready"]].flatMap((before) => events.flatMap((a) => events.map((b) => [...before, a, b])));
    for (const order of heard) {
      press("Back to the drills");
      press("Practise again");
      press("Start a new call");
      press("Choose a drill");
      const count = window.sessions.length;
      press("Start call");
      for (let i = 0; window.sessions.length === count; i++) {
        if (i === 1000) return { wrong: [`${order}: it did not start in the state ${host.dataset.state}`] };
        await moment();
      }
      const session = window.sessions.at(-1);
      for (const event of order) {
        session.say(event);
        await moment();
        const now = window.sessions.at(-1); // A spent token leads to another session.
        const shown = root.querySelector("button.danger")?.textContent ?? null;
        const joined = window.sessions.filter((one) => one.joined).length;
        if (joined > 1 || (joined === 1 && (host.dataset.state !== "live" || shown !== "End call" || !now.joined))) {
          wrong.push(`${order}: at ${event} the page is ${host.dataset.state} with the button ${shown}`);
        }
      }
      host.end();
      await moment();
      if (window.sessions.some((one) => one.joined)) wrong.push(`${order}: still on the line`);
    }
    return { wrong, count: heard.length };
  }, EVENTS);
  expect(wrong.wrong).toEqual([]);
  expect(wrong.count).toBe(2 * EVENTS.length ** 2);
});

test("a control of an earlier call that answers late changes nothing on the next one", async ({ page, demo }) => {
  await page.route(DETAIL, (route) => route.fulfill({ json: { status: "processing" } }));
  await openScripted(page, demo);
  await startCall(page);
  await state(page, "microphone");
  await say(page, 1, "ready");
  await button(page, "Mute").click();
  await say(page, 1, "ended");
  await STATES.live(page);
  await page.evaluate(() => window.sessions[0].letThrough());
  await page.waitForTimeout(100);
  await expect(button(page, "Mute"), "nobody muted this call").toBeVisible();
  await expectEndable(page);
});

test("a call that does not end when told to keeps its button and says so", async ({ page, demo }) => {
  await page.route(DETAIL, (route) => route.fulfill({ json: { status: "processing" } }));
  await openScripted(page, demo);
  await startCall(page);
  await state(page, "microphone");
  await say(page, 1, "ready", "resolve", "reconnecting");
  await page.evaluate(() => (window.sessions[0].refuses = true));
  await button(page, "End call").click();
  await expect(page.locator(".banner")).toContainText("The call did not end");
  await expect(page.locator("athos-practice [role=alert]")).toContainText("The call did not end");
  for (const width of [1280, 360]) {
    await page.setViewportSize({ width, height: 800 });
    await expectFits(page);
    await expect(button(page, "End call")).toBeInViewport({ ratio: 1 });
    await keep(page, `call-not-ended-${width}`);
  }
  await page.evaluate(() => (window.sessions[0].refuses = false));
  await button(page, "End call").click();
  await state(page, "scoring");
});


test("a call that is given up is disconnected, even if that fails at first", async ({ page, demo }) => {
  await openScripted(page, demo);
  await startCall(page);
  await state(page, "microphone");
  await say(page, 1, "ready");
  await page.evaluate(() => Object.assign(window.sessions[0], { refuses: true, over: true }));
  await say(page, 1, "reject:INTERNAL_ERROR");
  await state(page, "failed");
  await expect.poll(() => page.evaluate(() => window.sessions[0].disconnects)).toBe(2);
});

test("whatever the SDK says of the customer, the live call is drawn with its button", async ({ page, demo }) => {
  await page.route(DETAIL, (route) => route.fulfill({ json: { status: "processing" } }));
  await openScripted(page, demo);
  const personas = [null, undefined, "James", 7, {}, { name: 42 }, { name: "" }, { name: {} }, { name: null, details: null }, { name: "J", details: [[{ a: null }]] }];
  for (const [at, persona] of personas.entries()) {
    await startCall(page);
    await state(page, "microphone");
    await page.evaluate(([at, persona]) => window.sessions[at].listeners.ready.forEach((callback) => callback(persona === undefined ? undefined : { persona })), [at, persona]);
    await state(page, "live");
    await expect(button(page, "End call"), JSON.stringify(persona)).toBeVisible();
    await element(page).evaluate((host) => host.end());
    await say(page, at + 1, "ended");
    await button(page, "Practise again").click();
  }
});

test("joining that fails after the redeem is a failure, and a later call is its own", async ({ page, demo, context }) => {
  await open(page, demo, { query: "?fault=JOIN_FAILED:once" });
  const redeemed = page.waitForResponse((response) => /\/roleplay\/session$/.test(response.url()) && response.request().method() === "POST");
  await startCall(page);
  const { callId } = await (await redeemed).json();
  await state(page, "failed");
  await expect(page.getByRole("heading", { name: "Something went wrong on the other side" })).toBeVisible();
  await expect(page.locator(".stage-text")).not.toContainText("request id");
  await button(page, "Start again").click();
  await state(page, "live");
  // The outcome of the first call is there while the second one is live.
  await expect.poll(async () => (await context.request.get(new URL(`/athos/calls/${callId}`, demo.page).href)).status(), { timeout: 15_000 }).toBe(200);
  await page.waitForTimeout(1000);
  await state(page, "live");
  await button(page, "End call").click();
  await state(page, "scored");
});

for (const order of ["ended,error:INTERNAL_ERROR", "error:INTERNAL_ERROR,ended", "ended,reject:MIC_DEVICE_DISCONNECTED", "reject:NETWORK_LOST,ended"]) {
  test(`the stand-in acts out ${order} instead of a call, and the next one goes live`, async ({ page, demo }) => {
    await open(page, demo, { query: `?events=${order},once` });
    await startCall(page);
    await state(page, "failed");
    await button(page, "Start again").or(button(page, "Try again")).click();
    await state(page, "live");
    await expect(button(page, "End call")).toBeVisible();
  });
}

test("a call that was live and then is said to have failed waits for its score", async ({ page, demo }) => {
  await open(page, demo, { query: "?events=ready,wait:300,ended,error:NETWORK_LOST" });
  await startCall(page);
  await state(page, "scoring");
  await expect(page.getByText(/The connection was lost and the call ended after/)).toBeVisible();
  await state(page, "scored");
});
