// What to do about an event that did not go through, in words for whoever runs the service. By Athos's code, or the
// service's own word for what went wrong; a code missing here is shown as it is, since the vendor's list grows.

import { isWaiting } from "./words.js";

const QUOTE = "Tell Athos, and quote the request id of the last attempt.";
const NEW_KEY = "Put a key that works into ATHOS_API_KEY, then restart, or send SIGHUP where .env holds it.";
const OUR_KEY = "Events wait meanwhile and spend no attempts; nothing is lost.";

/** `{title, text}` by code. */
const WORDS = {
  CALL_NOT_FOUND: {
    title: "Athos does not know this call",
    text: `Was it a test (athos-backend trigger)? Then there is nothing to do. Else check that ATHOS_API_KEY and ATHOS_WHSEC belong to the same Athos account, and replay. If Athos still does not know it, the call failed scoring or was deleted there. ${QUOTE}`,
  },
  INVALID_REQUEST: {
    title: "Athos refuses the request itself",
    text: `Trying again cannot help while nothing changes: check ATHOS_BASE_URL, and whether there is a newer athos-backend, then replay. ${QUOTE}`,
  },
  INVALID_API_KEY: { title: "Athos does not accept our API key", text: `${NEW_KEY} ${OUR_KEY}` },
  API_KEY_REVOKED: { title: "Our API key was revoked", text: `${NEW_KEY} ${OUR_KEY}` },
  TENANT_INACTIVE: { title: "Our Athos account is not active", text: `Settle that with Athos. ${OUR_KEY}` },
  IP_NOT_ALLOWED: { title: "Athos does not accept requests from this machine's address", text: `Add the address at Athos, or send requests out through one that is allowed. ${OUR_KEY}` },
  no_key: { title: "There is no API key", text: `${NEW_KEY} ${OUR_KEY}` },
  timeout: { title: "Athos did not answer in time", text: "Check whether Athos has an outage and whether this machine reaches ATHOS_BASE_URL. Once it answers, replay." },
  unreachable: { title: "Athos could not be reached", text: "Check this machine's way out: name resolution, firewall, proxy, and ATHOS_BASE_URL. Once it works, replay." },
  unreadable: {
    title: "Athos's answer could not be read",
    text: `Something in between may have altered it, or ATHOS_BASE_URL names another service. If neither, Athos has changed: look for a newer athos-backend, then replay. ${QUOTE}`,
  },
  too_large: { title: "Athos's answer is larger than any call should be", text: `Replaying will not help. ${QUOTE}` },
  RATE_LIMITED: { title: "Athos asked us to slow down", text: "Lower FETCH_CONCURRENCY, then replay." },
  INTERNAL_ERROR: { title: "Athos failed", text: `Replay once its trouble is over. ${QUOTE}` },
  SERVICE_UNAVAILABLE: { title: "Athos was not available", text: "Replay once its trouble is over." },
};

const NOT_UNDERSTOOD = {
  title: "Signed by Athos, but not understood",
  text: "It is kept and left alone. Look at its body. If it was a test of your own, leave it; if it is a new kind of event, look for a newer athos-backend, install it, then replay.",
};

/** Words for this event, or null when there is nothing to say about it. */
export function adviceFor(event) {
  const { state, lastCode } = event;
  if (state === "ignored") return NOT_UNDERSTOOD;
  if (state === "done" || (isWaiting(event) && !lastCode)) return null;
  const words = Object.hasOwn(WORDS, lastCode ?? "") ? WORDS[lastCode] : unknown(lastCode);
  if (!isWaiting(event) || words.text.endsWith(OUR_KEY)) return words;
  return { title: words.title, text: "It is tried again by itself, in the end every hour for three days; there is nothing to do yet." };
}

function unknown(code) {
  return {
    title: code ? `Athos answered ${code}` : "It was given up",
    text: `The reason is below. Mend what it names, then replay. ${QUOTE}`,
  };
}

/** Words for a pause of fetching, by its cause in `/readyz`. */
export const PAUSES = {
  key_refused: {
    title: "Fetching is paused: Athos refuses our API key",
    text: `Check at Athos that the key, the account and this machine's address are good. ${NEW_KEY} ${OUR_KEY}`,
  },
  athos_down: {
    title: "Fetching is paused: Athos does not answer",
    text: "It is asked again by itself, and fetching goes on when it answers. Check whether Athos has an outage, and this machine's way out. Nothing is lost.",
  },
};

/** The codes with words, so that a test can hold this list against the service's. */
export const KNOWN_CODES = Object.keys(WORDS);
