// Starts the binary under test and reads what it prints: `key: value` lines, then `ready`.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target");
/** Long enough that a test sees the page wait: it looks once a second. */
const SCORE_DELAY = "1500ms";
const BINARY = process.env.ATHOS_BACKEND ?? path.join(TARGET, "debug", "athos-backend");

/**
 * Runs one command until `stop()`. It is ready when it has printed `ready`, or when `health` answers; `facts` are the
 * lines it printed before, `log()` what it has logged so far.
 */
async function start(args, { env = {}, health = null } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "athos-browser-"));
  // A folder and an environment of its own: a developer's `.env` must not reach it.
  const child = spawn(BINARY, args, { cwd: folder, env: { PATH: process.env.PATH, RUST_LOG: "warn", ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const facts = {};
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (errors += text));
  const exited = new Promise((resolve) => child.once("close", resolve));
  const stop = async () => {
    child.kill("SIGTERM");
    await exited;
    rmSync(folder, { recursive: true, force: true });
  };

  const printedReady = new Promise((resolve) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line === "ready") return resolve();
      const [, key, value] = /^([a-z-]+): (.*)$/.exec(line) ?? [];
      if (key) facts[key] = value;
    });
  });
  const failed = new Promise((_, reject) => {
    child.once("error", (error) => reject(new Error(`${BINARY} did not start: ${error.message}. Build it first: cargo build`)));
    child.once("close", (code) => reject(new Error(`${args.join(" ")} ended with ${code}.\n${errors}`)));
    setTimeout(() => reject(new Error(`${args.join(" ")} was not ready in 20 s.\n${errors}`)), 20_000).unref();
  });
  failed.catch(() => {}); // Ends after `ready` are `stop`'s.
  await Promise.race([health ? answering(health) : printedReady, failed]);
  return { facts, stop, log: () => errors };
}

async function answering(url) {
  while (!(await fetch(url).then((answer) => answer.ok, () => false))) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** A port that was free a moment ago. */
async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

/** The whole loop; ports are the system's choice. `more` are further flags. */
export async function startDemo(...more) {
  const demo = await start(["demo", "--seed", "1", "--bind", "127.0.0.1:0", "--simulator-bind", "127.0.0.1:0", "--score-delay", SCORE_DELAY, ...more]);
  return { page: new URL(demo.facts.page), simulator: new URL(demo.facts.simulator), stop: demo.stop };
}

/** The service alone, as in production: reps carry a JWT in a cookie. `env` adds to its configuration. */
export async function startService(env, port) {
  const page = new URL(`http://127.0.0.1:${port ?? (await freePort())}`);
  const service = await start(["serve"], {
    health: new URL("/healthz", page),
    env: {
      BIND_ADDR: page.host,
      ADMIN_ADDR: "127.0.0.1:0",
      ATHOS_API_KEY: API_KEY,
      ATHOS_WHSEC: WEBHOOK_SECRET,
      AUTH_JWT_SECRET: JWT_SECRET,
      AUTH_COOKIE: "session",
      ...env,
    },
  });
  return { page, stop: service.stop, log: service.log };
}

/** Service and simulator as two processes; `origin` is the host product's, which may embed. */
export async function startEmbedded(origin) {
  const port = await freePort();
  const simulate = ["simulate", "--seed", "1", "--bind", "127.0.0.1:0", "--score-delay", SCORE_DELAY, "--webhook-url", `http://127.0.0.1:${port}/athos/webhook`];
  const simulator = await start(simulate, { env: { ATHOS_API_KEY: API_KEY, ATHOS_WHSEC: WEBHOOK_SECRET } });
  const athos = new URL(simulator.facts.simulator);
  const service = await startService(
    { ATHOS_BASE_URL: athos.href, ATHOS_SDK_URL: new URL("/sdk/athos-sdk.js", athos).href, CORS_ORIGINS: origin, FRAME_ANCESTORS: origin },
    port,
  );
  return { page: service.page, simulator: new URL(athos.origin), stop: () => Promise.all([service.stop(), simulator.stop()]) };
}

const API_KEY = "ath_live_browser_tests";
const WEBHOOK_SECRET = "whsec_browser_tests";
const JWT_SECRET = "a secret that only the browser tests and their service know";

/** A rep's cookie as a company's product would set it. */
export function sessionCookie(url, claims) {
  const value = jwt(JWT_SECRET, { exp: Math.floor(Date.now() / 1000) + 3600, ...claims });
  return { name: "session", value, url: url.origin };
}

/** A delivery as Athos signs it. */
export async function deliverWebhook(url, event) {
  const body = JSON.stringify(event);
  const time = Math.floor(Date.now() / 1000);
  const signature = createHmac("sha256", WEBHOOK_SECRET).update(`${time}.${body}`).digest("hex");
  return fetch(new URL("/athos/webhook", url), {
    method: "POST",
    headers: { "content-type": "application/json", "x-athos-signature": `t=${time},v1=${signature}`, "x-athos-webhook-id": `wh_${event.callId}` },
    body,
  });
}

/** A JWT as a company's product would issue it. */
function jwt(secret, claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
}
