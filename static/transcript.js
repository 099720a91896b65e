// A transcript as a conversation. What was said is hostile input: it only ever becomes text.

import { duration } from "./format.js";
import { h } from "./dom.js";

const SPEAKERS = { rep: "Rep", persona: "Customer" };

/** `self`: the reader is the rep, who is then called "You". */
export function transcript(turns, { self }) {
  return h(
    "ol",
    { class: "transcript" },
    turns.map(({ role, content, startTime }) => {
      const speaker = role === "rep" && self ? "You" : (SPEAKERS[role] ?? String(role ?? "Somebody"));
      return h(
        "li",
        { class: role === "rep" ? "turn rep" : "turn persona" },
        h("p", { class: "turn-who" }, speaker, Number.isFinite(startTime) ? h("span", { class: "quiet" }, ` ${duration(startTime)}`) : null),
        h("p", { class: "turn-what" }, content || "…"),
      );
    }),
  );
}
