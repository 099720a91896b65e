// What the vendor does not document, or may add: shown as it comes, as text, with its own keys for names.

import { h } from "./dom.js";
import { humanise } from "./format.js";

/** Deeper than this, it is shown as JSON. */
const DEEPEST = 2;

export function describe(value, depth = 0) {
  if (Array.isArray(value)) return h("ul", {}, value.map((item) => h("li", {}, describe(item, depth + 1))));
  if (typeof value === "object" && value !== null) {
    if (depth > DEEPEST) return JSON.stringify(value);
    return h(
      "dl",
      {},
      Object.entries(value)
        .filter(([, item]) => item !== null && item !== "")
        .map(([key, item]) => h("div", {}, h("dt", {}, humanise(key)), h("dd", {}, describe(item, depth + 1)))),
    );
  }
  if (typeof value === "boolean") return value ? "Yes" : "No";
  return String(value);
}

/** The members of `object` that are not among `known` and say something, or null. */
export function others(object, known) {
  const rest = Object.entries(object ?? {}).filter(([key, value]) => !known.includes(key) && value !== null && value !== "");
  return rest.length ? Object.fromEntries(rest) : null;
}
