// A rep's practice calls, one after the other: which attempt owns the page, and the token that may be used once more.
// `attempt.js` is the call itself; `practice.js` draws the state that is reported here.

import { Attempt, IDLE } from "./attempt.js";

/**
 * What the page holds. One attempt at a call owns it at a time, and the page's state is that attempt's state: what an
 * earlier attempt still hears from its session has nothing to write to.
 *
 * States, by `name`: `idle`, `preparing` (minting), `microphone` (waiting for the rep's answer), `connecting`, `live`,
 * `ended`, `failed`. Each state is a fresh object; details sit beside the name.
 */
export class Call {
  #setup;
  #onChange;
  #choice = null;
  #attempt = null;
  #kept = null; // A token that a microphone failure left unspent: good for one more try.

  /** `mint({signal})` resolves to `{token, expiresAt}`; `onChange(state, before)` is called on each change. */
  constructor({ sdk, mint, apiBase = null, onChange }) {
    this.#setup = { sdk, mint, apiBase };
    this.#onChange = onChange;
  }

  get state() {
    return this.#attempt?.state ?? IDLE;
  }

  /** From the click on Start until the call has ended. */
  get active() {
    return ["preparing", "microphone", "connecting", "live"].includes(this.state.name);
  }

  /** `choice`: `{drillKey, difficulty?, filters?}`. Must be called from a click: it leads to a prompt. */
  async start(choice) {
    if (this.active) return;
    this.#choice = choice;
    await this.#begin();
  }

  /** The same call again. A token that is still unspent is used again, once. */
  retry() {
    return this.start(this.#choice);
  }

  /** Back to idle at once and without a word, whatever the SDK is waiting for. */
  cancel() {
    const before = this.state;
    this.#attempt?.close();
    this.#attempt = null;
    this.#onChange(this.state, before);
  }

  /** How the call came out is known: nothing its session may still say can change that. */
  conclude() {
    this.#attempt?.close();
  }

  /** End call. `ended` normally follows; should it not, the rep is not left waiting for it. */
  end() {
    this.#attempt?.end();
  }

  setMuted(muted) {
    return this.#attempt?.setMuted(muted);
  }

  chooseMicrophone(deviceId) {
    return this.#attempt?.chooseMicrophone(deviceId);
  }

  /** Must be called from a click: that is what the browser is waiting for. */
  resumeAudio() {
    return this.#attempt?.resumeAudio();
  }

  #begin() {
    this.#attempt?.close();
    this.#attempt = new Attempt({
      ...this.#setup,
      choice: this.#choice,
      kept: this.#takeKept(),
      keep: (grant) => (this.#kept = grant),
      renew: () => this.#begin(),
      onChange: this.#onChange,
    });
    return this.#attempt.run();
  }

  #takeKept() {
    const kept = this.#kept;
    this.#kept = null;
    return kept && Date.parse(kept.expiresAt) > Date.now() ? kept : null;
  }
}
