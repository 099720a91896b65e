#!/usr/bin/env python3
"""Measures the service on this machine, beside two Express receivers of the same webhooks, the least that any
receiver does (the floor), and an older binary of its own if there is one.

Everything runs on loopback, is bounded in count and time, and is stopped by its process id. It prints
Markdown; the records go to a .jsonl file in the data folder. It measures and judges nothing but
correctness: the exit code is 1 when something is broken (a wrong answer, an error, an acknowledged
webhook that is not a row), not when a target is missed. `scripts/bench` builds and installs first.
"""
import argparse
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import harness
import receivers
import report
import service
import worker

PARTS = {
    "throughput": (receivers.throughput, "durable ACKs at 1, 64 and 256 connections, side by side with the peers"),
    "paced": (receivers.paced, "ACK latency at about 500 req/s, side by side with the peers"),
    "counts": (receivers.counts, "context switches, write calls and syncs of one webhook, and its CPU beside the floor's"),
    "memory": (receivers.memory, "RSS idle and after 400 000 events; start to /readyz on that database"),
    "mint": (service.mint, "what POST /athos/token adds to the vendor's own answer"),
    "latency": (service.latency, "webhook in to score readable"),
    "reads": (service.reads, "a page of calls over 1 000 000 stored calls and over 10 000"),
    "sustained": (worker.sustained, "calls scored per second while 64 connections send webhooks, at concurrency 8 and 32"),
    "backlog": (worker.backlog, "100 000 events pending at the start, until they are settled"),
    "forward": (worker.forward, "messages sent on per second to a receiver that answers at once, and what that costs ACKs"),
    "slow-vendor": (worker.slow_vendor, "ACK latency while the vendor takes half a second for every answer"),
}
NEEDS_WRK = set(PARTS) - {"mint", "latency"}
NEEDS_STUBS = {"sustained", "backlog", "forward", "slow-vendor"}


class Run:
    """The settings of one run and where its records go."""

    def __init__(self, a):
        self.quick, self.stubs = a.quick, a.stubs and str(Path(a.stubs).resolve())
        self.binaries = {name: str(Path(path).resolve()) for name, path in (("ours", a.bin), ("before", a.before)) if path}
        self.rounds = a.rounds or (1 if a.quick else 3)
        self.secs = a.secs or (2 if a.quick else 10)
        self.data = Path(a.data).resolve() / time.strftime("run-%Y%m%d-%H%M%S")
        self.data.mkdir(parents=True)
        self.servers = json.loads((harness.HERE / "servers.json").read_text())
        self.servers["before"] = self.servers["ours"]
        self.services = list(self.binaries)
        peers = ("floor", "node-docs", "node-durable")
        self.missing = {n: why for n in peers if (why := peer_missing(n, self.stubs))}
        self.names = self.services + [n for n in peers if n not in self.missing]
        self.records = []
        self.out = open(f"{self.data}.jsonl", "w")

    def rotated(self, items, round):
        """The items, each first in its turn."""
        items = list(items)
        return items[round % len(items):] + items[:round % len(items)]

    def put(self, **record):
        self.records.append(record)
        self.out.write(json.dumps(record) + "\n")
        self.out.flush()
        brief = {k: v for k, v in record.items() if not isinstance(v, dict)}
        print(f"  {json.dumps(brief)}", file=sys.stderr, flush=True)


