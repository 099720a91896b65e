#!/usr/bin/env python3
"""Measures the service on PostgreSQL, with the server beside it on this machine: durable ACKs on one and on two
replicas, calls scored while webhooks come in, what a claim costs behind many finished events, and what a webhook and a
call cost on either engine. `scripts/bench --store postgres` builds and installs first. Everything runs on loopback,
is bounded in count and time, and is stopped by its process id. The exit code is 1 when something is broken, not when a
target is missed.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

import harness
from bench import machine
from cluster import Cluster, Replica, programs
from costs import costs
from harness import Broken, percentile, signature_headers, wrk_webhooks
from receivers import BODY, PACED_THINK_MS, check, post
from report import number, table
from worker import SCORED, WAITING, Vendor

ACKS_PER_S, SCORED_PER_S, CLAIM_MS = 5_000, 800, 2.0
STRETCH_ACKS_PER_S = 10_000
CLAIM = "SKIP LOCKED"  # nothing else locks so while no message is forwarded
FILL = """
    INSERT INTO events (webhook_id, state, received_at, signed_at, secret, call_id, body, settled_at, content_key)
    SELECT 'wh_old_' || i, 'done', 1700000000000 + i, 1700000000, '01234567', 'call_old_' || i, convert_to(repeat('x', 60), 'UTF8'),
           1700000000500 + i, int8send(i::bigint) || int8send(0::bigint)
    FROM generate_series({first}, {last}) AS i
