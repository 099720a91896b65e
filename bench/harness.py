"""What every measurement needs: signatures, a keep-alive client, processes and their figures, wrk,
the disk probe, our metrics. It decides nothing about what is measured or what is good enough."""
import base64
import hashlib
import hmac
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECRET = "whsec_bench_" + secrets.token_hex(16)
SERVICE_TOKEN = "bench_service_" + secrets.token_hex(24)
API_KEY = "ath_live_bench_" + secrets.token_hex(16)
JWT_SECRET = secrets.token_hex(32)
WEBHOOK_PATH = "/athos/webhook"
RUNNING = []  # every process started here and not yet stopped


class Broken(Exception):
    """A wrong answer, a lost row, a server that does not start: not a slow number, a defect."""


# ---- credentials -------------------------------------------------------------------------------
def signature_headers(body, webhook_id=None, t=None, secret=SECRET):
    t = int(time.time()) if t is None else t
    v1 = hmac.new(secret.encode(), b"%d." % t + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "X-Athos-Signature": f"t={t},v1={v1}",
            "X-Athos-Webhook-Id": webhook_id or "wh_" + secrets.token_hex(12)}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def jwt(**claims):
    """An HS256 token for a rep, manager or admin; an hour covers the longest run."""
    now = int(time.time())
    enc = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=")
    claims = {"iat": now, "exp": now + 3600, **claims}
    signed = enc(b'{"alg":"HS256","typ":"JWT"}') + b"." + enc(json.dumps(claims).encode())
    mac = hmac.new(JWT_SECRET.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + enc(mac)).decode()


# ---- HTTP --------------------------------------------------------------------------------------
class Conn:
    """One keep-alive HTTP/1.1 connection. Leaner than http.client, whose own cost would drown a
    difference of some tens of microseconds."""

    def __init__(self, port, timeout=15):
        self.host = f"127.0.0.1:{port}"
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def request(self, method, path, headers=None, body=b""):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", f"Content-Length: {len(body)}"]
        lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        fields = {k.lower(): v.strip() for k, v in (l.split(":", 1) for l in head[1:] if ":" in l)}
        if "content-length" in fields:
            return status, self._take(int(fields["content-length"]))
        if fields.get("transfer-encoding") == "chunked":
            out = b""
            while size := int(self._until(b"\r\n").split(b";")[0], 16):
                out += self._take(size)
                self._take(2)
            self._take(2)
            return status, out
        return status, b""

    def json(self, method, path, headers=None, body=None, want=200):
        raw = b"" if body is None else json.dumps(body).encode()
        status, got = self.request(method, path, {"Content-Type": "application/json", **(headers or {})}, raw)
        if want and status != want:
            raise Broken(f"{method} {path} on {self.host}: {status}, wanted {want}: {got[:300]!r}")
        return json.loads(got) if got else None

    def _fill(self):
        part = self.sock.recv(65536)
        if not part:
            raise ConnectionError("closed by the server")
        self.buf += part

    def _until(self, mark):
        while (i := self.buf.find(mark)) < 0:
            self._fill()
        out, self.buf = self.buf[:i], self.buf[i + len(mark):]
        return out

    def _take(self, n):
        while len(self.buf) < n:
            self._fill()
        out, self.buf = self.buf[:n], self.buf[n:]
        return out


def once(port, method, path, headers=None, body=b"", timeout=15):
    with Conn(port, timeout) as c:
        return c.request(method, path, headers, body)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- processes ---------------------------------------------------------------------------------
class Process:
    """A program under measurement. Its environment is made from nothing and it runs in `/`, so that
    neither the caller's variables nor a `.env` in a parent folder changes the result."""

    def __init__(self, name, cmd, env, folder):
        self.name, self.log_path = name, folder / "log.txt"
        base = {k: os.environ[k] for k in ("PATH", "HOME", "LANG") if k in os.environ}
        self.started = time.perf_counter()
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(cmd, cwd="/", env={**base, **env}, stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log)
        self.pid = self.popen.pid
        RUNNING.append(self)

    def wait_until(self, ready, seconds=30):
        """Polls `ready` with hardly a pause; returns the milliseconds since the process was started."""
        while True:
            try:
                if ready():
                    return (time.perf_counter() - self.started) * 1000
            except OSError:
                pass
            if self.popen.poll() is not None or time.perf_counter() - self.started > seconds:
                tail = self.log_path.read_text(errors="replace")[-1500:]
                self.stop()
                raise Broken(f"{self.name} did not become ready; the end of its log:\n{tail}")
            time.sleep(0.0003)

    def stop(self, sig=signal.SIGTERM):
        """Ends the process by its pid; returns how many milliseconds it took to leave."""
        start = time.perf_counter()
        if self.popen.poll() is None:
            self.popen.send_signal(sig)
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        if self in RUNNING:
            RUNNING.remove(self)
        return (time.perf_counter() - start) * 1000

    def cpu_s(self):
        f = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")

    def switches(self):
        """Voluntary context switches of all threads that live: how often one of them waited for something."""
        lines = (l for f in Path(f"/proc/{self.pid}/task").glob("*/status") for l in f.read_text().splitlines())
        return sum(int(l.split()[1]) for l in lines if l.startswith("voluntary_ctxt_switches"))

    def memory_mb(self):
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        kb = {l.split(":")[0]: int(l.split()[1]) for l in status if l.startswith(("VmRSS", "VmHWM"))}
        return {"rss": round(kb["VmRSS"] / 1024, 1), "peak": round(kb["VmHWM"] / 1024, 1)}


