// The filters of the inbox. They are part of the address, after the `#`, which no server sees: going back leads to the
// same list, and a figure can be a link to what it counts.

import { h } from "../dom.js";

const CHOICES = {
  state: ["State", [["", "Any state"], ["pending", "Pending"], ["processing", "Processing"], ["done", "Done"], ["ignored", "Ignored"], ["dead", "Dead"]]],
  verdict: ["Verdict", [["", "Any verdict"], ["accepted", "Accepted"], ["ignored", "Not understood"]]],
  origin: ["Origin", [["", "Any origin"], ["webhook", "By webhook"], ["reconcile", "Webhook lost"]]],
  age: [
    "Age",
    [["", "Any age"], ["<1", "Last hour"], ["<24", "Last 24 hours"], ["<168", "Last 7 days"], [">1", "Older than an hour"], [">24", "Older than a day"]],
  ],
};
const HOUR_MS = 3_600_000;

/** `{element, query()}`; `query()` is what the API takes. `onChange` follows every change. */
export function filters(search, onChange) {
  const given = new URLSearchParams(search);
  const select = ([name, [label, options]]) =>
    h(
      "label",
      {},
      h("span", { class: "visually-hidden" }, label),
      h("select", { name, class: "field" }, options.map(([value, word]) => h("option", { value, selected: given.get(name) === value }, word))),
    );
  const call = h("input", { name: "call", class: "field", type: "search", value: given.get("call"), placeholder: "Call id", autocomplete: "off", spellcheck: "false", maxlength: 200 });
  const change = () => {
    history.replaceState(null, "", address(chosen(element)));
    onChange();
  };
  const element = h(
    "form",
    {
      class: "filters",
      role: "search",
      "aria-label": "Events",
      onchange: change,
      onsubmit: (event) => (event.preventDefault(), change()),
    },
    Object.entries(CHOICES).map(select),
    h("label", {}, h("span", { class: "visually-hidden" }, "Call id"), call),
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

function address(given) {
  const query = new URLSearchParams(given).toString();
  return query ? `#/?${query}` : "#/";
}
