// Real calls beside practice, from a simulator that speaks both generations: apart everywhere, and offered only where
// there are any.

import { startDemo } from "./backend.js";
import { button, expect, expectAccessible, expectFits, keep, makeCalls, open, scoredCalls, signIn, test as base } from "./harness.js";

const test = base.extend({
  demo: [
    async ({}, use) => {
      const demo = await startDemo("--contract", "both");
      await use(demo);
      await demo.stop();
    },
    { scope: "worker" },
  ],
});

async function makeRealCalls(demo, body) {
  const answer = await fetch(new URL("/_simulator/real-calls", demo.simulator), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  expect(answer.status, await answer.clone().text()).toBe(200);
}

const real = (page) => page.getByRole("radio", { name: "Real calls" });

test("a rep's real calls are offered when there are any, and never mixed with practice", async ({ page, demo, rep, context }) => {
  await makeCalls(demo, { rep: rep.user, calls: 2 });
  await scoredCalls(context, demo, 2);
  await open(page, demo, { hash: "#/progress" });
  const rows = page.locator(".calls tbody tr");
  await expect(rows).toHaveCount(2);
  await expect(real(page)).toBeHidden();

  await makeRealCalls(demo, { agent: rep.user, agency: "agency_chicago", overallScore: 91 });
  await makeRealCalls(demo, { agent: rep.user, agency: "agency_chicago", overallScore: 0 });
  await scoredCalls(context, demo, 2, "&source=real_call");
  await expect(real(page), "they appear in the open view").toBeVisible();
  await expect(rows).toHaveCount(2);
  await expect(page.locator(".drill-card")).toHaveCount(1);

  await page.getByRole("radio", { name: "Practice" }).focus();
  await page.keyboard.press("ArrowRight");
  await expect(real(page)).toBeChecked();
  await expect(rows.getByText("Real call", { exact: true })).toHaveCount(2);
  await expect(rows.getByText("No headline score")).toHaveCount(1);
  await expect(page.locator(".drill-card")).toHaveCount(1);
  await expect(page.locator(".drill-card dd"), "the one without a headline score is no zero").toHaveText(["91", "91", "91", "1"]);
  await expect(page.getByLabel("Drill")).toBeHidden();

  await rows.filter({ hasText: "91" }).getByRole("link").click();
  await expect(page.getByRole("heading", { name: "Real call" })).toBeVisible();
  await expect(page.locator(".turn-who").first()).toContainText(/\d+:\d\d/);
  await page.goBack();
  await expect(real(page), "back at the list it was opened from").toBeChecked();
  await expect(rows).toHaveCount(2);
});

test("a manager sees the agency's real calls apart, and opens a rep's", async ({ page, demo, rep, context }) => {
  const agency = `agency_${rep.user}`;
  await makeCalls(demo, { rep: `${rep.user}_a`, calls: 1, agency });
  await makeRealCalls(demo, { agent: `${rep.user}_b`, agency, overallScore: 77 });
  await makeRealCalls(demo, { agent: `${rep.user}_c`, agency, overallScore: 0 });
  await signIn(context, demo, { user: `mgr_${rep.user}`, name: "Morgan Lee", agency, role: "manager" });
  await scoredCalls(context, demo, 2, "&source=real_call");
  await scoredCalls(context, demo, 1, "&source=roleplay");
  await open(page, demo, { hash: "#/team" });
  const reps = page.locator(".reps tbody tr");
  await expect(reps).toHaveCount(1);
  await real(page).check();
  await expect(reps.filter({ hasText: `${rep.user}_b` })).toContainText("77");
  await expect(reps.filter({ hasText: `${rep.user}_a` })).toHaveCount(0);
  await reps.filter({ hasText: `${rep.user}_b` }).getByRole("link").click();
  await expect(real(page)).toBeChecked();
  await expect(page.locator(".calls tbody tr")).toHaveCount(1);
});

test("a whole practice call works against this generation too", async ({ page, demo, rep, context }) => {
  await makeCalls(demo, { rep: rep.user, calls: 1 });
  await scoredCalls(context, demo, 1);
  await open(page, demo);
  await button(page, "Start call").click();
  await button(page, "End call").click();
  await expect(page.locator("athos-practice .ring-number")).toBeVisible({ timeout: 15_000 });
  await expect(page.locator("athos-practice .compliance-total")).toContainText(/\d+%|Not assessed/);
});

for (const colorScheme of ["light", "dark"]) {
  test(`the list of real calls is accessible in ${colorScheme} and fits`, async ({ page, demo, rep, context }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await makeRealCalls(demo, { agent: rep.user, agency: "agency_chicago", overallScore: 91, count: 3 });
    await makeRealCalls(demo, { agent: rep.user, agency: "agency_chicago", overallScore: 0 });
    await scoredCalls(context, demo, 4, "&source=real_call");
    await open(page, demo, { hash: "#/progress" });
    await real(page).check();
    await expect(page.locator(".calls tbody tr")).toHaveCount(4);
    await expectAccessible(page, "real calls");
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 900 });
      await expectFits(page);
      await keep(page, `real-calls-${colorScheme}-${width}`);
    }
    await page.locator(".calls tbody a").first().click();
    await expect(page.getByRole("heading", { name: "Real call" })).toBeVisible();
    await expectFits(page);
    await keep(page, `real-call-${colorScheme}-360`);
  });
}
