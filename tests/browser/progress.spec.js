// Progress, history and the manager's view, over calls that the simulator has really scored.

import { button, expect, makeCalls, open, requests, scoredCalls, signIn, state, test } from "./harness.js";

test("a rep sees each drill's scores as a chart, as numbers and as a table", async ({ page, demo, rep, context }) => {
  await makeCalls(demo, { rep: rep.user, calls: 3 });
  await makeCalls(demo, { rep: rep.user, calls: 1, drillKey: "fe-closing" });
  const calls = await scoredCalls(context, demo, 4);
  const scores = calls.filter(({ drillKey }) => drillKey === "ma-full-sale").map(({ overallScore }) => Math.round(overallScore));

  await open(page, demo, { hash: "#/progress" });
  const card = page.locator(".drill-card").filter({ has: page.getByRole("heading", { name: "Full sale" }) });
  await expect(card.getByRole("img", { name: `best ${Math.max(...scores)}` })).toBeVisible();
  await expect(card.locator(".chart-mark")).toHaveCount(3);
  await expect(card.locator("dd")).toHaveText([/\d+/, String(Math.max(...scores)), /\d+/, "3"]);
  await card.getByText("The numbers").click();
  await expect(card.locator("tbody tr")).toHaveCount(3);
  expect((await card.locator("tbody td:last-child").allTextContents()).map(Number).sort()).toEqual([...scores].sort());
  await expect(page.locator(".drill-card").filter({ has: page.getByRole("heading", { name: "Closing" }) }).locator(".chart-mark")).toHaveCount(1);
});

test("history filters by drill and status, pages, and links to the call", async ({ page, demo, rep, context }) => {
  await makeCalls(demo, { rep: rep.user, calls: 22 });
  await makeCalls(demo, { rep: rep.user, calls: 2, drillKey: "hi-upsell" });
  await scoredCalls(context, demo, 24);
  await open(page, demo, { hash: "#/progress" });
  const rows = page.locator(".calls tbody tr");
  await expect(rows).toHaveCount(20);
  await button(page, "Show more").click();
  await expect(rows).toHaveCount(24);
  await expect(button(page, "Show more")).toBeHidden();
  await expect(rows.nth(20).getByRole("link"), "focus goes on where the list goes on").toBeFocused();

  await page.getByLabel("Drill").selectOption("hi-upsell");
  await expect(rows).toHaveCount(2);
  await expect(rows.first()).toContainText("Hospital Indemnity · Upsell");
  await page.getByLabel("Status").selectOption("unscored");
  await expect(page.getByText("No calls here.")).toBeVisible();
  await page.getByLabel("Status").selectOption("");
  await page.getByLabel("Period").selectOption("7");
  expect(new URL(page.url()).search + new URL(page.url()).hash, "filters stay out of the address").toBe("#/progress");

  await rows.first().getByRole("link").click();
  await expect(page.locator(".ring-number")).toBeVisible();
  expect(new URL(page.url()).hash).toMatch(/^#\/calls\/[\w-]+$/);
  await page.goBack();
  await expect(page.getByRole("heading", { name: "Your progress" })).toBeVisible();
});

test("a new score appears in an open progress view", async ({ page, demo, rep }) => {
  await open(page, demo, { hash: "#/progress" });
  await expect(page.getByRole("heading", { name: "No scores yet" })).toBeVisible();
  await makeCalls(demo, { rep: rep.user, calls: 1 });
  await expect(page.locator(".drill-card .chart-mark")).toHaveCount(1, { timeout: 15_000 });
  await expect(page.locator(".calls tbody tr")).toHaveCount(1);
  await expect(page.locator("#status")).toContainText("A new score has arrived");
});

test("a manager sees the agency's reps side by side and opens one", async ({ page, demo, rep, context }) => {
  const agency = `agency_${rep.user}`;
  const [first, second, stranger] = ["a", "b", "c"].map((letter) => `${rep.user}_${letter}`);
  await makeCalls(demo, { rep: first, calls: 2, agency });
  await makeCalls(demo, { rep: second, calls: 1, agency, drillKey: "fe-closing" });
  await makeCalls(demo, { rep: stranger, calls: 1, agency: `${agency}_other` });
  await signIn(context, demo, { user: `mgr_${rep.user}`, name: "Morgan Lee", agency, role: "manager" });
  await scoredCalls(context, demo, 3);

  await open(page, demo);
  await page.getByRole("link", { name: "Team" }).click();
  const rows = page.locator(".reps tbody tr");
  await expect(rows).toHaveCount(2);
  await expect(page.getByText(stranger)).toHaveCount(0);
  await expect(rows.filter({ hasText: first }).locator("[data-name=Calls]")).toHaveText("2");
  await page.getByLabel("Drill").selectOption("fe-closing");
  await expect(rows).toHaveCount(1);
  await page.getByLabel("Drill").selectOption("");

  const asked = requests(page, /\/athos\/progress$/);
  await page.getByRole("link", { name: first }).click();
  await expect(page.getByRole("heading", { name: first })).toBeFocused();
  await expect(page.locator(".drill-card .chart-mark")).toHaveCount(2);
  await expect(page.locator(".calls tbody tr")).toHaveCount(2);
  expect(asked.at(-1).url()).toContain(`rep=${first}`);
  expect(page.url(), "whose calls these are is not in the address").not.toContain(first);
  await page.reload();
  await expect(page.getByRole("heading", { name: first })).toBeVisible();
});

test("a rep has no team view of others", async ({ page, demo, rep }) => {
  await makeCalls(demo, { rep: `${rep.user}_other`, calls: 1 });
  await open(page, demo);
  await expect(page.getByRole("link", { name: "Team" })).toHaveCount(0);
  await page.goto(new URL("/#/team", demo.page).href);
  await expect(page.getByText("No scored calls yet.")).toBeVisible();
});

test("after a call the score is in the progress view", async ({ page, demo }) => {
  await open(page, demo);
  await button(page, "Start call").click();
  await state(page, "live");
  await button(page, "End call").click();
  await state(page, "scored");
  const number = await page.locator(".ring-number").textContent();
  await page.getByRole("link", { name: "Progress" }).click();
  await expect(page.locator(".chart-value")).toHaveText(number);
});
