"""The replicas with an Athos for them, and the load that they are under."""
import hashlib
import hmac
import http.client
import json
import math
import os
import re
import secrets
import signal
import statistics
import subprocess
import threading
import time

from server import wait_for

WHSEC, TOKEN = "whsec_" + secrets.token_hex(16), secrets.token_hex(24)
REPLICAS, POOL = 2, 8
SENDERS = 32


class Process:
    """A process of ours, with its log in a file."""

    def __init__(self, name, command, env, folder, ready):
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
        found = wait_for(f"{name} to start; its log: {self.log}", lambda: re.search(ready, self.log.read_text()))
        self.port = int(found[1])

    def files(self):
        return len(os.listdir(f"/proc/{self.popen.pid}/fd"))

    def stop(self, sig=signal.SIGTERM):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.send_signal(sig)
            try:
                self.popen.wait(30)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait()


class Fleet:
    """The replicas, and Athos for them."""

    def __init__(self, binary, folder, url, listen_url=None):
        env = {"PATH": os.environ.get("PATH", ""), "NO_COLOR": "1", "RUST_LOG": "warn,athos_backend::lifecycle=info"}
        self.processes = []
        simulate = [binary, "simulate", "--bind=127.0.0.1:0", "--api-key=ath_live_chaos_0123456789abcdef", f"--webhook-secret={WHSEC}"]
        self.start("athos", simulate, env, folder, r"simulator: http://127\.0\.0\.1:(\d+)")
        env |= {"ATHOS_API_KEY": "ath_live_chaos_0123456789abcdef", "ATHOS_WHSEC": WHSEC, "SERVICE_TOKENS": TOKEN,
                "ATHOS_BASE_URL": f"http://127.0.0.1:{self.processes[0].port}/api/external/v1", "DATABASE_URL": url,
                "DATABASE_POOL": str(POOL), "BIND_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0"}
        if listen_url:
            env["DATABASE_LISTEN_URL"] = listen_url
        for number in range(REPLICAS):
            ready = r"listening[^\n]*?addr=127\.0\.0\.1:(\d+)"
            self.start(f"replica-{number + 1}", [binary, "serve"], env, folder, ready)
        self.replicas = self.processes[1:]

    def start(self, *arguments):
        self.processes.append(Process(*arguments))

    def stop(self):
        for process in reversed(self.processes):
            process.stop()


class Load:
    """Webhooks at a steady rate, to the replicas in turn; what became of each."""

    def __init__(self, fleet, rate):
        self.ports, self.rate = [replica.port for replica in fleet.replicas], rate
        self.results = []       # when it was answered, the status or None, how long it took, its id
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.send, args=(number,), daemon=True) for number in range(SENDERS)]
        for thread in self.threads:
            thread.start()

    def send(self, number):
        # Each asks one replica: what waits for one is not missed by the other.
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[number % len(self.ports)], timeout=15)
        every = SENDERS / self.rate
        due = time.monotonic() + number / self.rate
        for count in range(1 << 40):
            if self.over.wait(max(0, due - time.monotonic())):
                return
            # Moments are made up for, and no outage is: the rate after a fault is that of before, each sender in its turn.
            due += every
            if (late := time.monotonic() - due) > 0.5:
                due += every * math.ceil(late / every)
            call = f"call_{number}_{count}"
            body = json.dumps({"event": "call.scored", "success": False, "callId": call, "source": "roleplay",
                               "externalUserId": f"rep_{number}", "externalAgencyId": None, "reason": "SCORING_INCOMPLETE"}).encode()
            at = int(time.time())
            signature = hmac.new(WHSEC.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
            headers = {"Content-Type": "application/json", "X-Athos-Signature": f"t={at},v1={signature}",
                       "X-Athos-Webhook-Id": f"wh_{call}"}
            began = time.monotonic()
            try:
                connection.request("POST", "/athos/webhook", body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                status = None
            now = time.monotonic()
            self.results.append((now, status, now - began, f"wh_{call}"))

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(20)

    def between(self, start, end):
        return [result for result in self.results if start <= result[0] < end]

    def acked_per_second(self, start, end):
        return sum(status == 200 for _, status, _, _ in self.between(start, end)) / (end - start)

    def usual_per_second(self, start, end):
        """The same in most seconds: one in which the machine was busy with something else does not count."""
        return statistics.median(self.acked_per_second(start + n, start + n + 1) for n in range(int(end - start)))

    def acknowledged(self):
        return {webhook for _, status, _, webhook in self.results if status == 200}
