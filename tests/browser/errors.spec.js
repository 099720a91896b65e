// Every error code of the contract: words a rep understands, and the next step that helps.

import { readFileSync } from "node:fs";
import { allow, button, element, expect, expectFits, keep, open, startCall, state, test } from "./harness.js";

const { codes: VENDOR } = JSON.parse(readFileSync(new URL("./fixtures/sdk-table.json", import.meta.url), "utf8"));
const CONTRACT = [
  ...VENDOR,
  // The service's own.
  "UNAUTHENTICATED", "RATE_LIMITED", "UPSTREAM_TIMEOUT", "STORE_UNAVAILABLE", "RECORDING_NOT_AVAILABLE",
  "NOT_CONFIGURED", "CROSS_SITE_REQUEST", "UPSTREAM_UNREACHABLE", "UPSTREAM_INVALID_RESPONSE",
];

test("every code of the contract has words of its own", async ({ page, demo }) => {
  await open(page, demo);
  const explained = await page.evaluate(async (codes) => {
    const { explain } = await import("/static/errors.js");
    return codes.map((code) => explain({ code }));
  }, CONTRACT);
  for (const { code, title, text, quote } of explained) {
    expect(quote, `${code} is explained`).toBe(false);
    expect(title.length + text.length, code).toBeGreaterThan(20);
    expect(`${title} ${text}`, "in words, not codes").not.toMatch(/[A-Z]{3,}_/);
  }
});

/** As the SDK reports them when the call starts: heading, and the buttons in order. */
const AT_START = {
  INVALID_REQUEST: ["That call can't be started like this", ["Choose a drill"]],
  DRILL_NOT_FOUND: ["There is no such drill", ["Choose a drill"]],
  INVALID_TOKEN: ["The call could not be started", ["Start again", "Back to the drills"]],
  TOKEN_EXPIRED: ["The call's ticket ran out", ["Start again", "Back to the drills"]],
  TOKEN_ALREADY_USED: ["The call's ticket was already used", ["Start again", "Back to the drills"]],
  INTERNAL_ERROR: ["Something went wrong on the other side", ["Start again", "Back to the drills"]],
  SESSION_ALREADY_CONNECTED: ["That call was already started", ["Start again", "Back to the drills"]],
  MIC_PERMISSION_DENIED: ["The microphone is blocked", ["Try again", "Back to the drills"]],
  NO_MIC_AVAILABLE: ["No microphone found", ["Try again", "Back to the drills"]],
  BROWSER_NOT_SUPPORTED: ["This browser can't take practice calls", ["Back to the drills"]],
};

for (const [code, [heading, steps]] of Object.entries(AT_START)) {
  test(`${code} at the start of a call is explained`, async ({ page, demo }) => {
    const events = await listen(page, demo, `?fault=${code}`);
    await startCall(page);
    await expect(page.getByRole("heading", { name: heading })).toBeFocused();
    await expect(page.locator("athos-practice [role=alert]")).toContainText(heading);
    await expect(page.locator(".stage-foot button")).toHaveText(steps);
    expect(await events()).toContainEqual(expect.objectContaining({ code }));
    await page.locator(".stage-foot button").last().click();
    await expect(element(page)).toHaveAttribute("data-state", "idle");
  });
}

test("no free customer asks for a moment's patience, then tries again with a new token", async ({ page, demo }) => {
  await open(page, demo, { query: "?fault=SERVICE_UNAVAILABLE:once" });
  await startCall(page);
  await expect(page.getByRole("heading", { name: "No customer is free right now" })).toBeVisible();
  await expect(page.getByRole("button", { name: /Try again in \d s/ })).toBeDisabled();
  await button(page, "Try again").click();
  await state(page, "live");
});

/** As `POST /athos/token` answers. */
const AT_MINT = {
  TENANT_QUOTA_EXCEEDED: [403, "Practice is unavailable for the rest of this month", ["Back to the drills"]],
  TENANT_INACTIVE: [502, "Practice is switched off", ["Back to the drills"]],
  INVALID_API_KEY: [502, "Practice is not set up correctly", ["Back to the drills"]],
  API_KEY_REVOKED: [502, "Practice is not set up correctly", ["Back to the drills"]],
  IP_NOT_ALLOWED: [502, "Practice is not set up correctly", ["Back to the drills"]],
  AGENT_NOT_FOUND: [404, "You are not enrolled for practice yet", ["Back to the drills"]],
  UPSTREAM_TIMEOUT: [504, "Athos did not answer in time", [/Try again/, "Back to the drills"]],
  INTERNAL_ERROR: [500, "Something went wrong on the other side", ["Start again", "Back to the drills"]],
  TOKEN_EXPIRED: [401, "Your sign-in has run out", ["Sign in"]],
  INVALID_TOKEN: [401, "Your sign-in has run out", ["Sign in"]],
  UNAUTHENTICATED: [401, "You are not signed in", ["Sign in"]],
};

