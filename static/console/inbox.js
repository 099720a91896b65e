// The inbox as it fills: figures, filters, and the newest events, which come in by themselves.

import { downloadButton } from "../download.js";
import { exactTime } from "../format.js";
import { h } from "../dom.js";
import { adviceFor } from "./advice.js";
import { banners, glance, readiness } from "./health.js";
import { EVENTS, filters } from "./filters.js";
import { liveList, liveRow } from "./list.js";
import { EVENT_REPLAY, openRange } from "./replay.js";
import { replicas } from "./replicas.js";
import { originTag, stateTag } from "./words.js";

const COLUMNS = ["Event", "Came in", "State", "Call", "Attempts", "What happened"];
const CELLS = ["when", "state", "call", "attempts", "what"].map((name) => `events-${name}`);

export function inboxView({ api, say, fail }, search) {
  const figures = glance();
  const health = banners();
  const others = replicas();
  const list = liveList({
    say,
    fail,
    noun: "event",
    name: "Events",
    table: "events",
    columns: COLUMNS,
    load: api.events,
    beside,
    row: eventRow,
    filters: (onChange) => filters(EVENTS, search, onChange),
  });

  async function beside(signal) {
    const [overview, ready] = await Promise.all([api.overview({ signal }), readiness(api, signal)]);
    health.show(ready);
    figures.show(overview);
    others.show(overview);
    return overview.now;
  }

  const saved = h("p", { class: "quiet small list-note", role: "status" });
  /** Of the time that is chosen: what else is filtered here is of events. */
  const download = downloadButton("Download calls", {
    fetchFile: () => {
      const { from, to } = list.query();
      return api.callsFile({ from, to, bom: true });
    },
    say: (text) => (saved.textContent = text),
    fail,
  });
  const openReplay = () => openRange(EVENT_REPLAY, { ask: api.replayEvents, say, fail, given: list.query(), onDone: list.restart });
  return {
    leave: list.leave,
    element: h(
      "div",
      { class: "view" },
      h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Inbox"), h("p", { class: "lead" }, "Everything Athos has sent, newest first, and what became of it.")),
      health.element,
      figures.element,
      others.element,
      saved,
      list.card(h("button", { type: "button", class: "button small", onclick: openReplay }, "Replay many…"), download),
    ),
  };
}

function eventRow(event) {
  const cells = (event) => [
    [exactTime(event.receivedAt)],
    [stateTag(event.state), originTag(event.origin)],
    [event.callId ? h("span", { class: "code small" }, event.callId) : null],
    [String(event.attempts), event.deliveries > 1 ? h("span", { class: "tag" }, `came ${event.deliveries} times`) : null],
    what(event),
  ];
  return liveRow(event, { href: `#/events/${event.id}`, names: CELLS, cells });
}

function what(event) {
  const advice = event.state === "dead" || event.state === "ignored" ? adviceFor(event) : null;
  return [
    advice ? h("strong", { class: "block small" }, advice.title) : null,
    advice ? h("span", { class: "block small" }, advice.text) : null,
    event.reason && !advice ? h("span", { class: "block quiet small reason" }, event.reason) : null,
  ];
}
