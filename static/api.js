// The backend's routes as functions. Every failure, whatever its cause, is thrown as an `ApiError`
// with a code, so the rest of the page branches on one thing.

export class ApiError extends Error {
  /** `where` tells a backend's code from the SDK's code of the same name (`TOKEN_EXPIRED`). */
  constructor({ code, message, requestId = null, status = 0, retryAfterSec = null }) {
    super(message);
    Object.assign(this, { code, requestId, status, retryAfterSec, where: "backend" });
  }

  get signedOut() {
    return this.status === 401;
  }
}

export class Api {
  /**
   * `base`: the URL the backend lives under. `headers`: an async function adding headers to each
   * request, for products whose reps carry a bearer token; without it the rep's cookie speaks.
   */
  constructor({ base, headers = null, tokenEndpoint = null }) {
    this.base = new URL(base);
    this.headers = headers;
    this.tokenUrl = tokenEndpoint ? new URL(tokenEndpoint, document.baseURI) : this.url("athos/token");
  }

  url(path, query = {}) {
    const url = new URL(path, this.base);
    for (const [name, value] of Object.entries(query)) {
      if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
    }
    return url;
  }

  me = () => this.json("athos/me");
  calls = (query) => this.json("athos/calls", { query });
  call = (id, options) => this.json(`athos/calls/${encodeURIComponent(id)}`, options);
  progress = (query) => this.json("athos/progress", { query });
  recordingUrl = (id) => this.url(`athos/calls/${encodeURIComponent(id)}/recording`).href;
  events = (query, options) => this.json("athos/events", { ...options, query });
  event = (id, options) => this.json(`athos/events/${encodeURIComponent(id)}`, options);
  replayEvent = (id) => this.json(`athos/events/${encodeURIComponent(id)}/replay`, { method: "POST" });
  replayEvents = (body) => this.json("athos/events/replay", { method: "POST", body });
  deliveries = (query, options) => this.json("athos/deliveries", { ...options, query });
  delivery = (id, options) => this.json(`athos/deliveries/${encodeURIComponent(id)}`, options);
  replayDelivery = (id) => this.json(`athos/deliveries/${encodeURIComponent(id)}/replay`, { method: "POST" });
  replayDeliveries = (body) => this.json("athos/deliveries/replay", { method: "POST", body });
  testEndpoints = (body) => this.json("athos/deliveries/test", { method: "POST", body });
  received = (options) => this.json("demo/received", options);
  overview = (options) => this.json("athos/overview", options);
  mints = (query) => this.json("athos/mints", { query });
  audit = (query) => this.json("athos/audit", { query });
  callsFile = (query) => this.file("athos/calls", query, "text/csv", "calls.csv");
  auditFile = (query) => this.file("athos/audit", query, "application/x-ndjson", "audit.ndjson");
  mint = (options) => this.json(this.tokenUrl, { ...options, method: "POST" });
  signIn = (body) => this.json("demo/sign-in", { method: "POST", body });
  signOut = () => this.json("demo/sign-out", { method: "POST" });

  async json(path, options) {
    const response = await this.request(path, options);
    if (response.status === 204) return null;
    const body = await response.json().catch(() => undefined);
    if (body === undefined && response.headers.get("content-length") !== "0") {
      throw new ApiError({ code: "BAD_RESPONSE", message: "The answer was not JSON.", status: response.status });
    }
    return body ?? null;
  }

  /** All of a list, whole: what breaks off is thrown. The service names the file, where this page may read that. */
  async file(path, query, accept, name) {
    const response = await this.request(path, { query, accept });
    const named = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "");
    try {
      return { blob: await response.blob(), name: named?.[1] ?? name };
    } catch {
      throw new ApiError({ code: "DOWNLOAD_BROKEN", message: "The file broke off.", status: response.status });
    }
  }

  /** Resolves with a 2xx response; anything else is thrown. An aborted request throws its AbortError. */
  async request(path, { method = "GET", query, body, signal, accept = "application/json", headers = {} } = {}) {
    let response;
    try {
      response = await fetch(this.url(path, query), {
        method,
        signal,
        credentials: "include",
        headers: {
          accept,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
          ...(await this.headers?.()),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (cause) {
      if (signal?.aborted) throw cause;
      throw new ApiError({ code: "BACKEND_UNREACHABLE", message: "No answer from the service." });
    }
    if (!response.ok) throw await errorFrom(response);
    return response;
  }
}

async function errorFrom(response) {
  const envelope = await response.json().then((body) => body?.error, () => null);
  return new ApiError({
    code: envelope?.code ?? `HTTP_${response.status}`,
    message: envelope?.message ?? `The service answered ${response.status}.`,
    requestId: envelope?.requestId ?? response.headers.get("x-request-id"),
    status: response.status,
    retryAfterSec: retryAfter(response.headers.get("retry-after")),
  });
}

function retryAfter(header) {
  const seconds = Number.parseInt(header ?? "", 10);
  return Number.isFinite(seconds) ? seconds : null;
}
