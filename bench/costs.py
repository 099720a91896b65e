"""What a webhook, a call scored and a call stored cost on either engine: CPU of the service and of the database's server,
and bytes. The figures from which scripts/scaling makes docs/scaling.md."""
import time

from cluster import Replica
from harness import Broken, Server, once, signature_headers, wrk_webhooks
from receivers import BODY, post
from worker import SCORED, WAITING, Vendor

DRAIN_SECS = 300


class OnFile:
    """SQLite: the server is the service itself."""

    name = "sqlite"

    def __init__(self, run):
        self.run, self.folder = run, None

    def start(self, env):
        s = Server(self.run, "ours", env=env, folder=self.folder)
        self.folder = s.folder
        return s

    def server_cpu_s(self):
        return 0.0

    def size_bytes(self, s):
        page = lambda pragma: s.count(f"PRAGMA {pragma}")
        return page("page_count") * page("page_size")

    def log_bytes(self):
        return 0


class OnServer:
    name = "postgres"

    def __init__(self, run, cluster):
        self.run, self.cluster = run, cluster
        self.url = cluster.database("costs")

    def start(self, env):
        return Replica(self.run, self.cluster, self.url, env)

    def server_cpu_s(self):
        return self.cluster.cpu_s()

    def size_bytes(self, s):
        return int(self.cluster.sql("costs", "SELECT pg_database_size('costs')"))

    def log_bytes(self):
        return self.cluster.wal_bytes()


def costs(run, cluster):
    return {store.name: of_engine(run, store) for store in (OnFile(run), OnServer(run, cluster))}


def of_engine(run, store):
    # Nothing is fetched in the first half: what is spent is spent on accepting. The vendor is a closed port.
    s = store.start({})
    s.wait_until(lambda: post(s.port, signature_headers(BODY)) == 200, 60)
    empty = store.size_bytes(s)
    try:
        wrk_webhooks(s, 64, 1)
        before = (s.cpu_s(), store.server_cpu_s(), store.log_bytes(), s.count("SELECT count(*) FROM events"))
        r = wrk_webhooks(s, 64, run.secs)
        time.sleep(1)
        after = (s.cpu_s(), store.server_cpu_s(), store.log_bytes(), s.count("SELECT count(*) FROM events"))
        if r["errors"]:
            raise Broken(f"{store.name}: errors in {r}")
    finally:
        s.stop()
    cpu, server, log, webhooks = (y - x for x, y in zip(before, after))
    accepted = {"acks_per_s": r["rps"], "service_us": round(cpu * 1e6 / webhooks, 1), "server_us": round(server * 1e6 / webhooks, 1),
                "log_bytes": round(log / webhooks)}
    # Then they are fetched, with nothing coming in.
    vendor = Vendor(run)
    server, log = store.server_cpu_s(), store.log_bytes()
    s = store.start(vendor.env)
    try:
        s.wait_until(lambda: once(s.port, "GET", "/readyz")[0] == 200, 60)
        started = time.perf_counter()
        pending = s.count(WAITING)
        while (left := s.count(WAITING)) > pending / 100 and time.perf_counter() - started < DRAIN_SECS:
            time.sleep(0.2)
        took, cpu = time.perf_counter() - started, s.cpu_s()
        server, log = store.server_cpu_s() - server, store.log_bytes() - log
        scored, events = s.count(SCORED), s.count("SELECT count(*) FROM events")
        size = store.size_bytes(s)
    finally:
        s.stop()
        vendor.stop()
    if not scored:
        raise Broken(f"{store.name}: none of {pending} pending events was scored")
    fetched = {"per_s": round((pending - left) / took, 1), "service_us": round(cpu * 1e6 / (pending - left), 1),
               "server_us": round(server * 1e6 / (pending - left), 1), "log_bytes": round(log / (pending - left))}
    return {"webhook": accepted, "scored": fetched, "stored_bytes": round((size - empty) / events), "calls": events}