"""
FILL_AT_ONCE = 500_000


def started(replica):
    replica.wait_until(lambda: post(replica.port, signature_headers(BODY)) == 200, 60)
    return replica


def load(replicas, conns, secs, think_ms=0):
    """One wrk for each replica at the same time, with the connections shared among them."""
    got = [None] * len(replicas)

    def one(i):
        try:
            got[i] = wrk_webhooks(replicas[i], conns // len(replicas), secs, think_ms)
        except Exception as e:  # told by whoever waits
            got[i] = e

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(replicas))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for r in got:
        if isinstance(r, Exception):
            raise Broken(f"wrk failed: {r}")
        if r["errors"]:
            raise Broken(f"errors at {conns} connections: {json.dumps(r)}")
    return {"requests": sum(r["requests"] for r in got), "rps": round(sum(r["rps"] for r in got), 1),
            "p50": max(r["p50"] for r in got), "p99": max(r["p99"] for r in got)}


def acks(run, cluster):
    """Durable ACKs with 64 and 256 connections, on one replica and on two that share the database."""
    for rnd in range(run.rounds):
        for count in run.rotated([1, 2], rnd):
            url = cluster.database(f"acks_{rnd}_{count}")
            replicas = [started(Replica(run, cluster, url)) for _ in range(count)]
            try:
                acked = 1 + check(replicas[0])
                acked += load(replicas, 64, 1)["requests"]
                for conns in (64, 256):
                    cpu, server = sum(r.cpu_s() for r in replicas), cluster.cpu_s()
                    r = load(replicas, conns, run.secs)
                    cpu, server = sum(x.cpu_s() for x in replicas) - cpu, cluster.cpu_s() - server
                    acked += r["requests"]
                    run.put(kind="acks", round=rnd, replicas=count, conns=conns, rps=r["rps"], p50=r["p50"], p99=r["p99"],
                            us_per_req=round(cpu * 1e6 / r["requests"], 1), server_us_per_req=round(server * 1e6 / r["requests"], 1))
            finally:
                [r.stop() for r in replicas]
            rows = replicas[0].rows()
            # wrk does not count answers in flight; and each replica is asked once more when it starts, which is a duplicate.
            if not acked <= rows <= acked + 64 + 64 + 256:
                raise Broken(f"{acked} acknowledged, {rows} rows")
            run.put(kind="rows", round=rnd, replicas=count, acked=acked, rows=rows)


def sustained(run, cluster):
    """64 connections send as fast as they are answered, each webhook about a new call; what is scored in that time."""
    for concurrency in (8, 32):
        vendor = Vendor(run)
        url = cluster.database(f"sustained_{concurrency}")
        s = started(Replica(run, cluster, url, {**vendor.env, "FETCH_CONCURRENCY": str(concurrency)}))
        try:
            before, start = s.count(SCORED), time.perf_counter()
            r = load([s], 64, run.secs * 2)
            scored, took = s.count(SCORED) - before, time.perf_counter() - start
            waiting = s.count(WAITING)
        finally:
            s.stop()
            vendor.stop()
        run.put(kind="sustained", concurrency=concurrency, accepted_per_s=r["rps"], scored_per_s=round(scored / took, 1),
                waiting=waiting, p50=r["p50"], p99=r["p99"])


def claims(run, cluster):
    """What the server takes for a claim while about 500 webhooks come in each second, behind finished events."""
    vendor, url = Vendor(run), cluster.database("claims")
    s = started(Replica(run, cluster, url, vendor.env))
    try:
        for first in range(1, run.finished + 1, FILL_AT_ONCE):
            cluster.sql("claims", FILL.format(first=first, last=min(first + FILL_AT_ONCE - 1, run.finished)))
            print(f"  {min(first + FILL_AT_ONCE - 1, run.finished):,} finished events", file=sys.stderr, flush=True)
        cluster.sql("claims", "VACUUM ANALYZE events")
        load([s], 64, 2, PACED_THINK_MS)
        since = cluster.log_statements(True)
        load([s], 64, run.secs, PACED_THINK_MS)
        cluster.log_statements(False)
        took = cluster.durations_ms(since, CLAIM)
        events, scored = s.count("SELECT count(*) FROM events"), s.count(SCORED)
        size = int(cluster.sql("claims", "SELECT pg_total_relation_size('events')"))
    finally:
        s.stop()
        vendor.stop()
    if not took or not scored:
        raise Broken(f"{len(took)} claims in the server's log, {scored} calls scored")
    run.put(kind="claims", finished=run.finished, events=events, claims=len(took), p50_ms=round(percentile(took, 50), 3),
            p99_ms=round(percentile(took, 99), 3), size_mb=round(size / 2**20))


def cost(run, cluster):
    """What a webhook and a call cost on either engine, for docs/scaling.md."""
    run.put(kind="costs", **costs(run, cluster))


PARTS = {"acks": acks, "sustained": sustained, "claims": claims, "costs": cost}


def parse_args():
    parts = "\n".join(f"  {n:<11} {part.__doc__}" for n, part in PARTS.items())
    p = argparse.ArgumentParser(prog=os.environ.get("BENCH_COMMAND"), description=__doc__, epilog="parts:\n" + parts,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--store", choices=["postgres"], default="postgres", help="what this measures")
    p.add_argument("--quick", action="store_true", help="a minute to see that everything works, instead of about twenty to measure")
    p.add_argument("--only", default=",".join(PARTS), help="comma-separated parts (default: all)")
    p.add_argument("--rounds", type=int, help="rounds of acks (default 3)")
    p.add_argument("--secs", type=int, help="seconds of load per round and level (default 10)")
    p.add_argument("--finished", type=int, help="finished events behind the claims (default 10 000 000; 100 000 when quick)")
    p.add_argument("--figures", metavar="FILE", help="also write the costs there, from which scripts/scaling makes docs/scaling.md")
    p.add_argument("--data", default=str(harness.HERE / ".data"), help="folder for databases and records; a real disk (default bench/.data)")
    p.add_argument("--bin", default=os.environ.get("BENCH_BINARY"), help="measure this binary instead of building one")
    p.add_argument("--stubs", metavar="DIR", default=os.environ.get("BENCH_STUBS"), help="where the built bench/stubs are")
    a = p.parse_args()
    a.parts = a.only.split(",")
    if unknown := [x for x in a.parts if x not in PARTS]:
        p.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for path, what in ((a.bin, "binary to measure"), (a.stubs and f"{a.stubs}/vendor", "stub of the vendor")):
        if not path or not os.access(path, os.X_OK):
            p.error(f"no {what} at {path}; run scripts/bench --store postgres, or pass --bin and --stubs")
    for tool in ("wrk", "psql"):
        if not shutil.which(tool):
            p.error(f"{tool} is not installed (Debian and Ubuntu: apt-get install wrk postgresql)")
    if not programs():
        p.error("no PostgreSQL server is installed (Debian and Ubuntu: apt-get install postgresql)")
    if a.figures and "costs" not in a.parts:
        p.error("--figures needs the part costs")
    return a


class Run:
    """The settings of one run and where its records go; what `harness` needs of one."""

    def __init__(self, a):
        self.quick, self.stubs = a.quick, str(Path(a.stubs).resolve())
        self.binaries = {"ours": str(Path(a.bin).resolve())}
        self.rounds = a.rounds or (1 if a.quick else 3)
        self.secs = a.secs or (2 if a.quick else 10)
        self.finished = a.finished or (100_000 if a.quick else 10_000_000)
        self.data = Path(a.data).resolve() / time.strftime("postgres-%Y%m%d-%H%M%S")
        self.data.mkdir(parents=True)
        self.servers = json.loads((harness.HERE / "servers.json").read_text())
        self.records, self.out = [], open(f"{self.data}.jsonl", "w")

    def rotated(self, items, round):
        return items[round % len(items):] + items[:round % len(items)]

    def put(self, **record):
        self.records.append(record)
        self.out.write(json.dumps(record) + "\n")
        self.out.flush()
        print(f"  {json.dumps(record)}", file=sys.stderr, flush=True)

    def all(self, kind, **where):
        return [r for r in self.records if r["kind"] == kind and all(r.get(k) == v for k, v in where.items())]


def print_report(run, version):
    med = lambda kind, key, **where: statistics.median(r[key] for r in got) if (got := run.all(kind, **where)) else None
    levels = [(count, conns) for count in (1, 2) for conns in (64, 256)]
    if run.all("acks"):
        print("### Durable ACKs\n")
        m = lambda key, count, conns: med("acks", key, replicas=count, conns=conns)
        table(["replicas", "connections", "ACKs/s", "p50 ms", "p99 ms", "service CPU µs/ACK", "server CPU µs/ACK"],
              [[count, conns, number(m("rps", count, conns)), number(m("p50", count, conns) / 1000), number(m("p99", count, conns) / 1000),
                number(m("us_per_req", count, conns), 1), number(m("server_us_per_req", count, conns), 1)] for count, conns in levels])
    if measured := run.all("sustained"):
        print("### Scored under load: 64 connections, every webhook a new call\n")
        table(["concurrency", "scored/s", "accepted/s", "waiting at the end", "ACK p50 ms", "p99 ms"],
              [[r["concurrency"], number(r["scored_per_s"]), number(r["accepted_per_s"]), f"{r['waiting']:,}", number(r["p50"] / 1000),
                number(r["p99"] / 1000)] for r in measured])
    if measured := run.all("claims"):
        print("### A claim behind finished events, by the server's log\n")
        table(["finished events", "events table MB", "claims", "p50 ms", "p99 ms"],
              [[f"{r['finished']:,}", f"{r['size_mb']:,}", f"{r['claims']:,}", r["p50_ms"], r["p99_ms"]] for r in measured])
    print(f"### Targets, with PostgreSQL {version} on the same cores\n")
    scored = [r["scored_per_s"] for r in run.all("sustained")]
    claim = med("claims", "p50_ms")
    cells = []
    for what, bound, value, is_met in (
        ("durable ACKs/s, 64 connections, one replica", f">= {ACKS_PER_S:,} (stretch {STRETCH_ACKS_PER_S:,})",
         med("acks", "rps", replicas=1, conns=64), lambda v: v >= ACKS_PER_S),
        ("calls scored per second under load", f">= {SCORED_PER_S:,}", max(scored, default=None), lambda v: v >= SCORED_PER_S),
        ("claim p50, ms", f"<= {CLAIM_MS:g}", claim, lambda v: v <= CLAIM_MS),
    ):
        verdict = "not asked for" if value is None else "met" if is_met(value) else "MISSED"
        cells.append([what, bound, number(value), verdict])
    table(["target", "bound", "measured", "verdict"], cells)
    if run.quick:
        print("A quick run shows that everything works; its numbers are too short to quote.\n")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    a = parse_args()
    run, broken, cluster = Run(a), {}, None
    try:
        facts = machine(run)
        cluster = Cluster(run.data / "cluster")
        version = cluster.sql("postgres", "SHOW server_version").split()[0]
        for part in a.parts:
            print(f"{part}: {PARTS[part].__doc__}", file=sys.stderr, flush=True)
            try:
                PARTS[part](run, cluster)
            except Broken as e:
                broken[part] = str(e)
                print(f"  BROKEN {e}", file=sys.stderr, flush=True)
    finally:
        harness.stop_all()
        if cluster:
            cluster.stop()
        if not broken:
            shutil.rmtree(run.data, ignore_errors=True)
    print("## Benchmark on PostgreSQL\n")
    table(["", ""], [f for f in facts if f[0] != "peers"])
    print_report(run, version)
    for part, why in broken.items():
        print(f"**{part} is broken**: {why}\n")
    if a.figures and (measured := run.all("costs")):
        figures = {"measured": {"when": time.strftime("%Y-%m-%d"), "quick": a.quick, "postgres": version,
                                "machine": next(f[1] for f in facts if f[0] == "machine")},
                   **{engine: measured[0][engine] for engine in ("sqlite", "postgres")}}
        if got := run.all("acks", replicas=1, conns=64):
            figures["postgres"]["acks_per_s"] = statistics.median(r["rps"] for r in got)
        Path(a.figures).write_text(json.dumps(figures, indent=2) + "\n")
    print(f"Records: {run.out.name}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
