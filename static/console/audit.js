// The audit log: what people did by hand, by which person or key, newest first.

import { downloadButton } from "../download.js";
import { exactTime } from "../format.js";
import { explain } from "../errors.js";
import { h } from "../dom.js";

const PAGE = 50;
const DAY_MS = 86_400_000;
const COLUMNS = ["Done", "By", "What", "To what", "What came of it"];
const WORDS = {
  replay: "Replayed",
  replay_delivery: "Sent again",
  delete_rep: "Erased a rep",
  forward_calls: "Forwarded old calls",
  test_endpoint: "Tested an endpoint",
};

export function auditView({ api, fail }) {
  const rows = h("tbody", {});
  const note = h("p", { class: "quiet list-note", role: "status" }, "Loading…");
  const more = h("button", { type: "button", class: "button", hidden: true, onclick: () => load(true) }, "Show older");
  const who = h("input", { name: "who", class: "field", type: "search", placeholder: "Person or key", autocomplete: "off", spellcheck: "false", maxlength: 200 });
  const actions = [["", "Any action"], ...Object.entries(WORDS)];
  const action = h("select", { name: "action", class: "field" }, actions.map(([value, word]) => h("option", { value }, word)));
  const periods = [["", "Any time"], ["1", "Last 24 hours"], ["7", "Last 7 days"], ["30", "Last 30 days"]];
  const days = h("select", { name: "days", class: "field" }, periods.map(([value, word]) => h("option", { value }, word)));
  const saved = h("p", { class: "quiet small list-note", role: "status" });
  const download = downloadButton("Download", { fetchFile: () => api.auditFile(query()), say: (text) => (saved.textContent = text), fail });
  let cursor = null;
  let latest = 0;
  let left = false;

  function query() {
    const from = days.value ? new Date(Date.now() - Number(days.value) * DAY_MS).toISOString() : null;
    return { who: who.value.trim(), action: action.value, from };
  }

  async function load(next) {
    const asked = ++latest;
    try {
      const page = await api.audit({ ...query(), limit: PAGE, cursor: next ? cursor : null });
      if (left || asked !== latest) return;
      const added = page.data.map(row);
      if (next) rows.append(...added);
      else rows.replaceChildren(...added);
      cursor = page.nextCursor;
      more.hidden = !cursor;
      note.textContent = rows.children.length ? "" : "Nothing was done by hand here.";
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
        h("h1", { tabindex: "-1" }, "Audit log"),
        h("p", { class: "lead" }, "What people did by hand, by which person or key, newest first."),
      ),
      h(
        "section",
        { class: "card history", "aria-labelledby": "audit-title" },
        h(
          "div",
          { class: "history-head" },
          h("h2", { id: "audit-title" }, "Entries"),
          h(
            "form",
            { class: "filters", onchange: () => load(false), onsubmit: (event) => (event.preventDefault(), load(false)) },
            labelled("Person or key", who),
            labelled("Action", action),
            labelled("Period", days),
          ),
          download,
        ),
        saved,
        h(
          "table",
          { class: "tokens audit" },
          h("caption", { class: "visually-hidden" }, "Entries of the audit log, newest first"),
          h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name)))),
          rows,
        ),
        note,
        more,
      ),
    ),
  };
}

function row({ at, caller, rep, key, action, eventId, wasState, wasReason, subject, result }) {
  const by = { user: rep, service: key ? `the key ${key}` : "another backend", command: "somebody at the terminal" }[caller] ?? caller;
  const what = eventId === null ? subject : h("a", { href: `#/events/${eventId}` }, `Event ${eventId}`);
  const was = wasState ? `It was ${wasState}${wasReason ? `: ${wasReason}` : ""}.` : "";
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, exactTime(at)),
    h("td", { class: "code tokens-by" }, by),
    h("td", {}, WORDS[action] ?? action),
    h("td", { class: "code tokens-agency" }, what),
    h("td", { class: "quiet tokens-agency" }, was || told(result)),
  );
}

/** What came of it, in the words of the record. */
function told(result) {
  if (result === null) return "";
  const facts = Object.entries(result).filter(([, value]) => value !== 0 && value !== null);
  return facts.map(([name, value]) => `${name}: ${value}`).join(", ") || "Nothing.";
}
