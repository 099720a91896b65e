"""Records to Markdown: the machine, one table per part, and the verdict against the targets. Ratios are
taken within a round, against the peer measured in the same round, and only then reduced to a median."""
import statistics

med = statistics.median

# What the service promises on a 2-core machine with the load generator on the same machine.
# (key of the value below, what, comparison, bound, unit)
TARGETS = [
    ("docs64", "durable ACK throughput at 64 connections, × node-docs", ">=", 5.0, "×"),
    ("durable64", "durable ACK throughput at 64 connections, × node-durable", ">=", 9.0, "×"),
    ("p99_64", "p99 at 64 connections, ours / node-docs", "<=", 1.0, "×"),
    ("paced_p50", "ACK p50 at a paced 500 req/s, ours / node-docs", "<=", 1.0, "×"),
    ("paced_p99", "ACK p99 at a paced 500 req/s, ours / node-docs", "<=", 1.0, "×"),
    ("rss_idle", "resident memory idle", "<=", 15.0, "MB"),
    ("rss_loaded", "resident memory after 400 000 events", "<=", 60.0, "MB"),
    ("ready", "start to /readyz on an existing database", "<=", 50.0, "ms"),
    ("mint", "what a mint adds to the vendor's own answer, p50", "<=", 1.0, "ms"),
    ("latency", "webhook in to score readable, p50", "<=", 20.0, "ms"),
    ("reads", "a page of 50 over 1 000 000 calls / over 10 000, worst caller", "<=", 1.3, "×"),
]


