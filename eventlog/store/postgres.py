"""One log in a PostgreSQL database: the pool, the head of the log, transactions, the truth about a failed commit."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, create_engine, event
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import PoolProxiedConnection

from eventlog.errors import (
    Conflict,
    Corrupt,
    DiskFull,
    EventLogError,
    InvalidQuery,
    LogBusy,
    LogClosed,
    LogMissing,
    LogReadOnly,
    NotALog,
    OutcomeUnknown,
    ProjectionError,
    ServerUnreachable,
    StorageFailed,
    StoreError,
)
from eventlog.place import Server
from eventlog.store.base import GENESIS, Durability, Head
from eventlog.store.postgres_pool import Pool, at_rest, on_connect, on_return
from eventlog.store.postgres_session import Build, Connection, Reader, Scratch, Writer, rolled_back
from eventlog.store.retrying import Pauses

E = TypeVar("E", bound=BaseException)
LOCK_TIMEOUT_S = 15.0
"""How long a writer waits by default: longer than a client that hangs in its transaction can hold the head."""
SETTINGS = {
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "statement_timeout": "30s",
}
"""What every connection begins with; ``options`` in the URL come after, and so prevail."""
LIVELINESS = {
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""A server that is gone without a word (its power, its network) is noticed within half a minute, not after hours."""
_PATIENT = "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0"
_TAIL_RECORDS = 200
"""Of so many records that others appended the streams are looked at; when there are more, all caches are dropped."""
# With both ends given, the plan that is kept goes by the index; with one it reads and sorts a third of the table.
_TAIL = "SELECT position, hash, recorded_at, stream FROM events WHERE position BETWEEN ? AND ? ORDER BY position DESC"
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_UNSYNCED = "SET LOCAL synchronous_commit = off"
_LOCK_HEAD = "SELECT generation FROM log_head FOR UPDATE"
_MOVED = "UPDATE log_head SET generation = generation + 1"
_HASH = "SELECT hash FROM events WHERE position = ?"
_COUNTER = "SELECT generation, (SELECT max(position) FROM events) FROM log_head"
_END_STALLED = """
SELECT pg_terminate_backend(holder.pid) FROM pg_stat_activity AS holder JOIN pg_locks AS held USING (pid)
WHERE held.relation = 'log_head'::regclass AND held.granted AND holder.datname = current_database()
AND holder.state = 'active' AND holder.wait_event_type = 'Client' AND current_setting('statement_timeout') != '0'
AND holder.query_start < clock_timestamp() - current_setting('statement_timeout')::interval
"""
"""No time-out reaches a statement whose client stopped in the middle of sending it, or of taking its rows."""
_FORK_WAIT_S = 1.0
_READ_ATTEMPTS = 3
_ENDED = (
    pg.AdminShutdown,
    pg.CrashShutdown,
    pg.CannotConnectNow,
    pg.IdleInTransactionSessionTimeout,
    pg.IdleSessionTimeout,
    pg.TransactionTimeout,
    pg.TooManyConnections,
)
"""How the server ends a session, or does not begin one."""
_PASSING = (*_ENDED, pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure, InvalidRequestError)
_UNHEARD = (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN)
"""The server has not answered to the end."""
_HOPELESS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied", "permission")
T = TypeVar("T")
_stores: weakref.WeakSet[PostgresStore] = weakref.WeakSet()


