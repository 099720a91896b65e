// A list that fills by itself: newest first, rows kept by id, so that focus and reading place stay where they are. It stands
// still while it is paused, or while older pages are open below it.

import { exactTime, plural } from "../format.js";
import { explain } from "../errors.js";
import { h } from "../dom.js";
import { poll } from "./poll.js";

const PAGE = 50;
/** Arrivals are read out no more often than this. */
const SAY_EVERY_MS = 10_000;

/**
 * `load(query, options)` gets a page, `beside(signal)` shows what stands beside the list and gives the service's time.
 * `row(item)` is `{element, update(item)}`. `filters(onChange)` makes the filter. `name` and `table` are the list's.
 */
export function liveList({ say, fail, noun, name, table, columns, load, beside, row, filters }) {
  const rows = h("tbody", {});
  const shown = new Map();
  const note = h("p", { class: "quiet list-note" }, "Loading…");
  const freshness = h("p", { class: "quiet small freshness" });
  const more = h("button", { type: "button", class: "button", hidden: true, onclick: older }, "Show older");
  const pause = h("button", { type: "button", class: "button small", "aria-pressed": "false", onclick: togglePause }, "Pause");
  const filter = filters(restart);
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
    const [page, now] = await Promise.all([still ? null : load({ ...filter.query(), limit: PAGE }, { signal }), beside(signal)]);
    if (page && asked === turn && !paused && !below) draw(page);
    freshness.textContent = standing(now);
    freshness.classList.remove("stale");
  }

  function standing(now) {
    if (below) return `Standing still while older ${noun}s are open.`;
    return paused ? "Paused." : `Live, as of ${exactTime(now)}.`;
  }

  function draw({ data, nextCursor }) {
    const ids = new Set(data.map(({ id }) => id));
    let arrived = 0;
    for (const [id, row] of shown) {
      if (!ids.has(id)) (row.element.remove(), shown.delete(id));
    }
    let before = rows.firstElementChild;
    for (const item of data) {
      const known = shown.get(item.id);
      if (known) {
        known.update(item);
        if (known.element === before) before = before.nextElementSibling;
        else rows.insertBefore(known.element, before);
        continue;
      }
      const fresh = row(item);
      shown.set(item.id, fresh);
      if (loaded) (fresh.element.classList.add("arrived"), (arrived += 1));
      rows.insertBefore(fresh.element, before);
    }
    loaded = true;
    cursor = nextCursor;
    more.hidden = !cursor;
    note.textContent = data.length ? "" : `No ${noun}s here.`;
    tell(arrived);
  }

  function tell(arrived) {
    unsaid += arrived;
    if (!unsaid || Date.now() - saidAt < SAY_EVERY_MS) return;
    say(`${plural(unsaid, `new ${noun}`)}.`);
    [unsaid, saidAt] = [0, Date.now()];
  }

  async function older() {
    below = true;
    drawPause();
    const asked = turn;
    more.disabled = true;
    try {
      const page = await load({ ...filter.query(), limit: PAGE, cursor });
      if (asked !== turn) return;
      const added = page.data.filter(({ id }) => !shown.has(id)).map(row);
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

  return {
    restart,
    query: () => filter.query(),
    leave: () => looks.stop(),
    /** The card; `acts` are buttons beside "Pause". */
    card: (...acts) =>
      h(
        "section",
        { class: "card history", "aria-labelledby": `${table}-title` },
        h("div", { class: "history-head" }, h("h2", { id: `${table}-title` }, name), h("div", { class: "row inbox-acts" }, freshness, pause, acts)),
        filter.element,
        h(
          "table",
          { class: `${table} live` },
          h("caption", { class: "visually-hidden" }, `${name}, newest first`),
          h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col" }, column)))),
          rows,
        ),
        note,
        more,
      ),
  };
}

/** A row whose cells are redrawn only when something has changed, and whose link never is. `cells(item)` are their contents. */
export function liveRow(item, { href, names, cells }) {
  const link = h("a", { href }, `#${item.id}`);
  const places = names.map((name) => h("td", { class: name }));
  const element = h("tr", {}, h("th", { scope: "row" }, link), places);
  let drawn = "";

  function update(item) {
    const now = JSON.stringify(item);
    if (now === drawn) return;
    drawn = now;
    const contents = cells(item);
    places.forEach((place, n) => place.replaceChildren(...contents[n].filter((part) => part !== null)));
  }
  update(item);
  return { element, update };
}
