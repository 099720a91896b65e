// Waits for one call's score: the live stream says when to look, and a poll looks anyway, often while
// the stream is shut and seldom while it is open. Nothing is missed if either of the two is blocked.

import { subscribe } from "./live.js";

const POLL_WHILE_OPEN_MS = 20_000;
const FIRST_POLL_MS = 2000;
const SLOWEST_POLL_MS = 20_000;

/** Scoring takes minutes; beyond this the rep is told that it may take longer. */
export const LATE_AFTER_MS = 5 * 60_000;

/**
 * `onCall(call)` once the call is `scored` or `unscored`; `onProblem(error)` when looking has become pointless (signed
 * out). Neither is called once `signal` is aborted, whatever is under way then.
 */
export function awaitScore(api, callId, { signal, onCall, onProblem }) {
  if (signal.aborted) return;
  const found = new AbortController();
  const over = AbortSignal.any([signal, found.signal]);
  let timer = 0;
  let polls = 0;
  let looking = false;
  let again = false;

  const settle = (tell, outcome) => {
    found.abort();
    tell(outcome);
  };

  const look = async () => {
    if (over.aborted) return;
    // An event during a look means that the answer under way may already be old.
    if (looking) return void (again = true);
    looking = true;
    clearTimeout(timer);
    try {
      const call = await api.call(callId, { signal: over });
      if (over.aborted) return;
      if (call.status !== "processing") return settle(onCall, call);
    } catch (error) {
      if (over.aborted) return;
      if (error.signedOut) return settle(onProblem, error);
      // 404 until Athos has told the service; anything else passes.
    }
    looking = false;
    if (again) {
      again = false;
      return look();
    }
    const shut = Math.min(FIRST_POLL_MS * 1.2 ** polls++, SLOWEST_POLL_MS);
    timer = setTimeout(look, live.isOpen() ? POLL_WHILE_OPEN_MS : shut);
  };

  const live = subscribe(api, (event) => {
    if (event === null || event.id === callId) look();
  });
  // While the stream is being opened: its opening looks at once, a blocked stream is polled.
  timer = setTimeout(look, FIRST_POLL_MS);
  over.addEventListener("abort", () => {
    clearTimeout(timer);
    live.close();
  });
}
