// The session tokens that were asked for, and whether the rep has a call of that time: one without never began its
// call, or the call never reached us.

import { exactTime } from "../format.js";
import { explain } from "../errors.js";
import { h } from "../dom.js";

const PAGE = 50;
const COLUMNS = ["Asked for", "Rep", "Agency", "By", "What came of it"];

export function tokensView({ api, fail }) {
  const rows = h("tbody", {});
  const note = h("p", { class: "quiet list-note", role: "status" }, "Loading…");
  const more = h("button", { type: "button", class: "button", hidden: true, onclick: () => load(true) }, "Show older");
  const which = h("select", { name: "which", class: "field" }, h("option", { value: "without" }, "Without a call"), h("option", { value: "" }, "All"));
  const rep = h("input", { name: "rep", class: "field", type: "search", placeholder: "Rep's id", autocomplete: "off", spellcheck: "false", maxlength: 200 });
  let cursor = null;
  let latest = 0;
  let left = false;

  async function load(next) {
    const asked = ++latest;
    try {
      const page = await api.mints({ limit: PAGE, cursor: next ? cursor : null, rep: rep.value.trim(), withoutCall: which.value ? "true" : null });
      if (left || asked !== latest) return;
      const added = page.data.map(row);
      if (next) rows.append(...added);
      else rows.replaceChildren(...added);
      cursor = page.nextCursor;
      more.hidden = !cursor;
      note.textContent = rows.children.length ? "" : which.value ? "Every token older than three hours has a call." : "No tokens here.";
    } catch (error) {
      if (left || asked !== latest || fail(error)) return;
      note.textContent = `${explain(error).title}. ${explain(error).text}`;
    }
  }
  load(false);

  const labelled = (label, control) => h("label", {}, h("span", { class: "visually-hidden" }, label), control);
  return {
    leave: () => (left = true),
    element: h(
      "div",
      { class: "view" },
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Session tokens"),
        h("p", { class: "lead" }, "Every token that was asked for. One without a call was not used, or its call never reached us; the tokens themselves are not kept."),
      ),
      h(
        "section",
        { class: "card history", "aria-labelledby": "tokens-title" },
        h(
          "div",
          { class: "history-head" },
          h("h2", { id: "tokens-title" }, "Tokens"),
          h(
            "form",
            { class: "filters", onchange: () => load(false), onsubmit: (event) => (event.preventDefault(), load(false)) },
            labelled("Which", which),
            labelled("Rep", rep),
          ),
        ),
        h(
          "table",
          { class: "tokens" },
          h("caption", { class: "visually-hidden" }, "Session tokens, newest first"),
          h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name)))),
          rows,
        ),
        note,
        more,
      ),
    ),
  };
}

function row(mint) {
  const [word, tone, text] = fate(mint);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, exactTime(mint.requestedAt)),
    h("td", { class: "code" }, mint.rep),
    h("td", { class: "tokens-agency code" }, mint.agency),
    h("td", { class: "tokens-by" }, mint.caller === "service" ? "Another backend" : "The rep"),
    h("td", {}, h("span", { class: "state", "data-band": tone }, word), text ? h("span", { class: "block quiet small" }, text) : null),
  );
}

/** A call lasts two hours at most. */
const LONGEST_CALL_MS = 7_200_000;

function fate({ outcome, hasCall, expiresAt, athosRequestId }) {
  if (outcome === null) return ["No answer on record", "fair", ""];
  if (outcome !== "minted") return [`Refused: ${outcome}`, "weak", athosRequestId ? `Athos request ${athosRequestId}` : ""];
  if (hasCall) return ["Call seen", "strong", ""];
  const over = Date.parse(expiresAt) + LONGEST_CALL_MS < Date.now();
  return over ? ["No call appeared", "fair", "Not used, or its call never reached us."] : ["No call yet", "good", "It may still be under way."];
}
