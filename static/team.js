// A manager's view: the agency's reps side by side, for all drills or one, each row opening a rep.

import { day, score as number } from "./format.js";
import { explain } from "./errors.js";
import { drillSelect } from "./drill-select.js";
import { h } from "./dom.js";
import { sparkline } from "./chart.js";
import { subscribe } from "./live.js";

export function teamView({ api, me, open }) {
  const rows = h("tbody", {});
  const note = h("p", { class: "quiet list-note", role: "status" }, "Loading…");
  const choice = drillSelect(() => draw());
  let data = [];

  async function load() {
    try {
      ({ data } = await api.progress());
      choice.offer(data.map(({ drillKey }) => drillKey));
      draw();
    } catch (error) {
      const { title, text } = explain(error);
      note.textContent = `${title}. ${text}`;
    }
  }

  function draw() {
    const reps = byRep(data.filter(({ drillKey }) => !choice.value || drillKey === choice.value));
    rows.replaceChildren(...reps.map((rep) => row(rep, open)));
    note.textContent = reps.length ? "" : "No scored calls yet.";
  }
  load();

  const live = subscribe(api, (event) => event && event.status !== "processing" && load());

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
      h(
        "section",
        { class: "card history", "aria-labelledby": "team-title" },
        h("div", { class: "history-head" }, h("h2", { id: "team-title" }, "Reps"), choice.element),
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
    const one = reps.get(rep) ?? { rep, count: 0, total: 0, best: 0, points: [] };
    one.count += count;
    one.total += mean * count;
    one.best = Math.max(one.best, best);
    one.points.push(...points);
    reps.set(rep, one);
  }
  return [...reps.values()]
    .map((one) => ({ ...one, mean: one.total / one.count, points: one.points.sort((a, b) => String(a.endedAt).localeCompare(String(b.endedAt))) }))
    .sort((a, b) => b.mean - a.mean);
}

function row({ rep, count, mean, best, points }, open) {
  const latest = points.at(-1);
  const openRep = (event) => {
    event.preventDefault();
    open("#/team/rep", { rep });
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
