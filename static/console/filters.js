// The filters of a list. They are part of the address, after the `#`, which no server sees: going back leads to the
// same list, and a figure can be a link to what it counts.

import { h } from "../dom.js";

const AGE = [
  "Age",
  [["", "Any age"], ["<1", "Last hour"], ["<24", "Last 24 hours"], ["<168", "Last 7 days"], [">1", "Older than an hour"], [">24", "Older than a day"]],
];
/** The filters of the inbox. */
export const EVENTS = {
  home: "#/",
  label: "Events",
  choices: {
    state: ["State", [["", "Any state"], ["pending", "Pending"], ["processing", "Processing"], ["done", "Done"], ["ignored", "Ignored"], ["dead", "Dead"]]],
    verdict: ["Verdict", [["", "Any verdict"], ["accepted", "Accepted"], ["ignored", "Not understood"]]],
    origin: ["Origin", [["", "Any origin"], ["webhook", "By webhook"], ["reconcile", "Webhook lost"]]],
    age: AGE,
  },
  texts: { call: "Call id" },
};
/** The filters of the outbox. */
export const DELIVERIES = {
  home: "#/forwarding",
  label: "Messages",
  choices: {
    state: ["State", [["", "Any state"], ["waiting", "Waiting"], ["sending", "Sending"], ["delivered", "Delivered"], ["failed", "Failed"], ["superseded", "Superseded"]]],
    type: ["Type", ["", "call.scored", "call.unscored", "call.updated", "event.dead", "audit.recorded"].map((type) => [type, type || "Any type"])],
    age: AGE,
  },
  texts: { endpoint: "Endpoint's number", call: "Call id" },
};
const HOUR_MS = 3_600_000;

/** `{element, query()}`; `query()` is what the API takes. `onChange` follows every change. */
export function filters({ home, label, choices, texts }, search, onChange) {
  const given = new URLSearchParams(search);
  const select = ([name, [label, options]]) =>
    h(
      "label",
      {},
      h("span", { class: "visually-hidden" }, label),
      h("select", { name, class: "field" }, options.map(([value, word]) => h("option", { value, selected: given.get(name) === value }, word))),
    );
  const text = ([name, label]) =>
    h(
      "label",
      {},
      h("span", { class: "visually-hidden" }, label),
      h("input", { name, class: "field", type: "search", value: given.get(name), placeholder: label, autocomplete: "off", spellcheck: "false", maxlength: 200 }),
    );
  const change = () => {
    history.replaceState(null, "", address(home, chosen(element)));
    onChange();
  };
  const element = h(
    "form",
    {
      class: "filters",
      role: "search",
      "aria-label": label,
      onchange: change,
      onsubmit: (event) => (event.preventDefault(), change()),
    },
    Object.entries(choices).map(select),
    Object.entries(texts).map(text),
  );
  return {
    element,
    query() {
      const { age, ...rest } = chosen(element);
      const edge = age ? new Date(Date.now() - Number(age.slice(1)) * HOUR_MS).toISOString() : null;
      return { ...rest, from: age?.startsWith("<") ? edge : null, to: age?.startsWith(">") ? edge : null };
    },
  };
}

function chosen(form) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value));
}

function address(home, given) {
  const query = new URLSearchParams(given).toString();
  return query ? `${home}?${query}` : home;
}
