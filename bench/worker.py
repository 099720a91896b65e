"""The parts that measure what happens behind the ACK: how many calls are scored in a second while webhooks
come in, how soon a backlog is gone, whether a slow vendor is felt by those who wait for an ACK, and how fast
messages go on to an endpoint. The vendor is a stub that costs next to nothing (stubs/src/bin/vendor.rs)."""
import base64
import secrets
import subprocess
import time

from harness import Broken, Process, Server, free_port, once, wrk_webhooks
from receivers import PACED_THINK_MS, count_rows, load, start

WAITING = "SELECT count(*) FROM events WHERE state IN ('pending', 'processing')"
SCORED = "SELECT count(*) FROM calls WHERE status = 'scored'"
UNSENT = "SELECT count(*) FROM messages WHERE due_at IS NOT NULL"
FORWARD_SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
DRAIN_SECS = 120  # a backlog that takes longer is measured by its rate


class Vendor(Process):
    """The stub, and the environment of a service that asks it."""

    def __init__(self, run, delay_ms=0):
        port = free_port()
        folder = run.data / f"vendor-{port}"
        folder.mkdir(parents=True)
        super().__init__("vendor", [f"{run.stubs}/vendor"], {"BIND_ADDR": f"127.0.0.1:{port}", "DELAY_MS": str(delay_ms)}, folder)
        self.env = {"ATHOS_BASE_URL": f"http://127.0.0.1:{port}/api/external/v1"}
        self.forward = {"FORWARD_URLS": f"http://127.0.0.1:{port}/hook", "FORWARD_SECRETS": FORWARD_SECRET}
        self.wait_until(lambda: once(port, "GET", "/api/external/v1/calls")[0] == 200)


def sustained(run):
    """64 connections send as fast as they are answered, each webhook about a new call; what is scored in that
    time, and what is waiting at its end."""
    secs = 4 if run.quick else 20
    for rnd in range(1 if run.quick else min(2, run.rounds)):
        for concurrency in (8, 32):
            for name in run.rotated(run.services, rnd):
                vendor = Vendor(run)
                s, acked = start(run, name, env={**vendor.env, "FETCH_CONCURRENCY": str(concurrency)})
                try:
                    cpu = s.cpu_s()
                    r = wrk_webhooks(s, 64, secs)
                    scored, waiting = s.count(SCORED), s.count(WAITING)
                    cpu = s.cpu_s() - cpu
                    if r["errors"]:
                        raise Broken(f"{name} under load: errors in {r}; log: {s.log_path}")
                finally:
                    s.stop()
                    vendor.stop()
                count_rows(s, acked + r["requests"], 64)
                s.remove()
                took = r["duration_us"] / 1e6
                run.put(kind="sustained", round=rnd, name=name, concurrency=concurrency, accepted_per_s=r["rps"],
                        scored_per_s=round(scored / took, 1), waiting=waiting, p50=r["p50"], p99=r["p99"], cores=round(cpu / took, 2))


def backlog(run):
    """A backlog as an outage of the vendor leaves it, made by the service itself; then it starts with a vendor
    that answers, and the time until all but a thousandth is settled is taken. That rest are the few events which
    the outage has put off."""
    wanted = 5_000 if run.quick else 100_000
    for name in run.services:
        s, acked = start(run, name)
        runs = 0
        try:
            while acked < wanted:
                r = load(s, 64, 1)
                acked, runs = acked + r["requests"], runs + 1
        finally:
            s.stop()
        count_rows(s, acked, 64 * runs)
        vendor, pending = Vendor(run), s.count(WAITING)
        again = Server(run, name, env=vendor.env, folder=s.folder)
        try:
            again.wait_until(lambda: once(again.port, "GET", "/readyz")[0] == 200)
            while (left := again.count(WAITING)) > pending / 1000 and time.perf_counter() - again.started < DRAIN_SECS:
                time.sleep(0.1)
            took = time.perf_counter() - again.started
            cpu = again.cpu_s()
        finally:
            again.stop()
            vendor.stop()
        if left == pending:
            raise Broken(f"{name}: nothing of {pending} pending events is settled after {took:.0f} s; log: {again.log_path}")
        rate = (pending - left) / took
        run.put(kind="backlog", name=name, pending=pending, left=left, secs=round(took, 2), per_s=round(rate, 1),
                secs_of_100k=round(100_000 / rate, 1), us_per_event=round(cpu * 1e6 / (pending - left), 1))
        again.remove()


