// What every story has: a demo per worker, a page that fails the test on any console error or violation of
// the content security policy, a rep of its own, and words for what one does on the page.

import { test as base, expect } from "@playwright/test";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { startDemo } from "./backend.js";

export { expect };

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SHOTS = new URL("../../artifacts/", import.meta.url).pathname;

/** Chromium logs every 4xx as an error. These belong to the page's normal course. */
const EXPECTED = [
  // A call is not there until Athos has told the service that it is scored.
  /^Failed to load resource: .* 404 .*\/athos\/calls\/[\w-]+$/,
];

let reps = 0;

export const test = base.extend({
  demo: [
    async ({}, use) => {
      const demo = await startDemo();
      await use(demo);
      await demo.stop();
    },
    { scope: "worker" },
  ],

  /** Patterns of console errors that this one test brings about on purpose. */
  expectedErrors: [[], { option: true }],

  /** A rep nobody else uses, signed in before the page loads. `null` leaves the page signed out. */
  rep: async ({}, use, info) => {
    await use({ user: `rep_${info.workerIndex}_${++reps}`, name: "Riley Chen", agency: "agency_chicago", role: "rep" });
  },

  page: async ({ page, context, demo, rep, expectedErrors }, use) => {
    const complaints = [];
    const expected = [...EXPECTED, ...expectedErrors];
    const complain = (text) => expected.some((pattern) => pattern.test(text)) || complaints.push(text);
    context.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") complain(`${message.text()} ${message.location().url}`);
    });
    context.on("weberror", ({ error }) => complain(`uncaught ${error().stack ?? error()}`));
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`), true);
    });
    if (rep) await signIn(context, demo, rep);
    await use(page);
    expect(complaints, "console errors, uncaught errors and CSP violations").toEqual([]);
  },
});

/** For `test.use`: console errors that a test brings about on purpose. */
export const allow = (...patterns) => [patterns, { option: true }];

export async function signIn(context, demo, person) {
  const answer = await context.request.post(new URL("/demo/sign-in", demo.page).href, { data: person });
  expect(answer.ok()).toBe(true);
}

/** Opens the page; `query` steers the stand-in, `hash` chooses the view. */
export async function open(page, demo, { query = "", hash = "" } = {}) {
  await page.goto(new URL(`/${query}${hash}`, demo.page).href);
  await expect(page.locator("h1")).toBeVisible();
}

export const element = (page) => page.locator("athos-practice");
export const state = (page, name, options) => expect(element(page)).toHaveAttribute("data-state", name, options);
export const button = (page, name) => page.getByRole("button", { name, exact: true });

export async function startCall(page) {
  await button(page, "Start call").click();
}

/** From the open page into a call that is live. */
export async function goLive(page, demo, options) {
  await open(page, demo, options);
  await startCall(page);
  await state(page, "live");
}

/** Scored calls of a rep, made by the simulator without a browser. */
export async function makeCalls(demo, { rep, calls, agency = "agency_chicago", drillKey = "ma-full-sale" }) {
  const burst = await fetch(new URL("/_simulator/burst", demo.simulator), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ calls, reps: [rep], agency, drillKey }),
  });
  expect(burst.status, await burst.clone().text()).toBeLessThan(300);
}

/** Waits until the service has `count` scored calls of whoever is signed in. */
export async function scoredCalls(context, demo, count, query = "") {
  const url = new URL(`/athos/calls?status=scored&limit=100${query}`, demo.page).href;
  let data = [];
  await expect
    .poll(async () => ({ data } = await (await context.request.get(url)).json()).data.length, { timeout: 15_000 })
    .toBeGreaterThanOrEqual(count);
  return data;
}

/** Requests the page has made to paths matching `pattern`, from now on. */
export function requests(page, pattern, method = "GET") {
  const seen = [];
  page.on("request", (request) => {
    if (request.method() === method && pattern.test(new URL(request.url()).pathname)) seen.push(request);
  });
  return seen;
}

/** No violation of any axe rule, open shadow roots included. */
export async function expectAccessible(page, name) {
  await page.evaluate(AXE);
  const { violations, incomplete } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations", "incomplete"] }));
  const tell = (list) => list.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`);
  expect(tell(violations), `axe in state ${name}`).toEqual([]);
  return incomplete.map(({ id }) => id);
}

/** A screenshot among the artefacts. */
export async function keep(page, name) {
  await page.screenshot({ path: `${SHOTS}${name}.png`, fullPage: true, animations: "disabled" });
}

/** The page has no horizontal scrollbar, and nothing sticks out. */
export async function expectFits(page) {
  const [content, view] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  expect(content).toBeLessThanOrEqual(view);
}
