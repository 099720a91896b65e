// One attempt at a practice call as a state machine over the Athos SDK: mint, create, listen, connect, end. It holds no
// markup. It knows the SDK's documented surface and nothing else, so any build of the SDK will do.

import { MICROPHONE_CODES, explain, explainDuringCall } from "./errors.js";

/** After `NETWORK_LOST` or our own `disconnect()` the SDK says `ended`; this is how long we believe it will. */
const ENDED_GRACE_MS = 4000;

const HANG_UP_AGAIN_MS = 1000;

/** Codes that say this token is of no more use, so that a kept one is replaced without asking the rep. */
const TOKEN_CODES = new Set(["TOKEN_ALREADY_USED", "TOKEN_EXPIRED", "INVALID_TOKEN"]);

export const IDLE = Object.freeze({ name: "idle" });

/**
 * One attempt, with its token, its session and its state. Once it is closed its state stands still, and its session is
 * told to hang up: nobody pays for a call that nobody can end.
 */
export class Attempt {
  state = IDLE;
  #setup;
  #closed = new AbortController();
  #session = null;
  #grant = null;
  #endTimer = 0;
  #soundBlocked = false;
  #lost = false;

  constructor(setup) {
    this.#setup = setup;
  }

  async run() {
    const { sdk, mint, apiBase, choice, kept } = this.#setup;
    this.#set({ name: "preparing" });
    try {
      const [grant, permission] = await Promise.all([kept ?? mint({ signal: this.#closed.signal }), microphonePermission()]);
      if (this.#isClosed) return;
      this.#grant = grant;
      const session = sdk.AthosRoleplay.create({ ...choice, token: grant.token, ...(apiBase ? { apiBase } : {}) });
      this.#session = session;
      this.#listen(session, permission);
      await session.connect();
      if (this.#isClosed) hangUp(session);
    } catch (error) {
      this.#fail(error);
    }
  }

  close() {
    clearTimeout(this.#endTimer);
    this.#closed.abort();
    hangUp(this.#session);
  }

  end() {
    if (this.state.name !== "live" || this.state.ending) return;
    this.#patch({ ending: true });
    this.#expectEnd(() => this.#finish({ callId: null, durationSec: this.#elapsedSec() }));
    hangUp(this.#session, () => {
      clearTimeout(this.#endTimer);
      this.#patch({ ending: false, notice: explainDuringCall({ code: "CALL_NOT_ENDED" }) });
    });
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

  async resumeAudio() {
    await this.#control(async (session) => {
      await session.resumeAudio();
      this.#patch({ soundBlocked: false });
    });
  }

  #listen(session, permission) {
    const on = (event, react) => session.on(event, (detail) => this.#isClosed || react(detail ?? {}));

    on("connecting", () => {
      if (this.state.name !== "preparing") return;
      this.#set({ name: permission?.state === "granted" ? "connecting" : "microphone" });
      const answered = () => {
        if (this.state.name === "microphone" && permission.state === "granted") this.#set({ name: "connecting" });
      };
      permission?.addEventListener("change", answered, { signal: this.#closed.signal });
    });
    session.on("ready", (detail) => {
      // Given up, or over: whoever is on the line now, nobody here could end it.
      if (this.#isClosed || this.state.name === "ended") return hangUp(session);
      if (this.state.name !== "live") this.#answer(detail?.persona);
    });
    on("personaSpeaking", ({ speaking }) => this.#speaking("persona", speaking));
    on("userSpeaking", ({ speaking }) => this.#speaking("rep", speaking));
    on("reconnecting", () => this.#patch({ reconnecting: true }));
    on("reconnected", () => this.#patch({ reconnecting: false }));
    on("ended", (detail) => this.#finish(detail));
    on("error", (error) => this.#hear(error));
  }

  #answer(persona) {
    this.#set({
      name: "live",
      persona: { ...persona, name: (typeof persona?.name === "string" && persona.name) || "Customer" },
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
  }

  /** Some errors are the end of the call, some are something to do while it goes on. */
  #hear(error) {
    const { name, answered } = this.state;
    if (error.code === "AUDIO_PLAYBACK_BLOCKED") {
      this.#soundBlocked = true;
      this.#patch({ soundBlocked: true });
    } else if (name === "ended" && answered) {
      if (error.code === "NETWORK_LOST") this.#set({ ...this.state, lost: true });
    } else if (name !== "live") {
      this.#fail(error); // Also after an `ended` without a `ready`: joining failed, and this says why.
    } else if (error.code === "NETWORK_LOST") {
      this.#lost = true;
      this.#expectEnd(() => this.#fail(error));
    } else {
      this.#patch({ notice: explainDuringCall(error) });
      if (error.code === "MIC_DEVICE_DISCONNECTED") this.#refreshMicrophones();
    }
  }

  #fail(error) {
    if (this.#isClosed) return;
    const { kept, keep, renew } = this.#setup;
    const redeemed = ["live", "ended"].includes(this.state.name);
    // The kept token was spent or had run out after all: a new one, without bothering the rep.
    if (kept && !redeemed && TOKEN_CODES.has(error?.code)) return void renew();
    if (MICROPHONE_CODES.has(error?.code) && this.#grant && !kept && !redeemed) keep(this.#grant);
    this.#set({ name: "failed", problem: explain(error) });
    this.close();
  }

  #finish({ callId, durationSec }) {
    clearTimeout(this.#endTimer);
    if (this.state.name === "ended") return;
    const answered = this.state.name === "live";
    this.#set({ name: "ended", callId: callId ?? null, durationSec, lost: this.#lost, answered });
    // There is no way out of a live call without hanging up. One that never was live has yet to say what went wrong.
    if (answered) hangUp(this.#session);
  }

  async #refreshMicrophones() {
    await this.#control(async (session) => {
      const microphones = await session.listMicrophones();
      this.#patch({ microphones: microphones ?? [] });
    });
  }

  /** Controls of a live call: a failure is a notice, never the end of the call. */
  async #control(act) {
    if (this.state.name !== "live") return;
    try {
      await act(this.#session);
    } catch (error) {
      this.#patch({ notice: explainDuringCall(error) });
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
    clearTimeout(this.#endTimer);
    this.#endTimer = setTimeout(() => this.state.name === "live" && otherwise(), ENDED_GRACE_MS);
  }

  get #isClosed() {
    return this.#closed.signal.aborted;
  }

  /** Changes details of a live call; before and after it there is nothing to change. */
  #patch(details) {
    if (this.state.name === "live") this.#set({ ...this.state, ...details });
  }

  #set(state) {
    if (this.#isClosed) return;
    const before = this.state;
    this.state = state;
    this.#setup.onChange(state, before);
  }
}

/** `disconnect` may be asynchronous and may fail. Where nobody can press a button again, it is tried once more. */
function hangUp(session, onFailure = () => setTimeout(() => hangUp(session, () => {}), HANG_UP_AGAIN_MS)) {
  try {
    session?.disconnect()?.catch?.(onFailure);
  } catch (error) {
    onFailure(error);
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