def slow_vendor(run):
    """The paced load, with a vendor that takes half a second for every answer and with one that takes none."""
    for rnd in range(run.rounds):
        for name in run.rotated(run.services, rnd):
            for delay_ms in run.rotated([0, 500], rnd):
                vendor = Vendor(run, delay_ms)
                s, acked = start(run, name, env=vendor.env)
                try:
                    r = load(s, 64, run.secs, PACED_THINK_MS)
                    waiting = s.count(WAITING)
                finally:
                    s.stop()
                    vendor.stop()
                count_rows(s, acked + r["requests"], 64)
                s.remove()
                run.put(kind="slow-vendor", round=rnd, name=name, delay_ms=delay_ms, waiting=waiting, **r)


def forward(run):
    """How many messages a second go on to a receiver that answers at once, and what forwarding costs those who wait
    for an ACK: the paced load with an endpoint and without."""
    for rnd in range(run.rounds):
        forward_backlog(run, rnd)
        for is_on in run.rotated([False, True], rnd):
            vendor = Vendor(run)
            s, acked = start(run, "ours", env={**vendor.env, **(vendor.forward if is_on else {})})
            try:
                r = load(s, 64, run.secs, PACED_THINK_MS)
                left = s.count(UNSENT)
            finally:
                s.stop()
                vendor.stop()
            count_rows(s, acked + r["requests"], 64)
            s.remove()
            run.put(kind="forward-acks", round=rnd, name="ours", forwards=is_on, waiting=left, **r)


def forward_backlog(run, rnd):
    """Calls that are scored before there is an endpoint; then their messages are written, and sent by a service that
    has nothing else to do."""
    vendor = Vendor(run)
    s, acked = start(run, "ours", env=vendor.env)
    try:
        acked += (r := load(s, 64, 2 if run.quick else 10))["requests"]
        wait_for(s, lambda: s.count(WAITING) == 0)
    finally:
        s.stop()
    count_rows(s, acked, 64)
    env = {**vendor.env, **vendor.forward}
    registering = Server(run, "ours", env=env, folder=s.folder)
    registering.wait_until(lambda: once(registering.port, "GET", "/readyz")[0] == 200)
    registering.stop()
    subprocess.run([run.binaries["ours"], "forward", "--from", "2000-01-01", "--to", "2100-01-01", "--database-url", f"sqlite://{s.db}"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    messages = s.count(UNSENT)
    sending = Server(run, "ours", env=env, folder=s.folder)
    try:
        sending.wait_until(lambda: once(sending.port, "GET", "/readyz")[0] == 200)
        began, first = time.perf_counter(), sending.count(UNSENT)
        wait_for(sending, lambda: sending.count(UNSENT) < messages / 1000)
        took, left = time.perf_counter() - began, sending.count(UNSENT)
        cpu = sending.cpu_s()
    finally:
        sending.stop()
        vendor.stop()
    if messages == 0 or left == messages:
        raise Broken(f"of {messages} messages none was sent; log: {sending.log_path}")
    run.put(kind="forward", round=rnd, name="ours", messages=messages, secs=round(took, 2), per_s=round((first - left) / took, 1),
            us_per_message=round(cpu * 1e6 / (messages - left), 1))
    sending.remove()


def wait_for(s, is_done):
    began = time.perf_counter()
    while not is_done():
        if time.perf_counter() - began > DRAIN_SECS:
            raise Broken(f"{s.name} is not done after {DRAIN_SECS} s; log: {s.log_path}")
        time.sleep(0.05)
