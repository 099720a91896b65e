// Good manners: every state passes axe in light and dark and is kept as a screenshot; the keyboard is
// enough; nothing moves that need not; every width from 360 px to 4k works; the page stays light.

import {
  allow, button, element, expect, expectAccessible, expectFits, goLive, keep, makeCalls, open, scoredCalls, signIn, startCall, state, test,
} from "./harness.js";

const prompt = (page) =>
  page.addInitScript(() => (navigator.permissions.query = async () => Object.assign(new EventTarget(), { state: "prompt" })));

/** How to get into each state. */
const STATES = {
  idle: (page, demo) => open(page, demo),
  "idle-mid-call-drill": async (page, demo) => {
    await open(page, demo);
    await page.getByRole("radio", { name: /HHC upsell/ }).check();
  },
  preparing: async (page, demo) => {
    await page.route("**/athos/token", () => {});
    await open(page, demo);
    await startCall(page);
    await state(page, "preparing");
  },
  microphone: async (page, demo) => {
    await prompt(page);
    await open(page, demo, { query: "?fault=MIC_PENDING" });
    await startCall(page);
    await state(page, "microphone");
  },
  connecting: async (page, demo) => {
    await page.route(/\/roleplay\/session$/, () => {});
    await page.addInitScript(() => (navigator.permissions.query = async () => Object.assign(new EventTarget(), { state: "granted" })));
    await open(page, demo);
    await startCall(page);
    await state(page, "connecting");
  },
  live: async (page, demo) => {
    await goLive(page, demo);
    await expect(page.getByText(/is speaking$/)).toBeVisible();
  },
  "live-muted": async (page, demo) => {
    await goLive(page, demo);
    await button(page, "Mute").click();
  },
  reconnecting: async (page, demo) => {
    await goLive(page, demo, { query: "?fault=RECONNECTING" });
    await expect(page.locator(".banner")).toBeVisible();
  },
  "sound-blocked": async (page, demo) => {
    await goLive(page, demo, { query: "?fault=AUDIO_PLAYBACK_BLOCKED" });
    await expect(button(page, "Turn on sound")).toBeVisible();
  },
  "microphone-lost": async (page, demo) => {
    await goLive(page, demo, { query: "?fault=MIC_DEVICE_DISCONNECTED" });
    await expect(page.locator(".banner")).toBeVisible();
  },
  ended: async (page, demo) => {
    await goLive(page, demo, { query: "?fault=SILENT_END" });
    await button(page, "End call").click();
    await state(page, "ended");
  },
  scoring: async (page, demo) => {
    await page.route(/\/athos\/calls\/[^/]+$/, () => {});
    await goLive(page, demo);
    await button(page, "End call").click();
    await state(page, "scoring");
  },
  scored: async (page, demo) => {
    await goLive(page, demo);
    await button(page, "End call").click();
    await state(page, "scored");
  },
  unscored: async (page, demo) => {
    await page.route(/\/athos\/calls\/athos_call_x$/, (route) =>
      route.fulfill({ json: { id: "athos_call_x", status: "unscored", drillKey: "fe-closing", endedAt: "2026-06-05T14:49:52.295Z", durationSec: 4, score: null, transcript: null, reason: "SCORING_INCOMPLETE", reasonMessage: "The call was too short to score." } }),
    );
    await open(page, demo, { hash: "#/calls/athos_call_x" });
    await expect(page.getByText("This call has no score")).toBeVisible();
  },
  failed: async (page, demo) => {
    await open(page, demo, { query: "?fault=MIC_PERMISSION_DENIED" });
    await startCall(page);
    await state(page, "failed");
  },
  compliance: async (page, demo) => {
    const question = { label: "Required call opening", points: 4, yesNo: "partial", score: 2, evidence: "This call is recorded.", explanation: "Licensed-agent status missing." };
    const categories = [{ label: "Call opening", percent: 75, earned: 6, possible: 8, questions: [question, { ...question, yesNo: "yes" }, { ...question, yesNo: "no" }] }];
    const score = { overallScore: 41, summary: "", feedback: "Slow down.", compliancePercent: 75, complianceScorecard: { categories } };
    const transcript = [{ role: "persona", content: "Hey.", startTime: 1 }, { role: "rep", content: "Hi James.", startTime: 3 }];
    await page.route(/\/athos\/calls\/athos_call_x$/, (route) =>
      route.fulfill({ json: { id: "athos_call_x", status: "scored", drillKey: "ma-full-sale", endedAt: "2026-06-05T14:49:52.295Z", durationSec: 612, score, transcript, hasRecording: true } }),
    );
    await open(page, demo, { hash: "#/calls/athos_call_x" });
    await page.locator("details.category summary").click();
  },
  "progress-empty": (page, demo) => open(page, demo, { hash: "#/progress" }).then(() => expect(page.getByText("No scores yet")).toBeVisible()),
  progress: async (page, demo, { rep, context }) => {
    await makeCalls(demo, { rep: rep.user, calls: 5 });
    await makeCalls(demo, { rep: rep.user, calls: 1, drillKey: "ci-upsell" });
    await scoredCalls(context, demo, 6);
    await open(page, demo, { hash: "#/progress" });
    await page.getByText("The numbers").first().click();
    await expect(page.locator(".calls tbody tr")).toHaveCount(6);
  },
  team: async (page, demo, { rep, context }) => {
    const agency = `agency_${rep.user}`;
    for (const letter of ["a", "b"]) await makeCalls(demo, { rep: `${rep.user}_${letter}`, calls: 3, agency });
    await signIn(context, demo, { user: `mgr_${rep.user}`, name: "Morgan Lee", agency, role: "manager" });
    await scoredCalls(context, demo, 6);
    await open(page, demo, { hash: "#/team" });
    await expect(page.locator(".reps tbody tr")).toHaveCount(2);
  },
};