def peer_missing(name, stubs):
    """Why a peer cannot run here, or None."""
    if name == "floor":
        return None if stubs else "bench/stubs is not built; run scripts/bench, or pass --stubs"
    if not shutil.which("node"):
        return "node is not installed"
    modules = ["express"] + (["better-sqlite3"] if name == "node-durable" else [])
    load = "".join(f"new (require('{m}'))(':memory:');" if m == "better-sqlite3" else f"require('{m}');" for m in modules)
    p = subprocess.run(["node", "-e", load], cwd=harness.HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return None if p.returncode == 0 else f"{' or '.join(modules)} cannot be loaded (npm ci in bench/)"


def output_of(*cmd):
    try:
        return subprocess.run(cmd, cwd=harness.HERE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    except OSError:
        return ""


def machine(run):
    cpu = next((l.split(":", 1)[1].strip() for l in Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")), platform.machine())
    mem_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = output_of("git", "rev-parse", "--short", "HEAD") + (" with local changes" if output_of("git", "status", "--porcelain", "--untracked-files=no") else "")
    busy, disk = harness.busy_percent(), harness.fdatasync_us(run.data)
    run.put(kind="machine", cores=os.cpu_count(), cpu=cpu, mem_gb=round(mem_gb, 1), kernel=platform.release(), busy_percent=round(busy, 1),
            commit=commit, rounds=run.rounds, secs=run.secs, quick=run.quick, fdatasync_p50_us=disk["p50"], fdatasync_p99_us=disk["p99"])
    return [
        ("command", "`" + shlex.join([os.environ.get("BENCH_COMMAND", "bench/bench.py"), *sys.argv[1:]]) + "`"),
        ("when", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
        ("commit", commit),
        ("machine", f"{os.cpu_count()} cores, {cpu}, {mem_gb:.1f} GB, Linux {platform.release()}"),
        ("busy with other things at the start", f"{busy:.0f} % of all cores" + (" (distrust the numbers)" if busy > 5 else "")),
        ("disk of the databases", f"{output_of('df', '--output=fstype', run.data).split()[-1]}, 4 KiB append + fdatasync p50 {disk['p50']} µs, p99 {disk['p99']} µs"),
        ("rounds", f"{run.rounds} of {run.secs} s per level, the order of the servers rotated"),
        ("peers", f"Node {output_of('node', '--version')}, " + ", ".join(f"{m} {v}" for m, v in json.loads((harness.HERE / 'package.json').read_text())["dependencies"].items())),
    ]


def parse_args():
    parts = "\n".join(f"  {n:<11} {what}" for n, (_, what) in PARTS.items())
    p = argparse.ArgumentParser(prog=os.environ.get("BENCH_COMMAND"), description=__doc__, epilog="parts:\n" + parts,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="three minutes to see that everything works, instead of about thirty to measure")
    p.add_argument("--only", default=",".join(PARTS), help="comma-separated parts (default: all)")
    p.add_argument("--rounds", type=int, help="rounds of every comparison (default 3)")
    p.add_argument("--secs", type=int, help="seconds of load per round and level (default 10)")
    p.add_argument("--data", default=str(harness.HERE / ".data"), help="folder for databases and records; a real disk, never tmpfs (default bench/.data)")
    p.add_argument("--bin", default=os.environ.get("BENCH_BINARY"), help="measure this binary instead of building one")
    p.add_argument("--before", metavar="BIN", help="a binary of before, measured in the same rounds")
    p.add_argument("--stubs", metavar="DIR", default=os.environ.get("BENCH_STUBS"), help="where the built bench/stubs are")
    a = p.parse_args()
    a.parts = a.only.split(",")
    if unknown := [x for x in a.parts if x not in PARTS]:
        p.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if not a.bin or not os.access(a.bin, os.X_OK):
        p.error(f"no binary to measure at {a.bin}; run scripts/bench, or pass --bin")
    if a.before and not os.access(a.before, os.X_OK):
        p.error(f"no binary of before at {a.before}")
    if a.stubs and not os.access(f"{a.stubs}/vendor", os.X_OK):
        p.error(f"no stubs in {a.stubs}; run scripts/bench")
    return a


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    a = parse_args()
    run = Run(a)
    broken = {}
    facts = machine(run)
    try:
        for part in a.parts:
            if part in NEEDS_WRK and not shutil.which("wrk"):
                broken[part] = "wrk is not installed (Debian and Ubuntu: apt-get install wrk)"
                continue
            if part in NEEDS_STUBS and not run.stubs:
                broken[part] = "bench/stubs is not built; run scripts/bench, or pass --stubs"
                continue
            print(f"{part}: {PARTS[part][1]}", file=sys.stderr, flush=True)
            try:
                PARTS[part][0](run)
            except harness.Broken as e:
                broken[part] = str(e)
                print(f"  BROKEN {e}", file=sys.stderr, flush=True)
    finally:
        harness.stop_all()
        if not broken:
            shutil.rmtree(run.data)

    print("## Benchmark\n")
    report.table(["", ""], facts)
    for name, why in run.missing.items():
        print(f"{name} is not measured: {why}.\n")
    r = report.Report(run.records)
    r.receivers("throughput", "Durable ACK throughput")
    r.receivers("paced", "ACK latency at a paced 500 req/s")
    r.counts()
    r.service()
    r.worker()

    def not_measured(target):
        return "not measured (peer missing)" if target.part in a.parts else "not asked for"

    r.verdict(a.quick, set(broken), not_measured)
    for part, why in broken.items():
        print(f"**{part} is broken**: {why}\n")
    print(f"Records: {run.out.name}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
