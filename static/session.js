// One practice call as a state machine over the Athos SDK: mint, create, listen, connect, end.
// It holds no markup; `practice.js` draws the state it reports. It knows the SDK's documented surface
// and nothing else, so any build of the SDK will do.

import { MICROPHONE_CODES, explain } from "./errors.js";

/** After `NETWORK_LOST` or our own `disconnect()` the SDK says `ended`; this is how long we believe it will. */
const ENDED_GRACE_MS = 4000;

/** Codes that say this token is of no more use, so that a kept one is replaced without asking the rep. */
const TOKEN_CODES = new Set(["TOKEN_ALREADY_USED", "TOKEN_EXPIRED", "INVALID_TOKEN"]);

/**
 * States, by `name`: `idle`, `preparing` (minting), `microphone` (waiting for the rep's answer),
 * `connecting`, `live`, `ended`, `failed`. Each state is a fresh object; details sit beside the name.
 */
export class Call {
  #run = 0; // Events and promises of an earlier run are ignored: a cancelled call stays silent.
  #sdk;
  #mint;
  #apiBase;
  #onChange;
  #session = null;
  #choice = null;
  #kept = null; // A token that a microphone failure left unspent: good for one more try.
  #abort = null;
  #endTimer = 0;
  #soundBlocked = false;
  #lost = false;

  state = { name: "idle" };

  /** `mint({signal})` resolves to `{token, expiresAt}`; `onChange(state, before)` is called on each change. */
  constructor({ sdk, mint, apiBase = null, onChange }) {
    this.#sdk = sdk;
    this.#mint = mint;
    this.#apiBase = apiBase;
    this.#onChange = onChange;
  }

  /** From the click on Start until the call has ended. */
  get active() {
    return ["preparing", "microphone", "connecting", "live"].includes(this.state.name);
  }

  /** `choice`: `{drillKey, difficulty?, filters?}`. Must be called from a click: it leads to a prompt. */
  async start(choice) {
    if (this.active) return;
    this.#choice = choice;
    await this.#attempt(++this.#run);
  }

  /** The same call again. A token that is still unspent is used again, once. */
  retry() {
    return this.start(this.#choice);
  }

  /** Back to idle at once and without a word, whatever the SDK is waiting for. */
  cancel() {
    const session = this.#session;
    this.#close();
    hangUp(session);
    this.#set({ name: "idle" });
  }

  /** End call. `ended` normally follows; should it not, the rep is not left waiting for it. */
  end() {
    if (this.state.name !== "live" || this.state.ending) return;
    this.#patch({ ending: true });
    this.#expectEnd(() => this.#finish({ callId: null, durationSec: this.#elapsedSec() }));
    hangUp(this.#session);
  }

  async setMuted(muted) {
    await this.#control(async (session) => {
      await (muted ? session.mute() : session.unmute());
      this.#patch({ muted });
    });
  }

