// A vendor that does what a test says: by default it knows every call it is asked for; `refuse` makes it answer
// otherwise.

import { createServer } from "node:http";
import { once } from "node:events";

/** `{url, refuse, close()}`; `refuse(callId)` may answer `[status, code]`. */
export async function startVendor() {
  const vendor = { refuse: () => null };
  const server = createServer((request, response) => {
    const id = new URL(request.url, "http://vendor").pathname.split("/calls/")[1];
    const [status, code] = (id && vendor.refuse(decodeURIComponent(id))) || [200, null];
    const requestId = "req_of_the_vendor";
    const body = code ? { error: { code, message: `The vendor says ${code}.`, requestId } } : id ? detail(id) : { data: [], nextCursor: null };
    response.writeHead(status, { "content-type": "application/json", "x-athos-request-id": requestId });
    response.end(JSON.stringify(body));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  vendor.url = `http://127.0.0.1:${server.address().port}/api/external/v1`;
  vendor.close = () => (server.closeAllConnections(), server.close());
  return vendor;
}

function detail(id) {
  return {
    id, source: "roleplay", status: "scored", externalUserId: "rep_1", externalAgencyId: "agency_1", drillKey: "ma-full-sale",
    startedAt: "2026-06-05T14:39:40.295Z", endedAt: "2026-06-05T14:49:52.295Z", durationSec: 612, scoredAt: "2026-06-05T14:50:29.005Z",
    transcript: [], score: { overallScore: 82, summary: "", feedback: "" }, audioUrl: null, audioUrlExpiresAt: null,
  };
}

/** A webhook about a call of rep_1, as the vendor words it. */
export function scored(callId, more = {}) {
  return {
    event: "call.scored", success: true, callId, source: "roleplay", externalUserId: "rep_1", externalAgencyId: "agency_1",
    occurredAt: "2026-06-05T14:50:29.005Z", requestId: "req_1", ...more,
  };
}
