// Replaying many events or messages at once: first a dry run that says how many, then a confirmation of exactly that.

import { plural } from "../format.js";
import { explain } from "../errors.js";
import { h } from "../dom.js";

export const EVENT_REPLAY = {
  noun: "event",
  states: { dead: "Dead", ignored: "Ignored", done: "Done" },
  lead: "All events in one state that came in within a time. Each is pending again with all its attempts, and who replayed it is on record.",
  verb: "Came in",
};
export const DELIVERY_REPLAY = {
  noun: "message",
  states: { failed: "Failed", waiting: "Waiting", delivered: "Delivered" },
  lead: "All messages in one state that were written within a time, to the endpoint of the filter if it names one. Each is sent now under the same id, saying what is true of its call now; who replayed it is on record.",
  verb: "Written",
};
/** Ids listed after a dry run; the rest is a number. */
const LISTED = 12;

/** Opens the dialog, starting from the filter `given`. `ask(body)` is the request, `onDone()` follows a replay. */
export function openRange({ noun, states, lead, verb }, { ask, say, fail, given, onDone }) {
  const option = ([state, word]) => h("option", { value: state, selected: given.state === state }, word);
  const state = h("select", { id: "range-state", name: "state", class: "field" }, Object.entries(states).map(option));
  const since = h("input", { id: "range-since", name: "since", class: "field", type: "datetime-local", step: 1, value: local(given.from) });
  const until = h("input", { id: "range-until", name: "until", class: "field", type: "datetime-local", step: 1, value: local(given.to) });
  const result = h("div", { class: "range-result", role: "status" });
  const count = h("button", { type: "submit", class: "button primary" }, "Count them");
  const confirm = h("button", { type: "button", class: "button danger", hidden: true, onclick: replayAll }, "");
  let counted = null;

  const endpoint = given.endpoint ? Number(given.endpoint) : undefined;
  const chosen = () => ({ state: state.value, endpoint, since: iso(since.value), until: iso(until.value) });

  /** Another range has not been counted. */
  function forget() {
    counted = null;
    confirm.hidden = true;
    result.replaceChildren();
  }

  async function dryRun(event) {
    event.preventDefault();
    forget();
    await asking(count, async () => {
      const range = chosen();
      const { count: number, ids } = await ask({ ...range, dryRun: true });
      // What comes in from now on was not counted.
      counted = { ...range, until: range.until ?? new Date().toISOString() };
      result.replaceChildren(h("p", {}, `${plural(number, noun)} would be replayed.`), number ? h("p", { class: "quiet small code" }, listed(ids, number)) : "");
      confirm.hidden = number === 0;
      confirm.textContent = `Replay ${plural(number, noun)}`;
    });
  }

  async function replayAll() {
    await asking(confirm, async () => {
      let number = 0;
      let cursor = null;
      // A request does some thousands, and says where to go on.
      do {
        const step = await ask({ ...counted, dryRun: false, cursor }).catch((error) => {
          if (number > 0) say(`${plural(number, noun)} replayed; then it broke off.`);
          throw error;
        });
        number += step.count;
        cursor = step.nextCursor;
        confirm.textContent = `${plural(number, noun)} replayed…`;
      } while (cursor);
      say(`${plural(number, noun)} replayed.`);
      forget();
      dialog.close();
      onDone();
    });
  }

  async function asking(button, act) {
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      if (fail(error)) return dialog.close();
      result.replaceChildren(h("p", { class: "callout warn" }, error.code === "INVALID_REQUEST" ? error.message : `${explain(error).title}. ${explain(error).text}`));
    } finally {
      button.disabled = false;
    }
  }

  const field = (control, label) => h("div", {}, h("label", { for: control.id }, label), control);
  const dialog = h(
    "dialog",
    { "aria-labelledby": "range-title", onclose: () => dialog.remove() },
    h(
      "form",
      { onsubmit: dryRun, onchange: forget },
      h("h2", { id: "range-title" }, "Replay many"),
      h("p", { class: "small" }, lead),
      field(state, "State"),
      field(since, `${verb} since (leave empty for the beginning)`),
      field(until, `${verb} until (leave empty for now)`),
      result,
      h("div", { class: "row" }, count, confirm, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel")),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

function listed(ids, number) {
  const first = ids.slice(0, LISTED).map((id) => `#${id}`).join(" ");
  return number > LISTED ? `${first} and ${number - LISTED} more` : first;
}

/** The reader's own time of day, as the field takes it. */
function local(time) {
  if (!time) return null;
  const date = new Date(time);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function iso(text) {
  return text ? new Date(text).toISOString() : undefined;
}
