"""The faults: what each needs around it, how it begins, and how it ends."""
import os
import shutil
import signal
import socket
import subprocess
import time

from server import MAX_CONNECTIONS, Client, Server, free_port, wait_for


class LeftOut(Exception):
    """A fault that this machine does not allow to make."""


class Scenario:
    """What a fault needs around it. `make` begins it, waits, and ends it; when it returns, all is as before."""
    name, tolerates_unanswered, is_served = "", False, False

    def __init__(self, options, folder):
        self.options, self.folder, self.others = options, folder, []
        self.prepare()

    def prepare(self):
        self.server = Server(self.folder, "data")
        self.server.prepare()
        self.url, self.listen_url = f"postgres://athos@127.0.0.1:{self.server.port}/athos", None

    def hold(self):
        time.sleep(self.options.hold)

    def make(self, fleet):
        raise NotImplementedError

    def end(self):
        for server in [self.server, *self.others]:
            server.stop("immediate")


class Restart(Scenario):
    name = "server restarted"

    def make(self, fleet):
        self.server.stop("fast")
        self.hold()
        self.server.start()


class Crash(Scenario):
    name = "server killed"

    def make(self, fleet):
        self.server.stop("immediate")
        self.hold()
        self.server.start()


class BackendKill(Scenario):
    name = "connections ended, again and again"

    def make(self, fleet):
        end = time.monotonic() + self.options.hold
        while time.monotonic() < end:
            self.server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'athos'")
            time.sleep(0.5)


class Pause(Scenario):
    name = "server paused (SIGSTOP)"

    def make(self, fleet):
        paused = self.server.processes()
        for process in paused:
            os.kill(process, signal.SIGSTOP)
        self.hold()
        for process in reversed(paused):
            os.kill(process, signal.SIGCONT)


class Exhaustion(Scenario):
    name = "out of connections"

    def make(self, fleet):
        held = []
        end = time.monotonic() + self.options.hold
        while time.monotonic() < end:
            # Whoever is faster gets the place; a replica that has lost its own finds none.
            self.server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'athos'")
            try:
                while len(held) < MAX_CONNECTIONS:
                    held.append(Client(self.server.port, user="other", database="postgres"))
            except OSError:
                time.sleep(0.2)
        for client in held:
            client.close()

    def prepare(self):
        super().prepare()
        self.server.ask("CREATE ROLE other LOGIN", "postgres")


class IdleInTransaction(Scenario):
    name, is_served = "a transaction idle, with an old snapshot", True

    def make(self, fleet):
        holder = Client(self.server.port)
        holder.ask("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM events")
        self.name += f", for {self.options.idle:.0f} s"
        time.sleep(self.options.idle)
        holder.ask("ROLLBACK")
        holder.close()


class ReplicaPause(Scenario):
    name, tolerates_unanswered = "a replica paused (SIGSTOP)", True

    def make(self, fleet):
        fleet.replicas[0].popen.send_signal(signal.SIGSTOP)
        self.hold()
        fleet.replicas[0].popen.send_signal(signal.SIGCONT)


class FullDisk(Scenario):
    name = "disk full"

    def prepare(self):
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=777", "tmpfs", self.disk], capture_output=True)
        if mounted.returncode:
            raise LeftOut("this machine does not let us mount a small disk")
        # Its log is of few and small files: the disk is full soon after it is filled.
        self.server = Server(self.disk, "data", "max_wal_size = 64MB\nmin_wal_size = 32MB\nwal_recycle = off")
        self.server.prepare()
        self.url, self.listen_url = f"postgres://athos@127.0.0.1:{self.server.port}/athos", None

    def make(self, fleet):
        ballast = self.disk / "ballast"
        end = time.monotonic() + self.options.hold
        with open(ballast, "wb") as file:
            while time.monotonic() < end:
                try:
                    file.write(b"x" * 65536)
                    file.flush()
                except OSError:
                    time.sleep(0.05)
        ballast.unlink()
        # A server that cannot write its log ends; whoever looks after it starts it again.
        if not self.server.is_up():
            self.name += ", until the server ended"
            self.server.start()

    def end(self):
        super().end()
        subprocess.run(["umount", "-l", self.disk], check=False)


class Failover(Scenario):
    name = "failed over to a synchronous standby"

    def prepare(self):
        super().prepare()
        standby = Server(self.folder, "standby", base=self.server)
        self.others.append(standby)
        self.server.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.server.ask("SELECT pg_reload_conf()")
        wait_for("the standby", lambda: self.server.ask("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))
        self.url = f"postgres://athos@127.0.0.1:{self.server.port},127.0.0.1:{standby.port}/athos"

    def make(self, fleet):
        self.server.stop("immediate")
        self.hold()
        self.server, standby = self.others[0], self.server
        self.others = [standby]
        self.server.run("pg_ctl", "-D", self.server.data, "-w", "promote")


class PoolerRestart(Scenario):
    name = "pooler restarted"

    def prepare(self):
        super().prepare()
        if not shutil.which("pgbouncer"):
            raise LeftOut("there is no pgbouncer: apt-get install pgbouncer")
        self.listen_url, self.pooler_port = self.url, free_port()
        (self.folder / "users").write_text('"athos" ""\n')
        (self.folder / "pooler.ini").write_text(
            f"[databases]\nathos = host=127.0.0.1 port={self.server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.pooler_port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {self.folder}/users\n"
            "pool_mode = transaction\ndefault_pool_size = 12\nmax_client_conn = 200\n")
        self.url = f"postgres://athos@127.0.0.1:{self.pooler_port}/athos"
        self.start_pooler()

    def start_pooler(self):
        command = [shutil.which("pgbouncer"), str(self.folder / "pooler.ini")]
        if os.getuid() == 0:
            # It does not run as root, either.
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        with open(self.folder / "pooler.log", "ab") as log:
            self.pooler = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        wait_for("the pooler", self.answers)

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.pooler_port), 1).close()
            return True
        except OSError:
            return False

    def stop_pooler(self):
        self.pooler.terminate()
        self.pooler.wait(10)

    def make(self, fleet):
        self.stop_pooler()
        self.hold()
        self.start_pooler()

    def end(self):
        self.stop_pooler()
        super().end()


FAULTS = {"restart": Restart, "crash": Crash, "backend-kill": BackendKill, "pause": Pause, "connections": Exhaustion,
          "idle": IdleInTransaction, "replica-pause": ReplicaPause, "disk": FullDisk, "failover": Failover, "pooler": PoolerRestart}
