// One call as a rep reads it: the score as a picture and a number, compliance, summary, feedback,
// recording, transcript. What the vendor left empty is said to be empty.

import { band, dayAndTime, duration, percent, score as number } from "./format.js";
import { drill, fullName } from "./drills.js";
import { h, svg } from "./dom.js";
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
      status === "unscored" ? null : ring(score?.overallScore ?? call.overallScore),
      h(
        "div",
        { class: "call-title" },
        h("p", { class: "eyebrow" }, drill(call.drillKey).line ?? "Practice call"),
        h("h2", { tabindex: "-1" }, call.drillKey ? drill(call.drillKey).name : fullName(null)),
        facts(call, self),
      ),
      Number.isFinite(compliancePercent(call)) ? complianceTotal(compliancePercent(call)) : null,
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
        compliance(score?.complianceScorecard),
      ),
      h(
        "section",
        { class: "card call-transcript" },
        h("h3", {}, "Transcript"),
        call.hasRecording ? recording(api.recordingUrl(call.id)) : null,
        call.transcript?.length ? transcript(call.transcript, { self }) : h("p", { class: "empty" }, "There is no transcript of this call."),
      ),
    ),
  );
}

/** What is announced when a score arrives. */
export function scoreSentence(call) {
  if (call.status === "unscored") return "This call could not be scored.";
  const value = call.score?.overallScore ?? call.overallScore;
  return Number.isFinite(value) ? `Your score: ${number(value)} out of 100. ${band(value).word}.` : "Your call has been scored.";
}

function ring(value) {
  const { name, word } = band(value);
  const label = Number.isFinite(value) ? `Overall score ${number(value)} out of 100: ${word}` : "No overall score";
  return h(
    "div",
    { class: "ring", role: "img", "aria-label": label, "data-band": name },
    svg(
      "svg",
      { viewBox: "0 0 120 120", "aria-hidden": "true" },
      svg("circle", { class: "ring-track", cx: 60, cy: 60, r: 52 }),
      Number.isFinite(value) && value > 0
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
    h("p", {}, "It does not count against you. Practise again when you like."),
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

function compliancePercent(call) {
  return call.score?.compliancePercent ?? call.compliancePercent;
}

function complianceTotal(value) {
  return h(
    "div",
    { class: "compliance-total" },
    h("p", { class: "eyebrow" }, "Compliance"),
    h("p", { class: "compliance-number" }, percent(value)),
    bar(value),
  );
}

function compliance(card) {
  const categories = Array.isArray(card?.categories) ? card.categories : [];
  if (!categories.length) return null;
  return h("section", { class: "card compliance" }, h("h3", {}, "Compliance"), categories.map(category));
}

function category({ label, key, percent: share, earned, possible, questions }) {
  return h(
    "details",
    { class: "category" },
    h(
      "summary",
      {},
      h("span", { class: "category-name" }, label || key || "Category"),
      h(
        "span",
        { class: "category-figures" },
        Number.isFinite(earned) && Number.isFinite(possible) ? h("span", { class: "quiet small" }, `${earned} of ${possible} points`) : null,
        h("strong", {}, percent(share)),
      ),
      bar(share),
    ),
    h("ol", { class: "questions" }, (Array.isArray(questions) ? questions : []).map(question)),
  );
}

const VERDICTS = { yes: ["Yes", "strong"], partial: ["Partly", "fair"], no: ["No", "weak"] };

function question({ label, key, yesNo, score, points, evidence, explanation }) {
  const [word, tone] = VERDICTS[String(yesNo).toLowerCase()] ?? [yesNo ? String(yesNo) : "Not assessed", "none"];
  return h(
    "li",
    {},
    h(
      "p",
      { class: "question-head" },
      h("span", { class: "verdict", "data-band": tone }, word),
      h("span", {}, label || key || "Question"),
      Number.isFinite(score) && Number.isFinite(points) ? h("span", { class: "quiet small points" }, `${score}/${points}`) : null,
    ),
    evidence ? h("blockquote", {}, evidence) : null,
    explanation ? h("p", { class: "quiet small" }, explanation) : null,
  );
}

/** Decoration only: the number is always beside it. */
function bar(value) {
  return svg(
    "svg",
    { class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true", "data-band": band(value).name },
    svg("rect", { class: "bar-track", width: 100, height: 4 }),
    svg("rect", { class: "bar-value", width: Number.isFinite(value) ? Math.min(100, Math.max(0, value)) : 0, height: 4 }),
  );
}
