// A filter by drill, offering the drills that have been seen: the vendor's keys are not ours to list.

import { fullName } from "./drills.js";
import { h } from "./dom.js";

/** `{element, value, offer(keys)}`; `onChange()` is called when another drill is chosen. */
export function drillSelect(onChange = null) {
  const select = h("select", { name: "drill", class: "field", onchange: onChange }, h("option", { value: "" }, "All drills"));
  return {
    element: h("label", {}, h("span", { class: "visually-hidden" }, "Drill"), select),
    get value() {
      return select.value;
    },
    offer(keys) {
      const offered = new Set([...select.options].map(({ value }) => value));
      for (const key of new Set(keys)) {
        if (key && !offered.has(key)) select.append(h("option", { value: key }, fullName(key)));
      }
    },
  };
}
