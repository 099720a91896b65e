// `<athos-practice>`: a whole practice call in one element, from the choice of a drill to the score.
// The page uses it, and so can any product: this file is all that has to be imported.
//
// Attributes (all optional)
//   drill            start with this drill and hide the choice
//   difficulty       Beginner, Advanced (default) or Elite
//   state            where the customer lives, for example CA
//   backend          where athos-backend is; default: where this file came from
//   token-endpoint   who mints; default: <backend>/athos/token
//   sdk-url          the Athos SDK; default: what the backend is configured with
//   api-base         the SDK's `apiBase`; default: what the backend is configured with
// Property
//   requestHeaders   async function adding headers (a bearer token) to each request to the backend
// Events (they bubble; `detail` in braces)
//   athos-state {state}   athos-ended {callId, durationSec}   athos-scored {call}
//   athos-error {code, message, requestId}
//   athos-sign-in    the rep must sign in again; call preventDefault() and do it, else the page reloads

import { Api } from "./api.js";
import { Call } from "./session.js";
import { LATE_AFTER_MS, awaitScore } from "./scoring.js";
import { configOf, loadSdk } from "./config.js";
import { drill } from "./drills.js";
import { ended, failure, live, waiting } from "./stage.js";
import { explain } from "./errors.js";
import { h } from "./dom.js";
import { picker } from "./picker.js";
import { renderCall, scoreSentence } from "./score.js";
import { spokenDuration } from "./format.js";

// The element is defined once its style is at hand, so that it never shows without it.
const sheet = new CSSStyleSheet();
const css = fetch(new URL("./style.css", import.meta.url)).then((answer) => answer.text());
sheet.replaceSync(await css.catch(() => ""));

const WAITING = {
  preparing: { title: "Preparing your call", text: "One moment.", busy: true },
  microphone: {
    title: "Waiting for your microphone",
    text: "Your browser is asking whether this page may use it. Choose Allow.",
    busy: false,
  },
  connecting: { title: "Connecting", text: "Your customer is about to pick up.", busy: true },
};

export class AthosPractice extends HTMLElement {
  /** See the head of this file. A host may have set it before this module was there to define the element. */
  requestHeaders = this.requestHeaders ?? null;

  #api;
  #call = null;
  #choice = null;
  #prepared = null;
  #sdkKeys = [];
  #obstacle = null;
  #picker = null;
  #panel = new AbortController(); // What was started for a panel (waiting, timers) ends with it.
  #update = null; // How the panel on show takes a change of detail; null if it takes none.
  #stage = h("div", { class: "stage-area" });
  #status = h("div", { class: "visually-hidden", role: "status" });
  #alert = h("div", { class: "visually-hidden", role: "alert" });

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    root.append(this.#status, this.#alert, this.#stage);
  }

