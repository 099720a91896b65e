// Words for every error code a rep can meet, and the one next step that helps. A code missing here is
// shown as it is, with the request id to quote: the vendor's list grows without notice.

const ASK_ADMIN = "Tell the person who looks after this page; there is nothing you can do here.";

/**
 * `step` is the next step: `retry` goes again with the same token if it is still unspent, `restart`
 * mints anew, `choose` returns to the drills, `wait` restarts after a pause, `sound`, `reload` and
 * `sign-in` do as they say, and null means that nothing the rep can do would help.
 */
const WORDS = {
  // The microphone. The token is still unspent: the SDK asks for the microphone first.
  MIC_PERMISSION_DENIED: {
    title: "The microphone is blocked",
    text: "Allow the microphone for this page (the icon beside the address), then try again.",
    step: "retry",
  },
  NO_MIC_AVAILABLE: {
    title: "No microphone found",
    text: "Plug in or switch on a microphone, then try again. If you have one, check that this page's address begins with https.",
    step: "retry",
  },
  MIC_DEVICE_DISCONNECTED: {
    title: "Your microphone was disconnected",
    text: "Plug it back in or choose another one, then try again.",
    step: "retry",
  },

  // The call.
  NETWORK_LOST: {
    title: "The connection was lost",
    text: "The call could not be picked up again, so it has ended. Check your network and start a new one.",
    step: "restart",
  },
  AUDIO_PLAYBACK_BLOCKED: {
    title: "Sound is blocked",
    text: "Your browser is waiting for your say-so before it plays the customer's voice.",
    step: "sound",
  },
  BROWSER_NOT_SUPPORTED: {
    title: "This browser can't take practice calls",
    text: "Open this page in Chrome, Edge or Firefox on a computer.",
    step: null,
  },
  SESSION_ALREADY_CONNECTED: {
    title: "That call was already started",
    text: "Start a new call.",
    step: "restart",
  },
  CALL_NOT_ENDED: {
    title: "The call did not end",
    text: "Press End call again. If that does not help, close this page: that ends the call too.",
    step: null,
  },
  SDK_UNAVAILABLE: {
    title: "The calling software did not load",
    text: "Check your network, and whether something blocks scripts from other sites, then reload the page.",
    step: "reload",
  },

  // The session token, as Athos sees it when the call starts.
  INVALID_TOKEN: { title: "The call could not be started", text: "Its ticket was not accepted. A new one usually works.", step: "restart" },
  TOKEN_EXPIRED: { title: "The call's ticket ran out", text: "It lasts five minutes. Start again with a new one.", step: "restart" },
  TOKEN_ALREADY_USED: { title: "The call's ticket was already used", text: "Start again with a new one.", step: "restart" },

  // What was asked for.
  DRILL_NOT_FOUND: { title: "There is no such drill", text: "Check its key, or choose another drill.", step: "choose" },
  INVALID_REQUEST: { title: "That call can't be started like this", text: "Choose the drill again and start once more.", step: "choose" },

  // The company's account with Athos.
  TENANT_QUOTA_EXCEEDED: {
    title: "Practice is unavailable for the rest of this month",
    text: "Your company has used this month's practice calls. They come back on the first of next month.",
    step: null,
  },
  TENANT_INACTIVE: { title: "Practice is switched off", text: `Your company's practice account is not active. ${ASK_ADMIN}`, step: null },
  INVALID_API_KEY: { title: "Practice is not set up correctly", text: `Athos does not accept this service's key. ${ASK_ADMIN}`, step: null },
  API_KEY_REVOKED: { title: "Practice is not set up correctly", text: `This service's key for Athos was withdrawn. ${ASK_ADMIN}`, step: null },
  IP_NOT_ALLOWED: { title: "Practice is not set up correctly", text: `Athos does not accept calls from this service's address. ${ASK_ADMIN}`, step: null },
  NOT_CONFIGURED: { title: "Practice is not set up yet", text: `This service has no key for Athos. ${ASK_ADMIN}`, step: null },
  CROSS_SITE_REQUEST: { title: "Practice is not set up correctly", text: `This page may not start calls for you. ${ASK_ADMIN}`, step: null },
  AGENT_NOT_FOUND: { title: "You are not enrolled for practice yet", text: "Ask your manager to add you to the practice roster.", step: null },
  AGENCY_NOT_FOUND: { title: "Your agency is not enrolled yet", text: "Ask your manager to add it to the practice roster.", step: null },
  AGENT_ALREADY_EXISTS: { title: "You are already enrolled", text: "Start the call again.", step: "restart" },

  // Passing trouble.
  SERVICE_UNAVAILABLE: { title: "No customer is free right now", text: "All practice customers are on calls. Try again in a moment.", step: "wait" },
  RATE_LIMITED: { title: "That was a lot in a short time", text: "Wait a moment, then try again.", step: "wait" },
  UPSTREAM_TIMEOUT: { title: "Athos did not answer in time", text: "Nothing was started. Try again in a moment.", step: "wait" },
  UPSTREAM_UNREACHABLE: { title: "Athos can't be reached right now", text: "Nothing was started. Try again in a moment.", step: "wait" },
  UPSTREAM_INVALID_RESPONSE: { title: "Athos gave an answer that makes no sense", text: "Nothing was started. Try again in a moment.", step: "wait" },
  READ_TIMED_OUT: { title: "That took too long", text: "Try again in a moment.", step: "wait" },
  STORE_UNAVAILABLE: { title: "The service is busy", text: "Try again in a moment.", step: "wait" },
  INTERNAL_ERROR: { title: "Something went wrong on the other side", text: "Start again.", step: "restart", support: true },
  DOWNLOAD_BROKEN: { title: "The file broke off", text: "Nothing was saved. Try again.", step: "wait" },
  BACKEND_UNREACHABLE: { title: "The service can't be reached", text: "Check your network, then try again.", step: "restart" },

  // Reading calls.
  CALL_NOT_FOUND: { title: "There is no such call", text: "It may belong to somebody else, or have been deleted.", step: null },
  RECORDING_NOT_AVAILABLE: { title: "There is no recording", text: "Not every call keeps one.", step: null },
  UNAUTHENTICATED: { title: "You are not signed in", text: "Sign in, then come back to this page.", step: "sign-in" },
};

