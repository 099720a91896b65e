// Words and small parts that several views of the console share.

import { h } from "../dom.js";

/** States as the API calls them; the tone is one of the page's bands, so colour is never the only sign. */
const STATES = {
  pending: ["Pending", "good"],
  processing: ["Processing", "good"],
  done: ["Done", "strong"],
  ignored: ["Ignored", "fair"],
  dead: ["Dead", "weak"],
  // Of messages.
  waiting: ["Waiting", "good"],
  sending: ["Sending", "good"],
  delivered: ["Delivered", "strong"],
  failed: ["Failed", "weak"],
  superseded: ["Superseded", "fair"],
  // Of endpoints.
  healthy: ["Healthy", "strong"],
  failing: ["Failing", "weak"],
  disabled: ["Disabled", "weak"],
  unused: ["Not used yet", "fair"],
  removed: ["Not configured any more", "fair"],
  // Of replicas.
  alive: ["Alive", "strong"],
  silent: ["Silent", "weak"],
};

export function stateTag(state) {
  const [word, tone] = STATES[state] ?? [String(state), "none"];
  return h("span", { class: "state", "data-band": tone }, word);
}

/** A repair is marked as such: its webhook was lost. */
export function originTag(origin) {
  return origin === "reconcile" ? h("span", { class: "tag lost" }, "Webhook lost") : null;
}

/** Waiting already, so there is nothing to replay. */
export function isWaiting({ state }) {
  return state === "pending" || state === "processing";
}

/** `[["Term", value], …]` as a list; what is absent is left out. */
export function factList(facts, attributes = {}) {
  const given = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "fact-list", ...attributes }, given.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}
