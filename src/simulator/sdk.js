// A placeholder with the exports of `@useathos/sdk`: it says so instead of pretending to hold a call.

export const ATHOS_ERROR_CODES = Object.freeze({ INTERNAL_ERROR: "INTERNAL_ERROR" });
export const ATHOS_DRILL_KEYS = Object.freeze(["ma-full-sale"]);
export const ATHOS_EVENT_NAMES = Object.freeze([
  "connecting", "ready", "personaSpeaking", "userSpeaking", "reconnecting", "reconnected", "ended", "error",
]);

export class AthosRoleplayError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "AthosRoleplayError";
    this.code = code;
  }
}

export function detectBrowserSupport(_userAgent) {
  return { supported: true };
}

export class AthosRoleplay {
  static create(_options) {
    throw new AthosRoleplayError("INTERNAL_ERROR", "The simulator has no stand-in for the browser SDK yet.");
  }
}