def stop_all():
    for p in list(RUNNING):
        p.stop(signal.SIGKILL)


class Server(Process):
    """A webhook receiver of servers.json, on free ports and a database of its own. `wrap` is a command to run it under,
    which must leave it its process id."""

    def __init__(self, run, name, env=None, folder=None, wrap=()):
        self.spec, self.port, self.admin_port = run.servers[name], free_port(), free_port()
        self.folder = folder or run.data / f"{name}-{secrets.token_hex(3)}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.db = self.folder / "events.db"
        sub = {"port": self.port, "admin_port": self.admin_port, "db": self.db, "secret": SECRET,
               "service_token": SERVICE_TOKEN, "here": HERE, "bin": run.binaries.get(name), "stubs": run.stubs}

        def fill(s):
            for k, v in sub.items():
                s = s.replace("{" + k + "}", str(v))
            return s

        full = {k: fill(v) for k, v in self.spec.get("env", {}).items()}
        full.update(env or {})
        super().__init__(name, [*wrap, *(fill(x) for x in self.spec["cmd"])], full, self.folder)

    def rows(self):
        return self.count(self.spec["count_sql"]) if "count_sql" in self.spec else None

    def count(self, sql):
        """A number out of the database, which may be in use."""
        db = sqlite3.connect(self.db, timeout=10)
        try:
            return db.execute(sql).fetchone()[0]
        finally:
            db.close()

    def disk_mb(self):
        size = lambda f: round(f.stat().st_size / 2**20, 1) if f.exists() else 0.0
        return {"db": size(self.db), "wal": size(Path(str(self.db) + "-wal"))}

    def metrics(self):
        """The service's own Prometheus text as {name or name{labels}: value}; {} for the others."""
        if "is_service" not in self.spec:
            return {}
        status, text = once(self.admin_port, "GET", "/metrics")
        if status != 200:
            raise Broken(f"/metrics answered {status}")
        lines = [l.rsplit(" ", 1) for l in text.decode().splitlines() if l and not l.startswith("#")]
        return {k: float(v) for k, v in lines}

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def histogram(before, after, name):
    """What a histogram of ours gained between two readings: count, mean, and the bucket bound that
    holds p50 and p99 (None when the exporter gives no buckets)."""
    gained = lambda k: after.get(k, 0.0) - before.get(k, 0.0)
    count = gained(name + "_count")
    out = {"count": int(count), "mean": gained(name + "_sum") / count if count else None}
    bounds = sorted((float(k.split('le="')[1].split('"')[0]), gained(k))
                    for k in after if k.startswith(name + "_bucket{") and 'le="' in k)
    for q in (50, 99):
        out[f"p{q}"] = next((le for le, n in bounds if count and n >= count * q / 100), None)
    return out


# ---- load and disk -----------------------------------------------------------------------------
def wrk(server, conns, secs, script, args, think_ms=0):
    """One wrk run against `server`; counts, percentiles in microseconds, and what it cost the server."""
    env = {**os.environ, "BENCH_DIR": str(HERE), "BENCH_THINK_MS": str(think_ms)}
    cmd = ["wrk", "-t1", f"-c{conns}", f"-d{secs}s", "--timeout", "10s", "-s", str(HERE / script),
           f"http://127.0.0.1:{server.port}", "--", *map(str, args)]
    cpu, start = server.cpu_s(), time.perf_counter()
    p = subprocess.run(cmd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=secs + 60)
    wall = time.perf_counter() - start
    cpu = server.cpu_s() - cpu
    line = [l for l in p.stdout.splitlines() if l.startswith("BENCH ")]
    if not line:
        raise Broken("wrk failed:\n" + p.stdout)
    r = json.loads(line[0][6:])
    r["conns"], r["rps"] = conns, round(r["requests"] / (r["duration_us"] / 1e6), 1)
    r["server_cores"] = round(cpu / wall, 2)
    r["server_us_per_req"] = round(cpu * 1e6 / max(1, r["requests"]), 1)
    r["errors"] = sum(r[k] for k in ("non2xx", "connect", "read", "write", "timeout"))
    return r


def wrk_webhooks(server, conns, secs, think_ms=0):
    args = [int(time.time()), SECRET, secrets.token_hex(4), HERE / "body.json", WEBHOOK_PATH]
    return wrk(server, conns, secs, "webhook.lua", args, think_ms)


def fdatasync_us(folder, n=400):
    """4 KiB append + fdatasync: the floor under any durable acknowledgement on this disk."""
    path, page, took = folder / "probe.bin", b"\7" * 4096, []
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    for _ in range(n):
        a = time.perf_counter_ns()
        os.write(fd, page)
        os.fdatasync(fd)
        took.append((time.perf_counter_ns() - a) / 1000)
    os.close(fd)
    path.unlink()
    return {"p50": round(percentile(took, 50)), "p99": round(percentile(took, 99))}


def busy_percent(secs=1.0):
    """How much of all cores is in use while the benchmark itself does nothing."""
    def read():
        v = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(v), v[3] + v[4]  # idle and waiting for the disk

    total, idle = read()
    time.sleep(secs)
    total2, idle2 = read()
    return 100 * (1 - (idle2 - idle) / max(1, total2 - total))


def percentile(values, q):
    v = sorted(values)
    return v[min(len(v) - 1, int(len(v) * q / 100))]
