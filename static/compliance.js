// Compliance as Athos assessed it: the rubric in force, the older map of sections, and whatever it adds. Nothing that
// was not assessed is shown as zero.

import { band, humanise, percent } from "./format.js";
import { describe, others } from "./generic.js";
import { h, svg } from "./dom.js";

export function complianceTotal(value) {
  const assessed = Number.isFinite(value);
  return h(
    "div",
    { class: "compliance-total" },
    h("p", { class: "eyebrow" }, "Compliance"),
    assessed ? h("p", { class: "compliance-number" }, percent(value)) : h("p", { class: "quiet" }, "Not assessed"),
    assessed ? bar(value) : null,
  );
}

export function complianceCard(card) {
  const { categories, more } = read(card);
  if (!categories.length && !more) return null;
  return h("section", { class: "card compliance" }, h("h3", {}, "Compliance"), categories.map(category), more ? h("div", { class: "generic" }, describe(more)) : null);
}

/** Both shapes as categories, and what belongs to neither. */
function read(card) {
  if (!isObject(card)) return { categories: [], more: null };
  if (Array.isArray(card.categories)) {
    return { categories: card.categories.filter(isObject), more: others(card, ["rubricVersion", "categories"]) };
  }
  const sections = Object.entries(card).filter(([, section]) => isObject(section));
  return {
    categories: sections.map(([key, section]) => asCategory(key, section)),
    more: others(card, ["rubricVersion", ...sections.map(([key]) => key)]),
  };
}

function asCategory(key, { score, maxScore, notes, ...rest }) {
  const share = maxScore > 0 && Number.isFinite(score) ? (score / maxScore) * 100 : undefined;
  return { key, earned: score, possible: maxScore, percent: share, explanation: notes, ...rest };
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const CATEGORY = ["label", "key", "percent", "earned", "possible", "questions", "explanation"];

function category(given) {
  const { label, key, percent: share, earned, possible, questions, explanation } = given;
  const more = others(given, CATEGORY);
  return h(
    "details",
    { class: "category" },
    h(
      "summary",
      {},
      h("span", { class: "category-name" }, label || (key ? humanise(key) : "Category")),
      h(
        "span",
        { class: "category-figures" },
        Number.isFinite(earned) && Number.isFinite(possible) ? h("span", { class: "quiet small" }, `${earned} of ${possible} points`) : null,
        h("strong", {}, Number.isFinite(share) ? percent(share) : "Not assessed"),
      ),
      bar(share),
    ),
    explanation ? h("p", { class: "category-words quiet small" }, explanation) : null,
    more ? h("div", { class: "generic category-words" }, describe(more)) : null,
    h("ol", { class: "questions" }, (Array.isArray(questions) ? questions : []).filter(isObject).map(question)),
  );
}

const VERDICTS = { yes: ["Yes", "strong"], partial: ["Partly", "fair"], no: ["No", "weak"] };
/** What is shown in its own way, and what says nothing to a reader. */
const QUESTION = ["label", "key", "number", "yesNo", "score", "points", "evidence", "explanation", "conditional", "binary"];

function question(given) {
  const { label, key, yesNo, score, points, evidence, explanation } = given;
  const [word, tone] = VERDICTS[String(yesNo).toLowerCase()] ?? [yesNo ? String(yesNo) : "Not assessed", "none"];
  const more = others(given, QUESTION);
  return h(
    "li",
    {},
    h(
      "p",
      { class: "question-head" },
      h("span", { class: "verdict", "data-band": tone }, word),
      h("span", {}, label || (key ? humanise(key) : "Question")),
      Number.isFinite(score) && Number.isFinite(points) ? h("span", { class: "quiet small points" }, `${score}/${points}`) : null,
    ),
    evidence ? h("blockquote", {}, evidence) : null,
    explanation ? h("p", { class: "quiet small" }, explanation) : null,
    more ? h("div", { class: "generic" }, describe(more)) : null,
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
