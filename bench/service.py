"""The parts that only the service itself has: what a mint adds to the vendor's answer, how soon a webhook
becomes a readable score, and whether a list costs the same over a hundred times the calls."""
import json
import secrets
import time
from contextlib import ExitStack

import seed
from harness import (API_KEY, JWT_SECRET, SECRET, SERVICE_TOKEN, WEBHOOK_PATH, Broken, Conn, Process, Server, bearer,
                     free_port, jwt, once, percentile, signature_headers, wrk)

VENDOR_API = "/api/external/v1"
READ_PATH = "/athos/calls?limit=50"


def spread(values_ms):
    return {f"p{q}": round(percentile(values_ms, q), 3) for q in (50, 99)}


def ready(s):
    s.wait_until(lambda: once(s.port, "GET", "/readyz")[0] == 200)
    return s


class WithVendor:
    """The services, each in front of the same simulator of the vendor, which answers at once. The simulator's
    own deliveries go to a closed port: the measurement sends the webhook itself, to know when it left."""

    def __init__(self, run):
        folder = run.data / f"vendor-{secrets.token_hex(3)}"
        folder.mkdir(parents=True)
        self.vendor_port = free_port()
        env = {"ATHOS_API_KEY": API_KEY, "ATHOS_WHSEC": SECRET, "RUST_LOG": "warn"}
        cmd = [run.binaries["ours"], "simulate", "--bind", f"127.0.0.1:{self.vendor_port}",
               "--webhook-url", "http://127.0.0.1:9/", "--score-delay", "0s"]
        self.vendor = Process("simulator", cmd, env, folder)
        self.services = {}
        try:
            self.vendor.wait_until(lambda: once(self.vendor_port, "GET", "/")[0] > 0)
            for name in run.services:
                self.services[name] = ready(Server(run, name, env={
                    "ATHOS_API_KEY": API_KEY, "ATHOS_BASE_URL": f"http://127.0.0.1:{self.vendor_port}{VENDOR_API}",
                    "MINT_LIMIT_PER_REP": "1000000"}))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in (*self.services.values(), self.vendor):
            p.stop()


def rep_body(i):
    return {"externalUserId": f"rep_{i % 500}", "externalAgencyId": f"agency_{i % 20}"}


def mint(run):
    """The same request to the vendor directly and through each service, in turn, each on a connection of
    its own; what a service adds is the difference of the medians."""
    n, warm = (300 if run.quick else 3000), 50
    with WithVendor(run) as w, ExitStack() as stack:
        todo = [("vendor", stack.enter_context(Conn(w.vendor_port)), VENDOR_API + "/session", API_KEY)]
        todo += [(name, stack.enter_context(Conn(s.port)), "/athos/token", SERVICE_TOKEN) for name, s in w.services.items()]
        took = {name: [] for name, *_ in todo}
        cpu = {name: s.cpu_s() for name, s in w.services.items()}
        for i in range(n + warm):
            for name, conn, path, token in run.rotated(todo, i):
                a = time.perf_counter()
                got = conn.json("POST", path, bearer(token), rep_body(i))
                took[name].append((time.perf_counter() - a) * 1000)
                if "token" not in got:
                    raise Broken(f"{path} of {name} answered without a token: {got}")
        cpu = {name: s.cpu_s() - cpu[name] for name, s in w.services.items()}
    ms = {name: spread(values[warm:]) for name, values in took.items()}
    for name in w.services:
        run.put(kind="mint", name=name, n=n, direct_ms=ms["vendor"], ours_ms=ms[name],
                added_ms=round(ms[name]["p50"] - ms["vendor"]["p50"], 3),
                server_us_per_req=round(cpu[name] * 1e6 / (n + warm), 1))


def end_a_call(vendor, i):
    """Mints, redeems and ends a call at the vendor, and waits until the vendor has its score."""
    token = vendor.json("POST", VENDOR_API + "/session", bearer(API_KEY), rep_body(i))["token"]
    call = vendor.json("POST", VENDOR_API + "/roleplay/session", bearer(token), {"drillKey": "ma-full-sale"})["callId"]
    status, got = vendor.request("POST", f"/_simulator/calls/{call}/end")
    if status // 100 != 2:
        raise Broken(f"the simulator refused to end {call}: {status} {got[:300]!r}")
    until = time.perf_counter() + 5
    while vendor.request("GET", f"{VENDOR_API}/calls/{call}", bearer(API_KEY))[0] != 200:
        if time.perf_counter() > until:
            raise Broken(f"the simulator has no score for {call} after 5 s")
    return call


