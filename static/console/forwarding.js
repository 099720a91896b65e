// What goes on to the company's own systems: how each endpoint fares, and the messages on their way to it.

import { exactTime, span } from "../format.js";
import { explain } from "../errors.js";
import { h } from "../dom.js";
import { DELIVERIES, filters } from "./filters.js";
import { liveList, liveRow } from "./list.js";
import { DELIVERY_REPLAY, openRange } from "./replay.js";
import { factList, stateTag } from "./words.js";

const COLUMNS = ["Message", "Written", "State", "Endpoint", "Type and call", "Attempts", "What happened"];
const CELLS = ["when", "state", "endpoint", "call", "attempts", "what"].map((name) => `events-${name}`);
/** Messages of the demo's receiver that are shown. */
const RECEIVED = 5;
const NOTHING = "Nothing is forwarded: FORWARD_URLS is not set. With it, each scored call goes on to your own systems as a signed message.";

export function forwardingView({ api, say, fail, demo }, search) {
  const arrived = demo ? receivedCard() : null;
  const endpoints = h("div", { class: "endpoints" });
  const cards = new Map();
  const list = liveList({
    say,
    fail,
    noun: "message",
    name: "Messages",
    table: "deliveries",
    columns: COLUMNS,
    load: api.deliveries,
    beside,
    row: deliveryRow,
    filters: (onChange) => filters(DELIVERIES, search, onChange),
  });

  async function beside(signal) {
    const [overview, received] = await Promise.all([api.overview({ signal }), demo ? api.received({ signal }) : null]);
    drawEndpoints(overview);
    arrived?.show(received.data);
    return overview.now;
  }

  /** Cards are kept by number, so that focus and the answer to a test stay. */
  function drawEndpoints({ now, endpoints: given }) {
    const numbers = new Set(given.map(({ id }) => id));
    for (const [id, card] of cards) {
      if (!numbers.has(id)) (card.element.remove(), cards.delete(id));
    }
    if (!given.length) return endpoints.replaceChildren(h("p", { class: "card empty" }, NOTHING));
    if (!cards.size) endpoints.replaceChildren();
    for (const endpoint of given) {
      let card = cards.get(endpoint.id);
      if (!card) {
        card = endpointCard(endpoint, test);
        cards.set(endpoint.id, card);
        endpoints.append(card.element);
      }
      card.update(endpoint, now);
    }
  }

  async function test(id, tell) {
    try {
      const { data } = await api.testEndpoints({ endpoint: id });
      const [{ ok, status, error, tookMs }] = data;
      tell(ok ? `It took the ping: ${status}, in ${span(tookMs)}.` : `It did not take the ping: ${error}.`, ok);
    } catch (error) {
      if (!fail(error)) tell(`Not tested. ${explain(error).title}.`, false);
    }
  }

  const openReplay = () => openRange(DELIVERY_REPLAY, { ask: api.replayDeliveries, say, fail, given: list.query(), onDone: list.restart });
  return {
    leave: list.leave,
    element: h(
      "div",
      { class: "view" },
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Forwarding"),
        h("p", { class: "lead" }, "What goes on to your own systems: each message on its way to each endpoint, newest first."),
      ),
      endpoints,
      arrived?.element,
      list.card(h("button", { type: "button", class: "button small", onclick: openReplay }, "Replay many…")),
    ),
  };
}

/** What the demo's receiver has verified: the other end of the way. */
function receivedCard() {
  const list = h("ol", { class: "received" }, h("li", { class: "quiet" }, "Nothing yet: end a call."));
  let drawn = "";
  return {
    element: h(
      "section",
      { class: "card", "aria-labelledby": "received-title" },
      h("h2", { id: "received-title" }, "Arrived at the demo's receiver"),
      h("p", { class: "quiet small" }, "A small system of your own, in place of a CRM: it takes what is signed with its secret, and shows it here."),
      list,
    ),
    show(received) {
      const newest = received.slice(0, RECEIVED);
      const words = JSON.stringify(newest);
      if (!newest.length || words === drawn) return;
      drawn = words;
      list.replaceChildren(...newest.map(arrival));
    },
  };
}

function arrival({ receivedAt, message: { type, data } }) {
  const said = [data.rep, data.drillKey, Number.isFinite(data.overallScore) ? `${Math.round(data.overallScore)} of 100` : data.reasonMessage];
  return h(
    "li",
    {},
    h("span", { class: "quiet small" }, exactTime(receivedAt)),
    h("strong", {}, type),
    h("span", { class: "code small" }, data.id ?? ""),
    h("span", {}, said.filter(Boolean).join(" · ")),
  );
}

/** `{element, update(endpoint, now)}`. */
function endpointCard({ id, host }, test) {
  const state = h("p", { class: "endpoint-state" });
  const facts = h("div", {});
  const said = h("p", { class: "small endpoint-said", role: "status" });
  const button = h("button", { type: "button", class: "button small", onclick: ask }, "Send a ping");
  let drawn = "";

  async function ask() {
    button.disabled = true;
    said.textContent = "Asking…";
    await test(id, (text, ok) => {
      said.textContent = text;
      said.classList.toggle("stale", !ok);
    });
    button.disabled = false;
  }

  return {
    element: h(
      "section",
      { class: "card endpoint", "aria-labelledby": `endpoint-${id}` },
      h("h2", { id: `endpoint-${id}` }, h("span", { class: "quiet" }, `${id} `), host),
      state,
      facts,
      h("div", { class: "row" }, button, h("a", { class: "button small", href: `#/forwarding?endpoint=${id}` }, "Its messages")),
      said,
    ),
    update(endpoint, now) {
      const words = JSON.stringify([endpoint, ago(now, endpoint.lastAttemptAt)]);
      if (words === drawn) return;
      drawn = words;
      state.replaceChildren(stateTag(endpoint.state));
      facts.replaceChildren(factList(factsOf(endpoint, now)));
      button.disabled = endpoint.state === "removed";
    },
  };
}

function factsOf(endpoint, now) {
  const last = endpoint.lastError ?? (endpoint.lastStatus ? `it answered ${endpoint.lastStatus}` : null);
  return [
    ["Healthy since", endpoint.healthySince ? exactTime(endpoint.healthySince) : null],
    ["Failing since", endpoint.failingSince ? exactTime(endpoint.failingSince) : null],
    ["Disabled", endpoint.disabledAt ? `${exactTime(endpoint.disabledAt)}: ${endpoint.disabledReason}. A reload or a restart enables it.` : null],
    ["Waiting", String(endpoint.waiting)],
    ["Given up", String(endpoint.failed)],
    ["Last answer", last ? `${last}, ${ago(now, endpoint.lastAttemptAt)}` : null],
  ];
}

function ago(now, then) {
  return then ? `${span(Math.max(1000, Date.parse(now) - Date.parse(then)))} ago` : "";
}

function deliveryRow(delivery) {
  const cells = (delivery) => [
    [exactTime(delivery.writtenAt)],
    [stateTag(delivery.state)],
    [String(delivery.endpoint)],
    [h("span", { class: "block" }, delivery.type), delivery.callId ? h("span", { class: "code small" }, delivery.callId) : null],
    [String(delivery.attempts)],
    [delivery.lastError ? h("span", { class: "block quiet small reason" }, delivery.lastError) : null],
  ];
  return liveRow(delivery, { href: `#/deliveries/${delivery.id}`, names: CELLS, cells });
}
