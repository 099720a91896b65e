"""The parts that drive signed webhooks: throughput and paced latency side by side with the peers, what
one webhook costs in counts, and what memory and a restart cost the service. Every number is taken only after `check` has shown that the
server does the whole job, and every acknowledged webhook must be a row at the end."""
import json
import re
import secrets
import shutil
import statistics
import threading
import time
from collections import Counter

from harness import HERE, WEBHOOK_PATH, Broken, Conn, Server, fdatasync_us, histogram, once, signature_headers, wrk_webhooks

BODY = (HERE / "body.json").read_bytes()
CALL_ID, REQUEST_ID = b"athos_call_GZ1DjOkZv_VEPoE-CJ8mp", b"req_b1f0"  # where one event differs from another
WARM_SECS = 2
PACED_THINK_MS = 128  # mean pause of each of 64 connections: about 500 requests a second together


def of(id):
    """The body of an event of its own, about a call of its own: the same signed bytes are the same event."""
    return BODY.replace(CALL_ID, b"athos_call_" + id.encode()).replace(REQUEST_ID, b"req_" + id.encode())


def post(port, headers, body=BODY):
    return once(port, "POST", WEBHOOK_PATH, headers, body)[0]


def start(run, name, **more):
    s = Server(run, name, **more)
    s.wait_until(lambda: post(s.port, signature_headers(BODY)) == 200)
    return s, 1