for (const colorScheme of ["light", "dark"]) {
  test.describe(`in ${colorScheme}`, () => {
    test.use({ colorScheme, contextOptions: { reducedMotion: "reduce" } });

    for (const [name, reach] of Object.entries(STATES)) {
      test(`the state ${name} is accessible and fits from 360 px to 4k`, async ({ page, demo, rep, context }) => {
        await reach(page, demo, { rep, context });
        await expectAccessible(page, name);
        await keep(page, `${name}-${colorScheme}`);
        for (const [width, height] of [[360, 640], [768, 1024], [1920, 1080], [3840, 2160]]) {
          await page.setViewportSize({ width, height });
          await expectFits(page);
          if (colorScheme === "light" && (width === 360 || width === 3840)) await keep(page, `${name}-${colorScheme}-${width}`);
        }
        await page.setViewportSize({ width: 360, height: 640 });
        await expectAccessible(page, `${name} at 360 px`);
      });
    }
  });
}

test.describe("signed out", () => {
  test.use({ rep: null, expectedErrors: allow(/401 .*\/athos\/me$/) });

  for (const colorScheme of ["light", "dark"]) {
    test(`the demo's sign-in is accessible in ${colorScheme}`, async ({ page, demo }) => {
      await page.emulateMedia({ colorScheme });
      await open(page, demo);
      await page.getByText("Somebody else").click();
      await expectAccessible(page, "sign-in");
      await keep(page, `sign-in-${colorScheme}`);
    });
  }

  test("somebody else can sign in, and out again", async ({ page, demo }) => {
    await open(page, demo);
    await page.getByText("Somebody else").click();
    await page.getByLabel("User id").fill("rep_typed");
    await page.getByLabel("Role").selectOption("manager");
    await button(page, "Sign in").click();
    await expect(page.locator(".who-name")).toHaveText("rep_typed");
    await expect(page.getByRole("link", { name: "Team" })).toBeVisible();
    await button(page, "Sign out").click();
    await expect(page.getByRole("heading", { name: "Who are you today?" })).toBeVisible();
  });
});

