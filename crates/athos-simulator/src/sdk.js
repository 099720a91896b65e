// The simulator's stand-in for the browser SDK `@useathos/sdk`: the same exports, the same order of
// events, the same errors at the same moments, and no audio. It redeems its token at the simulator as the
// real one does at Athos, and tells the simulator when a call has ended.
//
// Three things in the page's address steer it, for demos and tests:
//   ?mic=real      ask for the real microphone; otherwise nothing is asked for
//   ?fault=NAME    act out an error code of the contract, or one of the names in `FAULTS` below;
//                  NAME:once does it for the first call only
//   ?events=LIST   what happens once the token is redeemed, in this order: names of events, `error:CODE`,
//                  `reject:CODE` (the event and `connect()`'s rejection, as when joining fails), `wait:MS`;
//                  with `once` in the list, for the first call only. ?events=ready,ended,error:NETWORK_LOST

export const ATHOS_DRILL_KEYS = Object.freeze([
  "ma-full-sale", "ma-t65", "ma-objection-handling", "ma-needs-analysis", "ma-sep-hunting", "ma-hhc",
  "ma-hhc-downsell", "ma-hhc-crosssell", "ma-hhc-upsell", "ms-full-sale", "fe-full-sale",
  "fe-objection-handling", "fe-closing", "u65-full-sale", "hi-downsell", "hi-upsell", "hi-crosssell",
  "ci-downsell", "ci-upsell", "ci-crosssell",
]);

export const ATHOS_EVENT_NAMES = Object.freeze([
  "connecting", "ready", "personaSpeaking", "userSpeaking", "reconnecting", "reconnected", "ended", "error",
]);

const SDK_CODES = {
  MIC_PERMISSION_DENIED: "Microphone permission was denied.",
  MIC_DEVICE_DISCONNECTED: "The microphone was disconnected.",
  NO_MIC_AVAILABLE: "No microphone is available.",
  NETWORK_LOST: "The connection was lost.",
  AUDIO_PLAYBACK_BLOCKED: "The browser blocked audio playback.",
  BROWSER_NOT_SUPPORTED: "This browser is not supported.",
  SESSION_ALREADY_CONNECTED: "A session can be connected only once.",
};

/** Of Athos's API. Those that its other endpoints answer never reach a browser, and are exported all the same. */
const API_CODES = {
  INVALID_API_KEY: "The API key is missing or unknown.",
  API_KEY_REVOKED: "The API key was revoked.",
  INVALID_TOKEN: "The session token is invalid.",
  TOKEN_EXPIRED: "The session token has expired.",
  TOKEN_ALREADY_USED: "The session token was already used.",
  IP_NOT_ALLOWED: "This address is not allowed.",
  TENANT_INACTIVE: "The account is not active.",
  TENANT_QUOTA_EXCEEDED: "This month's calls are used up.",
  INVALID_REQUEST: "The request is invalid.",
  DRILL_NOT_FOUND: "No drill has this key.",
  CALL_NOT_FOUND: "There is no such call.",
  AGENT_NOT_FOUND: "There is no such agent.",
  AGENT_ALREADY_EXISTS: "This agent is registered.",
  AGENCY_NOT_FOUND: "There is no such agency.",
  SERVICE_UNAVAILABLE: "No persona is available.",
  INTERNAL_ERROR: "Something went wrong.",
};

const MESSAGES = { ...SDK_CODES, ...API_CODES };

export const ATHOS_ERROR_CODES = Object.freeze(Object.keys(MESSAGES));

/** Beside the error codes, what `?fault=` can act out. */
const FAULTS = ["MIC_PENDING", "RECONNECTING", "SLOW_CONNECT", "SILENT_END", "UNREACHABLE", "JOIN_FAILED"];

/** The room cannot be joined: it is left before anybody was in it, and then comes the error. */
const JOIN_FAILED = "ended,reject:INTERNAL_ERROR";

/** What the browser's refusals of a microphone mean. */
const MICROPHONE_FAULTS = {
  NotAllowedError: "MIC_PERMISSION_DENIED",
  SecurityError: "MIC_PERMISSION_DENIED",
  NotFoundError: "NO_MIC_AVAILABLE",
  OverconstrainedError: "NO_MIC_AVAILABLE",
  NotReadableError: "MIC_DEVICE_DISCONNECTED",
  AbortError: "MIC_DEVICE_DISCONNECTED",
};

/** The vendor gives up this long after `reconnecting`. A demo of it need not take as long. */
const RECONNECT_MS = 3000;

export class AthosRoleplayError extends Error {
  constructor(code, message) {
    super(message ?? MESSAGES[code] ?? code);
    this.name = "AthosRoleplayError";
    this.code = code;
  }
}

