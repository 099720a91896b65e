// One event on one screen: its life, what to do about it, what came with it, and the button that replays it.

import { exactTime } from "../format.js";
import { explain } from "../errors.js";
import { h } from "../dom.js";
import { adviceFor } from "./advice.js";
import { banners, readiness } from "./health.js";
import { lifeOf } from "./life.js";
import { poll } from "./poll.js";
import { factList, isWaiting, originTag, stateTag } from "./words.js";

const PURGED = "Its body is not kept any more, so it cannot be replayed; athos-backend reconcile fetches its call again.";

export function eventView({ api, say, fail, inbox }, id) {
  const place = h("div", { class: "event-place" }, h("p", { class: "quiet" }, "Loading the event…"));
  const tags = h("p", { class: "row event-tags" });
  const health = banners();
  const outcome = h("p", { class: "small", role: "status" });
  const replay = h("button", { type: "button", class: "button primary", hidden: true, onclick: replayIt }, "Replay");
  let drawn = "";
  let state = null;

  const looks = poll(look, (error) => {
    if (fail(error)) return;
    const { title, text } = error.code === "EVENT_NOT_FOUND" ? { title: "There is no such event", text: "Check its number; or retention has removed it." } : explain(error);
    if (error.code === "EVENT_NOT_FOUND") looks.stop();
    if (!drawn) place.replaceChildren(h("section", { class: "card" }, h("h2", {}, title), h("p", {}, text)));
  });

  async function look(signal) {
    const [event, ready] = await Promise.all([api.event(id, { signal }), readiness(api, signal)]);
    health.show(ready);
    const now = JSON.stringify(event);
    if (now === drawn) return; // What is read, opened or selected stays as it is.
    drawn = now;
    if (state && state !== event.state) say(`The event is ${event.state} now.`);
    state = event.state;
    tags.replaceChildren(...[stateTag(event.state), originTag(event.origin)].filter(Boolean));
    replay.hidden = false;
    replay.disabled = isWaiting(event) || !event.body;
    if (!event.body && !isWaiting(event)) outcome.textContent = PURGED;
    const opened = place.querySelector(".fold")?.open ?? false;
    place.replaceChildren(...draw(event, api));
    if (opened) place.querySelector(".fold")?.setAttribute("open", "");
  }

  async function replayIt() {
    replay.disabled = true;
    outcome.textContent = "";
    try {
      await api.replayEvent(id);
      outcome.textContent = "Replayed: it is pending again, with all its attempts.";
    } catch (error) {
      if (fail(error)) return;
      outcome.textContent = { EVENT_WAITING: "It waits already.", EVENT_PURGED: PURGED }[error.code] ?? `Not replayed. ${explain(error).title}.`;
      replay.disabled = false;
    }
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
        h("p", { class: "eyebrow" }, h("a", { href: inbox }, "Inbox")),
        h("h1", { tabindex: "-1" }, `Event #${id}`),
        tags,
        h("div", { class: "row event-acts" }, replay, outcome),
      ),
      health.element,
      place,
    ),
  };
}

function draw(event, api) {
  const advice = adviceFor(event);
  return [
    advice ? h("section", { class: "callout warn advice", "aria-labelledby": "advice-title" }, h("h2", { id: "advice-title" }, advice.title), h("p", {}, advice.text)) : null,
    h("section", { class: "card", "aria-labelledby": "life-title" }, h("h2", { id: "life-title" }, "Its life"), nothingMinted(event), h("ol", { class: "life" }, lifeOf(event).map(moment))),
    h("section", { class: "card", "aria-labelledby": "delivery-title" }, h("h2", { id: "delivery-title" }, "The delivery"), delivery(event, api)),
    h(
      "section",
      { class: "card" },
      h("h2", { id: "body-title" }, "Body"),
      h("p", { class: "quiet small" }, event.origin === "reconcile" ? "Made by reconciliation out of Athos's list; nobody signed it." : "The bytes as they came, which is what was signed."),
      event.body ? h("pre", { class: "body", tabindex: "0", role: "region", "aria-labelledby": "body-title" }, event.body) : h("p", { class: "empty" }, "It is not kept any more."),
    ),
  ].filter(Boolean);
}

function nothingMinted({ callId, mints, call }) {
  if (!callId || mints.length || (call && call.source !== "roleplay")) return null;
  return h("p", { class: "quiet small" }, "No token on record can have begun this call: it was minted elsewhere, or before the records here begin.");
}

function moment({ at, title, text, tone, facts, quote, href, folded, last }) {
  const words = [
    h("p", { class: "moment-title" }, href ? h("a", { href }, title) : title),
    text ? h("p", { class: "small" }, text) : null,
    facts ? factList(facts, { class: "fact-list small" }) : null,
    quote ? h("p", { class: "quiet small quote" }, quote) : null,
  ];
  return h(
    "li",
    { class: last ? "moment now" : "moment", "data-band": tone ?? "none" },
    h("p", { class: "moment-when quiet small" }, at ? exactTime(at) : "now"),
    folded ? h("details", { class: "fold" }, h("summary", {}, title), h("ol", { class: "life" }, folded.map(moment))) : words,
  );
}

function delivery(event, api) {
  const byWebhook = event.origin === "webhook";
  const signature = `t=${Math.floor(Date.parse(event.signedAt) / 1000)}`;
  return factList([
    ["Came in", exactTime(event.receivedAt)],
    ["Origin", byWebhook ? "Webhook" : "Reconciliation: its webhook never came"],
    ["Verdict", event.verdict === "accepted" ? "Accepted" : "Ignored: signed, but not understood"],
    ["X-Athos-Webhook-Id", event.webhookId],
    ["X-Athos-Signature", byWebhook ? `${signature}, good` : null],
    ["Secret that matched", event.secretFingerprint],
    ["Delivered", byWebhook ? `${event.deliveries} ×` : null],
    ["Call", event.call ? h("a", { href: api.url(`#/calls/${encodeURIComponent(event.callId)}`).href }, event.callId) : event.callId],
    ["Call's status", event.call?.status],
    ["Source", event.call?.source],
    ["Rep", event.call?.rep],
    ["Agency", event.call?.agency],
  ]);
}
