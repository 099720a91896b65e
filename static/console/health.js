// Whether the service can do its work, from `GET /readyz`, as banners that say what to do; and the figures at a glance.

import { exactTime, span } from "../format.js";
import { h } from "../dom.js";
import { PAUSES } from "./advice.js";

/** What `/readyz` says; it answers 503 with the same body when the service is not ready. */
export async function readiness(api, signal) {
  const answer = await fetch(api.url("readyz"), { signal });
  return answer.json();
}

/** Redrawn only when it says something new, as it is read out. */
export function banners() {
  const element = h("div", { class: "banners", role: "status" });
  let shown = "";
  return {
    element,
    show(ready) {
      const list = problems(ready);
      const key = JSON.stringify(list);
      if (key === shown) return;
      shown = key;
      element.replaceChildren(...list.map(banner));
    },
  };
}

function problems({ store, worker, athos }) {
  const paused = athos?.paused;
  return [
    store === "failing" && {
      title: "Webhooks cannot be kept",
      text: "Athos is told to come again, once, some five minutes later. Check the disk's space and the database file now; the log says what failed. Afterwards run athos-backend reconcile for the time in between.",
    },
    worker === "failing" && {
      title: "Nothing processes the inbox",
      text: "Webhooks are kept, but scores are not fetched. Look at the log, and restart the service: nothing is lost by it.",
    },
    paused && {
      ...(PAUSES[paused.cause] ?? { title: "Fetching is paused", text: "The reason is below." }),
      reason: paused.reason,
      since: paused.since,
    },
  ].filter(Boolean);
}

function banner({ title, text, reason, since }) {
  return h(
    "section",
    { class: "callout warn hold" },
    h("h2", {}, title),
    h("p", {}, text),
    reason ? h("p", { class: "quiet small" }, `Since ${exactTime(since)}. ${reason}`) : null,
  );
}

/** How the inbox stands, each figure a link to what it counts. */
export function tiles({ now, waiting, oldestReceivedAt, dead, repaired, mintsWithoutCall, lastRuns }) {
  const oldest = oldestReceivedAt ? `oldest ${span(Date.parse(now) - Date.parse(oldestReceivedAt))}` : "nothing waits";
  return [
    tile("Waiting", waiting, oldest, "#/?state=pending"),
    tile("Dead", dead, dead ? "see what to do" : "none given up", "#/?state=dead", dead > 0),
    tile("Lost webhooks", repaired, "found in 24 hours", "#/?origin=reconcile", repaired > 0),
    tile("Tokens without a call", mintsWithoutCall, "in 24 hours", "#/tokens"),
    reconciled(now, lastRuns ?? []),
  ];
}

function tile(name, figure, note, href, warn = false) {
  return h(
    "a",
    { class: warn ? "card tile warn" : "card tile", href },
    h("span", { class: "tile-name" }, name),
    h("span", { class: "tile-figure" }, figure),
    h("span", { class: "quiet small" }, note),
  );
}

/** The run that is worst off speaks for all sources. */
function reconciled(now, runs) {
  const run = runs.find(({ error }) => error) ?? runs[0];
  const at = run?.finishedAt ?? run?.startedAt;
  const age = at ? `${span(Math.max(1000, Date.parse(now) - Date.parse(at)))} ago` : "never";
  const note = !run ? "no run yet" : run.error ? `broke off: ${run.error}` : run.finishedAt ? "compared with Athos" : "under way";
  return h(
    "div",
    { class: run?.error ? "card tile warn" : "card tile" },
    h("span", { class: "tile-name" }, "Reconciled"),
    h("span", { class: "tile-figure" }, age),
    h("span", { class: "quiet small" }, note),
  );
}
