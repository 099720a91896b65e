// One event's life as a list of moments in order, from the token that may have begun its call to what became of it.
// Words only; the view draws them.

import { duration, exactTime, headline, plural, score, span } from "../format.js";

/** Of more attempts than this, only the first and the latest are shown at once. */
const FIRST = 3;
const LATEST = 5;

/**
 * Moments in order: `{at, title, text, tone, facts: [[term, value]], quote, href}`. One with `folded` has a list of
 * moments that are shown on demand.
 */
export function lifeOf(event) {
  const past = [
    ...event.mints.map((mint) => minted(mint, event.mints.length)),
    ...theCall(event.call),
    came(event),
    ...event.siblings.map(sibling),
    ...foldMiddle(event.history.map(attempted)),
    ...event.acts.map(acted),
  ];
  // Sorting keeps the order of what happened at the same time.
  return [...past.sort((a, b) => Date.parse(a.at) - Date.parse(b.at)), standing(event)];
}

function minted({ requestedAt, rep, agency, caller }, count) {
  return {
    at: requestedAt,
    title: count > 1 ? "A token that may have begun the call" : "Token minted",
    text: caller === "service" ? "Asked for by another backend." : "Asked for by the rep.",
    facts: [["Rep", rep], ["Agency", agency]],
  };
}

function theCall(call) {
  if (!call) return [];
  const began = call.startedAt && { at: call.startedAt, title: "The call began", text: call.drillKey ? `Drill ${call.drillKey}.` : "" };
  const lasted = Number.isFinite(call.durationSec) ? `It lasted ${duration(call.durationSec)}.` : "";
  const ended = call.endedAt && { at: call.endedAt, title: "The call ended", text: lasted };
  const scored = call.scoredAt && { at: call.scoredAt, title: "Athos scored it", text: "" };
  return [began, ended, scored].filter(Boolean);
}

function came({ origin, receivedAt, signedAt, deliveries, verdict }) {
  if (origin === "reconcile") {
    return { at: receivedAt, title: "Found by reconciliation", text: "Its webhook never came: the call was in Athos's list, and not here.", tone: "fair" };
  }
  const times = deliveries > 1 ? ` It was delivered ${plural(deliveries, "time")}; one row, whatever the number.` : "";
  const words = verdict === "ignored" ? "Signed, but not understood." : "Signed, kept, and acknowledged.";
  return { at: receivedAt, title: "Webhook received", text: `${words}${times}`, facts: [["Signed", exactTime(signedAt)]], tone: verdict === "ignored" ? "fair" : "strong" };
}

function sibling({ id, receivedAt, origin, state }) {
  const what = origin === "reconcile" ? "Reconciliation found the same call" : "Another webhook about the same call";
  return { at: receivedAt, title: what, text: `Event #${id}, ${state}.`, href: `#/events/${id}` };
}

const OUTCOMES = {
  scored: ["fetched the score", "strong"],
  unscored: ["there is no score to fetch", "strong"],
  retry: ["failed", "fair"],
  dead: ["failed; given up", "weak"],
  ignored: ["not understood", "fair"],
};

function attempted({ number, at, outcome, status, code, delayMs, error, athosRequestId }) {
  const [words, tone] = OUTCOMES[outcome] ?? [outcome, "none"];
  return {
    at,
    title: `Attempt ${number}: ${words}`,
    quote: error,
    tone,
    facts: [
      ["Answer", [status, code].filter(Boolean).join(" ")],
      ["Next try after", delayMs === null ? null : span(delayMs)],
      ["Athos request", athosRequestId],
    ],
  };
}

function foldMiddle(attempts) {
  const middle = attempts.slice(FIRST, -LATEST);
  if (middle.length < 2) return attempts;
  const fold = { at: middle[0].at, title: `${plural(middle.length, "more attempt")}`, folded: middle };
  return [...attempts.slice(0, FIRST), fold, ...attempts.slice(-LATEST)];
}

function acted({ at, caller, rep, key, action, wasState, wasReason }) {
  const who = { user: rep, service: key ? `the key ${key}` : "another backend", command: "somebody at the terminal" }[caller] ?? caller;
  const what = action === "replay" ? "Replayed" : action;
  return { at, title: `${what} by ${who}`, text: wasState ? `It was ${wasState}.` : "", quote: wasReason, tone: "good" };
}

/** Where it stands now: the end of the list. */
function standing({ state, reason, nextAttemptAt, settledAt, call, history }) {
  const why = history.at(-1)?.error === reason ? "" : reason; // Said already.
  const end = (title, text, tone) => ({ at: settledAt, title, text, tone, last: true });
  switch (state) {
    case "pending":
      return { at: nextAttemptAt, title: "Waiting for its next attempt", text: `Due ${exactTime(nextAttemptAt)}.`, tone: "good", last: true };
    case "processing":
      return { at: null, title: "Being processed now", text: `If its worker dies, it is due again ${exactTime(nextAttemptAt)}.`, tone: "good", last: true };
    case "dead":
      return end("Dead", why, "weak");
    case "ignored":
      return end("Ignored", why, "fair");
    default:
      return call?.status === "unscored"
        ? end("Not scored", call.reasonMessage ?? call.reason ?? "Athos did not say why.", "fair")
        : end("Scored", headline(call) === null ? "Without a headline score." : `${score(headline(call))} of 100.`, "strong");
  }
}
