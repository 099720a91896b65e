// What is on the screen from the click on Start to the end of the call: one panel per state. A panel
// is built once when its state begins; the live panel is then updated in place.

import { describe } from "./generic.js";
import { duration, spokenDuration } from "./format.js";
import { h, icon } from "./dom.js";

/** Minting, waiting for the microphone, connecting: what is happening, and a way out that works at once. */
export function waiting({ title, text, busy, onCancel }) {
  return h(
    "section",
    { class: "card stage" },
    h(
      "div",
      { class: "stage-middle" },
      h("div", { class: busy ? "disc busy" : "disc asking", "aria-hidden": "true" }, icon(busy ? "phone" : "mic")),
      h("h2", { tabindex: "-1" }, title),
      h("p", { class: "quiet" }, text),
    ),
    h("div", { class: "stage-foot" }, h("button", { type: "button", class: "button", onclick: onCancel }, "Cancel")),
  );
}

/** A failure in words, with its one next step. */
export function failure({ problem, actions }) {
  return h(
    "section",
    { class: "card stage" },
    h(
      "div",
      { class: "stage-middle" },
      h("div", { class: "disc failed", "aria-hidden": "true" }, icon("warning")),
      h("h2", { tabindex: "-1" }, problem.title),
      h("p", { class: "stage-text" }, problem.text),
      h(
        "p",
        { class: "quiet small code" },
        `Code ${problem.code}`,
        problem.requestId ? ` · request ${problem.requestId}` : null,
      ),
    ),
    h("div", { class: "stage-foot" }, actions),
  );
}

/**
 * The call has ended; its score is on its way, or will not be shown here. `again` is the button for another call. Returns
 * `{element, update(state), say(text)}`.
 */
export function ended(state, { scoring, again }) {
  const progress = h("p", { class: "quiet stage-progress" }, scoring ? "This usually takes a minute or two." : "");
  const words = h("span");
  const element = h(
    "section",
    { class: "card stage" },
    h(
      "div",
      { class: "stage-middle" },
      h("div", { class: scoring ? "disc busy" : "disc done", "aria-hidden": "true" }, icon(scoring ? "spark" : "check")),
      h("h2", { tabindex: "-1" }, scoring ? "Scoring your call" : "Call ended"),
      h("p", {}, words, h("strong", {}, duration(state.durationSec)), "."),
      progress,
    ),
    h("div", { class: "stage-foot" }, again),
  );
  const update = ({ lost }) => {
    words.textContent = lost ? "The connection was lost and the call ended after " : "Your call lasted ";
    again.textContent = lost ? "Start a new call" : "Practise again";
  };
  update(state);
  return { element, update, say: (text) => (progress.textContent = text) };
}

/**
 * The call itself. `actions`: `mute(muted)`, `microphone(id)`, `sound()`, `end()`; `signal` ends its timer. Returns
 * `{element, update(state)}`.
 */
export function live(state, { setup, actions, signal }) {
  const { name } = state.persona;
  const disc = h("div", { class: "disc persona", "aria-hidden": "true" }, initials(name));
  const speaking = h("p", { class: "speaking" });
  const timer = h("p", { class: "timer", role: "timer", "aria-label": "Time on the call" }, "0:00");
  const slot = h("div", { class: "stage-slot" });
  const muteLabel = h("span", {}, "Mute");
  const muteIcon = h("span", { class: "icon-slot" }, icon("mic"));
  const mute = h(
    "button",
    { type: "button", class: "button", "aria-pressed": "false", onclick: () => actions.mute(mute.getAttribute("aria-pressed") !== "true") },
    muteIcon,
    muteLabel,
  );
  const microphones = h("select", {
    class: "field",
    "aria-label": "Microphone",
    onchange: () => actions.microphone(microphones.value),
  });
  const endLabel = h("span", {}, "End call");
  const end = h("button", { type: "button", class: "button danger", onclick: actions.end }, icon("hangup"), endLabel);

  const element = h(
    "section",
    { class: "card stage live" },
    slot,
    h(
      "div",
      { class: "stage-middle" },
      disc,
      h("h2", { tabindex: "-1" }, name),
      speaking,
      timer,
      setup ? h("p", { class: "callout" }, h("strong", {}, "Where you are: "), setup) : null,
    ),
    details(state.persona.details),
    h("div", { class: "stage-foot controls" }, mute, h("div", { class: "mic-choice" }, microphones), end),
  );

  let drawn = {};
  function update(next) {
    const changed = (...names) => names.some((key) => drawn[key] !== next[key]);
    if (changed("speaker", "muted")) {
      element.dataset.speaker = next.speaker ?? "nobody";
      speaking.textContent = speakingWords(name, next);
    }
    if (changed("muted")) {
      mute.setAttribute("aria-pressed", String(next.muted));
      muteIcon.replaceChildren(icon(next.muted ? "muted" : "mic"));
      muteLabel.textContent = next.muted ? "Unmute" : "Mute";
    }
    if (changed("microphones", "microphone")) fillMicrophones(microphones, next);
    if (changed("reconnecting", "soundBlocked", "notice")) fillSlot(slot, next, actions);
    if (changed("ending")) endLabel.textContent = next.ending ? "Ending…" : "End call";
    drawn = next;
  }

  const clock = setInterval(tick, 1000);
  signal.addEventListener("abort", () => clearInterval(clock), { once: true });
  function tick() {
    const seconds = (performance.now() - state.since) / 1000;
    timer.textContent = duration(seconds);
    timer.setAttribute("aria-label", `Time on the call: ${spokenDuration(seconds)}`);
  }
  tick();
  update(state);
  return { element, update };
}

function speakingWords(name, { speaker, muted }) {
  if (speaker === "persona") return `${name} is speaking`;
  if (muted) return "You are muted";
  return speaker === "rep" ? "You are speaking" : "Listening";
}

/** One thing at a time, the most urgent first, in a place that is kept free for it. */
function fillSlot(slot, state, actions) {
  slot.replaceChildren(...[banner(state, actions)].filter(Boolean));
}

function banner({ reconnecting, soundBlocked, notice }, actions) {
  const tell = ({ title, text }) => h("div", { class: "banner warn" }, h("span", {}, h("strong", {}, `${title}. `), text));
  if (notice?.code === "CALL_NOT_ENDED") return tell(notice);
  if (reconnecting) {
    return h("div", { class: "banner warn" }, h("span", { class: "pulse", "aria-hidden": "true" }), "Reconnecting… the call goes on if the network is back within 30 seconds.");
  }
  if (soundBlocked) {
    return h(
      "div",
      { class: "banner" },
      "Your browser is holding back the sound.",
      h("button", { type: "button", class: "button small", onclick: actions.sound }, icon("sound"), "Turn on sound"),
    );
  }
  return notice ? tell(notice) : null;
}

function fillMicrophones(select, { microphones, microphone }) {
  const options = microphones.map(({ deviceId, label }, index) =>
    h("option", { value: deviceId, selected: deviceId === microphone }, label || `Microphone ${index + 1}`),
  );
  select.replaceChildren(...(options.length ? options : [h("option", { value: "" }, "Microphone")]));
  select.disabled = options.length < 2;
}

/** The vendor does not say what the details look like: shown as they come, as text. */
function details(value) {
  if (value === null || value === undefined || value === "") return null;
  return h("aside", { class: "persona-details", "aria-label": "About the customer" }, h("div", {}, describe(value)));
}

function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  return [words[0], words.length > 1 ? words.at(-1) : ""].map((word) => [...(word ?? "")][0] ?? "").join("").toUpperCase();
}
