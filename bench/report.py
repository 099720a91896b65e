"""Records to Markdown: one table per part, and the verdict against the targets."""
import statistics

from targets import CALLERS, CPU, RPS, TARGETS, against, large_against_small, rows

med = statistics.median


def table(head, cells):
    """Rows of cells as Markdown; the first column is text, the others are numbers."""
    if not cells:
        return
    print("| " + " | ".join(head) + " |\n|---|" + "--:|" * (len(head) - 1))
    for row in cells:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def number(value, digits=2):
    return "–" if value is None else f"{value:,.{0 if abs(value) >= 1000 else digits}f}"


class Report:
    def __init__(self, records):
        self.records = records

    def all(self, kind, **where):
        return rows(self.records, kind, **where)

    def receivers(self, kind, title):
        loads = self.all(kind)
        if not loads:
            return
        names = list(dict.fromkeys(r["name"] for r in loads))
        names.sort(key=lambda n: (n != "ours", n != "before", n))
        print(f"### {title}\n")
        bases = [b for b in ("floor", "before", "node-docs", "node-durable") if b in names]
        cells = []
        for conns in sorted({r["conns"] for r in loads}):
            for name in names:
                got = self.all(kind, name=name, conns=conns)
                of = lambda key: [r[key] for r in got]
                ms = lambda key: f"{med(of(key)) / 1000:.2f} ({min(of(key)) / 1000:.2f}–{max(of(key)) / 1000:.2f})"
                ratio = lambda base: against(base, kind, RPS, conns=conns)(self.records, name)
                cells.append([name, conns, f"{med(of('rps')):,.0f} ({min(of('rps')):,.0f}–{max(of('rps')):,.0f})",
                              ms("p50"), ms("p99"), f"{med(of('server_us_per_req')):.1f}", f"{med(of('server_cores')):.2f}",
                              *(number(ratio(base)) for base in bases)])
        table(["server", "conns", "req/s median (min–max)", "p50 ms", "p99 ms", "server CPU µs/req", "server cores",
               *(f"× {b}" for b in bases)], cells)
        cells = []
        for name in names:
            for conns in sorted({r["conns"] for r in loads}):
                got = self.all(kind, name=name, conns=conns)
                batches = [r for r in got if r.get("batch", {}).get("mean")]
                if batches:
                    m = lambda f: med(f(r) for r in batches)
                    bucket = lambda q: "≤ " + ", ".join(sorted({f"{r['batch'][q]:g}" for r in batches if r["batch"][q]}))
                    cells.append([name, conns, f"{m(lambda r: r['batch']['mean']):.1f}", bucket("p50"), bucket("p99"),
                                  f"{m(lambda r: r['syncs_per_s']):,.0f}", f"{m(lambda r: r['sync']['mean']) * 1000:.2f}",
                                  f"{max(r['rss'] for r in got):.1f}"])
        table(["server", "conns", "parts per commit, mean", "p50", "p99", "commits/s", "commit mean ms", "RSS MB"], cells)
        table(["durability", "round", "acknowledged", "rows", "rows − acks"],
              [[r["name"], r["round"], f"{r['acked']:,}", f"{r['rows']:,}", r["rows"] - r["acked"]]
               for r in self.all("rows", part=kind) if r["rows"] is not None])
        disk = self.all("disk", part=kind)
        print(f"fdatasync of 4 KiB at the start of each round, µs: p50 {[r['p50'] for r in disk]}, p99 {[r['p99'] for r in disk]}\n")

    def counts(self):
        counted = self.all("counts")
        if not counted:
            return
        print("### What one webhook costs\n")
        floor = next((r for r in counted if r["name"] == "floor"), None)
        of_floor = lambda r, key: number(r[key] / floor[key], 1) if floor else "–"
        traced = lambda r, key: number((r["calls"] or {}).get(key))
        table(["server", "context switches", "write calls", "`pwrite`", "`fdatasync`", "CPU µs, 1 conn", "× floor", "CPU µs, 64 conns", "× floor"],
              [[r["name"], number(r["switches"]), traced(r, "writes"), traced(r, "pwrite"), traced(r, "syncs"),
                number(r["us_1"], 1), of_floor(r, "us_1"), number(r["us_64"], 1), of_floor(r, "us_64")] for r in counted])

    def service(self):
        if loaded := self.all("memory"):
            print("### Memory and restart\n")
            table(["RSS MB (peak)", "idle", "after", "events", "a little later", "database MB", "WAL MB", "start to /readyz ms: new", "that database", "SIGTERM to exit ms"],
                  [[r["name"], f"{r['idle']['rss']} ({r['idle']['peak']})", f"{r['loaded']['rss']} ({r['loaded']['peak']})", f"{r['acked']:,}",
                    r["settled"]["rss"], r["disk"]["db"], r["disk"]["wal"], r["fresh_ready_ms"],
                    f"{r['ready_median_ms']} ({min(r['ready_ms'])}–{max(r['ready_ms'])})", r["stop_ms"]] for r in loaded])
        if minted := self.all("mint"):
            print("### Mint\n")
            table([f"{minted[0]['n']} in turn", "p50 ms", "p99 ms", "added, p50 ms", "server CPU µs"],
                  [["vendor directly", minted[0]["direct_ms"]["p50"], minted[0]["direct_ms"]["p99"], "", ""]]
                  + [[r["name"], r["ours_ms"]["p50"], r["ours_ms"]["p99"], r["added_ms"], r["server_us_per_req"]] for r in minted])
        if measured := self.all("latency"):
            print("### Webhook in to score readable\n")
            table([f"{measured[0]['n']} calls", "ACK p50 ms", "p99", "score readable p50 ms", "p99"],
                  [[r["name"], r["ack_ms"]["p50"], r["ack_ms"]["p99"], r["readable_ms"]["p50"], r["readable_ms"]["p99"]] for r in measured])
        self.reads()

    def reads(self):
        cells = []
        for who in CALLERS:
            for name, size in dict.fromkeys((r["name"], r["size"]) for r in self.all("reads", who=who)):
                got = self.all("reads", who=who, name=name, size=size)
                m = lambda key: med(r[key] for r in got)
                p50, cpu = large_against_small(self.records, name, who) if size == "large" else (None, None)
                before = against("before", "reads", CPU, who=who, size=size)(self.records, name)
                cells.append([who, name, f"{got[0]['calls']:,}", f"{m('p50') / 1000:.3f}", f"{m('p99') / 1000:.3f}", f"{m('rps'):,.0f}",
                              f"{m('server_us_per_req'):.0f}", number(before), number(p50), number(cpu)])
        if cells:
            print("### GET /athos/calls, 50 rows\n")
            table(["caller", "server", "stored calls", "p50 ms", "p99 ms", "req/s (1 conn)", "server CPU µs/req", "CPU, of before's",
                   "p50, many / few", "CPU, many / few"], cells)

    def worker(self):
        if measured := self.all("sustained"):
            print("### Scored under load: 64 connections, every webhook a new call\n")
            table(["server", "concurrency", "scored/s", "accepted/s", "waiting at the end", "ACK p50 ms", "p99 ms", "server cores"],
                  [[r["name"], r["concurrency"], number(r["scored_per_s"]), number(r["accepted_per_s"]), f"{r['waiting']:,}",
                    number(r["p50"] / 1000), number(r["p99"] / 1000), r["cores"]] for r in sorted(measured, key=lambda r: (r["concurrency"], r["name"] != "ours"))])
        if measured := self.all("backlog"):
            print("### A backlog at the start\n")
            table(["server", "pending", "left", "after s", "settled/s", "s for 100 000", "server CPU µs/event"],
                  [[r["name"], f"{r['pending']:,}", f"{r['left']:,}", r["secs"], number(r["per_s"]), r["secs_of_100k"], r["us_per_event"]] for r in measured])
        if measured := self.all("forward"):
            print("### Messages sent on\n")
            table(["server", "messages", "after s", "sent/s", "server CPU µs/message"],
                  [[r["name"], f"{r['messages']:,}", r["secs"], number(r["per_s"]), r["us_per_message"]] for r in measured])
            acks = self.all("forward-acks")
            m = lambda is_on, key: med(r[key] for r in acks if r["forwards"] == is_on)
            table(["ACKs at a paced 500 req/s", "p50 ms", "p99 ms", "server CPU µs/req", "messages waiting at the end"],
                  [["forwarding" if is_on else "without", number(m(is_on, "p50") / 1000), number(m(is_on, "p99") / 1000),
                    number(m(is_on, "server_us_per_req"), 1), f"{m(is_on, 'waiting'):,.0f}"] for is_on in (False, True)])
        if measured := self.all("slow-vendor"):
            print("### A slow vendor: ACKs at a paced 500 req/s\n")
            m = lambda name, delay, key: med(r[key] for r in measured if r["name"] == name and r["delay_ms"] == delay)
            table(["server", "vendor answers after ms", "ACK p50 ms", "p99 ms", "server CPU µs/req", "waiting at the end"],
                  [[name, delay, number(m(name, delay, "p50") / 1000), number(m(name, delay, "p99") / 1000),
                    number(m(name, delay, "server_us_per_req"), 1), f"{m(name, delay, 'waiting'):,.0f}"]
                   for name in dict.fromkeys(r["name"] for r in measured) for delay in (0, 500)])

    def verdict(self, quick, broken, not_measured):
        print("### Targets\n")
        cells = []
        for t in TARGETS:
            ours, before = t.value(self.records, "ours"), t.value(self.records, "before")
            said = "BROKEN" if t.part in broken else judge(t, ours) if ours is not None else not_measured(t)
            cells.append([t.what, f"{t.op} {t.bound:,g} {t.unit}".rstrip(), f"{t.stretch:,g}", number(before), number(ours), said])
        lost = [r for r in self.all("rows") if r["rows"] is not None] + self.all("memory")
        if lost:
            cells.append(["every acknowledged webhook is a row", "all", "", "", f"{sum(r['acked'] for r in lost):,} acks",
                          "BROKEN" if broken & {"throughput", "paced", "memory"} else "met"])
        table(["target", "bound", "stretch", "before", "measured", "verdict"], cells)
        if quick:
            print("A quick run shows that everything works and where a change goes; its numbers are too short to quote.\n")


def judge(target, value):
    reached = lambda bound: value >= bound if target.op == ">=" else value <= bound
    if reached(target.stretch):
        return "met, the stretch too"
    if reached(target.bound):
        return "met"
    return f"MISSED by {abs(value / target.bound - 1) * 100:.0f} %"