export function detectBrowserSupport(userAgent) {
  if (/Android|iPhone|iPad|iPod|Mobi/i.test(userAgent)) return { supported: false, reason: "mobile" };
  if (/Chrome|Chromium|Edg|OPR|Firefox/i.test(userAgent)) return { supported: true };
  if (/Safari/i.test(userAgent)) return { supported: false, reason: "safari" };
  return { supported: false, reason: "unknown" };
}

export const AthosRoleplay = Object.freeze({
  /** Synchronous and offline: throws for a browser that cannot do it, and asks nobody anything. */
  create(options) {
    const fault = take("fault", ":");
    const events = fault === "JOIN_FAILED" ? JOIN_FAILED : take("events", ",");
    if (fault === "BROWSER_NOT_SUPPORTED" || !detectBrowserSupport(navigator.userAgent).supported) {
      throw new AthosRoleplayError("BROWSER_NOT_SUPPORTED");
    }
    return new Session(options, fault, events);
  },
});

class Session {
  #options;
  #fault;
  #events;
  #listeners = new Map(ATHOS_EVENT_NAMES.map((name) => [name, new Set()]));
  #state = "new"; // new, connecting, live, over
  #callId = null;
  #since = 0;
  #stream = null;
  #timers = new Set();

  constructor(options, fault, events) {
    const { apiBase = "https://app.useathos.ai" } = options;
    this.#options = { ...options, apiBase: apiBase.replace(/\/$/, "") };
    this.#fault = fault;
    this.#events = events;
  }

  on(event, callback) {
    this.#listeners.get(event)?.add(callback);
    return () => this.off(event, callback);
  }

  off(event, callback) {
    this.#listeners.get(event)?.delete(callback);
  }

