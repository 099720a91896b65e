"""A receiver in Python: each message must satisfy the published library and the verifier of docs/forwarding.md, and neither
may take what was altered. Prints its port, then a line for each message."""
import json
import runpy
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

documented, secret = sys.argv[1:]
verify = runpy.run_path(documented)["verify"]
library = Webhook(secret)


def accepts(headers, body):
    try:
        library.verify(body, headers)
        taken = True
    except WebhookVerificationError:
        taken = False
    assert verify(secret, headers, body) == taken, "the library and the documented verifier differ"
    return taken


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        good = accepts(headers, body)
        good = good and not accepts(headers, body + b" ") and not accepts({**headers, "webhook-id": "msg_other"}, body)
        print("ok" if good else "REFUSED", json.loads(body)["type"], flush=True)
        self.send_response(204 if good else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
