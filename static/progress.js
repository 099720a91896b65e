// How a rep is doing: one card per drill with its scores over time, and the list of calls below.
// The same view serves the rep and the manager who opens one.

import { day, headline, percent, plural, score as number } from "./format.js";
import { drill, fullName } from "./drills.js";
import { explain } from "./errors.js";
import { h } from "./dom.js";
import { historyList } from "./history.js";
import { PRACTICE, isReal, sourceSwitch } from "./source.js";
import { scoreChart } from "./chart.js";
import { subscribe } from "./live.js";

export function progressView(context, { rep }) {
  const { api, me, say } = context;
  const own = rep === me.rep;
  const cards = h("div", { class: "drill-cards" }, placeholder());
  const lead = h("p", { class: "lead" });
  const choice = sourceSwitch(api, rep, () => {
    load();
    list.reload();
  });
  const list = historyList(context, { rep, source: () => choice.source });
  let latest = 0;

  async function load() {
    const [asked, source] = [++latest, choice.source];
    lead.textContent = source === PRACTICE ? (own ? "Every scored call, drill by drill." : "This rep's scored calls, drill by drill.") : "Calls with customers, apart from practice: they are judged on another scale.";
    try {
      const { data } = await api.progress({ rep, source });
      if (asked !== latest) return; // Something else was chosen meanwhile.
      cards.replaceChildren(...(data.length ? data.sort(byLatest).map(card) : [nothingYet(own, source)]));
    } catch (error) {
      if (asked !== latest) return;
      const { title, text } = explain(error);
      cards.replaceChildren(h("section", { class: "card" }, h("h2", {}, title), h("p", {}, text)));
    }
  }
  load();

  let opened = false;
  const live = subscribe(api, (event) => {
    if (event === null) {
      if (opened) {
        load();
        list.reload();
      }
      opened = true;
      return;
    }
    if (event.rep !== rep || event.status === "processing") return;
    const score = headline(event);
    say(score === null ? "A call has been processed." : `A new score has arrived: ${number(score)}.`);
    choice.look();
    load();
    list.reload();
  });

  return {
    element: h(
      "div",
      { class: "view" },
      h(
        "div",
        { class: "view-head" },
        own ? null : h("p", { class: "eyebrow" }, h("a", { href: "#/team" }, "Team")),
        h("h1", { tabindex: "-1" }, own ? "Your progress" : rep),
        lead,
      ),
      choice.element,
      cards,
      list.element,
    ),
    leave: () => live.close(),
  };
}

function card(progress) {
  const { drillKey, count, mean, best, last, points } = progress;
  const real = isReal(progress);
  const { name, line } = real ? { name: "Real calls", line: "With customers" } : drill(drillKey);
  const full = real ? name : fullName(drillKey);
  const label = `${full}: ${plural(count, "scored call")}, last ${number(last)}, best ${number(best)}, average ${number(mean)}.`;
  return h(
    "section",
    { class: "card drill-card" },
    h("p", { class: "eyebrow" }, line ?? "Drill"),
    h("h2", {}, name || "Unknown drill"),
    scoreChart(points, label),
    h(
      "dl",
      { class: "figures" },
      [["Last", number(last)], ["Best", number(best)], ["Average", number(mean)], ["Scored", count]].map(([term, value]) =>
        h("div", {}, h("dt", {}, term), h("dd", {}, value)),
      ),
    ),
    compliance(progress),
    h(
      "details",
      {},
      h("summary", { class: "small" }, "The numbers"),
      h(
        "table",
        { class: "numbers" },
        h("caption", { class: "visually-hidden" }, `Scores of ${full}, newest first`),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Call"), h("th", { scope: "col" }, "Score"))),
        h(
          "tbody",
          {},
          points.toReversed().map(({ id, endedAt, score }) => h("tr", {}, h("td", {}, h("a", { href: `#/calls/${id}` }, day(endedAt))), h("td", {}, number(score)))),
        ),
      ),
    ),
  );
}

const byLatest = (a, b) => String(b.points.at(-1)?.endedAt).localeCompare(String(a.points.at(-1)?.endedAt));

/** Not assessed is no zero. */
function compliance({ complianceCount, complianceMean }) {
  if (!complianceCount) return null;
  return h("p", { class: "small quiet card-compliance" }, `Compliance ${percent(complianceMean)} on average, assessed on ${plural(complianceCount, "call")}.`);
}

function nothingYet(own, source) {
  if (source !== PRACTICE) return h("section", { class: "card empty-card" }, h("h2", {}, "No scores yet"), h("p", {}, "Real calls appear here when Athos has scored them."));
  return h(
    "section",
    { class: "card empty-card" },
    h("h2", {}, "No scores yet"),
    h("p", {}, own ? "Your first score appears here a minute or two after your first call." : "This rep has no scored call yet."),
    own ? h("p", {}, h("a", { class: "button primary", href: "#/" }, "Practise a call")) : null,
  );
}

/** As tall as a card, so that what is below does not move when the cards come. */
function placeholder() {
  return h("section", { class: "card drill-card waiting", "aria-busy": "true" }, h("p", { class: "quiet" }, "Loading…"));
}
