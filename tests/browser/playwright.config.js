// The page in Debian's Chromium, against a real `athos-backend demo`. Chromium gets a fake microphone and
// talks to nobody: what the page needs, it gets from this machine.

import { defineConfig } from "@playwright/test";

export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

export const CHROMIUM_ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  "--no-default-browser-check",
  "--use-fake-device-for-media-stream",
];

export default defineConfig({
  testDir: ".",
  outputDir: "../../artifacts/playwright",
  fullyParallel: true,
  workers: Number(process.env.WORKERS ?? 2),
  timeout: 30_000,
  expect: { timeout: 8000 },
  forbidOnly: true,
  reporter: [["list"]],
  use: {
    browserName: "chromium",
    viewport: { width: 1280, height: 860 },
    locale: "en-US",
    timezoneId: "UTC",
    launchOptions: { executablePath: CHROMIUM, args: [...CHROMIUM_ARGS, "--use-fake-ui-for-media-stream"] },
    trace: "retain-on-failure",
  },
});
