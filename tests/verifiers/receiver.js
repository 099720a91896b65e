// A receiver in Node: each message must satisfy the published library and the verifier of docs/forwarding.md, and neither may
// take what was altered. Prints its port, then a line for each message.

import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const [, , documented, secret] = process.argv;
const { verify } = await import(documented);
const library = new Webhook(secret);

function accepts(headers, body) {
  try {
    library.verify(body, headers);
    return verify(secret, headers, body);
  } catch (error) {
    if (verify(secret, headers, body)) throw new Error(`only the documented verifier takes it; the library: ${error.message}`);
    return false;
  }
}

const server = createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  const { headers } = request;
  const isGood = accepts(headers, body) && !accepts(headers, `${body} `) && !accepts({ ...headers, "webhook-id": "msg_other" }, body);
  console.log(`${isGood ? "ok" : "REFUSED"} ${JSON.parse(body).type}`);
  response.writeHead(isGood ? 204 : 401).end();
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