  async chooseMicrophone(deviceId) {
    await this.#control(async (session) => {
      await session.setMicrophone(deviceId);
      this.#patch({ microphone: deviceId, notice: null });
    });
  }

  /** Must be called from a click: that is what the browser is waiting for. */
  async resumeAudio() {
    await this.#control(async (session) => {
      await session.resumeAudio();
      this.#patch({ soundBlocked: false });
    });
  }

  async #attempt(run) {
    const attempt = { run, reused: this.#takeKept(), grant: null, permission: null };
    this.#abort = new AbortController();
    this.#soundBlocked = this.#lost = false;
    this.#set({ name: "preparing" });
    try {
      [attempt.grant, attempt.permission] = await Promise.all([
        attempt.reused ?? this.#mint({ signal: this.#abort.signal }),
        microphonePermission(),
      ]);
      if (run !== this.#run) return;
      this.#session = this.#sdk.AthosRoleplay.create({
        ...this.#choice,
        token: attempt.grant.token,
        ...(this.#apiBase ? { apiBase: this.#apiBase } : {}),
      });
      this.#listen(this.#session, attempt);
      await this.#session.connect();
    } catch (error) {
      this.#fail(error, attempt);
    }
  }

  #listen(session, attempt) {
    const { run, permission } = attempt;
    const on = (event, react) => session.on(event, (detail) => run === this.#run && react(detail ?? {}));

    on("connecting", () => {
      this.#set({ name: permission?.state === "granted" ? "connecting" : "microphone" });
      const answered = () => {
        if (this.state.name === "microphone" && permission.state === "granted") this.#set({ name: "connecting" });
      };
      permission?.addEventListener("change", answered, { signal: this.#abort.signal });
    });
    on("ready", ({ persona }) => {
      this.#set({
        name: "live",
        persona: persona ?? { name: "Customer" },
        since: performance.now(),
        speaker: null,
        muted: false,
        reconnecting: false,
        soundBlocked: this.#soundBlocked,
        notice: null,
        ending: false,
        microphones: [],
        microphone: null,
      });
      this.#refreshMicrophones();
    });
    on("personaSpeaking", ({ speaking }) => this.#speaking("persona", speaking));
    on("userSpeaking", ({ speaking }) => this.#speaking("rep", speaking));
    on("reconnecting", () => this.#patch({ reconnecting: true }));
    on("reconnected", () => this.#patch({ reconnecting: false }));
    on("ended", (detail) => this.#finish(detail));
    on("error", (error) => this.#hear(error, attempt));
  }

  /** Some errors are the end of the call, some are something to do while it goes on. */
  #hear(error, attempt) {
    const { name } = this.state;
    if (error.code === "AUDIO_PLAYBACK_BLOCKED") {
      this.#soundBlocked = true;
      this.#patch({ soundBlocked: true });
    } else if (name === "ended") {
      if (error.code === "NETWORK_LOST") this.#set({ ...this.state, lost: true });
    } else if (name !== "live") {
      this.#fail(error, attempt);
    } else if (error.code === "NETWORK_LOST") {
      this.#lost = true;
      this.#expectEnd(() => this.#fail(error, attempt));
    } else {
      this.#patch({ notice: explain(error) });
      if (error.code === "MIC_DEVICE_DISCONNECTED") this.#refreshMicrophones();
    }
  }

  #fail(error, { run, reused, grant }) {
    if (run !== this.#run) return;
    const session = this.#session;
    this.#close();
    if (MICROPHONE_CODES.has(error?.code) && grant && !reused) this.#kept = grant;
    if (reused && TOKEN_CODES.has(error?.code)) {
      // The kept token was spent or had run out after all: a new one, without bothering the rep.
      this.#attempt(++this.#run);
      return;
    }
    this.#set({ name: "failed", problem: explain(error) });
    hangUp(session);
  }

  #finish({ callId, durationSec }) {
    clearTimeout(this.#endTimer);
    if (this.state.name === "ended") return;
    this.#session = null;
    this.#set({ name: "ended", callId: callId ?? null, durationSec, lost: this.#lost });
  }

  #takeKept() {
    const kept = this.#kept;
    this.#kept = null;
    return kept && Date.parse(kept.expiresAt) > Date.now() ? kept : null;
  }

  async #refreshMicrophones() {
    await this.#control(async (session) => {
      const microphones = await session.listMicrophones();
      this.#patch({ microphones: microphones ?? [] });
    });
  }

  /** Controls of a live call: a failure is a notice, never the end of the call. */
  async #control(act) {
    const run = this.#run;
    if (this.state.name !== "live" || !this.#session) return;
    try {
      await act(this.#session);
    } catch (error) {
      if (run === this.#run) this.#patch({ notice: explain(error) });
    }
  }

  #speaking(who, speaking) {
    if (speaking) this.#patch({ speaker: who });
    else if (this.state.speaker === who) this.#patch({ speaker: null });
  }

  #elapsedSec() {
    return (performance.now() - this.state.since) / 1000;
  }

  #expectEnd(otherwise) {
    const run = this.#run;
    clearTimeout(this.#endTimer);
    this.#endTimer = setTimeout(() => run === this.#run && this.state.name === "live" && otherwise(), ENDED_GRACE_MS);
  }

  #close() {
    this.#run++;
    clearTimeout(this.#endTimer);
    this.#abort?.abort();
    this.#session = null;
  }

  /** Changes details of a live call; before and after it there is nothing to change. */
  #patch(details) {
    if (this.state.name === "live") this.#set({ ...this.state, ...details });
  }

  #set(state) {
    const before = this.state;
    this.state = state;
    this.#onChange(state, before);
  }
}

/** The SDK's `disconnect` may be asynchronous and may fail; neither matters to someone hanging up. */
function hangUp(session) {
  try {
    session?.disconnect()?.catch?.(() => {});
  } catch {
    // Already gone.
  }
}

/** The live permission object where the browser has one; it tells "waiting for you" from "connecting". */
async function microphonePermission() {
  try {
    return await navigator.permissions.query({ name: "microphone" });
  } catch {
    return null;
  }
}
