// What the browser needs to know about a deployment, from `GET /athos/config`: `{sdkUrl, apiBase, demo}`.
// Asked for once per backend; nothing in it is secret or about a rep.

const asked = new Map();

export function configOf(api) {
  const key = api.base.href;
  if (!asked.has(key)) {
    const answer = api.json("athos/config");
    answer.catch(() => asked.delete(key)); // A failure is not remembered.
    asked.set(key, answer);
  }
  return asked.get(key);
}

/** The Athos SDK, whichever build of it the deployment names. A relative URL is the backend's own. */
export async function loadSdk(url, base) {
  try {
    const sdk = await import(new URL(url, base).href);
    if (!sdk.AthosRoleplay || !sdk.detectBrowserSupport) throw new Error("This module is not the Athos SDK.");
    return sdk;
  } catch (cause) {
    const address = URL.canParse(url, base) ? new URL(url, base).href : url;
    throw Object.assign(new Error("The Athos SDK did not load.", { cause }), { code: "SDK_UNAVAILABLE", address });
  }
}
