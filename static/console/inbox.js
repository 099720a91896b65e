// The inbox as it fills: figures, filters, and the newest events, which come in by themselves. The list stands still
// while it is paused, or while older pages are open below it.

import { exactTime, plural } from "../format.js";
import { explain } from "../errors.js";
import { h } from "../dom.js";
import { adviceFor } from "./advice.js";
import { banners, glance, readiness } from "./health.js";
import { filters } from "./filters.js";
import { poll } from "./poll.js";
import { openRange } from "./replay.js";
import { originTag, stateTag } from "./words.js";

const PAGE = 50;
const COLUMNS = ["Event", "Came in", "State", "Call", "Attempts", "What happened"];
/** Arrivals are read out no more often than this. */
const SAY_EVERY_MS = 10_000;

export function inboxView({ api, say, fail }, search) {
  const rows = h("tbody", {});
  const shown = new Map();
  const figures = glance();
  const health = banners();
  const note = h("p", { class: "quiet list-note" }, "Loading…");
  const freshness = h("p", { class: "quiet small freshness" });
  const more = h("button", { type: "button", class: "button", hidden: true, onclick: older }, "Show older");
  const pause = h("button", { type: "button", class: "button small", "aria-pressed": "false", onclick: togglePause }, "Pause");
  const filter = filters(search, restart);
  let [paused, below, turn, cursor] = [false, false, 0, null];
  let loaded = false;
  let [unsaid, saidAt] = [0, 0];

  const looks = poll(look, (error) => {
    if (fail(error)) return;
    freshness.textContent = `Not up to date: ${explain(error).title}. It is tried again.`;
    freshness.classList.add("stale");
  });

  async function look(signal) {
    const asked = turn;
    const still = paused || below;
    const [page, overview, ready] = await Promise.all([
      still ? null : api.events({ ...filter.query(), limit: PAGE }, { signal }),
      api.overview({ signal }),
      readiness(api, signal),
    ]);
    health.show(ready);
    figures.show(overview);
    if (page && asked === turn && !paused && !below) draw(page);
    freshness.textContent = standing(overview.now);
    freshness.classList.remove("stale");
  }

  function standing(now) {
    if (below) return "Standing still while older events are open.";
    return paused ? "Paused." : `Live, as of ${exactTime(now)}.`;
  }

  /** The list is the page: rows are kept by id, so that focus and reading place stay where they are. */
  function draw({ data, nextCursor }) {
    const ids = new Set(data.map(({ id }) => id));
    let arrived = 0;
    for (const [id, row] of shown) {
      if (!ids.has(id)) (row.element.remove(), shown.delete(id));
    }
    let before = rows.firstElementChild;
    for (const event of data) {
      let row = shown.get(event.id);
      if (row) {
        row.update(event);
        if (row.element === before) before = before.nextElementSibling;
        else rows.insertBefore(row.element, before);
        continue;
      }
      row = eventRow(event);
      shown.set(event.id, row);
      if (loaded) (row.element.classList.add("arrived"), (arrived += 1));
      rows.insertBefore(row.element, before);
    }
    loaded = true;
    cursor = nextCursor;
    more.hidden = !cursor;
    note.textContent = data.length ? "" : "No events here.";
    tell(arrived);
  }

  function tell(arrived) {
    unsaid += arrived;
    if (!unsaid || Date.now() - saidAt < SAY_EVERY_MS) return;
    say(`${plural(unsaid, "new event")}.`);
    [unsaid, saidAt] = [0, Date.now()];
  }

  async function older() {
    below = true;
    drawPause();
    const asked = turn;
    more.disabled = true;
    try {
      const page = await api.events({ ...filter.query(), limit: PAGE, cursor });
      if (asked !== turn) return;
      const added = page.data.filter(({ id }) => !shown.has(id)).map(eventRow);
      rows.append(...added.map(({ element }) => element));
      cursor = page.nextCursor;
      more.hidden = !cursor;
      added[0]?.element.querySelector("a").focus();
    } catch (error) {
      if (!fail(error)) note.textContent = `${explain(error).title}. ${explain(error).text}`;
    } finally {
      more.disabled = false;
    }
  }

  /** From the newest again: another filter, or done with the older ones. */
  function restart() {
    turn += 1;
    [below, loaded] = [false, false];
    shown.clear();
    rows.replaceChildren();
    more.hidden = true;
    note.textContent = "Loading…";
    if (paused) togglePause();
    drawPause();
    looks.now();
  }

  function togglePause() {
    if (below) return restart();
    paused = !paused;
    drawPause();
    looks.now();
  }

  function drawPause() {
    pause.textContent = below ? "Back to the newest" : paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused && !below));
  }

  const range = h("button", { type: "button", class: "button small", onclick: () => openRange({ api, say, fail, given: filter.query(), onDone: restart }) }, "Replay many…");

  return {
    leave: () => looks.stop(),
    element: h(
      "div",
      { class: "view" },
      h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Inbox"), h("p", { class: "lead" }, "Everything Athos has sent, newest first, and what became of it.")),
      health.element,
      figures.element,
      h(
        "section",
        { class: "card history", "aria-labelledby": "events-title" },
        h(
          "div",
          { class: "history-head" },
          h("h2", { id: "events-title" }, "Events"),
          h("div", { class: "row inbox-acts" }, freshness, pause, range),
        ),
        filter.element,
        h(
          "table",
          { class: "events" },
          h("caption", { class: "visually-hidden" }, "Events, newest first"),
          h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name)))),
          rows,
        ),
        note,
        more,
      ),
    ),
  };
}

/** `{element, update(event)}`: only what has changed is redrawn, and the link never. */
function eventRow(event) {
  const link = h("a", { href: `#/events/${event.id}` }, `#${event.id}`);
  const cells = ["when", "state", "call", "attempts", "what"].map((name) => h("td", { class: `events-${name}` }));
  const element = h("tr", {}, h("th", { scope: "row" }, link), cells);
  let drawn = "";

  function update(event) {
    const now = JSON.stringify(event);
    if (now === drawn) return;
    drawn = now;
    const contents = [
      [exactTime(event.receivedAt)],
      [stateTag(event.state), originTag(event.origin)],
      [event.callId ? h("span", { class: "code small" }, event.callId) : null],
      [String(event.attempts), event.deliveries > 1 ? h("span", { class: "tag" }, `came ${event.deliveries} times`) : null],
      what(event),
    ];
    cells.forEach((cell, n) => cell.replaceChildren(...contents[n].filter((part) => part !== null)));
  }
  update(event);
  return { element, update };
}

function what(event) {
  const advice = event.state === "dead" || event.state === "ignored" ? adviceFor(event) : null;
  return [
    advice ? h("strong", { class: "block small" }, advice.title) : null,
    advice ? h("span", { class: "block small" }, advice.text) : null,
    event.reason && !advice ? h("span", { class: "block quiet small reason" }, event.reason) : null,
  ];
}