  /** Microphone first, redeem second: a refused microphone leaves the token unspent. */
  async connect() {
    if (this.#state !== "new") throw this.#error("SESSION_ALREADY_CONNECTED");
    this.#state = "connecting";
    this.#emit("connecting");
    let redeemed;
    try {
      if (this.#fault === "SESSION_ALREADY_CONNECTED") throw new AthosRoleplayError(this.#fault);
      await this.#openMicrophone();
      if (this.#state === "over") return;
      if (this.#fault === "SLOW_CONNECT") await this.#pause(1500);
      redeemed = await this.#redeem();
    } catch (cause) {
      if (this.#state === "over") return;
      const error = cause instanceof AthosRoleplayError ? cause : new AthosRoleplayError("INTERNAL_ERROR", cause?.message);
      this.#close();
      throw this.#error(error.code, error.message);
    }
    this.#callId = redeemed.callId;
    if (this.#state === "over") return this.#tellSimulator();
    if (this.#events) return this.#actOut(redeemed);
    this.#goLive(redeemed);
    this.#play();
  }

  /** Before `ready` this cancels, and the session stays silent; after it, the call ends. */
  async disconnect() {
    if (this.#state === "live") return this.#end();
    if (this.#state !== "over") this.#close();
  }

  async listMicrophones() {
    if (!realMicrophone()) {
      return [
        { deviceId: "default", label: "Simulated microphone" },
        { deviceId: "headset", label: "Simulated headset" },
      ];
    }
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter(({ kind }) => kind === "audioinput").map(({ deviceId, label }) => ({ deviceId, label }));
  }

  async setMicrophone(deviceId) {
    if (!realMicrophone()) return;
    const stream = await askForMicrophone({ deviceId: { exact: deviceId } });
    stopStream(this.#stream);
    this.#stream = stream;
  }

  async mute() {
    this.#setTracks(false);
  }

  async unmute() {
    this.#setTracks(true);
  }

  async resumeAudio() {}

  async #openMicrophone() {
    if (this.#fault === "MIC_PENDING") return new Promise(() => {});
    if (["MIC_PERMISSION_DENIED", "NO_MIC_AVAILABLE"].includes(this.#fault)) throw new AthosRoleplayError(this.#fault);
    if (!realMicrophone()) return;
    const stream = await askForMicrophone(true);
    if (this.#state === "over") stopStream(stream);
    else this.#stream = stream;
  }

  async #redeem() {
    const { apiBase, token, drillKey, filters, difficulty } = this.#options;
    if (this.#fault === "UNREACHABLE") throw new TypeError("Failed to fetch");
    // An error of the redeem itself; unknown names too, as the vendor's list grows without notice.
    if (this.#fault && !(this.#fault in SDK_CODES) && !FAULTS.includes(this.#fault)) {
      throw new AthosRoleplayError(this.#fault);
    }
    // No answer, or one that is not JSON, becomes `INTERNAL_ERROR` with what the browser says of it.
    const response = await fetch(`${apiBase}/api/external/v1/roleplay/session`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ drillKey, filters, difficulty }),
    });
    if (response.ok) return response.json();
    const { error } = await response.json().catch(() => ({}));
    throw new AthosRoleplayError(error?.code ?? "INTERNAL_ERROR", error?.message ?? `The answer was ${response.status}.`);
  }

  #goLive({ persona }) {
    this.#state = "live";
    this.#since = performance.now();
    this.#emit("ready", { persona });
  }

  /** The events of `?events=`, in whatever order, and whatever the page does meanwhile. */
  async #actOut(redeemed) {
    for (const step of this.#events.split(",")) {
      const [name, detail] = step.split(":");
      if (name === "wait") await new Promise((resolve) => setTimeout(resolve, Number(detail)));
      else if (name === "ready") this.#goLive(redeemed);
      else if (name === "ended") this.#end();
      else if (name === "error") this.#error(detail);
      else if (name === "reject") throw this.#error(detail);
      else if (ATHOS_EVENT_NAMES.includes(name)) this.#emit(name, name.endsWith("Speaking") ? { speaking: true } : undefined);
    }
  }

  /** The persona speaks, listens, speaks; and the fault asked for happens. */
  #play() {
    const turn = (who) => {
      this.#emit(who, { speaking: true });
      this.#after(1800, () => {
        this.#emit(who, { speaking: false });
        this.#after(700, () => turn(who === "personaSpeaking" ? "userSpeaking" : "personaSpeaking"));
      });
    };
    this.#after(200, () => turn("personaSpeaking"));

    const acts = {
      AUDIO_PLAYBACK_BLOCKED: () => this.#error("AUDIO_PLAYBACK_BLOCKED"),
      MIC_DEVICE_DISCONNECTED: () => this.#error("MIC_DEVICE_DISCONNECTED"),
      RECONNECTING: () => {
        this.#emit("reconnecting");
        this.#after(RECONNECT_MS, () => this.#emit("reconnected"));
      },
      NETWORK_LOST: () => {
        this.#emit("reconnecting");
        this.#after(RECONNECT_MS, () => {
          this.#error("NETWORK_LOST");
          this.#end();
        });
      },
    };
    if (acts[this.#fault]) this.#after(600, acts[this.#fault]);
  }

  #end() {
    const durationSec = this.#since ? Math.round((performance.now() - this.#since) / 1000) : 0;
    this.#tellSimulator();
    const silent = this.#fault === "SILENT_END";
    this.#close(() => silent || this.#emit("ended", { callId: this.#callId, durationSec }));
  }

  /** A plain POST, which browsers send without asking first and finish after the page is gone. */
  #tellSimulator() {
    const url = `${this.#options.apiBase}/_simulator/calls/${encodeURIComponent(this.#callId)}/end`;
    fetch(url, { method: "POST", keepalive: true }).catch(() => {});
  }

  #close(lastWord = () => {}) {
    for (const timer of this.#timers) clearTimeout(timer);
    stopStream(this.#stream);
    lastWord();
    this.#state = "over";
  }

  #error(code, message) {
    const error = new AthosRoleplayError(code, message);
    this.#emit("error", { code, message: error.message });
    return error;
  }

  #emit(event, detail) {
    for (const callback of [...this.#listeners.get(event)]) callback(detail);
  }

  #setTracks(enabled) {
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = enabled;
  }

  #after(ms, act) {
    const timer = setTimeout(() => (this.#timers.delete(timer), act()), ms);
    this.#timers.add(timer);
  }

  #pause(ms) {
    return new Promise((resolve) => this.#after(ms, resolve));
  }
}

const taken = new Set();

/** What a parameter asks for; with `once` among its words, the first time only. */
function take(name, separator) {
  const words = (query(name) ?? "").split(separator);
  if (words.includes("once") && taken.has(name)) return null;
  taken.add(name);
  return words.filter((word) => word !== "once").join(separator) || null;
}

function query(name) {
  return new URLSearchParams(location.search).get(name);
}

function realMicrophone() {
  return query("mic") === "real";
}

async function askForMicrophone(audio) {
  if (!navigator.mediaDevices) throw new AthosRoleplayError("NO_MIC_AVAILABLE");
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch ({ name }) {
    throw new AthosRoleplayError(MICROPHONE_FAULTS[name] ?? "INTERNAL_ERROR", MICROPHONE_FAULTS[name] ? undefined : `Microphone error: ${name}`);
  }
}

function stopStream(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
