// `GET /athos/live` as a subscription: one connection per backend however many parts of the page listen,
// reconnecting by itself and resuming where it stopped. It reads the stream through `fetch`, not
// `EventSource`, so that bearer tokens work and a proxy that swallows the stream is noticed.

const RETRY_MS = [1000, 2000, 5000, 10_000, 30_000];

/** The service sends a comment at least every 15 s; a stream silent for this long is dead. */
const SILENCE_MS = 40_000;

const connections = new WeakMap();

/**
 * Calls `listener({id, status, rep, overallScore})` for each event and `listener(null)` each time the
 * stream (re)opens or has skipped events: the moment to look at what was missed. Returns `{isOpen(), close()}`.
 */
export function subscribe(api, listener) {
  const connection = connections.get(api) ?? new Connection(api);
  connections.set(api, connection);
  connection.listeners.add(listener);
  if (connection.listeners.size === 1) connection.run();
  else if (connection.open) listener(null);
  return {
    isOpen: () => connection.open,
    close() {
      if (connection.listeners.delete(listener) && connection.listeners.size === 0) connection.stop();
    },
  };
}

class Connection {
  listeners = new Set();
  open = false;
  #api;
  #abort = null;
  #lastEventId = null;

  constructor(api) {
    this.#api = api;
  }

  async run() {
    const abort = (this.#abort = new AbortController());
    for (let failures = 0; !abort.signal.aborted; ) {
      try {
        await this.#read(abort.signal, () => (failures = 0));
      } catch (error) {
        // Signed out or not offered here: asking again would change nothing.
        if ([401, 403, 404].includes(error?.status)) return;
      }
      this.open = false;
      // Jittered: after a restart of the service every page has lost its stream at the same moment.
      await pause(RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)] * (0.5 + Math.random()), abort.signal);
    }
  }

  stop() {
    this.open = false;
    this.#abort?.abort();
  }

  async #read(stopped, onAlive) {
    const watchdog = new AbortController();
    const response = await this.#api.request("athos/live", {
      accept: "text/event-stream",
      signal: AbortSignal.any([stopped, watchdog.signal]),
      headers: this.#lastEventId === null ? {} : { "last-event-id": this.#lastEventId },
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parse = eventParser((event) => this.#hear(event));
    this.open = true;
    this.#tell(null);
    for (;;) {
      const silence = setTimeout(() => watchdog.abort(), SILENCE_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      onAlive();
      parse(value);
    }
  }

  #hear({ type, id, data }) {
    if (id !== null) this.#lastEventId = id;
    if (type === "reset") this.#tell(null);
    if (type !== "call") return;
    try {
      this.#tell(JSON.parse(data));
    } catch {
      // One unreadable event is no reason to stop listening; polling will find what it said.
    }
  }

  #tell(event) {
    for (const listener of [...this.listeners]) listener(event);
  }
}

/** Feeds on chunks cut anywhere and calls `onEvent({type, id, data})` for each whole event. */
export function eventParser(onEvent) {
  let buffer = "";
  let event = { type: "message", id: null, data: [] };
  return (chunk) => {
    buffer += chunk;
    // A CR at the very end may be half of a CRLF: it waits for the next chunk.
    const lines = buffer.split(/\r\n|\n|\r(?!$)/);
    buffer = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data.length) onEvent({ ...event, data: event.data.join("\n") });
        event = { type: "message", id: null, data: [] };
        continue;
      }
      const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      if (field === "event") event.type = value ?? "";
      else if (field === "data") event.data.push(value ?? "");
      else if (field === "id") event.id = value ?? "";
    }
  };
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