class PostgresStore:
    """See `eventlog.store.base.Store`. ``timeout_s``: how long a writer waits, also for a server that went away."""

    kind: Literal["postgresql"] = "postgresql"
    path: Path | None = None
    swaps_under_readers = False
    longest_poll_s = 2.0

    def __init__(
        self,
        server: Server,
        *,
        writable: bool = True,
        timeout_s: float = LOCK_TIMEOUT_S,
    ) -> None:
        self.server = server
        self.url = server.masked
        self.address = server.address
        self.writable = writable
        self.timeout_s = timeout_s
        self.schema = ""
        # Readers are single statements, each a transaction of its own; writers say BEGIN and COMMIT themselves.
        self.engine = create_engine(
            URL.create("postgresql+psycopg", **server.url_parts()),
            isolation_level="AUTOCOMMIT",
            connect_args={"options": _options(server, timeout_s), **_connect(server)},
            pool_reset_on_return=None,
            poolclass=Pool,
            pool_size=server.pool.size,
            max_overflow=server.pool.max_overflow,
            pool_timeout=server.pool.timeout_s,
            pool_recycle=server.pool.recycle_s,
            pool_pre_ping=server.pool.pre_ping,
        )
        event.listen(self.engine, "connect", on_connect)
        event.listen(self.engine, "reset", on_return)
        self._writing = threading.RLock()
        self._writer: Connection | None = None
        self._in_doubt = False
        """Whether a COMMIT was sent whose answer has not been heard."""
        self._known = Head(0, GENESIS)
        self._generation: int | None = None
        self._closed = False
        _stores.add(self)

    # reading

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        try:
            lease = _Lease(self)
            try:
                yield lease.reader
            finally:
                lease.give_back()
        except (psycopg.Error, SQLAlchemyError) as error:
            raise self._translate(error) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise InvalidQuery(f"nothing stored can be like that: {error}") from error

    def scratch(self) -> Scratch:
        connection = self._private()
        try:
            return Scratch(connection, self.schema)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise self._translate(error) from error
            raise

    def builder(self) -> Build:
        if not self.writable:
            raise LogReadOnly("the log was opened for reading only (mode='r'); nothing was written")
        return Build(self._private())

    def _private(self) -> Connection:
        """A connection outside the pool, which nobody hurries."""
        try:
            connection = self._taken_out(self.checkout())
            connection.execute(_PATIENT)
            return connection
        except (psycopg.Error, SQLAlchemyError) as error:
            raise self._translate(error) from error

    def _taken_out(self, fairy: PoolProxiedConnection) -> Connection:
        """A connection that the pool knows nothing of any more: dropped in whatever state, it is closed."""
        connection = driver(fairy)
        fairy.detach()
        return connection

    def checkout(self, *, patient: bool = True) -> PoolProxiedConnection:
        """A connection of the pool; while the server cannot be reached it is tried again, until the time is up."""
        pauses = Pauses(self.timeout_s if patient else 0)
        cut_off = 0
        while True:
            self._check_usable()
            try:
                return self.engine.raw_connection()
            except (psycopg.OperationalError, DBAPIError, InvalidRequestError) as error:
                # Connected, and cut off while SQLAlchemy asked its first questions: the server is there.
                cut_off += isinstance(error, DBAPIError)
                again = isinstance(error, DBAPIError) and cut_off < _READ_ATTEMPTS
                if not _is_passing(error) or not (again or pauses.pause()):
                    raise

    def change_counter(self) -> object:
        with self.reader() as reader:
            return reader.execute(_COUNTER).fetchone()

    # writing

    def begin(self, durability: Durability) -> Writer:
        if not self.writable:
            raise LogReadOnly("the log was opened for reading only (mode='r'); nothing was written")
        if not self._writing.acquire(timeout=self.timeout_s):
            raise LogBusy(
                f"another thread of this process has been in a transaction for {self.timeout_s:g} s; "
                "nothing was written, try again",
                timeout_s=self.timeout_s,
            )
        try:
            return self._begin(durability, lambda writer: writer)
        except BaseException as error:
            self._writing.release()
            translated = self.translate(error)
            if translated is error:
                raise
            raise translated from error

    def _begin(self, durability: Durability, then: Callable[[Writer], T]) -> T:
        """Take the head and ask ``then``; what passes is tried again, all of it, until the time is up."""
        pauses = Pauses(self.timeout_s)
        while True:
            try:
                return then(self._take_head(self._connection(), durability))
            except (psycopg.Error, SQLAlchemyError) as error:
                self._undo()
                if isinstance(error, pg.LockNotAvailable):
                    self._end_stalled()
                if not _is_passing(error) or not pauses.pause():
                    raise
            except BaseException:
                self._abandon()
                raise

    def _connection(self) -> Connection:
        """The writing connection, with no transaction open."""
        if self._writer is not None and not at_rest(self._writer):
            self._abandon()
        if self._writer is None:
            self._writer = self._taken_out(self.checkout(patient=False))
        return self._writer

    def _end_stalled(self) -> None:
        """End whoever holds the head and has left the server waiting in the middle of a statement for too long."""
        if self._writer is not None:
            with contextlib.suppress(psycopg.Error):
                self._writer.execute(_END_STALLED)

    def _take_head(self, connection: Connection, durability: Durability) -> Writer:
        """Begin, and wait for the head; then the last record is known to be the last, until this transaction ends."""
        self._check_usable()
        known = self._known
        writer = Writer(connection)
        # One by one: the server plans what is sent together again each time, which takes longer than three answers.
        writer.execute(_BEGIN)
        if durability == "process":
            writer.execute(_UNSYNCED)
        generation = writer.execute(_LOCK_HEAD).fetchone()
        if generation is None:
            raise NotALog(f"{self.url} holds a log without its head; run `eventlog db migrate`")
        last = known.position + _TAIL_RECORDS
        rows = writer.execute(_TAIL, (known.position, last)).fetchall()
        # The record known last stands at the end of what was read, unless the log is another; the head at its start,
        # unless more were appended.
        few = bool(rows) and rows[0][0] < last
        same = few and rows[-1][:2] == known[:2]
        writer.locked = Head(*rows[0][:3]) if few else writer.head()
        writer.changed = generation[0] != self._generation or not same
        writer.touched = frozenset([row[3] for row in rows[:-1]])
        self._generation, self._known = generation[0], writer.locked
        return writer

    def commit(self, writer: Writer, head: Head | None) -> None:
        with self._letting_go():
            try:
                if writer.moved:
                    writer.execute(_MOVED)
                writer.check_ours()
                self._in_doubt = head is not None
                done = writer.commit()
            except psycopg.Error as error:
                self._resolve(head, error)
            else:
                if not done:
                    raise StoreError(f"{self.url}: the transaction had failed before; nothing was written")
            self._generation = (self._generation or 0) + writer.moved
            if head is not None:
                self._known = head
            self._in_doubt = False

    def rollback(self, writer: Writer, error: BaseException | None = None) -> None:
        with self._letting_go():
            self._undo()

    @contextmanager
    def _letting_go(self) -> Iterator[None]:
        """The end of a transaction. Where an interrupt cuts it short, `recover` has the rest to do, and the lock."""
        try:
            yield
        except Exception:
            self._in_doubt = False
            self._let_go()
            raise
        self._let_go()

    def _let_go(self) -> None:
        while self._writing._is_owned():  # type: ignore[attr-defined]
            self._writing.release()

    def _undo(self) -> None:
        """Roll back what is open; a connection that is not at rest then is not used again."""
        if self._writer is not None and not rolled_back(self._writer):
            self._abandon()

    def _abandon(self) -> None:
        """Give up the writing connection; the server undoes what it had not committed."""
        if self._writer is not None:
            with contextlib.suppress(psycopg.Error):
                self._writer.close()
            self._writer = None

    def recover(self, error: BaseException | None = None) -> None:
        # An interrupt may fall between any two steps, so what this thread holds is asked, not remembered.
        if self._writing._is_owned():  # type: ignore[attr-defined]
            with self._letting_go():
                unheard = self._is_unheard()
                self._undo()
                if self._in_doubt and unheard:
                    # The server may still be committing: whoever gets the head knows that it is not.
                    with contextlib.suppress(psycopg.Error, SQLAlchemyError, EventLogError):
                        self._begin("full", lambda writer: None)
                        self._undo()
                self._in_doubt = False

    def _is_unheard(self) -> bool:
        return self._writer is None or self._writer.pgconn.transaction_status in _UNHEARD

    def _resolve(self, head: Head | None, error: psycopg.Error) -> None:
        """After a commit that failed: get the head again; the hash that was to stand there says what happened."""
        unheard = self._is_unheard()
        self._undo()
        if head is None or not unheard:
            raise self._translate(error) from error
        try:
            row = self._begin("full", lambda writer: writer.execute(_HASH, (head.position,)).fetchone())
            self._undo()
        except (psycopg.Error, SQLAlchemyError, EventLogError) as second:
            self._abandon()
            raise OutcomeUnknown(
                f"the connection was lost at the commit ({_text(error)}) and the server cannot be asked "
                f"({_text(second)}): whether the events were stored is not known. Retry with a key",
                position=head.position,
            ) from error
        if row is None or row[0] != head.hash:
            raise self._translate(error) from error

    # faults

    def translate(self, error: BaseException) -> BaseException:
        return self._translate(error) if isinstance(error, (psycopg.Error, SQLAlchemyError)) else error

    def _translate(self, error: psycopg.Error | SQLAlchemyError) -> EventLogError:
        error = _bare(error)
        if isinstance(error, PoolTimeout):
            return LogBusy(f"every connection of the pool to {self.url} is in use; try again, or make the pool larger")
        if not isinstance(error, psycopg.Error):
            return StoreError(f"{self.url}: {_text(error)}")
        text = _text(error)
        for kind, make in _FAULTS:
            if isinstance(error, kind):
                return make(f"{self.url}: {text}")
        if isinstance(error, pg.UndefinedTable):
            if '"events"' in text or '"log_head"' in text:
                return NotALog(f"{self.url} holds no event log; nothing was changed")
            return ProjectionError(
                f"{self.url}: {text}; the tables of this projection are not made yet: open the log for writing once, "
                "or run `eventlog projections rebuild`"
            )
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            return self._unreachable(text)
        return StoreError(f"{self.url}: {text}")

    def _unreachable(self, text: str) -> EventLogError:
        if "database" in text and "does not exist" in text:
            return LogMissing(f"{self.url}: {text}; `createdb` makes one")
        if any(sign in text for sign in _HOPELESS):
            return StoreError(f"{self.url} refuses the login: {text}")
        return ServerUnreachable(f"the server of {self.url} cannot be reached, or went away ({text}); try again")

    def _check_usable(self) -> None:
        if self._closed:
            raise LogClosed("the log is closed")

    # the end, and forks

    def close(self) -> None:
        """Close every connection of the pool."""
        if self._closed:
            return
        with self._writing:
            self._closed = True
            self._abandon()
        self.engine.dispose()
        _stores.discard(self)

    def after_fork_in_child(self) -> None:
        """The connections are the parent's: they are neither used nor closed here."""
        self._inherited = (self._writer, self.engine.pool)
        self.engine.dispose(close=False)
        self._writer = None
        self._generation = None
        self._in_doubt = False
        self._writing = threading.RLock()


