// One call as a rep reads it: the score as a picture and a number, compliance, summary, feedback,
// recording, transcript. What the vendor left empty is said to be empty.

import { band, day, dayAndTime, duration, headline, score as number } from "./format.js";
import { complianceCard, complianceTotal } from "./compliance.js";
import { describe, others } from "./generic.js";
import { drill, fullName } from "./drills.js";
import { h, svg } from "./dom.js";
import { isReal } from "./source.js";
import { transcript } from "./transcript.js";

/** `api` is for the recording's address; `self`: the reader is the rep whose call it is. */
export function renderCall(call, { api, self }) {
  const { score, status } = call;
  return h(
    "article",
    { class: "call" },
    h(
      "header",
      { class: "card call-head" },
      status === "unscored" ? null : ring(headline(call), status),
      h(
        "div",
        { class: "call-title" },
        h("p", { class: "eyebrow" }, isReal(call) ? "With a customer" : (drill(call.drillKey).line ?? "Practice call")),
        h("h2", { tabindex: "-1" }, name(call)),
        facts(call, self),
      ),
      status === "scored" ? complianceTotal(score?.compliancePercent ?? call.compliancePercent) : null,
    ),
    status === "unscored" ? unscored(call) : null,
    h(
      "div",
      { class: "call-body" },
      h(
        "div",
        { class: "call-words" },
        score ? prose("Summary", score.summary, "Athos wrote no summary for this call.") : null,
        score ? prose("Feedback", score.feedback, "Athos gave no feedback on this call.") : null,
        complianceCard(score?.complianceScorecard),
        moreWords(score),
      ),
      h(
        "section",
        { class: "card call-transcript" },
        h("h3", {}, "Transcript"),
        call.hasRecording ? recording(api.recordingUrl(call.id)) : null,
        call.transcript?.length ? transcript(call.transcript, { self }) : h("p", { class: "empty" }, noTranscript(call)),
      ),
    ),
  );
}

/** What is announced when a score arrives. */
export function scoreSentence(call) {
  if (call.status === "unscored") return "This call could not be scored.";
  const value = headline(call);
  return value === null ? "Your call has been scored, without a headline score." : `Your score: ${number(value)} out of 100. ${band(value).word}.`;
}

function name(call) {
  if (isReal(call)) return "Real call";
  return call.drillKey ? drill(call.drillKey).name : fullName(null);
}

function ring(value, status) {
  const { name, word: judged } = band(value);
  const absent = status === "scored" ? "No headline score" : "No score yet";
  const word = value === null ? absent : judged;
  const label = value === null ? absent : `Overall score ${number(value)} out of 100: ${judged}`;
  return h(
    "div",
    { class: "ring", role: "img", "aria-label": label, "data-band": name },
    svg(
      "svg",
      { viewBox: "0 0 120 120", "aria-hidden": "true" },
      svg("circle", { class: "ring-track", cx: 60, cy: 60, r: 52 }),
      value > 0
        ? svg("circle", {
            class: "ring-value",
            cx: 60,
            cy: 60,
            r: 52,
            pathLength: 100,
            "stroke-dasharray": `${Math.min(100, value)} 100`,
            transform: "rotate(-90 60 60)",
          })
        : null,
    ),
    h("div", { class: "ring-words" }, h("span", { class: "ring-number" }, number(value)), h("span", { class: "ring-word" }, word)),
  );
}

function facts(call, self) {
  return h(
    "p",
    { class: "facts quiet" },
    [self ? null : call.rep, dayAndTime(call.endedAt ?? call.startedAt), Number.isFinite(call.durationSec) ? duration(call.durationSec) : null]
      .filter(Boolean)
      .map((fact) => h("span", {}, fact)),
  );
}

function unscored(call) {
  const why = call.reasonMessage || "Athos did not say why.";
  return h(
    "section",
    { class: "callout warn unscored" },
    h("h3", {}, "This call has no score"),
    h("p", {}, why, call.reason ? h("span", { class: "quiet" }, ` (${call.reason})`) : null),
    h("p", {}, isReal(call) ? "It does not count against you." : "It does not count against you. Practise again when you like."),
  );
}

function prose(title, text, otherwise) {
  const paragraphs = String(text ?? "").split(/\n+/).map((line) => line.trim()).filter(Boolean);
  return h(
    "section",
    { class: "card prose" },
    h("h3", {}, title),
    paragraphs.length ? paragraphs.map((line) => h("p", {}, line)) : h("p", { class: "empty" }, otherwise),
  );
}

/** What the vendor has added to its scores since. */
function moreWords(score) {
  const more = others(score, ["overallScore", "summary", "feedback", "compliancePercent", "complianceScorecard"]);
  return more ? h("section", { class: "card generic" }, h("h3", {}, "More from Athos"), describe(more)) : null;
}

function noTranscript({ transcriptPurgedAt }) {
  if (!transcriptPurgedAt) return "There is no transcript of this call.";
  return `The transcript is not kept any more: it was removed on ${day(transcriptPurgedAt)}, as this service is set to.`;
}

/** `preload="none"`: the link behind it is asked for when the rep presses play, and lives an hour. */
function recording(source) {
  const note = h("p", { class: "quiet small", role: "status" });
  const player = h("audio", {
    controls: true,
    preload: "none",
    src: source,
    "aria-label": "Recording of the call",
    onerror: () => (note.textContent = "The recording can't be played right now. Try again later."),
    onplaying: () => (note.textContent = ""),
  });
  return h("div", { class: "recording" }, player, note);
}
