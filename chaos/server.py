"""A PostgreSQL server with a folder of its own, and as much of a client as this takes."""
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

MAX_CONNECTIONS = 40


def say(text):
    print(f"chaos: {text}", file=sys.stderr, flush=True)


def wait_for(what, condition, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := condition()):
            return found
        time.sleep(0.05)
    raise SystemExit(f"chaos: waited {seconds} s in vain for {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """As much of a client of PostgreSQL as this takes: one statement, its rows as texts."""

    def __init__(self, port, user="postgres", database="athos", timeout=15):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        parameters = b"".join(text.encode() + b"\0" for text in ("user", user, "database", database)) + b"\0"
        self.socket.sendall(struct.pack("!ii", 8 + len(parameters), 196608) + parameters)
        self.answer()

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise OSError("the server closed the connection")
            data += part
        return data

    def answer(self):
        rows, error = [], None
        while True:
            kind, length = struct.unpack("!ci", self.read(5))
            body = self.read(length - 4)
            if kind == b"D":
                place, row = 2, []
                for _ in range(struct.unpack("!h", body[:2])[0]):
                    size, = struct.unpack("!i", body[place:place + 4])
                    place += 4
                    row.append(None if size < 0 else body[place:place + size].decode())
                    place += max(size, 0)
                rows.append(row)
            elif kind == b"E":
                error = OSError(body.replace(b"\0", b" ").decode())
                if body.startswith(b"SFATAL"):
                    raise error
            elif kind == b"Z":
                if error:
                    raise error
                return rows

    def ask(self, sql):
        self.socket.sendall(b"Q" + struct.pack("!i", 5 + len(sql.encode())) + sql.encode() + b"\0")
        return self.answer()

    def close(self):
        self.socket.close()


class Server:
    """A PostgreSQL server with a folder of its own. It does not run as root."""

    def __init__(self, folder, name, settings="", base=None):
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))
        if not self.programs:
            raise SystemExit("chaos: no PostgreSQL server: apt-get install postgresql")
        self.folder, self.data, self.port = folder, folder / name, free_port()
        if base:
            self.run("pg_basebackup", "-D", self.data, "-h", "127.0.0.1", "-p", base.port, "-U", "postgres", "-R", "-c", "fast")
        else:
            self.run("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--locale=C.UTF-8", "--encoding=UTF8")
        with open(self.data / "postgresql.auto.conf", "a") as conf:
            conf.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                       f"max_connections = {MAX_CONNECTIONS}\nshared_buffers = 64MB\n{settings}\n")
        self.start()

    def run(self, program, *arguments, check=True):
        command = [str(self.programs / program), *map(str, arguments)]
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        with open(self.folder / "server.log", "ab") as log:
            return subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=check).returncode

    def start(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-t", 60, "-l", self.data / "server.log", "start")

    def stop(self, mode="fast"):
        self.run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop", check=False)

    def is_up(self):
        return self.run("pg_ctl", "-D", self.data, "status", check=False) == 0

    def processes(self):
        """The postmaster first, and its children."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def ask(self, sql, database="athos"):
        client = Client(self.port, database=database)
        try:
            return client.ask(sql)
        finally:
            client.close()

    def prepare(self):
        self.ask("CREATE ROLE athos LOGIN", "postgres")
        self.ask("CREATE DATABASE athos OWNER athos", "postgres")

    def connections(self):
        return int(self.ask("SELECT count(*) FROM pg_stat_activity WHERE usename = 'athos'")[0][0])