def latency(run):
    """From the first byte of a webhook to the first read that says `scored`."""
    n = 50 if run.quick else 500
    acks, readable = ({name: [] for name in run.services} for _ in range(2))
    with WithVendor(run) as w, ExitStack() as stack:
        vendor = stack.enter_context(Conn(w.vendor_port))
        conns = {name: [stack.enter_context(Conn(s.port)) for _ in range(2)] for name, s in w.services.items()}
        for i in range(n):
            call = end_a_call(vendor, i)
            body = json.dumps({"event": "call.scored", "success": True, "callId": call, "source": "roleplay",
                               **rep_body(i), "occurredAt": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
                               "requestId": f"req_bench_{i}"}).encode()
            for name in run.rotated(run.services, i):
                ack_ms, readable_ms = until_readable(*conns[name], call, body)
                acks[name].append(ack_ms)
                readable[name].append(readable_ms)
    for name in run.services:
        run.put(kind="latency", name=name, n=n, ack_ms=spread(acks[name]), readable_ms=spread(readable[name]))


def until_readable(hook, reader, call, body):
    headers = signature_headers(body)
    a = time.perf_counter()
    status, got = hook.request("POST", WEBHOOK_PATH, headers, body)
    ack_ms = (time.perf_counter() - a) * 1000
    if status != 200:
        raise Broken(f"webhook refused: {status} {got[:300]!r}")
    while True:
        status, got = reader.request("GET", f"/athos/calls/{call}", bearer(SERVICE_TOKEN))
        now = time.perf_counter()
        if status == 200 and json.loads(got)["status"] == "scored":
            return ack_ms, (now - a) * 1000
        if now - a > 10:
            raise Broken(f"{call} not scored after 10 s: {status} {got[:300]!r}")


def reads(run):
    """One page of 50 over many calls and over few, the services running side by side and asked in turn by one
    connection, for each kind of caller. The service of before has the few only."""
    sizes = {("ours", "large"): 100_000 if run.quick else 1_000_000} | {(name, "small"): 10_000 for name in run.services}
    env = {"AUTH_JWT_SECRET": JWT_SECRET}
    servers, tokens = {}, {}
    try:
        for key, calls in sizes.items():
            s = ready(Server(run, key[0], env=env))
            s.stop()
            a = time.perf_counter()
            rep, agency = seed.fill(s.db, calls)
            run.put(kind="seeded", name=key[0], calls=calls, secs=round(time.perf_counter() - a, 1), rep=rep, agency=agency, **s.disk_mb())
            s = servers[key] = ready(Server(run, key[0], env=env, folder=s.folder))
            tokens[key] = {"service token": SERVICE_TOKEN,
                           "manager of one agency": jwt(sub="manager_1", agency_id=agency, role="manager"),
                           "one rep": jwt(sub=rep, agency_id=agency, role="rep")}
            with Conn(s.port) as c:
                for who, token in tokens[key].items():
                    page = c.json("GET", READ_PATH, bearer(token))
                    if len(page["data"]) != 50:
                        raise Broken(f"{who} over {calls} calls: {len(page['data'])} rows on the page, wanted 50")
        for who in tokens["ours", "small"]:
            # Short turns: what else the machine does meanwhile should not fall on one of the servers alone.
            for rnd in range(run.rounds * (1 if run.quick else 3)):
                for key in run.rotated(list(sizes), rnd):
                    r = wrk(servers[key], 1, 1, "get.lua", [READ_PATH, tokens[key][who]])
                    if r["errors"]:
                        raise Broken(f"{who}: errors in {json.dumps(r)}")
                    run.put(kind="reads", round=rnd, who=who, name=key[0], size=key[1], calls=sizes[key], **r)
    finally:
        for s in servers.values():
            s.stop()
    for s in servers.values():
        s.remove()
