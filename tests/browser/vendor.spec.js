// scripts/vendor-sdk, with a local package of the SDK's shape; and the page with that SDK instead of the stand-in.

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { sessionCookie, startService } from "./backend.js";
import { allow, button, expect, open, startCall, state, test } from "./harness.js";

const run = promisify(execFile);
const SCRIPT = fileURLToPath(new URL("../../scripts/vendor-sdk", import.meta.url));
const PACKAGE = fileURLToPath(new URL("./fixtures/sdk-package", import.meta.url));

let folder;
test.beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), "vendor-sdk-"))));
test.afterEach(() => rmSync(folder, { recursive: true }));

test("a folder and a tarball become one module, which the page runs on like on any SDK", async ({ page, demo }) => {
  test.slow(); // It asks npm for the bundler.
  await run(SCRIPT, [PACKAGE, folder]);
  const bundle = readFileSync(path.join(folder, "athos-sdk.js"), "utf8");
  expect(bundle).toContain("@useathos/sdk 0.0.0-fixture");
  expect(bundle, "one module, whole").not.toMatch(/\bfrom\s*"/);

  const { stdout } = await run("npm", ["pack", "--silent", PACKAGE], { cwd: folder });
  const packed = path.join(folder, "from-tarball");
  await run(SCRIPT, [path.join(folder, stdout.trim()), packed]);
  expect(readFileSync(path.join(packed, "athos-sdk.js"), "utf8")).toBe(bundle);

  await page.route(/sdk\/athos-sdk\.js$/, (route) =>
    route.fulfill({ contentType: "text/javascript", headers: { "access-control-allow-origin": "*" }, body: bundle }),
  );
  await open(page, demo);
  await expect(page.getByRole("group", { name: "More" }).getByRole("radio", { name: "ma-fixture-drill" })).toBeVisible();
  const redeemed = page.waitForResponse((response) => /\/roleplay\/session$/.test(response.url()) && response.request().method() === "POST");
  await startCall(page);
  const { callId } = await (await redeemed).json();
  await state(page, "live");
  await button(page, "Mute").click();
  await button(page, "End call").click();
  await state(page, "scoring");
  await fetch(new URL(`/_simulator/calls/${callId}/end`, demo.simulator), { method: "POST" });
  await state(page, "scored");
});

test.describe(() => {
  test.use({ rep: null, expectedErrors: allow(/esm\.sh/) });
  test("a service that has no SDK says so at the start, and the page says what to do", async ({ page, context }) => {
    const service = await startService({});
    expect(service.log()).toMatch(/WARN ATHOS_SDK_URL is not set.*scripts\/vendor-sdk/);
    await context.addCookies([sessionCookie(service.page, { sub: "rep_without_sdk" })]);
    await page.route("https://esm.sh/**", (route) => route.fulfill({ status: 404, body: "" }));
    await page.goto(service.page.href);
    await expect(page.locator(".operator")).toContainText("no Athos SDK at https://esm.sh/@useathos/sdk");
    await expect(page.locator(".operator")).toContainText("ATHOS_SDK_URL");
    await service.stop();

    const told = await startService({ ATHOS_SDK_URL: "https://esm.sh/athos-sdk.js" });
    expect(told.log()).not.toContain("ATHOS_SDK_URL");
    await told.stop();
  });
});

/** What the script says of what it cannot get. `npm` is a stand-in that fails the way the registry's answer makes it fail. */
async function refusal(args, { npm } = {}) {
  const bin = mkdtempSync(path.join(tmpdir(), "bin-"));
  if (npm) writeFileSync(path.join(bin, "npm"), `#!/bin/sh\n${npm}\n`, { mode: 0o755 });
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
  const { code, stderr } = await run(SCRIPT, args, { env, cwd: folder }).then(() => ({ code: 0, stderr: "" }), (error) => error);
  rmSync(bin, { recursive: true });
  return `${code}: ${stderr}`;
}

const NO_VERSION = `case "$1" in config) echo https://registry.example/ ;; *) echo "npm error code E404" >&2; exit 1 ;; esac`;

test("what cannot be got is said, and where it was looked for", async () => {
  const missing = await refusal(["1.0.0", folder], { npm: NO_VERSION });
  expect(missing).toMatch(/^1: .*E404/);
  expect(missing).toContain("could not get @useathos/sdk@1.0.0 from the npm registry https://registry.example/");
  expect(missing).toContain("give a tarball or a folder");
  expect(await refusal([PACKAGE, folder], { npm: NO_VERSION })).toContain(`could not pack the folder ${PACKAGE}`);
  expect(await refusal(["./nowhere.tgz"])).toContain("1: vendor-sdk: there is no ./nowhere.tgz");
  mkdirSync(path.join(folder, "athos-sdk"));
  expect(await refusal(["athos-sdk"])).toContain("1: vendor-sdk: there is no package.json in athos-sdk");
  expect(await refusal(["--version"])).toMatch(/^2: Bundles the Athos browser SDK/);
  expect(await refusal([folder])).toContain(`there is no package.json in ${folder}`);
  expect(await refusal([])).toMatch(/^2: .*\.tgz/s);
  expect(existsSync(path.join(folder, "athos-sdk.js"))).toBe(false);
});

test("a folder that has not been built is told as one", async () => {
  test.slow();
  const unbuilt = mkdtempSync(path.join(tmpdir(), "unbuilt-"));
  writeFileSync(path.join(unbuilt, "package.json"), '{"name":"@useathos/sdk","version":"1.0.0","exports":"./dist/index.mjs","files":["dist"]}');
  expect(await refusal([unbuilt, folder])).toContain("or it was packed before it was built");
  rmSync(unbuilt, { recursive: true });
});

test("a package that is not the SDK is refused", async () => {
  test.slow();
  const other = mkdtempSync(path.join(tmpdir(), "not-the-sdk-"));
  writeFileSync(path.join(other, "package.json"), '{"name":"other","version":"1.0.0","type":"module","exports":"./i.js"}');
  writeFileSync(path.join(other, "i.js"), "export const AthosRoleplay = {};");
  await expect(run(SCRIPT, [other, folder])).rejects.toThrow(/No matching export/);
  expect(existsSync(path.join(folder, "athos-sdk.js"))).toBe(false);
  rmSync(other, { recursive: true });
});
