// One call at its own address, `#/calls/{id}`: read at once, or waited for while it is being scored.

import { awaitScore } from "./scoring.js";
import { explain } from "./errors.js";
import { h } from "./dom.js";
import { renderCall, scoreSentence } from "./score.js";

export function callView({ api, me, say }, id) {
  const place = h("div", { class: "view-place" }, h("p", { class: "quiet" }, "Loading the call…"));
  const element = h(
    "div",
    { class: "view" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Call"), h("p", { class: "lead code" }, id)),
    place,
  );
  const left = new AbortController();
  const signal = left.signal;

  const show = (call) => place.replaceChildren(renderCall(call, { api, self: call.rep === me.rep }));
  const fail = (error) => {
    if (signal.aborted) return;
    const { title, text } = explain(error);
    place.replaceChildren(h("section", { class: "card" }, h("h2", {}, title), h("p", {}, text)));
    say(title);
  };

  api.call(id, { signal }).then((call) => {
    if (signal.aborted) return;
    show(call);
    if (call.status !== "processing") return;
    place.prepend(h("p", { class: "callout" }, "This call is being scored. The score will appear here."));
    const onCall = (scored) => {
      show(scored);
      say(scoreSentence(scored));
    };
    awaitScore(api, id, { signal, onCall, onProblem: fail });
  }, fail);

  return { element, leave: () => left.abort() };
}
