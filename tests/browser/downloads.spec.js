// Files: what is chosen in a list is what is in the file, for those who may see it.

import { readFile } from "node:fs/promises";
import { allow, button, expect, expectAccessible, expectFits, keep, makeCalls, open, scoredCalls, signIn, test } from "./harness.js";

/** Presses a button; the file's name and text. */
async function saved(page, name) {
  const [download] = await Promise.all([page.waitForEvent("download"), button(page, name).click()]);
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), "utf8") };
}

const rowsOf = (text) => text.split("\r\n").slice(1, -1);

test("a rep's file has the calls of the list, as it is filtered", async ({ page, demo, rep, context }) => {
  await makeCalls(demo, { rep: rep.user, calls: 22 });
  await makeCalls(demo, { rep: rep.user, calls: 2, drillKey: "hi-upsell" });
  await scoredCalls(context, demo, 24);
  await open(page, demo, { hash: "#/progress" });
  await expect(page.locator(".calls tbody tr")).toHaveCount(20);
  const all = await saved(page, "Download CSV");
  expect(all.name).toMatch(/^calls-\d{4}-\d\d-\d\d\.csv$/);
  expect(all.text.startsWith("\ufeffid,status,"), "with the mark by which Excel knows UTF-8").toBe(true);
  expect(rowsOf(all.text), "all pages of the list").toHaveLength(24);
  await expect(page.getByText("The file is saved.")).toBeVisible();
  await page.getByLabel("Drill").selectOption("hi-upsell");
  await expect(page.locator(".calls tbody tr")).toHaveCount(2);
  const filtered = rowsOf((await saved(page, "Download CSV")).text);
  expect(filtered).toHaveLength(2);
  expect(filtered.every((row) => row.includes(",hi-upsell,"))).toBe(true);
  await page.getByLabel("Status").selectOption("unscored");
  expect(rowsOf((await saved(page, "Download CSV")).text)).toEqual([]);
  await keep(page, "download-history");
  await expectAccessible(page, "history with a file");
  await page.setViewportSize({ width: 360, height: 740 });
  await expectFits(page);
});

test("a manager's file has the agency's calls and no others", async ({ page, demo, rep, context }) => {
  const agency = `agency_${rep.user}`;
  const [first, stranger] = ["a", "b"].map((letter) => `${rep.user}_${letter}`);
  await makeCalls(demo, { rep: first, calls: 2, agency });
  await makeCalls(demo, { rep: first, calls: 1, agency, drillKey: "fe-closing" });
  await makeCalls(demo, { rep: stranger, calls: 1, agency: `${agency}_other` });
  await signIn(context, demo, { user: `mgr_${rep.user}`, name: "Morgan Lee", agency, role: "manager" });
  await scoredCalls(context, demo, 3);
  await open(page, demo, { hash: "#/team" });
  const rows = rowsOf((await saved(page, "Download calls as CSV")).text);
  expect(rows).toHaveLength(3);
  expect(rows.every((row) => row.includes(first))).toBe(true);
  await page.getByLabel("Drill").selectOption("fe-closing");
  expect(rowsOf((await saved(page, "Download calls as CSV")).text)).toHaveLength(1);
  await keep(page, "download-team");
});

test.describe("trouble", () => {
  test.use({ expectedErrors: allow(/503/, /ERR_/) });

  test("a file that is refused, or breaks off, is said so and nothing is saved", async ({ page, demo }) => {
    await open(page, demo, { hash: "#/progress" });
    const downloads = [];
    page.on("download", (download) => downloads.push(download));
    const csv = (route) => route.request().headers().accept === "text/csv";
    const body = JSON.stringify({ error: { code: "TOO_MANY_STREAMS", message: "many", requestId: "req_1" } });
    await page.route(/\/athos\/calls\?/, (route) => (csv(route) ? route.fulfill({ status: 503, body }) : route.fallback()));
    await button(page, "Download CSV").click();
    await expect(page.locator(".history .list-note").first()).not.toBeEmpty();
    await expect(button(page, "Download CSV")).toBeEnabled();
    await page.unrouteAll();
    await page.route(/\/athos\/calls\?/, (route) => (csv(route) ? route.abort("connectionreset") : route.fallback()));
    await button(page, "Download CSV").click();
    await expect(page.getByText("The service can't be reached")).toBeVisible();
    expect(downloads).toEqual([]);
  });
});