def table(head, rows):
    """Rows of cells as Markdown; the first column is text, the others are numbers."""
    if not rows:
        return
    print("| " + " | ".join(head) + " |\n|---|" + "--:|" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


class Report:
    def __init__(self, records):
        self.records = records

    def all(self, kind, **where):
        return [r for r in self.records if r["kind"] == kind and all(r.get(k) == v for k, v in where.items())]

    def ratios(self, kind, conns, key, base):
        by = lambda name: {r["round"]: r[key] for r in self.all(kind, name=name, conns=conns)}
        x, y = by("ours"), by(base)
        return [x[k] / y[k] for k in x if y.get(k)]

    def values(self):
        """Every measured value that a target speaks of."""
        v = {
            "docs64": self.ratios("throughput", 64, "rps", "node-docs"),
            "durable64": self.ratios("throughput", 64, "rps", "node-durable"),
            "p99_64": self.ratios("throughput", 64, "p99", "node-docs"),
            "paced_p50": self.ratios("paced", 64, "p50", "node-docs"),
            "paced_p99": self.ratios("paced", 64, "p99", "node-docs"),
            "rss_idle": [r["idle"]["rss"] for r in self.all("memory")],
            "rss_loaded": [max(r["loaded"]["rss"], r["settled"]["rss"]) for r in self.all("memory")],
            "ready": [r["ready_median_ms"] for r in self.all("memory")],
            "mint": [r["added_ms"] for r in self.all("mint")],
            "latency": [r["readable_ms"]["p50"] for r in self.all("latency")],
        }
        v = {k: med(x) for k, x in v.items() if x}
        if per_caller := self.read_ratios():
            v["reads"] = max(max(p50, cpu) for p50, cpu in per_caller.values())
        return v

    def read_ratios(self):
        """{caller: (p50 ratio, CPU ratio)} of large over small."""
        out = {}
        for who in dict.fromkeys(r["who"] for r in self.all("reads")):
            pick = lambda size, key: {r["round"]: r[key] for r in self.all("reads", who=who, size=size)}
            out[who] = tuple(med(large[k] / small[k] for k in large)
                             for large, small in ((pick("large", key), pick("small", key))
                                                  for key in ("p50", "server_us_per_req")))
        return out

    def receivers(self, kind, title):
        loads = self.all(kind)
        if not loads:
            return
        names = list(dict.fromkeys(r["name"] for r in loads))
        names.sort(key=lambda n: n != "ours")
        print(f"### {title}\n")
        rows = []
        for conns in sorted({r["conns"] for r in loads}):
            for name in names:
                got = self.all(kind, name=name, conns=conns)
                of = lambda key: [r[key] for r in got]
                ms = lambda key: f"{med(of(key)) / 1000:.2f} ({min(of(key)) / 1000:.2f}–{max(of(key)) / 1000:.2f})"
                against = [self.ratios(kind, conns, "rps", b) for b in ("node-docs", "node-durable")]
                rows.append([name, conns, f"{med(of('rps')):,.0f} ({min(of('rps')):,.0f}–{max(of('rps')):,.0f})",
                             ms("p50"), ms("p99"), f"{med(of('server_us_per_req')):.1f}", f"{med(of('server_cores')):.2f}",
                             *(f"{med(x):.2f}" if name == "ours" and x else "" for x in against)])
        table(["server", "conns", "req/s median (min–max)", "p50 ms", "p99 ms", "server CPU µs/req", "server cores",
               "× node-docs", "× node-durable"], rows)
        rows = []
        for conns in sorted({r["conns"] for r in loads}):
            got = self.all(kind, name="ours", conns=conns)
            batches = [r for r in got if r.get("batch", {}).get("mean")]
            if batches:
                m = lambda f: med(f(r) for r in batches)
                bucket = lambda q: "≤ " + ", ".join(sorted({f"{r['batch'][q]:g}" for r in batches if r["batch"][q]}))
                rows.append([conns, f"{m(lambda r: r['batch']['mean']):.1f}", bucket("p50"), bucket("p99"),
                             f"{m(lambda r: r['syncs_per_s']):,.0f}", f"{m(lambda r: r['sync']['mean']) * 1000:.2f}",
                             f"{max(r['rss'] for r in got):.1f}"])
        table(["ours at conns", "events per commit, mean", "p50", "p99", "syncs/s", "sync mean ms", "RSS MB"], rows)
        rows = self.all("rows", part=kind)
        table(["durability", "round", "acknowledged", "rows", "rows − acks"],
              [[r["name"], r["round"], f"{r['acked']:,}", f"{r['rows']:,}", r["rows"] - r["acked"]] for r in rows if r["rows"] is not None])
        disk = self.all("disk", part=kind)
        print(f"fdatasync of 4 KiB at the start of each round, µs: p50 {[r['p50'] for r in disk]}, p99 {[r['p99'] for r in disk]}\n")

    def service(self):
        for r in self.all("memory"):
            print("### Memory and restart\n")
            table(["", "RSS MB", "peak MB"],
                  [["idle", r["idle"]["rss"], r["idle"]["peak"]],
                   [f"after {r['acked']:,} events ({r['rows']:,} rows)", r["loaded"]["rss"], r["loaded"]["peak"]],
                   ["a little later", r["settled"]["rss"], r["settled"]["peak"]]])
            print(f"Database {r['disk']['db']} MB, WAL {r['disk']['wal']} MB. Start to /readyz: new database {r['fresh_ready_ms']} ms, "
                  f"that database {r['ready_ms']} ms (median {r['ready_median_ms']}). SIGTERM to exit: {r['stop_ms']} ms.\n")
        for r in self.all("mint"):
            print("### Mint\n")
            table([f"{r['n']} in turn", "p50 ms", "p99 ms"],
                  [["vendor directly", r["direct_ms"]["p50"], r["direct_ms"]["p99"]],
                   ["through the service", r["ours_ms"]["p50"], r["ours_ms"]["p99"]],
                   ["added (difference)", r["added_ms"], ""]])
            print(f"Server CPU {r['server_us_per_req']} µs per mint.\n")
        for r in self.all("latency"):
            print("### Webhook in to score readable\n")
            table([f"{r['n']} calls", "p50 ms", "p99 ms"],
                  [["ACK", r["ack_ms"]["p50"], r["ack_ms"]["p99"]],
                   ["score readable", r["readable_ms"]["p50"], r["readable_ms"]["p99"]]])
        ratios = self.read_ratios()
        if ratios:
            print("### GET /athos/calls, 50 rows\n")
            rows = []
            for who, (p50, cpu) in ratios.items():
                for size in ("small", "large"):
                    got = self.all("reads", who=who, size=size)
                    m = lambda key: med(r[key] for r in got)
                    rows.append([who, f"{got[0]['calls']:,}", f"{m('p50') / 1000:.3f}", f"{m('p99') / 1000:.3f}",
                                 f"{m('rps'):,.0f}", f"{m('server_us_per_req'):.0f}",
                                 *((f"{p50:.2f}", f"{cpu:.2f}") if size == "large" else ("", ""))])
            table(["caller", "stored calls", "p50 ms", "p99 ms", "req/s (1 conn)", "server CPU µs/req", "p50 ratio", "CPU ratio"], rows)

    def verdict(self, quick, broken, not_measured):
        values = self.values()
        print("### Targets\n")
        rows = []
        for key, what, op, bound, unit in TARGETS:
            if key not in values:
                rows.append([what, f"{op} {bound:g} {unit}", "–", not_measured(key)])
                continue
            ok = values[key] >= bound if op == ">=" else values[key] <= bound
            by = "" if ok else f" by {abs(values[key] / bound - 1) * 100:.0f} %"
            rows.append([what, f"{op} {bound:g} {unit}", f"{values[key]:.2f} {unit}", ("PASS" if ok else "MISSED") + by])
        lost = [r for r in self.all("rows") if r["rows"] is not None] + self.all("memory")
        if lost:
            rows.insert(3, ["every acknowledged webhook is a row", "all", f"{sum(r['acked'] for r in lost):,} acks",
                            "BROKEN" if broken & {"throughput", "paced", "memory"} else "PASS"])
        table(["target", "bound", "measured", "verdict"], rows)
        if quick:
            print("A quick run shows that everything works; its numbers are too short to quote.\n")
