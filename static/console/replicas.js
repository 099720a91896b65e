// The replicas that share the database, where there are several: what is odd about one, who leads what, and since when.

import { exactTime, span } from "../format.js";
import { h } from "../dom.js";
import { factList, stateTag } from "./words.js";

const DUTIES = {
  reconcile_roleplay: "reconciliation of role-plays",
  reconcile_real_call: "reconciliation of real calls",
  retention: "retention",
};
/** More than this, and a replica leads nothing. */
const CLOCKS_MAY_DIFFER_MS = 5000;

/** Folded, until somebody opens it; not there while a process is alone. */
export function replicas() {
  const title = h("summary", {});
  const list = h("div", { class: "endpoints" });
  const element = h("details", { class: "card fold", hidden: true }, title, list);
  let drawn = "";
  return {
    element,
    show({ now, replica, replicas = [], leaders = [] }) {
      element.hidden = replicas.length < 2;
      const cards = replicas.map((each) => ({ ...each, odd: oddities(each, replicas, now), answers: each.id === replica, leads: ledBy(each, leaders) }));
      const key = JSON.stringify(cards.map(({ lastHeartbeat, clockDifferenceMs, ...rest }) => rest));
      if (key === drawn) return;
      drawn = key;
      const odd = cards.filter((card) => card.odd.length).length;
      title.textContent = odd ? `${replicas.length} replicas, ${odd} to look at` : `${replicas.length} replicas, all well`;
      list.replaceChildren(...cards.map(replicaCard));
    },
  };
}

function ledBy({ id }, leaders) {
  return leaders.filter(({ replica }) => replica === id).map(({ duty }) => DUTIES[duty] ?? duty);
}

/** What somebody should look at, in words. */
function oddities({ alive, lastHeartbeat, credentials, reloadedAt, clockDifferenceMs = 0 }, all, now) {
  const newest = all.reduce((one, other) => (other.reloadedAt > one.reloadedAt ? other : one));
  const silent = span(Math.max(1000, Date.parse(now) - Date.parse(lastHeartbeat)));
  return [
    alive ? null : `Not heard of for ${silent}: what it led is another's. It is shown for an hour.`,
    credentials === newest.credentials ? null : `Other secrets or keys than the replica that read its settings last: reload it if that was not meant. It read its own at ${exactTime(reloadedAt)}.`,
    Math.abs(clockDifferenceMs) > CLOCKS_MAY_DIFFER_MS ? "Its clock differs from the database server's: it leads nothing until that is right." : null,
  ].filter(Boolean);
}

function replicaCard({ id, version, since, reloadedAt, alive, answers, leads, odd }) {
  return h(
    "section",
    { class: "endpoint" },
    h("h2", { class: "code" }, id),
    h("p", { class: "endpoint-state" }, stateTag(alive ? "alive" : "silent"), answers ? h("span", { class: "quiet small" }, " answers this page") : null),
    odd.map((words) => h("p", { class: "small endpoint-said stale" }, words)),
    factList([
      ["Leads", leads.join(", ") || "nothing"],
      ["Version", version],
      ["Since", exactTime(since)],
      ["Settings read", exactTime(reloadedAt)],
    ]),
  );
}
