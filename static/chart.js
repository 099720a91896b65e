// Draws scores over time as inline SVG: one line, one drill, marks and numbers instead of colours.
// The picture is for the eyes; `progress.js` puts the same numbers in a table.

import { day } from "./format.js";
import { svg } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 128;
const LEFT = 26;
const RIGHT = 12;
const TOP = 12;
const BOTTOM = 22;

/** `points`: `[{score, endedAt}]`, oldest first; `label` says what the picture shows. */
export function scoreChart(points, label) {
  const y = (value) => TOP + (1 - value / 100) * (HEIGHT - TOP - BOTTOM);
  const marks = points.map(({ score }, index) => ({ x: across(index, points.length), y: y(score), score }));
  const last = marks.at(-1);
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    [0, 50, 100].map((value) => [
      svg("line", { class: "chart-grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { class: "chart-axis", x: LEFT - 6, y: y(value) + 3, "text-anchor": "end" }, value),
    ]),
    marks.length > 1
      ? svg("polyline", { class: "chart-line", points: marks.map((mark) => `${round(mark.x)},${round(mark.y)}`).join(" ") })
      : null,
    marks.map((mark) =>
      svg("circle", { class: mark === last ? "chart-mark last" : "chart-mark", cx: round(mark.x), cy: round(mark.y), r: mark === last ? 4.5 : 3 }),
    ),
    last ? svg("text", { class: "chart-value", x: labelX(last.x), y: labelY(last.y), "text-anchor": "end" }, Math.round(last.score)) : null,
    dates(points),
  );
}

/** The same line without axes, for a row of a table. */
export function sparkline(scores) {
  const [width, height] = [80, 20];
  const at = (score, index) => `${round((index / Math.max(1, scores.length - 1)) * (width - 6) + 3)},${round(height - 3 - (score / 100) * (height - 6))}`;
  const [x, y] = at(scores.at(-1) ?? 0, Math.max(0, scores.length - 1)).split(",");
  return svg(
    "svg",
    { class: "sparkline", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    scores.length > 1 ? svg("polyline", { class: "chart-line", points: scores.map(at).join(" ") }) : null,
    scores.length ? svg("circle", { class: "chart-mark last", cx: x, cy: y, r: 2.5 }) : null,
  );
}

function dates(points) {
  if (!points.length) return null;
  const y = HEIGHT - 6;
  const first = svg("text", { class: "chart-axis", x: LEFT, y, "text-anchor": "start" }, day(points[0].endedAt));
  const last = svg("text", { class: "chart-axis", x: WIDTH - RIGHT, y, "text-anchor": "end" }, day(points.at(-1).endedAt));
  return points.length > 1 ? [first, last] : [last];
}

/** Evenly spaced by attempt; a single score sits where the latest always is. */
function across(index, count) {
  const width = WIDTH - LEFT - RIGHT - 8;
  return LEFT + 4 + (count > 1 ? (index / (count - 1)) * width : width);
}

const labelX = (x) => Math.min(x + 6, WIDTH - 2);
const labelY = (y) => (y < TOP + 14 ? y + 18 : y - 9);
const round = (value) => Math.round(value * 10) / 10;
