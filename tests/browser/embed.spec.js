// The page inside somebody else's product: as an element by the five lines of docs/embedding.md, and in a frame.

import { createServer } from "node:http";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { sessionCookie, startEmbedded } from "./backend.js";
import { allow, button, expect, scoredCalls, startCall, state, test as base } from "./harness.js";

const DOCUMENT = readFileSync(new URL("../../docs/embedding.md", import.meta.url), "utf8");
const SNIPPET = /```html\n(.*?<athos-practice.*?)```/s.exec(DOCUMENT)?.[1] ?? "docs/embedding.md shows no snippet";

const test = base.extend({
  rep: null,

  /** A product at its own origin, and a service that lets this origin embed. */
  host: [
    async ({}, use) => {
      const pages = {};
      const server = createServer((request, response) => {
        response.setHeader("content-type", "text/html");
        response.end(`<!doctype html><html lang="en"><head><title>Host</title><link rel="icon" href="data:,"></head><body>${pages[request.url] ?? ""}</body></html>`);
      }).listen(0, "127.0.0.1");
      await once(server, "listening");
      const origin = `http://127.0.0.1:${server.address().port}`;
      const service = await startEmbedded(origin);
      await use({ origin, pages, service });
      server.closeAllConnections();
      server.close();
      await service.stop();
    },
    { scope: "worker" },
  ],
});

test("the documented lines put a whole practice call into a product", async ({ page, context, host }) => {
  await context.addCookies([sessionCookie(host.service.page, { sub: "rep_embedded" })]);
  expect(SNIPPET.trim().split("\n").length, "five lines").toBeLessThanOrEqual(5);
  host.pages["/"] = SNIPPET.replaceAll("https://practice.example.com", host.service.page.origin);
  const logged = [];
  page.on("console", (message) => logged.push(message.text()));
  await page.goto(host.origin);
  await page.evaluate(() => {
    window.heard = [];
    for (const type of ["athos-ended", "athos-scored"]) addEventListener(type, ({ detail }) => window.heard.push([type, detail]));
  });
  await expect(page.getByRole("radio", { name: "Full sale" })).toHaveCount(0); // The drill is fixed.
  await expect(page.getByRole("heading", { name: "Medicare Advantage: Full sale" })).toBeVisible();
  await startCall(page);
  await state(page, "live");
  await button(page, "End call").click();
  await state(page, "scored");
  const [[, ended], [, scored]] = await page.evaluate(() => window.heard);
  expect(scored.call.id).toBe(ended.callId);
  expect(scored.call.overallScore).toBeGreaterThan(0);
  expect(logged.join()).toContain(String(scored.call.overallScore));
});

test("a product whose reps carry a bearer token needs no cookie", async ({ page, host }) => {
  const { value } = sessionCookie(host.service.page, { sub: "rep_bearer" });
  host.pages["/bearer"] = `<athos-practice difficulty="Elite" backend="${host.service.page.href}"></athos-practice>`;
  await page.goto(`${host.origin}/bearer`);
  await page.evaluate(
    async ([url, token]) => {
      document.querySelector("athos-practice").requestHeaders = async () => ({ authorization: `Bearer ${token}` });
      await import(url);
    },
    [new URL("/static/practice.js", host.service.page).href, value],
  );
  await startCall(page);
  await state(page, "live");
  await button(page, "End call").click();
  await state(page, "scored");
});

test("a product's own styles do not reach into the element, nor the element's out of it", async ({ page, context, host }) => {
  await context.addCookies([sessionCookie(host.service.page, { sub: "rep_styled" })]);
  host.pages["/styled"] = `<style>button{display:none} h1{color:rgb(1,2,3)}</style><h1>Host</h1>
    <script type="module" src="${host.service.page.origin}/static/practice.js"></script><athos-practice></athos-practice>`;
  await page.goto(`${host.origin}/styled`);
  await expect(button(page, "Start call")).toBeVisible();
  await expect(page.locator("h1")).toHaveCSS("color", "rgb(1, 2, 3)");
});

test("taking the element off the page ends the call", async ({ page, context, host }) => {
  await context.addCookies([sessionCookie(host.service.page, { sub: "rep_removed" })]);
  host.pages["/removed"] = `<script type="module" src="${host.service.page.origin}/static/practice.js"></script><athos-practice></athos-practice>`;
  await page.goto(`${host.origin}/removed`);
  await startCall(page);
  await state(page, "live");
  await page.locator("athos-practice").evaluate((element) => element.remove());
  await scoredCalls(context, host.service, 1);
});

test("an allowed origin may frame the page, microphone and all", async ({ page, context, host }) => {
  await context.addCookies([sessionCookie(host.service.page, { sub: "rep_framed" })]);
  host.pages["/frame"] = `<iframe title="Practice" allow="microphone" width="900" height="800" src="${host.service.page.href}?mic=real"></iframe>`;
  await page.goto(`${host.origin}/frame`);
  const frame = page.frameLocator("iframe");
  await frame.getByRole("button", { name: "Start call" }).click();
  await expect(frame.locator("athos-practice")).toHaveAttribute("data-state", "live");
  await expect(frame.getByLabel("Microphone")).toContainText("Fake");
  await frame.getByRole("button", { name: "End call" }).click();
  await expect(frame.locator("athos-practice")).toHaveAttribute("data-state", "scored");
});

test.describe("without being allowed", () => {
  test.use({ expectedErrors: allow(/frame-ancestors/, /X-Frame-Options/i) });
  test("nobody may frame the page", async ({ page, host, demo }) => {
    host.pages["/refused"] = `<iframe title="Practice" src="${demo.page.href}"></iframe>`;
    const refused = page.waitForEvent("console", (message) => /frame-ancestors/.test(message.text()));
    await page.goto(`${host.origin}/refused`);
    await refused;
    await expect(page.frameLocator("iframe").locator("main")).toHaveCount(0);
  });
});

test.describe("signed out", () => {
  test.use({ expectedErrors: allow(/401 .*\/athos\/me$/) });
  test("in production there is no demo sign-in; whoever is signed out is sent back to the product", async ({ page, host }) => {
  await page.route("**/athos/me", (route) => route.fulfill({ status: 401, json: { error: { code: "UNAUTHENTICATED", message: "", requestId: "r" } } }));
  await page.goto(host.service.page.href);
  await expect(page.getByRole("heading", { name: "You are not signed in" })).toBeVisible();
  await expect(page.getByText("Who are you today?")).toHaveCount(0);
});
});