/** The SDK has no code of its own for a request that got no answer: it passes on what the browser says of it. */
const NO_ANSWER = /failed to fetch|networkerror|load failed|network request failed|fetch failed/i;

const OWN_NETWORK = {
  title: "Your network did not reach Athos",
  text: "It is likely your own connection: check that you are online, and that no VPN, firewall or ad blocker stands in the way. Then start again.",
  step: "restart",
};

/** A 401 of our own backend is about the rep's sign-in, whatever its code is called. */
const SIGN_IN_EXPIRED = {
  title: "Your sign-in has run out",
  text: "Sign in again, then carry on here.",
  step: "sign-in",
};

/**
 * `{code, title, text, step, requestId, retryAfterSec, operator}` for anything thrown or reported: an `ApiError`, an
 * error or event of the SDK, or a surprise. `operator` is what only who runs the service can do about it, else null.
 */
export function explain(error) {
  const code = typeof error?.code === "string" && error.code ? error.code : "UNEXPECTED";
  const requestId = error?.requestId ?? null;
  const retryAfterSec = error?.retryAfterSec ?? null;
  let words = Object.hasOwn(WORDS, code) ? WORDS[code] : null;
  if (error?.where === "backend" && error.status === 401 && code !== "UNAUTHENTICATED") words = SIGN_IN_EXPIRED;
  if (isOwnNetwork(error)) words = OWN_NETWORK;
  if (!words) words = { title: "Something went wrong", text: unknownText(code, requestId), step: "restart", quote: true };
  const text = words.support ? `${words.text} ${supportText(requestId)}` : words.text;
  return { quote: false, ...words, text, code, requestId, retryAfterSec, operator: operatorText(error) };
}

/** The same for what happens during a call, which goes on: its words must not send the rep elsewhere. */
export function explainDuringCall(error) {
  const problem = explain(error);
  if (MICROPHONE_CODES.has(problem.code) || problem.code === "CALL_NOT_ENDED") return problem;
  return { ...problem, title: "Something went wrong", text: "The call goes on. If you can't hear each other, end it and start a new one." };
}

function isOwnNetwork(error) {
  if (error?.code !== "INTERNAL_ERROR" || error.where === "backend" || error.requestId) return false;
  return NO_ANSWER.test(error.message ?? "") || navigator.onLine === false;
}

function unknownText(code, requestId) {
  const what = requestId ? `the code ${code} and the request id ${requestId}` : `the code ${code}`;
  return `Try again. If it keeps happening, quote ${what} to support.`;
}

/** Only what is known can be quoted. */
function supportText(requestId) {
  if (requestId) return `If it keeps happening, quote the request id ${requestId} to support.`;
  return "If it keeps happening, try another network, and tell the person who looks after this page.";
}

/** For whoever runs the service: what the rep cannot mend. */
function operatorText(error) {
  if (error?.code !== "SDK_UNAVAILABLE") return null;
  return `The page found no Athos SDK at ${error.address}. Set ATHOS_SDK_URL to an address that serves it as an ES module, or build with a copy of it (scripts/vendor-sdk). docs/embedding.md says where to get it.`;
}

/** Failures before which no token can have been spent. */
export const MICROPHONE_CODES = new Set(["MIC_PERMISSION_DENIED", "NO_MIC_AVAILABLE", "MIC_DEVICE_DISCONNECTED"]);

/** The codes with words, so that a test can hold this list against the contract's. */
export const KNOWN_CODES = Object.keys(WORDS);
