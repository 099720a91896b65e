"""A PostgreSQL server for a measurement: made anew, with everything that keeps what is committed switched on, and
stopped by its process id. The service under measurement has a database of its own on it."""
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from harness import Broken, Server, free_port

SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
wal_compression = on
max_wal_size = 4GB
checkpoint_timeout = 15min
log_min_messages = warning
"""


def programs():
    """The folder of the newest server that is installed, or None."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    found = shutil.which("initdb") or (versions and str(versions[-1]))
    return Path(found).parent if found else None


class Cluster:
    def __init__(self, folder):
        self.bin, self.port = programs(), free_port()
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True)
        self.data, self.log = self.folder / "data", self.folder / "server.log"
        # The server refuses to run as root.
        user = next((pwd.getpwnam(n) for n in ("postgres", "nobody") if exists(n)), None) if os.getuid() == 0 else None
        self.as_user = ["runuser", "-u", user.pw_name, "--"] if user else []
        if user:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.run("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        settings = SETTINGS.format(port=self.port)
        self.run("sh", "-c", f'cat >>"{self.data}/postgresql.conf"', stdin=settings)
        self.run("pg_ctl", "-D", self.data, "-l", self.log, "-w", "start")
        self.pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])

    def run(self, program, *args, stdin=""):
        path = self.bin / program if (self.bin / program).exists() else program
        cmd = [*self.as_user, str(path), *map(str, args)]
        # Its own output goes to a file: a server that goes on would keep a pipe open.
        with open(self.folder.parent / f"{self.folder.name}.log", "a+") as out:
            done = subprocess.run(cmd, cwd="/", input=stdin, text=True, stdout=out, stderr=out)
            if done.returncode:
                out.seek(0)
                raise Broken(f"{program} failed: {out.read()[-1500:]}")

    def sql(self, database, sql):
        """What a statement answers: the first column of the first row, as text."""
        cmd = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database, "-c", sql]
        done = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Broken(f"{sql[:200]}: {done.stderr}")
        return done.stdout.split("\n", 1)[0]

    def database(self, name):
        self.sql("postgres", f"CREATE DATABASE {name}")
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}"

    def cpu_s(self):
        """CPU of the server and all its processes, also of those that have ended."""
        tick, total = os.sysconf("SC_CLK_TCK"), 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, fields = int(stat.parent.name), stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if pid == self.pid:
                total += sum(map(int, fields[11:15]))
            elif int(fields[1]) == self.pid:
                total += int(fields[11]) + int(fields[12])
        return total / tick

    def wal_bytes(self):
        return int(self.sql("postgres", "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def log_statements(self, on):
        """Has the server log how long each statement took, or not any more."""
        self.sql("postgres", f"ALTER SYSTEM SET log_min_duration_statement = {0 if on else -1}")
        self.sql("postgres", "SELECT pg_reload_conf()")
        time.sleep(0.5)
        return self.log.stat().st_size

    def durations_ms(self, since, what):
        """How long each statement took whose text has `what` in it, by the log from this byte on: to bind and to execute."""
        took, bound = [], None
        line_of = re.compile(rb"duration: ([\d.]+) ms  (bind|execute) [^:]*: (.*)")
        with open(self.log, "rb") as log:
            log.seek(since)
            for line in log:
                if not (found := line_of.search(line)) or what.encode() not in found[3]:
                    continue
                if found[2] == b"bind":
                    bound = float(found[1])
                elif bound is not None:
                    took.append(bound + float(found[1]))
                    bound = None
        return took

    def stop(self):
        try:
            os.kill(self.pid, signal.SIGINT)
            for _ in range(600):
                os.kill(self.pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            pass
        shutil.rmtree(self.folder, ignore_errors=True)


def exists(name):
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


class Replica(Server):
    """The service on a database of a cluster."""

    def __init__(self, run, cluster, url, env=None):
        self.cluster, self.database = cluster, url.rsplit("/", 1)[1]
        super().__init__(run, "ours", env={"DATABASE_URL": url, **(env or {})})

    def count(self, sql):
        return int(self.cluster.sql(self.database, sql))