test.describe("minting", () => {
  test.use({ expectedErrors: allow(/Failed to load resource.*\/athos\/token$/) });

  for (const [code, [status, heading, steps]] of Object.entries(AT_MINT)) {
    test(`${code} is explained, with the request id to quote`, async ({ page, demo }) => {
      await refuse(page, status, code);
      await open(page, demo);
      await startCall(page);
      await expect(page.getByRole("heading", { name: heading })).toBeVisible();
      await expect(page.locator(".stage-foot button")).toHaveText(steps);
      await expect(page.getByText(`Code ${code} · request req_7f3a`)).toBeVisible();
    });
  }

  test("a code nobody knows yet shows itself and the request id", async ({ page, demo }) => {
    await refuse(page, 502, "SOLAR_FLARE");
    await open(page, demo);
    await startCall(page);
    await expect(page.locator(".stage-text")).toContainText("quote the code SOLAR_FLARE and the request id req_7f3a to support");
    await expect(button(page, "Start again")).toBeVisible();
  });

  test("a rate limit waits as long as it was told to", async ({ page, demo }) => {
    await page.route("**/athos/token", (route) =>
      route.fulfill({ status: 429, headers: { "retry-after": "42" }, json: { error: { code: "RATE_LIMITED", message: "", requestId: "r" } } }),
    );
    await open(page, demo);
    await startCall(page);
    await expect(page.getByRole("button", { name: /Try again in 4[12] s/ })).toBeDisabled();
  });

  test("no answer at all is explained", async ({ page, demo }) => {
    await page.route("**/athos/token", (route) => route.abort());
    await open(page, demo);
    await startCall(page);
    await expect(page.getByRole("heading", { name: "The service can't be reached" })).toBeVisible();
  });
});

test("an unknown code of the SDK shows itself", async ({ page, demo }) => {
  await open(page, demo, { query: "?fault=BRAND_NEW_CODE" });
  await startCall(page);
  await expect(page.locator(".stage-text")).toContainText("quote the code BRAND_NEW_CODE to support");
});

for (const { redeem, query = "", title } of [
  { redeem: "aborted", title: "that gets no answer" },
  { query: "?fault=UNREACHABLE", title: "that gets no answer, acted out" },
]) {
  test.describe(() => {
    test.use({ expectedErrors: allow(/net::ERR_FAILED .*\/roleplay\/session$/) });
    test(`a redeem ${title} is likely the rep's own network, and there is no request id to quote`, async ({ page, demo }) => {
      if (redeem) await page.route(/\/roleplay\/session$/, (route) => route.abort());
      await open(page, demo, { query });
      await startCall(page);
      await expect(page.getByRole("heading", { name: "Your network did not reach Athos" })).toBeVisible();
      await expect(page.locator(".stage-text")).toContainText("likely your own connection");
      await expect(page.locator("athos-practice")).not.toContainText(/request id|quote/);
      await expect(page.locator(".stage-foot button")).toHaveText(["Start again", "Back to the drills"]);
      for (const width of [1280, 360]) {
        await page.setViewportSize({ width, height: 800 });
        await expectFits(page);
        await keep(page, `own-network-${width}`);
      }
    });
  });
}

test("a request id is spoken of only where there is one", async ({ page, demo }) => {
  await open(page, demo);
  const texts = await page.evaluate(async (codes) => {
    const { explain } = await import("/static/errors.js");
    const without = codes.flatMap((code) => ["", "Failed to fetch", "NetworkError when attempting to fetch resource."].map((message) => explain({ code, message }).text));
    const ofSdk = ["Failed to fetch", "NetworkError when attempting to fetch resource.", "Load failed"].map((message) => explain({ code: "INTERNAL_ERROR", message }).title);
    const ofBackend = explain({ code: "INTERNAL_ERROR", message: "Failed to fetch", requestId: "req_1", where: "backend" });
    return { without, ofSdk, ofBackend };
  }, [...CONTRACT, "UNHEARD_OF"]);
  for (const text of texts.without) expect(text).not.toMatch(/request id/);
  expect(new Set(texts.ofSdk)).toEqual(new Set(["Your network did not reach Athos"]));
  expect(texts.ofBackend.title).toBe("Something went wrong on the other side");
  expect(texts.ofBackend.text).toContain("quote the request id req_1");
});

test.describe("Safari", () => {
  test.use({ userAgent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15" });

  test("an unsupported browser is told up front, before any click", async ({ page, demo }) => {
    await open(page, demo);
    await expect(page.getByText("This browser can't take practice calls")).toBeVisible();
    await expect(button(page, "Start call")).toHaveCount(0);
  });
});

test.describe("the SDK", () => {
  test.use({ expectedErrors: allow(/net::ERR_FAILED/, /Failed to fetch dynamically imported module/) });

  test("that does not load is explained where the button was", async ({ page, demo }) => {
    await page.route(/sdk\/athos-sdk\.js$/, (route) => route.abort());
    await open(page, demo);
    await expect(page.getByText("The calling software did not load")).toBeVisible();
    await expect(button(page, "Reload the page")).toBeVisible();
    const operator = page.locator(".operator");
    await expect(operator).toContainText(new URL("/sdk/athos-sdk.js", demo.simulator).href);
    await expect(operator).toContainText("ATHOS_SDK_URL");
    await expect(operator).toContainText("scripts/vendor-sdk");
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 800 });
      await expectFits(page);
      await keep(page, `sdk-missing-${width}`);
    }
  });

  for (const [what, body] of [["is something else", "export const AthosRoleplay = null;"], ["is not a module", "<h1>Not found</h1>"], ["breaks", "throw new Error('x')"]]) {
    test(`that ${what} is explained there too`, async ({ page, demo }) => {
      await page.route(/sdk\/athos-sdk\.js$/, (route) =>
        route.fulfill({ contentType: "text/javascript", headers: { "access-control-allow-origin": "*" }, body }),
      );
      await open(page, demo);
      await expect(page.getByText("The calling software did not load")).toBeVisible();
      await expect(page.locator(".operator")).toContainText("ATHOS_SDK_URL");
    });
  }
});

function refuse(page, status, code) {
  return page.route("**/athos/token", (route) =>
    route.fulfill({ status, json: { error: { code, message: "for developers", requestId: "req_7f3a" } } }),
  );
}

/** Opens the page and collects what the element reports to its host. */
async function listen(page, demo, query) {
  await open(page, demo, { query });
  await page.evaluate(() => {
    window.reported = [];
    document.addEventListener("athos-error", ({ detail }) => window.reported.push(detail));
  });
  return () => page.evaluate(() => window.reported);
}
