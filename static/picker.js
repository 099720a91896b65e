// The choice before a call: drill, difficulty, where the persona lives. Keeps the choice between calls
// and returns it on submit; it starts nothing itself.

import { DIFFICULTIES, LINES, STATES, catalogue, drill } from "./drills.js";
import { h, icon } from "./dom.js";

const OTHER = "";

/**
 * `choice`: `{drillKey, difficulty, state}` to begin with; `fixed`: the host has decided on the drill.
 * Nothing can be started before `setReady`. Returns `{element, setReady(sdkKeys), setObstacle(problem, action)}`.
 */
export function picker({ choice, fixed, onStart }) {
  const name = h("h2", { class: "picker-name" });
  const about = h("p", { class: "quiet picker-about" });
  const setup = h("p", { class: "callout small" });
  const otherKey = h("input", {
    type: "text",
    name: "other",
    id: "other",
    class: "field",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    placeholder: "for example ma-retention",
    "aria-describedby": "other-help",
  });
  const other = h(
    "div",
    { class: "other", hidden: true },
    h("label", { for: "other" }, "Drill key"),
    otherKey,
    h("p", { id: "other-help", class: "quiet small" }, "The key of a drill that is not listed yet."),
  );
  const drills = h("div", { class: "drills", hidden: fixed });
  const foot = h("div", { class: "picker-foot" });
  const button = h("button", { type: "submit", class: "button primary wide", disabled: true }, icon("phone"), "Start call");
  const hint = h("p", { class: "quiet small" }, "Your browser will ask for the microphone. Nothing starts before you say yes.");

  const element = h(
    "form",
    {
      class: fixed ? "picker fixed" : "picker",
      novalidate: true,
      onsubmit: (event) => {
        event.preventDefault();
        if (selected() === OTHER && !otherKey.value.trim()) return otherKey.focus();
        onStart(read());
      },
      oninput: (event) => {
        show();
        if (event.target.name === "drill" && event.target.value === OTHER) otherKey.focus();
      },
    },
    drills,
    h(
      "section",
      { class: "card picker-panel", "aria-label": "Your call" },
      h("div", { class: "picker-what" }, name, about, other, setup),
      options(choice),
      foot,
    ),
  );
  foot.append(button, hint);

  const selected = () => (fixed ? choice.drillKey : new FormData(element).get("drill"));

  function read() {
    const form = new FormData(element);
    const key = selected() === OTHER ? otherKey.value.trim() : selected();
    return { drillKey: key, difficulty: form.get("difficulty"), state: form.get("state") };
  }

  function show() {
    const isOther = selected() === OTHER;
    const chosen = isOther ? { name: "Another drill", about: "Athos adds drills now and then." } : drill(selected());
    name.textContent = chosen.line ? `${chosen.line}: ${chosen.name}` : chosen.name;
    about.textContent = chosen.about ?? "";
    other.hidden = !isOther;
    setup.hidden = !chosen.line; // Where a drill that we do not know starts, we cannot say.
    setup.replaceChildren(
      h("strong", {}, chosen.setup ? "Starts mid-call. " : "Starts at the beginning. "),
      chosen.setup ?? "Your customer picks up, and you open the call.",
    );
  }

  function fillDrills(sdkKeys) {
    const wanted = drills.hasChildNodes() ? selected() : choice.drillKey;
    const groups = catalogue(sdkKeys);
    const known = groups.some(({ drills }) => drills.some(({ key }) => key === wanted));
    drills.replaceChildren(
      ...groups.map(({ line, drills }) => group(line, drills, wanted)),
      group("Not listed", [{ key: OTHER, name: "Another drill…" }], known ? null : OTHER),
    );
    if (!known && wanted) otherKey.value = wanted;
    show();
  }

  fillDrills([]);
  return {
    element,
    setReady(sdkKeys) {
      button.disabled = false;
      // Drawn anew only for drills not on show: the rep may be choosing right now.
      if (catalogue(sdkKeys) !== LINES) fillDrills(sdkKeys);
    },
    /** The browser or the network stands in the way: say so where the button was. */
    setObstacle(problem, action) {
      foot.replaceChildren(
        h(
          "div",
          { class: "callout warn" },
          h("strong", {}, problem.title),
          h("p", {}, problem.text),
          action,
          problem.operator ? h("p", { class: "small operator" }, h("strong", {}, "For whoever runs this service: "), problem.operator) : null,
        ),
      );
    },
  };
}

function group(line, drills, wanted) {
  return h(
    "div",
    { class: "line", role: "group", "aria-label": line },
    h("p", { class: "line-name", "aria-hidden": "true" }, line),
    h(
      "div",
      { class: "chips" },
      drills.map(({ key, name, setup }) =>
        h(
          "label",
          { class: "chip" },
          h("input", { type: "radio", name: "drill", value: key, checked: key === wanted }),
          h("span", {}, name, setup ? h("span", { class: "tag" }, "mid-call") : null),
        ),
      ),
    ),
  );
}

function options({ difficulty, state }) {
  return h(
    "div",
    { class: "picker-options" },
    h(
      "fieldset",
      { class: "segments" },
      h("legend", {}, "Difficulty"),
      h(
        "div",
        { class: "segments-row" },
        DIFFICULTIES.map((level) =>
          h(
            "label",
            {},
            h("input", { type: "radio", name: "difficulty", value: level, checked: level === difficulty }),
            h("span", {}, level),
          ),
        ),
      ),
    ),
    h("label", { for: "state" }, "Customer lives in"),
    h(
      "select",
      { id: "state", name: "state", class: "field" },
      h("option", { value: "" }, "Any state"),
      STATES.map((code) => h("option", { value: code, selected: code === state }, code)),
    ),
  );
}
