// One message on its way to one endpoint: where it stands, what it says, and the button that sends it again.

import { exactTime } from "../format.js";
import { explain } from "../errors.js";
import { h } from "../dom.js";
import { poll } from "./poll.js";
import { factList, stateTag } from "./words.js";

const REFUSED = {
  DELIVERY_WAITING: "It is due or under way already.",
  DELIVERY_OUTDATED: "A newer message about the same call replaces it, or its endpoint is not configured any more.",
};

export function deliveryView({ api, say, fail, forwarding }, id) {
  const place = h("div", { class: "event-place" }, h("p", { class: "quiet" }, "Loading the message…"));
  const tags = h("p", { class: "row event-tags" });
  const outcome = h("p", { class: "small", role: "status" });
  const replay = h("button", { type: "button", class: "button primary", hidden: true, onclick: replayIt }, "Send it again");
  let drawn = "";
  let state = null;

  const looks = poll(look, (error) => {
    if (fail(error)) return;
    const isGone = error.code === "DELIVERY_NOT_FOUND";
    const { title, text } = isGone ? { title: "There is no such message", text: "Check its number; or it was delivered more than 30 days ago." } : explain(error);
    if (isGone) looks.stop();
    if (!drawn) place.replaceChildren(h("section", { class: "card" }, h("h2", {}, title), h("p", {}, text)));
  });

  async function look(signal) {
    const delivery = await api.delivery(id, { signal });
    const now = JSON.stringify(delivery);
    if (now === drawn) return; // What is read or selected stays as it is.
    drawn = now;
    if (state && state !== delivery.state) say(`The message is ${delivery.state} now.`);
    state = delivery.state;
    tags.replaceChildren(stateTag(delivery.state), h("span", { class: "tag" }, delivery.type));
    replay.hidden = false;
    replay.textContent = state === "waiting" ? "Send it now" : "Send it again";
    replay.disabled = state === "sending" || state === "superseded";
    place.replaceChildren(...draw(delivery, api));
  }

  async function replayIt() {
    replay.disabled = true;
    outcome.textContent = "";
    try {
      await api.replayDelivery(id);
      outcome.textContent = "It is due now, with all its attempts.";
    } catch (error) {
      if (fail(error)) return;
      outcome.textContent = REFUSED[error.code] ?? `Not sent. ${explain(error).title}.`;
      replay.disabled = false;
    }
    drawn = "";
    looks.now();
  }

  return {
    leave: () => looks.stop(),
    element: h(
      "div",
      { class: "view" },
      h(
        "div",
        { class: "view-head event-head" },
        h("p", { class: "eyebrow" }, h("a", { href: forwarding }, "Forwarding")),
        h("h1", { tabindex: "-1" }, `Message #${id}`),
        tags,
        h("div", { class: "row event-acts" }, replay, outcome),
      ),
      place,
    ),
  };
}

function draw(delivery, api) {
  return [
    delivery.lastError && delivery.state !== "delivered"
      ? h("section", { class: "callout warn advice" }, h("h2", {}, "The endpoint did not take it"), h("p", {}, delivery.lastError))
      : null,
    h("section", { class: "card", "aria-labelledby": "way-title" }, h("h2", { id: "way-title" }, "Its way"), way(delivery, api)),
    h(
      "section",
      { class: "card" },
      h("h2", { id: "body-title" }, "Body"),
      h("p", { class: "quiet small" }, "As it would be sent now."),
      delivery.body
        ? h("pre", { class: "body", tabindex: "0", role: "region", "aria-labelledby": "body-title" }, JSON.stringify(delivery.body, null, 2))
        : h("p", { class: "empty" }, "What it tells of is gone."),
    ),
  ].filter(Boolean);
}

function way(delivery, api) {
  const by = ({ at, rep, key, caller }) => `${exactTime(at)} by ${rep ?? key ?? caller}`;
  return factList([
    ["Endpoint", h("a", { href: `#/forwarding?endpoint=${delivery.endpoint}` }, String(delivery.endpoint))],
    ["webhook-id", delivery.messageId],
    ["Written", exactTime(delivery.writtenAt)],
    ["Due, or leased until", delivery.dueAt ? exactTime(delivery.dueAt) : null],
    ["Settled", delivery.settledAt ? exactTime(delivery.settledAt) : null],
    ["Attempts", String(delivery.attempts)],
    ["Last status", delivery.lastStatus === null ? null : String(delivery.lastStatus)],
    ["Call", delivery.callId ? h("a", { href: api.url(`#/calls/${encodeURIComponent(delivery.callId)}`).href }, delivery.callId) : null],
    ["Event", delivery.eventId ? h("a", { href: `#/events/${delivery.eventId}` }, `#${delivery.eventId}`) : null],
    ["Replayed", delivery.acts.length ? delivery.acts.map(by).join("; ") : null],
  ]);
}
