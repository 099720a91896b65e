// Practice and real calls are judged on different scales and are never mixed: a list shows the one or the other. Where
// there are no real calls, there is nothing to choose.

import { h } from "./dom.js";

export const PRACTICE = "roleplay";
export const REAL = "real_call";

export const isReal = ({ source }) => source === REAL;

/** `{element, source, look()}`; `onChange()` follows a choice. `rep` is whose real calls count, null for everybody's. */
export function sourceSwitch(api, rep, onChange) {
  // With the history entry, so that going back from a call leads to the list it was opened from.
  let source = history.state?.source ?? PRACTICE;
  const choose = (event) => {
    source = event.target.value;
    history.replaceState({ ...history.state, source }, "");
    onChange();
  };
  const choice = (value, label) =>
    h("label", {}, h("input", { type: "radio", name: "source", value, checked: value === source, onchange: choose }), h("span", {}, label));
  const element = h(
    "fieldset",
    { class: "segments sources", hidden: source === PRACTICE },
    h("legend", { class: "visually-hidden" }, "Which calls"),
    h("div", { class: "segments-row" }, choice(PRACTICE, "Practice"), choice(REAL, "Real calls")),
  );

  /** Looks whether there are any, until there are. */
  async function look() {
    if (!element.hidden) return;
    const { data } = await api.calls({ rep, source: REAL, limit: 1 }).catch(() => ({ data: [] }));
    if (data.length) element.hidden = false;
  }
  look();

  return {
    element,
    look,
    get source() {
      return source;
    },
  };
}
