// Starts the binary under test and reads what it prints: `key: value` lines, then `ready`.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target");
const BINARY = process.env.ATHOS_BACKEND ?? path.join(TARGET, "debug", "athos-backend");

/** Runs one command until `stop()`. `facts` are the lines it printed before `ready`. */
export async function start(args, env = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "athos-browser-"));
  // The folder keeps an `.env` of the developer's, and whatever else is in the environment, out of it.
  const child = spawn(BINARY, args, { cwd: folder, env: { PATH: process.env.PATH, RUST_LOG: "warn", ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (errors += text));
  const exited = new Promise((resolve) => child.once("close", resolve));

  const facts = await new Promise((resolve, reject) => {
    const found = {};
    let rest = "";
    const late = setTimeout(() => reject(new Error(`${BINARY} ${args.join(" ")} was not ready in 20 s.\n${errors}`)), 20_000);
    child.once("error", (error) => reject(new Error(`${BINARY} did not start: ${error.message}. Build it first: cargo build`)));
    child.once("close", (code) => reject(new Error(`${BINARY} ${args.join(" ")} ended with ${code}.\n${errors}`)));
    child.stdout.setEncoding("utf8").on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "ready") {
          clearTimeout(late);
          resolve(found);
        }
        const [, key, value] = /^([a-z-]+): (.*)$/.exec(line) ?? [];
        if (key) found[key] = value;
      }
    });
  });
  return {
    facts,
    async stop() {
      child.kill("SIGTERM");
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The whole loop; ports are the system's choice. */
export async function startDemo() {
  const demo = await start(["demo", "--bind", "127.0.0.1:0", "--simulator-bind", "127.0.0.1:0", "--score-delay", "500ms"]);
  return { page: new URL(demo.facts.page), simulator: new URL(demo.facts.simulator), stop: demo.stop };
}

/** A JWT as a company's product would issue it. */
export function jwt(secret, claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
}
