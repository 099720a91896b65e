// Looks again and again while somebody can see it: one look at a time, none while the page is hidden, and the slower
// the service answers, the longer the pause. Whatever is under way ends with `stop()`.

const EVERY_MS = 2500;
const SLOWEST_MS = 30_000;
/** A look that takes longer is given up; the next one may fare better. */
const PATIENCE_MS = 15_000;

/**
 * Calls `look(signal)` until `stop()`; `now()` does so at once. What `look` throws goes to `onError`, unless it was
 * thrown by stopping; then there is a longer pause.
 */
export function poll(look, onError) {
  const stopped = new AbortController();
  let timer = 0;
  let looking = false;
  let again = false;
  let failures = 0;

  async function run() {
    clearTimeout(timer);
    if (stopped.signal.aborted || document.hidden) return;
    // What is asked for during a look may already be missing from its answer.
    if (looking) return void (again = true);
    looking = true;
    const began = performance.now();
    try {
      await look(AbortSignal.any([stopped.signal, AbortSignal.timeout(PATIENCE_MS)]));
      failures = 0;
    } catch (error) {
      failures += 1;
      if (!stopped.signal.aborted) onError(error);
    }
    looking = false;
    if (again) {
      again = false;
      return run();
    }
    const pause = Math.max(EVERY_MS * 2 ** failures, 5 * (performance.now() - began));
    timer = setTimeout(run, Math.min(pause, SLOWEST_MS));
  }

  document.addEventListener("visibilitychange", run, { signal: stopped.signal });
  run();
  return {
    now: run,
    stop() {
      stopped.abort();
      clearTimeout(timer);
    },
  };
}