test("a whole session works with the keyboard alone", async ({ page, demo }) => {
  await open(page, demo);
  const tabTo = async (locator) => {
    for (let presses = 0; presses < 40; presses++) {
      if (await locator.evaluate((node) => node === node.getRootNode().activeElement)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error("not reachable with Tab");
  };
  await tabTo(page.getByRole("radio", { name: "Full sale" }).first());
  await page.keyboard.press("ArrowDown");
  await expect(page.getByRole("radio", { name: "Turning 65" })).toBeChecked();
  await tabTo(page.getByRole("radio", { name: "Advanced" }));
  await page.keyboard.press("ArrowRight");
  await tabTo(button(page, "Start call"));
  await page.keyboard.press("Enter");

  await state(page, "live");
  await expect(page.locator("athos-practice h2"), "focus comes along").toBeFocused();
  await tabTo(button(page, "Mute"));
  await page.keyboard.press("Space");
  await expect(button(page, "Unmute")).toBeFocused();
  await tabTo(button(page, "End call"));
  await page.keyboard.press("Enter");

  await state(page, "scored");
  await expect(page.locator("athos-practice h2")).toBeFocused();
  await expect(page.locator("athos-practice [role=status]")).toContainText(/Your score: \d+ out of 100/);
  await tabTo(button(page, "Practise again"));
  await page.keyboard.press("Enter");
  await state(page, "idle");
  await expect(page.getByRole("radio", { name: "Turning 65" }), "the choice is kept, and focused").toBeFocused();
});

test("the skip link leads past the navigation", async ({ page, demo }) => {
  await open(page, demo);
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator("main")).toBeFocused();
  await expect(page.getByRole("heading", { name: "Practise a call" })).toBeVisible();
});

test("each change of state is announced", async ({ page, demo }) => {
  await open(page, demo);
  await element(page).evaluate(({ shadowRoot }) => {
    window.said = [];
    for (const region of shadowRoot.querySelectorAll("[role=status], [role=alert]")) {
      new MutationObserver(() => region.textContent && window.said.push(region.textContent)).observe(region, { childList: true });
    }
  });
  await startCall(page);
  await state(page, "live");
  await button(page, "End call").click();
  await state(page, "scored");
  const said = (await page.evaluate(() => window.said)).join("\n");
  for (const words of ["Preparing your call", "You are on a call with", "The call has ended after", "It is being scored", "Your score:"]) {
    expect(said).toContain(words);
  }
});

test("nothing jumps while the states of a call change", async ({ page, demo }) => {
  await page.addInitScript(() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const { value, sources } of list.getEntries()) window.shifts.push([value, sources.map(({ node }) => node?.className ?? node?.nodeName)]);
    }).observe({ type: "layout-shift", buffered: true });
  });
  await open(page, demo, { query: "?fault=RECONNECTING" });
  await startCall(page);
  await state(page, "live");
  await expect(page.locator(".banner")).toBeVisible();
  await expect(page.locator(".banner")).toHaveCount(0);
  await button(page, "End call").click();
  await state(page, "scored");
  const shifts = await page.evaluate(() => window.shifts);
  expect(shifts.reduce((sum, [value]) => sum + value, 0), JSON.stringify(shifts)).toBeLessThan(0.01);
});

test.describe("with reduced motion", () => {
  test.use({ contextOptions: { reducedMotion: "reduce" } });
  test("nothing moves", async ({ page, demo }) => {
    await goLive(page, demo);
    await expect(page.getByText(/is speaking$/)).toBeVisible();
    expect(await running(page)).toBe(0);
  });
});

test("without it, the speaker's ring does", async ({ page, demo }) => {
  await goLive(page, demo);
  await expect(page.getByText(/is speaking$/)).toBeVisible();
  await expect.poll(() => running(page)).toBeGreaterThan(0);
});

test("the page weighs less than 100 kB without the SDK", async ({ page, demo, context }, info) => {
  const devtools = await context.newCDPSession(page);
  await devtools.send("Network.enable");
  const addresses = new Map();
  let total = 0;
  devtools.on("Network.responseReceived", ({ requestId, response }) => addresses.set(requestId, response.url));
  devtools.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    if (addresses.get(requestId)?.startsWith(demo.page.origin)) total += encodedDataLength;
  });
  await open(page, demo);
  await state(page, "idle");
  await page.waitForLoadState("networkidle");
  info.annotations.push({ type: "weight", description: `${total} bytes over the wire` });
  console.log(`page weight: ${total} bytes over the wire`);
  expect(total).toBeGreaterThan(10_000);
  expect(total).toBeLessThan(100_000);
});

function running(page) {
  return element(page).evaluate(({ shadowRoot }) => shadowRoot.getAnimations().filter(({ playState }) => playState === "running").length);
}
