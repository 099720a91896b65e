// The real microphone, and a rep who says no to the browser's question.

import { CHROMIUM, CHROMIUM_ARGS } from "./playwright.config.js";
import { button, expect, open, requests, startCall, test } from "./harness.js";

test.use({ launchOptions: { executablePath: CHROMIUM, args: [...CHROMIUM_ARGS, "--deny-permission-prompts"] } });

test("the microphone's refusal is explained and leaves the token unspent", async ({ page, demo }) => {
  const minted = requests(page, /\/athos\/token$/, "POST");
  const redeemed = requests(page, /\/roleplay\/session$/, "POST");
  await open(page, demo, { query: "?mic=real" });
  await startCall(page);
  await expect(page.getByRole("heading", { name: "The microphone is blocked" })).toBeFocused();
  await button(page, "Try again").click();
  await expect(page.getByRole("heading", { name: "The microphone is blocked" })).toBeFocused();
  expect(minted).toHaveLength(1);
  expect(redeemed).toHaveLength(0);
});
