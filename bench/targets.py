"""What the service promises, how far it could go, and what was measured. Everything is a ratio within one run or
a count where that is possible: machines differ in what they are fast at, and those hold on any. Ratios are taken
within a round, against what was measured in that round, and only then reduced to a median."""
import statistics
from typing import NamedTuple

med = statistics.median


class Target(NamedTuple):
    """`value(records, name)` is what was measured of the service `name`, or nothing."""

    part: str
    what: str
    op: str
    bound: float
    stretch: float
    unit: str
    value: object


def rows(records, kind, **where):
    return [r for r in records if r["kind"] == kind and all(r.get(k) == v for k, v in where.items())]


def median_of(kind, key, **where):
    return lambda records, name: _median([key(r) for r in rows(records, kind, name=name, **where)])


def against(base, kind, key, **where):
    """The median of the ratios of each round."""
    def value(records, name):
        if name == base:
            return None
        by = lambda who: {r.get("round", 0): key(r) for r in rows(records, kind, name=who, **where)}
        x, y = by(name), by(base)
        return _median([x[k] / y[k] for k in x if y.get(k)])
    return value


def forwarding_costs(records, name):
    """The ACK's median with an endpoint against that without, within each round."""
    by = lambda is_on: {r["round"]: r["p50"] for r in rows(records, "forward-acks", name=name, forwards=is_on)}
    on, off = by(True), by(False)
    return _median([on[k] / off[k] for k in on if off.get(k)])


def worst(values, whos):
    """The largest over the kinds of callers."""
    def value(records, name):
        got = [v for who in whos if (v := values(who)(records, name)) is not None]
        return max(got) if got else None
    return value


def large_over_small(records, name):
    """A page over many calls against one over few, by time and by CPU, for the caller to whom it matters most."""
    got = [large_against_small(records, name, who) for who in CALLERS]
    got = [max(x) for x in got if None not in x]
    return max(got) if got else None


def large_against_small(records, name, who):
    def of(key):
        by = lambda size: {r["round"]: r[key] for r in rows(records, "reads", name=name, who=who, size=size)}
        large, small = by("large"), by("small")
        return _median([large[k] / small[k] for k in large if small.get(k)])
    return of("p50"), of("server_us_per_req")


def _median(values):
    return med(values) if values else None


def key(name):
    return lambda r: r[name]


def called(name):
    return lambda records, who: _median([r["calls"][name] for r in rows(records, "counts", name=who) if r["calls"]])


RPS, P50, P99, CPU = key("rps"), key("p50"), key("p99"), key("server_us_per_req")
CALLERS = ("service token", "manager of one agency", "one rep")

TARGETS = [
    Target("throughput", "64 connections: share of the floor", ">=", 0.40, 0.50, "", against("floor", "throughput", RPS, conns=64)),
    Target("throughput", "64 connections: × Express with SQLite", ">=", 9, 14, "×", against("node-durable", "throughput", RPS, conns=64)),
    Target("throughput", "64 connections: × before", ">=", 1.6, 2.2, "×", against("before", "throughput", RPS, conns=64)),
    Target("throughput", "64 connections: CPU per webhook, of before's", "<=", 0.6, 0.45, "×", against("before", "throughput", CPU, conns=64)),
    Target("throughput", "1 connection: × Express with SQLite", ">=", 1.3, 1.6, "×", against("node-durable", "throughput", RPS, conns=1)),
    Target("throughput", "1 connection: CPU per webhook, of before's", "<=", 0.5, 0.4, "×", against("before", "throughput", CPU, conns=1)),
    Target("paced", "paced 500/s: ACK p50, of the Express snippet's that keeps nothing", "<=", 1.0, 0.9, "×", against("node-docs", "paced", P50)),
    Target("paced", "paced 500/s: ACK p99, of the Express snippet's that keeps nothing", "<=", 1.0, 0.6, "×", against("node-docs", "paced", P99)),
    Target("counts", "per webhook at 1 connection: context switches", "<=", 5, 4, "", median_of("counts", key("switches"))),
    Target("counts", "per webhook at 1 connection: write calls", "<=", 9, 6, "", called("writes")),
    Target("counts", "per webhook at 1 connection: of these `pwrite`", "<=", 8, 5, "", called("pwrite")),
    Target("counts", "per webhook at 1 connection: `fdatasync`", "<=", 1.05, 1.05, "", called("syncs")),
    Target("mint", "mint: added to the vendor's own answer, p50", "<=", 1.0, 0.5, "ms", median_of("mint", key("added_ms"))),
    Target("mint", "mint: CPU, of before's", "<=", 0.6, 0.4, "×", against("before", "mint", CPU)),
    Target("reads", "page of 50: CPU, of before's, worst caller", "<=", 0.55, 0.4, "×",
           worst(lambda who: against("before", "reads", CPU, who=who, size="small"), CALLERS)),
    Target("reads", "page of 50: over 1 000 000 calls against over 10 000, worst caller", "<=", 1.15, 1.05, "×", large_over_small),
    Target("sustained", "scored per second under load, concurrency 8", ">=", 1800, 2500, "/s",
           median_of("sustained", key("scored_per_s"), concurrency=8)),
    Target("sustained", "scored per second under load, concurrency 32", ">=", 2800, 3500, "/s",
           median_of("sustained", key("scored_per_s"), concurrency=32)),
    Target("backlog", "100 000 pending at the start: drained after", "<=", 60, 30, "s", median_of("backlog", key("secs_of_100k"))),
    Target("forward", "messages sent on per second", ">=", 1000, 2500, "/s", median_of("forward", key("per_s"))),
    Target("forward", "paced 500/s: ACK p50 while forwarding, of that without", "<=", 1.05, 1.0, "×", forwarding_costs),
    Target("latency", "webhook in to score readable, p50", "<=", 5, 3, "ms", median_of("latency", lambda r: r["readable_ms"]["p50"])),
    Target("memory", "resident memory idle", "<=", 12, 8, "MB", median_of("memory", lambda r: r["idle"]["rss"])),
    Target("memory", "resident memory after 400 000 events", "<=", 45, 35, "MB",
           median_of("memory", lambda r: max(r["loaded"]["rss"], r["settled"]["rss"]))),
    Target("memory", "start to /readyz on that database", "<=", 40, 20, "ms", median_of("memory", key("ready_median_ms"))),
]