  connectedCallback() {
    this.#api ??= new Api({
      base: this.getAttribute("backend") ?? new URL("..", import.meta.url),
      tokenEndpoint: this.getAttribute("token-endpoint"),
      headers: () => this.requestHeaders?.(),
    });
    this.#choice ??= {
      drillKey: this.getAttribute("drill") ?? "ma-full-sale",
      difficulty: this.getAttribute("difficulty") ?? "Advanced", // The SDK's default too, if it is none of the three.
      state: this.getAttribute("state") ?? "",
    };
    addEventListener("pagehide", this.#leave);
    this.#showPicker();
    this.#prepared ??= this.#prepare(); // Once: a second Call would not know the session of the first.
  }

  disconnectedCallback() {
    this.#call?.cancel();
    removeEventListener("pagehide", this.#leave);
  }

  /** Whether leaving now would end a call. */
  get active() {
    return this.#call?.active ?? false;
  }

  /** Ends the call under way, or gives up the one being started. */
  end() {
    if (this.#call?.state.name === "live") this.#call.end();
    else if (this.active) this.#call.cancel();
  }

  /** The SDK, loaded up front so that a browser it does not support is known before the first click. */
  async #prepare() {
    try {
      const named = this.getAttribute("sdk-url");
      const config = named ? {} : await configOf(this.#api);
      const sdk = await loadSdk(named ?? config.sdkUrl, named ? document.baseURI : this.#api.base);
      const support = sdk.detectBrowserSupport(navigator.userAgent);
      if (!support.supported) throw Object.assign(new Error(support.reason), { code: "BROWSER_NOT_SUPPORTED" });
      this.#sdkKeys = Object.values(sdk.ATHOS_DRILL_KEYS ?? {});
      this.#call = new Call({
        sdk,
        mint: (options) => this.#api.mint(options),
        apiBase: this.getAttribute("api-base") ?? config.apiBase ?? null,
        onChange: (state, before) => this.#show(state, before),
      });
    } catch (error) {
      this.#obstacle = explain(error);
      this.#tellHost(this.#obstacle);
    }
    this.#readyPicker();
  }

  #readyPicker() {
    if (this.#call) this.#picker.setReady(this.#sdkKeys);
    else if (this.#obstacle) this.#picker.setObstacle(this.#obstacle, this.#obstacle.step === null ? null : this.#reloadButton());
  }

  #start(choice) {
    this.#choice = choice;
    this.#call.start({
      drillKey: choice.drillKey,
      ...(choice.difficulty ? { difficulty: choice.difficulty } : {}),
      ...(choice.state ? { filters: { state: choice.state } } : {}),
    });
  }

  #show(state, before) {
    this.#guardLeaving();
    if (state.name === before.name) return this.#update?.(state, before);
    const show = {
      idle: () => this.#showPicker(),
      live: () => this.#showLive(state),
      ended: () => this.#showEnded(state),
      failed: () => this.#showFailure(state.problem),
    };
    (show[state.name] ?? (() => this.#showWaiting(state.name)))();
  }

  #showPicker() {
    const fixed = this.hasAttribute("drill");
    this.#picker = picker({ choice: this.#choice, fixed, onStart: (choice) => this.#start(choice) });
    this.#readyPicker();
    this.#replace("idle", () => this.#picker.element);
  }

  #showWaiting(name) {
    const words = WAITING[name];
    this.#replace(name, () => waiting({ ...words, onCancel: () => this.#call.cancel() }));
    this.#say(`${words.title}. ${words.text}`);
  }

  #showLive(state) {
    const actions = {
      mute: (muted) => this.#call.setMuted(muted),
      microphone: (id) => this.#call.chooseMicrophone(id),
      sound: () => this.#call.resumeAudio(),
      end: () => this.#call.end(),
    };
    this.#replace("live", (signal) => {
      const { element, update } = live(state, { setup: drill(this.#choice.drillKey).setup, actions, signal });
      this.#update = (next, before) => {
        this.#announceLive(next, before);
        update(next);
      };
      return element;
    });
    this.#say(`You are on a call with ${state.persona.name}.`);
  }

  #announceLive(state, before) {
    if (state.reconnecting !== before.reconnecting) this.#say(state.reconnecting ? "Connection lost. Reconnecting." : "The connection is back.");
    if (state.muted !== before.muted) this.#say(state.muted ? "You are muted." : "You can be heard again.");
    if (state.soundBlocked && !before.soundBlocked) this.#alarm("Your browser is holding back the sound. Press Turn on sound.");
    if (state.notice && state.notice !== before.notice) {
      this.#alarm(`${state.notice.title}. ${state.notice.text}`);
      this.#tellHost(state.notice);
    }
  }

  #showEnded(state) {
    const { callId, durationSec, lost } = state;
    this.#replace(callId ? "scoring" : "ended", (signal) => {
      const again = this.#button("", () => this.#reset(), callId ? "" : "primary");
      const { element, update, say } = ended(state, { scoring: Boolean(callId), again });
      this.#update = (next) => {
        update(next);
        if (next.lost) this.#tellHost(explain({ code: "NETWORK_LOST" }));
      };
      if (callId) this.#awaitScore(callId, { signal, say });
      else say("Its score will appear in your progress.");
      return element;
    });
    this.#say(`The call has ended after ${spokenDuration(durationSec)}.${callId ? " It is being scored." : ""}`);
    this.#emit("athos-ended", { callId, durationSec });
    if (lost) this.#tellHost(explain({ code: "NETWORK_LOST" }));
  }

  #awaitScore(callId, { signal, say }) {
    const late = () => say("This is taking longer than usual. You can leave: the score will be in your progress.");
    after(LATE_AFTER_MS, late, signal);
    awaitScore(this.#api, callId, {
      signal,
      onCall: (call) => {
        this.#call.conclude();
        this.#showScore(call);
      },
      onProblem: (error) => {
        this.#call.conclude();
        this.#showFailure(explain(error));
      },
    });
  }

  #showScore(call) {
    const again = h("div", { class: "after" }, this.#button("Practise again", () => this.#reset(), "primary"));
    this.#replace(call.status, () => h("div", {}, renderCall(call, { api: this.#api, self: true }), again));
    this.#say(scoreSentence(call));
    this.#emit("athos-scored", { call });
  }

  #showFailure(problem) {
    this.#tellHost(problem);
    this.#replace("failed", (signal) => failure({ problem, actions: this.#steps(problem, signal) }));
    this.#alarm(`${problem.title}. ${problem.text}`);
  }

  /** The one next step that helps, and a way back. */
  #steps({ step, retryAfterSec }, signal) {
    const back = this.#button("Back to the drills", () => this.#reset());
    const again = (label) => this.#button(label, () => this.#call.retry(), "primary");
    const steps = {
      retry: () => [again("Try again"), back],
      restart: () => [again("Start again"), back],
      wait: () => [countdown(again("Try again"), retryAfterSec ?? 3, signal), back],
      choose: () => [this.#button("Choose a drill", () => this.#reset(), "primary")],
      reload: () => [this.#reloadButton()],
      "sign-in": () => [this.#button("Sign in", () => this.#signIn(), "primary")],
    };
    return (steps[step] ?? (() => [back]))();
  }

  #reset() {
    this.#call.cancel();
  }

  #signIn() {
    if (this.#emit("athos-sign-in", {})) location.reload();
  }

  #reloadButton() {
    return this.#button("Reload the page", () => location.reload(), "primary");
  }

  #button(label, onclick, kind = "") {
    return h("button", { type: "button", class: `button ${kind}`, onclick }, label);
  }

  /**
   * Swaps the panel for what `build(signal)` makes. The signal is the panel's life: whatever waits on its behalf stops
   * when another panel takes its place. Focus goes along to the new panel's heading if it was inside the old one.
   */
  #replace(name, build) {
    const hadFocus = this.shadowRoot.activeElement !== null;
    this.#panel.abort();
    this.#panel = new AbortController();
    this.#update = null;
    this.dataset.state = name;
    const panel = build(this.#panel.signal);
    this.#stage.replaceChildren(panel);
    if (hadFocus) (panel.querySelector("h2[tabindex]") ?? panel.querySelector("input:checked, button"))?.focus();
    this.#emit("athos-state", { state: name });
  }

  /** What is no longer so must not stay readable: one announcement at a time. */
  #say(text) {
    this.#status.textContent = text;
    this.#alert.textContent = "";
  }

  #alarm(text) {
    this.#alert.textContent = text;
    this.#status.textContent = "";
  }

  #tellHost({ code, title, requestId }) {
    this.#emit("athos-error", { code, message: title, requestId });
  }

  #emit(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true, cancelable: type === "athos-sign-in" }));
  }

  /** Only while a call is on: a standing `beforeunload` would keep the page out of the back-forward cache. */
  #guardLeaving() {
    const change = this.active ? addEventListener : removeEventListener;
    change("beforeunload", askBeforeLeaving);
  }

  /** Going away, whatever the reason, hangs up: nobody pays for a call that nobody is on. */
  #leave = () => {
    if (this.active) this.#call.cancel();
  };
}

function askBeforeLeaving(event) {
  event.preventDefault();
}

/** `setTimeout` for as long as the signal is not aborted. */
function after(ms, act, signal) {
  if (signal.aborted) return;
  const timer = setTimeout(act, ms);
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
}

function countdown(button, seconds, signal) {
  const label = button.textContent;
  const ready = performance.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((ready - performance.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `${label} in ${left} s` : label;
    if (left > 0) after(250, tick, signal);
  };
  tick();
  return button;
}

customElements.define("athos-practice", AthosPractice);