class _Lease:
    """A connection of the pool for one reader; where it was lost, or is a parent's, the statement runs on another."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._fairy: PoolProxiedConnection | None = store.checkout()
        self.reader = Reader(driver(self._fairy))
        self._run = self.reader.execute
        self.reader.execute = self._execute

    def _execute(self, *statement: Any) -> Any:
        if os.getpid() != self.reader.pid:
            self._renew(broken=False)
        for attempt in range(1, _READ_ATTEMPTS + 1):
            try:
                return self._run(*statement)
            except psycopg.OperationalError:
                if not self.reader.connection.broken or attempt == _READ_ATTEMPTS:
                    raise
            self._renew(broken=True)
        return None

    def _renew(self, *, broken: bool) -> None:
        self.give_back(broken=broken)
        self._fairy = self._store.checkout()
        self.reader.connection, self.reader.pid = driver(self._fairy), os.getpid()

    def give_back(self, *, broken: bool = False) -> None:
        fairy, self._fairy = self._fairy, None
        if fairy is not None:
            if broken:
                fairy.invalidate()
            fairy.close()


_FAULTS: tuple[tuple[type[psycopg.Error] | tuple[type[psycopg.Error], ...], type[EventLogError]], ...] = (
    ((pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure, pg.QueryCanceled), LogBusy),
    (_ENDED, ServerUnreachable),
    ((pg.DiskFull,), DiskFull),
    ((pg.InsufficientPrivilege, pg.ReadOnlySqlTransaction), LogReadOnly),
    ((pg.DataCorrupted, pg.IndexCorrupted), Corrupt),
    ((pg.IoError,), StorageFailed),
    (psycopg.IntegrityError, Conflict),
)


def _options(server: Server, timeout_s: float) -> str:
    # No single wait for the head is longer than all of them together may be.
    ours = {**SETTINGS, "lock_timeout": f"{max(1, int(1000 * min(5.0, timeout_s)))}ms"}
    settings = " ".join(f"-c {name}={value}" for name, value in ours.items())
    return f"{settings} {server.options.get('options', '')}".strip()


def _connect(server: Server) -> dict[str, Any]:
    defaults = {"application_name": "eventlog", "connect_timeout": "10", **LIVELINESS}
    # Without it text is what the environment's PGCLIENTENCODING makes of it, or bytes from a database without encoding.
    always = {"client_encoding": "utf8"}
    return always | {name: value for name, value in defaults.items() if name not in server.options}


def driver(fairy: PoolProxiedConnection) -> Connection:
    """The driver's connection behind one of the pool."""
    connection: object = fairy.dbapi_connection
    if not isinstance(connection, psycopg.Connection):
        raise psycopg.OperationalError("the connection was lost")
    return connection


def _is_passing(error: BaseException) -> bool:
    """Whether it may go well a moment later: the server restarts, or another client holds the head."""
    error = _bare(error)
    if isinstance(error, _PASSING):
        return True
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) or error.sqlstate is not None:
        return False
    text = str(error)
    if "starting up" in text or "shutting down" in text or "recovery" in text:
        return True
    return not any(sign in text for sign in _HOPELESS)


def _bare(error: E) -> E | psycopg.Error:
    """The driver's own error, where SQLAlchemy has wrapped it: so it does while it makes its first connection."""
    return error.orig if isinstance(error, DBAPIError) and isinstance(error.orig, psycopg.Error) else error


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())


_held_over_fork: list[PostgresStore] = []


def _before_fork() -> None:
    # A transaction of another thread ends first, so that what the child inherits is at rest.
    _held_over_fork[:] = [store for store in list(_stores) if store._writing.acquire(timeout=_FORK_WAIT_S)]


def _after_fork_in_parent() -> None:
    for store in _held_over_fork:
        store._writing.release()
    _held_over_fork.clear()


def _after_fork_in_child() -> None:
    _held_over_fork.clear()
    for store in list(_stores):
        store.after_fork_in_child()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
