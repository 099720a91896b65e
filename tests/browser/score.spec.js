// What a rep reads after a call: whatever the vendor sends, whole or with gaps, friendly or hostile.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, expectFits, goLive, keep, open, button, state, test } from "./harness.js";

const HOSTILE = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script><a href="javascript:window.pwned=1">x</a>&lt;b&gt; {{7*7}} \${7*7} \u202Eevil`;

function call(overrides = {}, score = {}) {
  return {
    id: "athos_call_x", status: "scored", source: "roleplay", rep: "rep_1", agency: null, drillKey: "ma-full-sale",
    startedAt: "2026-06-05T14:39:40.295Z", endedAt: "2026-06-05T14:49:52.295Z", durationSec: 612, scoredAt: "2026-06-05T14:50:29.005Z",
    overallScore: 82, compliancePercent: null, reason: null, reasonMessage: null,
    transcript: [{ role: "persona", content: "Hey." }, { role: "rep", content: "Hi James, how are you?" }],
    score: { overallScore: 82, summary: "It went well.", feedback: "Slow down.\n\nAsk first.", ...score },
    ...overrides,
  };
}

async function show(page, demo, shown) {
  await page.route("**/athos/calls/athos_call_x", (route) => route.fulfill({ json: shown }));
  await open(page, demo, { hash: "#/calls/athos_call_x" });
  await expect(page.locator("article.call")).toBeVisible();
}

test("a deep link shows a call: score, words and speakers", async ({ page, demo }) => {
  await show(page, demo, call());
  await expect(page.getByRole("img", { name: "Overall score 82 out of 100: Good" })).toBeVisible();
  await expect(page.locator(".ring-value")).toHaveAttribute("stroke-dasharray", "82 100");
  await expect(page.locator(".facts")).toContainText("10:12");
  await expect(page.getByText("Slow down.", { exact: true })).toBeVisible();
  await expect(page.getByText("Ask first.", { exact: true })).toBeVisible();
  await expect(page.locator(".turn .turn-who")).toHaveText(["Customer", "Rep"]);
  await expect(page.getByRole("heading", { name: "Compliance" })).toHaveCount(0);
  await expect(page.locator("audio")).toHaveCount(0);
});

test("compliance shows categories, verdicts, evidence and explanations", async ({ page, demo }) => {
  const question = (label, yesNo, score) => ({ label, yesNo, score, points: 4, evidence: `“${label}” was said`, explanation: `Why ${label}` });
  const complianceScorecard = {
    rubricVersion: 2,
    categories: [
      { key: "callOpening", label: "Call Opening", percent: 75, earned: 6, possible: 8, questions: [question("Opening", "partial", 2), question("Decision", "yes", 4)] },
      { key: "closing", label: "Closing", percent: 0, earned: 0, possible: 4, questions: [question("Summary", "no", 0), question("Later", null, null)] },
    ],
  };
  await show(page, demo, call({ compliancePercent: 85 }, { compliancePercent: 85, complianceScorecard }));
  await expect(page.locator(".compliance-number")).toHaveText("85%");
  const category = page.locator("details.category");
  await expect(category).toHaveCount(2);
  await category.first().locator("summary").focus();
  await page.keyboard.press("Enter");
  await expect(category.first().locator(".verdict")).toHaveText(["Partly", "Yes"]);
  await expect(category.first().locator("blockquote").first()).toContainText("Opening");
  await expect(category.first().getByText("Why Opening")).toBeVisible();
  await category.last().locator("summary").click();
  await expect(category.last().locator(".verdict")).toHaveText(["No", "Not assessed"]);
});

test("the older map of sections, and what nobody has documented, are shown too", async ({ page, demo }) => {
  const sections = {
    callOpening: { label: "Call Opening", score: 6, maxScore: 8, notes: "Not everything was said.", reviewer: { team: "Second line" } },
    needs_analysis: { score: 0, maxScore: 4 },
    closing: { label: "Closing" },
    disclaimer: "Assessed by machine.",
  };
  await show(page, demo, call({}, { compliancePercent: 50, complianceScorecard: sections, talkRatio: 0.41, coach: { nextStep: "Ask <b>first</b>" } }));
  const category = page.locator("details.category");
  await expect(category).toHaveCount(3);
  await expect(category.nth(0).locator("summary")).toHaveText(/Call Opening.*6 of 8 points.*75%/);
  await category.nth(0).locator("summary").click();
  await expect(category.nth(0)).toContainText("Not everything was said.");
  await expect(category.nth(0).locator(".generic")).toContainText("Second line");
  await expect(category.nth(1).locator("summary"), "zero points are zero").toHaveText(/Needs analysis.*0 of 4 points.*0%/);
  await expect(category.nth(2).locator("summary"), "no points are no zero").toHaveText(/Closing.*Not assessed/);
  await expect(page.locator(".compliance > .generic")).toContainText("Assessed by machine.");
  const more = page.locator("section").filter({ has: page.getByRole("heading", { name: "More from Athos" }) });
  await expect(more).toContainText("Talk ratio");
  await expect(more).toContainText("Ask <b>first</b>");
});

test("compliance that was not assessed is not shown as zero", async ({ page, demo }) => {
  await show(page, demo, call());
  await expect(page.locator(".compliance-total")).toContainText("Not assessed");
  await expect(page.locator(".compliance-total")).not.toContainText("%");
});

test("no compliance at all is zero", async ({ page, demo }) => {
  await show(page, demo, call({ compliancePercent: 0 }, { compliancePercent: 0 }));
  await expect(page.locator(".compliance-total")).toContainText("0%");
});

test("a transcript that was removed is said to be", async ({ page, demo }) => {
  await show(page, demo, call({ transcript: [], transcriptPurgedAt: "2026-07-05T10:00:00.000Z" }));
  await expect(page.locator(".call-transcript .empty")).toHaveText("The transcript is not kept any more: it was removed on Jul 5, as this service is set to.");
});

for (const overallScore of [0, null]) {
  test(`a real call with the score ${overallScore} has no headline score`, async ({ page, demo }) => {
    const transcript = [{ role: "persona", content: "Hello?", startTime: 1.2, endTime: 2 }, { role: "rep", content: "Hi.", startTime: 75.9, endTime: 77 }];
    await show(page, demo, call({ source: "real_call", drillKey: null, overallScore, transcript }, { overallScore, compliancePercent: 85 }));
    await expect(page.getByRole("img", { name: "No headline score" })).toBeVisible();
    await expect(page.getByRole("heading", { name: "Real call" })).toBeVisible();
    await expect(page.locator(".turn-who")).toHaveText(["Customer 0:01", "Rep 1:15"]);
    await expect(page.locator(".compliance-total")).toContainText("85%");
  });
}

test("a practice call with the score 0 has no headline score either", async ({ page, demo }) => {
  const zero = call({ overallScore: 0, compliancePercent: 85 }, { overallScore: 0, compliancePercent: 85 });
  await page.route("**/athos/calls?*", (route) => route.fulfill({ json: { data: [zero], nextCursor: null } }));
  await show(page, demo, zero);
  await expect(page.getByRole("img", { name: "No headline score" })).toBeVisible();
  await expect(page.locator(".ring-number")).toHaveText("–");
  await expect(page.locator(".ring-value")).toHaveCount(0);
  await expect(page.getByText("Needs work")).toHaveCount(0);
  for (const width of [1280, 360]) {
    await page.setViewportSize({ width, height: 900 });
    await expectFits(page);
    await keep(page, `no-headline-score-${width}`);
  }
  await page.getByRole("link", { name: "Progress" }).click();
  await expect(page.locator(".calls tbody tr")).toContainText("No headline score");
  const said = await page.evaluate(async (call) => {
    const { scoreSentence } = await import("/static/score.js");
    return scoreSentence(call);
  }, zero);
  expect(said).toBe("Your call has been scored, without a headline score.");
});

test("the documents' picture is of this page", async ({ page, demo, rep }) => {
  const file = new URL("../../docs/practice-page.png", import.meta.url);
  const complianceScorecard = {
    rubricVersion: 2,
    categories: [
      { label: "Call opening", percent: 75, earned: 6, possible: 8, questions: [{ label: "Required call opening", yesNo: "partial", score: 2, points: 4, evidence: "Hi, this is Dana with Sunrise Benefits, and this call is recorded.", explanation: "Name, agency and recording notice given; licensed-agent status missing." }] },
      { label: "Needs analysis", percent: 100, earned: 12, possible: 12, questions: [] },
    ],
  };
  const turns = ["Hello? I saw something about the grocery card.", "Hi, this is Dana with Sunrise Benefits, and this call is recorded. Who am I speaking with?", "It's James. My daughter usually handles these things.", "Thanks, James. And you make your own healthcare decisions?", "I do. Mostly.", "Good. Which doctors do you see, and what do you take today?"];
  await page.setViewportSize({ width: 1200, height: 900 });
  await show(
    page,
    demo,
    call(
      { overallScore: 88, transcript: turns.map((content, index) => ({ role: index % 2 ? "rep" : "persona", content })), rep: rep.user },
      { overallScore: 88, compliancePercent: 85, complianceScorecard, summary: "James asked about Medicare options; you built rapport and found his needs, but rushed the close.", feedback: "Lead with a clear greeting and one discovery question; slow down before presenting the plan." },
    ),
  );
  await page.locator("details.category summary").first().click();
  if (process.env.UPDATE_SCREENSHOT) await page.screenshot({ path: fileURLToPath(file) });
  expect(existsSync(file), "docs/practice-page.png: run scripts/test-browser with UPDATE_SCREENSHOT=1").toBe(true);
});

test("empty summary, feedback and transcript show as such", async ({ page, demo }) => {
  await show(page, demo, call({ transcript: [] }, { summary: "", feedback: "   " }));
  await expect(page.locator(".empty")).toHaveText([
    "Athos wrote no summary for this call.",
    "Athos gave no feedback on this call.",
    "There is no transcript of this call.",
  ]);
});

test("a score that is missing is not shown as zero", async ({ page, demo }) => {
  await show(page, demo, call({ overallScore: null }, { overallScore: null }));
  await expect(page.getByRole("img", { name: "No headline score" })).toBeVisible();
  await expect(page.locator(".ring-number")).toHaveText("–");
});

test("an unscored call says why", async ({ page, demo }) => {
  await show(page, demo, call({ status: "unscored", score: null, transcript: null, overallScore: null, reason: "SCORING_INCOMPLETE", reasonMessage: "The call was too short to score." }));
  await expect(page.getByText("The call was too short to score.")).toBeVisible();
  await expect(page.getByText("(SCORING_INCOMPLETE)")).toBeVisible();
  await expect(page.locator(".ring")).toHaveCount(0);
});

test("a recording plays through the service, and only when asked", async ({ page, demo }) => {
  const fetched = [];
  await page.route("**/athos/calls/athos_call_x/recording", (route) => {
    fetched.push(route.request().url());
    return route.fulfill({ status: 200, contentType: "audio/wav", body: silence() });
  });
  await show(page, demo, call({ hasRecording: true }));
  const player = page.locator("audio");
  await expect(player).toHaveAttribute("src", new URL("/athos/calls/athos_call_x/recording", demo.page).href);
  await page.waitForTimeout(300);
  expect(fetched, "not before the rep presses play").toHaveLength(0);
  await player.evaluate((audio) => audio.play());
  await expect.poll(() => fetched.length).toBeGreaterThan(0);
});

test("hostile text stays text, wherever it comes from", async ({ page, demo }) => {
  const category = { label: HOSTILE, percent: 50, questions: [{ label: HOSTILE, yesNo: HOSTILE, evidence: HOSTILE, explanation: HOSTILE }] };
  await show(
    page,
    demo,
    call(
      { rep: HOSTILE, drillKey: HOSTILE, transcript: [{ role: "persona", content: HOSTILE }, { role: HOSTILE, content: HOSTILE }] },
      { summary: HOSTILE, feedback: HOSTILE, complianceScorecard: { categories: [category] } },
    ),
  );
  await expect(page.locator(".turn-what").first()).toHaveText(HOSTILE);
  expect(await page.locator("article").evaluate((article) => article.querySelectorAll("img, script, a, b, iframe").length)).toBe(0);
  expect(await page.evaluate(() => window.pwned)).toBeUndefined();
});

test("a hostile persona stays text during the call", async ({ page, demo }) => {
  await page.route(/\/roleplay\/session$/, async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    const answer = await route.fetch();
    const body = await answer.json();
    await route.fulfill({ response: answer, json: { ...body, persona: { name: HOSTILE, details: { [HOSTILE]: [HOSTILE, { deep: HOSTILE }] } } } });
  });
  await goLive(page, demo);
  await expect(page.locator("athos-practice h2")).toHaveText(HOSTILE);
  expect(await page.locator("athos-practice").evaluate(({ shadowRoot }) => shadowRoot.querySelectorAll("img, script, a").length)).toBe(0);
  expect(await page.evaluate(() => window.pwned)).toBeUndefined();
  await button(page, "End call").click();
  await state(page, "scored");
});

test("a call still being scored is waited for at its own address", async ({ page, demo }) => {
  let looks = 0;
  await page.route("**/athos/calls/athos_call_x", (route) =>
    route.fulfill({ json: ++looks < 3 ? call({ status: "processing", score: null, transcript: null, overallScore: null }) : call() }),
  );
  await page.route("**/athos/live", (route) => route.fulfill({ status: 204 }));
  await open(page, demo, { hash: "#/calls/athos_call_x" });
  await expect(page.getByText("This call is being scored.")).toBeVisible();
  await expect(page.locator(".ring-number")).toHaveText("82", { timeout: 15_000 });
});

test("somebody else's call is not there", async ({ page, demo }) => {
  await open(page, demo, { hash: "#/calls/athos_call_unknown" });
  await expect(page.getByRole("heading", { name: "There is no such call" })).toBeVisible();
});

/** A tenth of a second of nothing, as WAV. */
function silence() {
  const samples = 800;
  const wav = Buffer.alloc(44 + samples, 128);
  wav.write("RIFF", 0);
  wav.writeUInt32LE(36 + samples, 4);
  wav.write("WAVEfmt ", 8);
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(8000, 24);
  wav.writeUInt32LE(8000, 28);
  wav.writeUInt16LE(1, 32);
  wav.writeUInt16LE(8, 34);
  wav.write("data", 36);
  wav.writeUInt32LE(samples, 40);
  return wav;
}
