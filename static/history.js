// The list of calls with its filters, a page at a time. Filters stay out of the address: it must not
// tell whose calls, or which, somebody was reading.

import { dayAndTime, duration, headline, percent, score as number } from "./format.js";
import { downloadButton } from "./download.js";
import { drillSelect } from "./drill-select.js";
import { explain } from "./errors.js";
import { fullName } from "./drills.js";
import { h } from "./dom.js";
import { PRACTICE, isReal } from "./source.js";

const PAGE = 20;
const DAY_MS = 86_400_000;

/** Returns `{element, reload()}`. `rep` narrows the list to one rep; `source()` says which calls to show. */
export function historyList({ api }, { rep, source }) {
  const rows = h("tbody", {});
  const note = h("p", { class: "quiet list-note", role: "status" }, "Loading…");
  const more = h("button", { type: "button", class: "button", hidden: true, onclick: () => load(true) }, "Show more");
  const drills = drillSelect();
  const form = filters(drills, () => load(false));
  const saved = h("p", { class: "quiet small list-note", role: "status" });
  const download = downloadButton("Download CSV", { fetchFile: () => api.callsFile({ ...query(), bom: true }), say: (text) => (saved.textContent = text) });
  let cursor = null;
  let latest = 0;

  function query() {
    const filters = chosen(form);
    if (source() !== PRACTICE) delete filters.drill; // Nothing is practised on a real call.
    return { rep, source: source(), ...filters };
  }

  async function load(next) {
    const asked = ++latest;
    try {
      drills.element.hidden = source() !== PRACTICE;
      const page = await api.calls({ ...query(), limit: PAGE, cursor: next ? cursor : null });
      if (asked !== latest) return; // A newer question is under way.
      const added = page.data.map(row);
      if (next) rows.append(...added);
      else rows.replaceChildren(...added);
      drills.offer(page.data.map(({ drillKey }) => drillKey));
      cursor = page.nextCursor;
      more.hidden = !cursor;
      note.textContent = rows.children.length ? "" : "No calls here.";
      if (next) added[0]?.querySelector("a").focus();
    } catch (error) {
      if (asked !== latest) return;
      const { title, text } = explain(error);
      note.textContent = `${title}. ${text}`;
    }
  }
  load(false);

  return {
    reload: () => load(false),
    element: h(
      "section",
      { class: "card history", "aria-labelledby": "history-title" },
      h("div", { class: "history-head" }, h("h2", { id: "history-title" }, "Calls"), form, download),
      saved,
      h(
        "table",
        { class: "calls" },
        h("caption", { class: "visually-hidden" }, "Calls, newest first"),
        h("thead", {}, h("tr", {}, ["When", "Drill", "Length", "Compliance", "Score"].map((name) => h("th", { scope: "col" }, name)))),
        rows,
      ),
      note,
      more,
    ),
  };
}

function row(call) {
  const when = dayAndTime(call.endedAt ?? call.startedAt ?? call.scoredAt);
  return h(
    "tr",
    {},
    h("td", { class: "calls-when" }, h("a", { href: `#/calls/${call.id}` }, when)),
    h("td", { class: "calls-drill" }, isReal(call) ? "Real call" : fullName(call.drillKey)),
    h("td", { class: "calls-length" }, duration(call.durationSec)),
    h("td", { class: "calls-compliance" }, percent(call.compliancePercent)),
    h("td", { class: "calls-score" }, outcome(call)),
  );
}

function outcome(call) {
  const { status } = call;
  const value = headline(call);
  if (status === "processing") return h("span", { class: "tag" }, "Scoring");
  if (status === "unscored") return h("span", { class: "tag" }, "Not scored");
  return value === null ? h("span", { class: "tag" }, "No headline score") : h("strong", {}, number(value));
}

function filters(drills, onChange) {
  const select = (name, label, options) =>
    h("label", {}, h("span", { class: "visually-hidden" }, label), h("select", { name, class: "field" }, options));
  const option = (value, label) => h("option", { value }, label);
  return h(
    "form",
    { class: "filters", onchange: onChange, onsubmit: (event) => event.preventDefault() },
    drills.element,
    select("status", "Status", [option("", "Any status"), option("scored", "Scored"), option("unscored", "Not scored"), option("processing", "Being scored")]),
    select("days", "Period", [option("", "Any time"), option("1", "Last 24 hours"), option("7", "Last 7 days"), option("30", "Last 30 days")]),
  );
}

function chosen(form) {
  const { drill, status, days } = Object.fromEntries(new FormData(form));
  return { drill, status, from: days ? new Date(Date.now() - Number(days) * DAY_MS).toISOString() : null };
}