def check(s):
    """Refusals, tolerance, and 100 ids sent twice over 8 connections; returns the accepted events."""
    now = int(time.time())
    wanted = {
        "wrong secret": (401, signature_headers(BODY, secret="wrong"), BODY),
        "tampered body": (401, signature_headers(BODY), BODY.replace(b"true", b"trux")),
        "no signature": (401, {"Content-Type": "application/json", "X-Athos-Webhook-Id": "wh_none"}, BODY),
        "stale": (401, signature_headers(BODY, t=now - 301), BODY),
        "future": (401, signature_headers(BODY, t=now + 310), BODY),
        "inside tolerance": (200, signature_headers(early := of("early"), t=now - 290), early),
    }
    for what, (want, headers, body) in wanted.items():
        if (got := post(s.port, headers, body)) != want:
            raise Broken(f"{s.name}: {what} answered {got}, wanted {want}")
    ids, answers = ["wh_twice_" + secrets.token_hex(8) for _ in range(100)] * 2, []

    def send(part):
        with Conn(s.port) as c:
            for i in part:
                answers.append(c.request("POST", WEBHOOK_PATH, signature_headers(of(i), i), of(i))[0])

    threads = [threading.Thread(target=send, args=(ids[i::8],)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    if answers != [200] * 200:
        raise Broken(f"{s.name}: 100 ids sent twice were answered {sorted(answers)}")
    return 101


def count_rows(s, acked, conns_used):
    """Rows after the stop. wrk does not count the answers in flight when it ends a run, so rows may
    exceed acknowledgements by the connections of each run, and must never be fewer."""
    rows = s.rows()
    if rows is not None and not acked <= rows <= acked + conns_used:
        raise Broken(f"{s.name}: {acked} acknowledged, {rows} rows (at most {conns_used} may be in flight)")
    return rows


def load(s, conns, secs, think_ms=0):
    before = s.metrics()
    r = wrk_webhooks(s, conns, secs, think_ms)
    after = s.metrics()
    if r["errors"]:
        raise Broken(f"{s.name} at {conns} connections: errors in {json.dumps(r)}; log: {s.log_path}")
    if after:
        r["batch"] = histogram(before, after, "athos_commit_batch_size")
        r["sync"] = histogram(before, after, "athos_commit_sync_seconds")
        r["syncs_per_s"] = round(r["sync"]["count"] / (r["duration_us"] / 1e6), 1)
    r["rss"] = s.memory_mb()["rss"]
    return r


def side_by_side(run, kind, conns, think_ms=0):
    for rnd in range(run.rounds):
        run.put(kind="disk", part=kind, round=rnd, **fdatasync_us(run.data))
        for name in run.rotated(run.names, rnd):
            s, acked = start(run, name)
            try:
                acked += check(s)
                warm = load(s, 64, 1 if run.quick else WARM_SECS)
                acked += warm["requests"]
                for c in conns:
                    r = load(s, c, run.secs, think_ms)
                    acked += r["requests"]
                    run.put(kind=kind, round=rnd, name=name, **r)
            finally:
                stop_ms = s.stop()
            rows = count_rows(s, acked, 64 + sum(conns))
            run.put(kind="rows", part=kind, round=rnd, name=name, acked=acked, rows=rows, stop_ms=round(stop_ms))
            s.remove()


def throughput(run):
    side_by_side(run, "throughput", [1, 64] if run.quick else [1, 64, 256])


def paced(run):
    side_by_side(run, "paced", [64], PACED_THINK_MS)


SYNCS = ("fdatasync", "fsync")
WRITES = ("write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg")
CALLED = re.compile(r"^\d+ +([\d.]+) (\w+)\(")


def counts(run):
    """What one webhook costs, in numbers that a busy machine hardly changes: context switches and CPU of the
    process as it is, and its system calls in a second process under strace."""
    secs = 2 if run.quick else 4
    for name in run.services + ["floor"] * ("floor" in run.names):
        s, acked = start(run, name)
        try:
            acked += load(s, 64, 1)["requests"]
            switches = s.switches()
            one = load(s, 1, secs)
            time.sleep(0.1)  # what a webhook leaves to be done behind its answer
            switches = s.switches() - switches
            many = load(s, 64, secs)
        finally:
            s.stop()
        count_rows(s, acked + one["requests"] + many["requests"], 64 + 1 + 64)
        s.remove()
        run.put(kind="counts", name=name, n=one["requests"], switches=round(switches / one["requests"], 2),
                us_1=one["server_us_per_req"], us_64=many["server_us_per_req"], calls=traced(run, name, secs))


def traced(run, name, secs):
    """System calls per webhook at one connection, or None without strace. `-D`: the service keeps its process id."""
    if not shutil.which("strace"):
        return None
    log = run.data / f"strace-{name}.txt"
    wrap = ["strace", "-D", "-f", "--seccomp-bpf", "-ttt", "-s0", "-o", str(log), "-e", "trace=" + ",".join(SYNCS + WRITES), "--"]
    s, _ = start(run, name, wrap=wrap)
    try:
        load(s, 64, 1)
        time.sleep(0.3)
        begin = time.time()
        n = load(s, 1, secs)["requests"]
        time.sleep(0.1)
        end = time.time()
    finally:
        s.stop()
    s.remove()
    time.sleep(0.3)  # strace writes the rest of its log after the process has left
    found = Counter()
    with open(log, errors="replace") as lines:
        for m in filter(None, map(CALLED.match, lines)):
            if begin <= float(m[1]) <= end:
                found[m[2]] += 1
    per = lambda names: round(sum(found[x] for x in names) / n, 2)
    return {"n": n, "writes": per(WRITES), "pwrite": per(["pwrite64", "pwritev"]), "syncs": per(SYNCS),
            "each": {k: round(v / n, 2) for k, v in sorted(found.items())}}


def memory(run):
    for name in run.services:
        memory_of(run, name)


def memory_of(run, name):
    """RSS idle and after the events, then restarts on the database they left."""
    wanted = 20_000 if run.quick else 400_000
    s = Server(run, name)
    try:
        fresh_ms = s.wait_until(lambda: once(s.port, "GET", "/readyz")[0] == 200)
        time.sleep(2)
        idle = s.memory_mb()
        acked, runs, secs = 0, 0, 1
        while acked < wanted and runs < 30:
            r = load(s, 64, secs)
            acked, runs = acked + r["requests"], runs + 1
            secs = min(20, max(1, round((wanted - acked) / max(200, r["rps"]))))
        loaded, disk = s.memory_mb(), s.disk_mb()
        time.sleep(1 if run.quick else 10)
        settled = s.memory_mb()
    finally:
        stop_ms = s.stop()
    rows = count_rows(s, acked, 64 * runs)
    ready = []
    for _ in range(3 if run.quick else 11):
        again = Server(run, name, folder=s.folder)
        try:
            ready.append(round(again.wait_until(lambda: once(again.port, "GET", "/readyz")[0] == 200), 1))
        finally:
            again.stop()
    run.put(kind="memory", name=name, acked=acked, rows=rows, idle=idle, loaded=loaded, settled=settled, disk=disk,
            stop_ms=round(stop_ms), fresh_ready_ms=round(fresh_ms, 1), ready_ms=ready,
            ready_median_ms=statistics.median(ready))
    s.remove()
