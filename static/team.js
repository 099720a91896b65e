// A manager's view: the agency's reps side by side, for all drills or one, each row opening a rep.

import { day, score as number } from "./format.js";
import { explain } from "./errors.js";
import { downloadButton } from "./download.js";
import { drillSelect } from "./drill-select.js";
import { h } from "./dom.js";
import { PRACTICE, sourceSwitch } from "./source.js";
import { sparkline } from "./chart.js";
import { subscribe } from "./live.js";

export function teamView({ api, me, open }) {
  const rows = h("tbody", {});
  const note = h("p", { class: "quiet list-note", role: "status" }, "Loading…");
  const choice = drillSelect(() => draw());
  const calls = sourceSwitch(api, null, () => load());
  const saved = h("p", { class: "quiet small list-note", role: "status" });
  const download = downloadButton("Download calls as CSV", {
    fetchFile: () => api.callsFile({ source: calls.source, drill: choice.element.hidden ? null : choice.value, bom: true }),
    say: (text) => (saved.textContent = text),
  });
  let data = [];
  let latest = 0;

  async function load() {
    const [asked, source] = [++latest, calls.source];
    try {
      const answer = await api.progress({ source });
      if (asked !== latest) return; // Something else was chosen meanwhile.
      ({ data } = answer);
      choice.element.hidden = source !== PRACTICE; // Nothing is practised on a real call.
      choice.offer(data.map(({ drillKey }) => drillKey));
      draw();
    } catch (error) {
      if (asked !== latest) return;
      const { title, text } = explain(error);
      note.textContent = `${title}. ${text}`;
    }
  }

  function draw() {
    const ofDrill = ({ drillKey }) => choice.element.hidden || !choice.value || drillKey === choice.value;
    const reps = byRep(data.filter(ofDrill));
    rows.replaceChildren(...reps.map((rep) => row(rep, open, calls.source)));
    note.textContent = reps.length ? "" : "No scored calls yet.";
  }
  load();

  const live = subscribe(api, (event) => {
    if (!event || event.status === "processing") return;
    calls.look();
    load();
  });

  return {
    element: h(
      "div",
      { class: "view" },
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Your team"),
        h("p", { class: "lead" }, me.role === "admin" ? "Every rep with a scored call." : "Every rep of your agency with a scored call."),
      ),
      calls.element,
      h(
        "section",
        { class: "card history", "aria-labelledby": "team-title" },
        h("div", { class: "history-head" }, h("h2", { id: "team-title" }, "Reps"), choice.element, download),
        saved,
        h(
          "table",
          { class: "reps" },
          h("caption", { class: "visually-hidden" }, "Reps and their scores, best average first"),
          h("thead", {}, h("tr", {}, ["Rep", "Trend", "Last", "Best", "Average", "Calls", "Latest call"].map((name) => h("th", { scope: "col" }, name)))),
          rows,
        ),
        note,
      ),
    ),
    leave: () => live.close(),
  };
}

/** Progress comes per rep and drill; a row is a rep. */
function byRep(data) {
  const reps = new Map();
  for (const { rep, count, mean, best, points } of data) {
    const one = reps.get(rep) ?? { rep, count: 0, total: 0, best: NaN, points: [] };
    one.count += count;
    one.total += (mean ?? 0) * count;
    if (Number.isFinite(best)) one.best = Number.isFinite(one.best) ? Math.max(one.best, best) : best;
    one.points.push(...points);
    reps.set(rep, one);
  }
  return [...reps.values()]
    .map((one) => ({ ...one, mean: one.total / one.count, points: one.points.sort((a, b) => String(a.endedAt).localeCompare(String(b.endedAt))) }))
    .sort((a, b) => (b.mean || 0) - (a.mean || 0)); // Without any score, there is no mean.
}

function row({ rep, count, mean, best, points }, open, source) {
  const latest = points.at(-1);
  const openRep = (event) => {
    event.preventDefault();
    open("#/team/rep", { rep, source });
  };
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, h("a", { href: "#/team/rep", onclick: openRep }, rep ?? "Unknown rep")),
    h("td", { class: "reps-trend" }, sparkline(points.slice(-20).map(({ score }) => score))),
    h("td", { "data-name": "Last" }, number(latest?.score)),
    h("td", { "data-name": "Best" }, number(best)),
    h("td", { "data-name": "Average" }, h("strong", {}, number(mean))),
    h("td", { "data-name": "Calls" }, count),
    h("td", { class: "quiet", "data-name": "Latest" }, day(latest?.endedAt)),
  );
}
