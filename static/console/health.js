// Whether the service can do its work, from `GET /readyz`, as banners that say what to do; and the figures at a glance.

import { exactTime, span } from "../format.js";
import { h } from "../dom.js";
import { PAUSES } from "./advice.js";

/** What `/readyz` says; it answers 503 with the same body when the service is not ready. */
export async function readiness(api, signal) {
  // With the operator's credentials it says why fetching is paused.
  const headers = { ...(await api.headers?.()) };
  const answer = await fetch(api.url("readyz"), { signal, credentials: "include", headers });
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

function problems({ store, worker, clock, athos }) {
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
    clock === "failing" && {
      title: "This machine's clock is wrong",
      text: "It differs from the database server's by more than 5 seconds: this replica receives and works, but leads nothing. Have both set by NTP.",
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

/** How the inbox stands, each figure a link to what it counts. They are filled in place, so that focus stays. */
export function glance() {
  const waiting = tile("Waiting", "#/?state=pending");
  const dead = tile("Dead", "#/?state=dead");
  const lost = tile("Lost webhooks", "#/?origin=reconcile");
  const unused = tile("Tokens without a call", "#/tokens");
  const reconciled = tile("Reconciled");
  return {
    element: h("div", { class: "tiles" }, [waiting, dead, lost, unused, reconciled].map(({ element }) => element)),
    show(overview) {
      const { now, oldestReceivedAt, repaired, mintsWithoutCall, lastRuns } = overview;
      waiting.show(overview.waiting, oldestReceivedAt ? `oldest ${span(since(now, oldestReceivedAt))}` : "nothing waits");
      dead.show(overview.dead, overview.dead ? "see what to do" : "none given up", overview.dead > 0);
      lost.show(repaired, "found in 24 hours", repaired > 0);
      unused.show(mintsWithoutCall, "in 24 hours");
      reconciled.show(...lastRun(now, lastRuns ?? []));
    },
  };
}

function tile(name, href = null) {
  const figure = h("span", { class: "tile-figure" }, "–");
  const note = h("span", { class: "quiet small" });
  const element = h(href ? "a" : "div", { class: "card tile", href }, h("span", { class: "tile-name" }, name), figure, note);
  return {
    element,
    show(value, words, warn = false) {
      figure.textContent = value;
      note.textContent = words;
      element.classList.toggle("warn", warn);
    },
  };
}

/** The run that is worst off speaks for all sources. */
function lastRun(now, runs) {
  const run = runs.find(({ error }) => error) ?? runs[0];
  if (!run) return ["never", "no run yet"];
  const age = `${span(since(now, run.finishedAt ?? run.startedAt))} ago`;
  if (run.error) return [age, `broke off: ${run.error}`, true];
  return [age, run.finishedAt ? "compared with Athos" : "under way"];
}

/** At least a second: whatever is shown is that old. */
function since(now, then) {
  return Math.max(1000, Date.parse(now) - Date.parse(then));
}
