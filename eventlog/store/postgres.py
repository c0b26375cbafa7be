"""One log in a PostgreSQL database: the pool, the head of the log, transactions, the truth about a failed commit."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection

from eventlog.errors import (
    EventLogError,
    InvalidQuery,
    LogBusy,
    LogClosed,
    LogReadOnly,
    NotALog,
    OutcomeUnknown,
    StoreError,
)
from eventlog.place import Server
from eventlog.store.base import GENESIS, Durability, Head, Refused
from eventlog.store.liveness import FORGET
from eventlog.store.postgres_faults import as_line, is_passing, told
from eventlog.store.postgres_pipeline import Pipeline
from eventlog.store.postgres_pool import Connection, at_rest, driver, engine_of
from eventlog.store.postgres_session import Build, Reader, Scratch, Writer, rolled_back
from eventlog.store.retrying import Pauses

LOCK_TIMEOUT_S = 15.0
"""How long a writer waits by default: longer than a client that hangs in its transaction can hold the head."""
_WRITER = "SET statement_timeout = '30s'"
_LIMIT = """
SELECT 'SET LOCAL transaction_timeout = ' || quote_literal(current_setting('statement_timeout'))
WHERE current_setting('transaction_timeout', true) = '0' AND current_setting('statement_timeout') != '0'
"""
"""Servers know it since 17."""
_PATIENT = "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0"
_TAIL_RECORDS = 200
"""Of so many records that others appended the streams are looked at; when there are more, all caches are dropped."""
# With both ends given, the plan that is kept goes by the index; with one it reads and sorts a third of the table. Where
# they can be seen when it is planned, it is planned anew each time, which takes the server longer than all else.
_TAIL = (
    "SELECT position, hash, recorded_at, stream, (SELECT generation FROM log_head) FROM events "
    "WHERE position BETWEEN (SELECT ?::bigint) AND (SELECT ?::bigint) ORDER BY position DESC"
)
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_UNSYNCED = "SET LOCAL synchronous_commit = off"
_LOCK_HEAD = "LOCK TABLE log_head IN EXCLUSIVE MODE"
_GENERATION = "SELECT generation FROM log_head"
_MOVED = "UPDATE log_head SET generation = generation + 1"
_HASH = "SELECT hash FROM events WHERE position = ?"
_COUNTER = "SELECT generation, (SELECT max(position) FROM events) FROM log_head"
_END_STALLED = """
SELECT pg_terminate_backend(holder.pid) FROM pg_stat_activity AS holder JOIN pg_locks AS held USING (pid)
WHERE held.relation = 'log_head'::regclass AND held.granted AND held.mode != 'AccessShareLock'
AND holder.datname = current_database()
AND holder.state = 'active' AND holder.wait_event_type = 'Client' AND current_setting('statement_timeout') != '0'
AND holder.query_start < clock_timestamp() - current_setting('statement_timeout')::interval
"""
"""No time-out reaches a statement whose client stopped in the middle of sending it, or of taking its rows.

Who only reads the head, as a dump does, keeps nobody waiting.
"""
_FORK_WAIT_S = 1.0
_READ_ATTEMPTS = 3
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_FIRST_BEAT = f"INSERT INTO worker_liveness (worker_id, beat_at) VALUES (?, {_NOW}) RETURNING 1"
_BEAT = f"UPDATE worker_liveness SET beat_at = {_NOW} WHERE worker_id = ? RETURNING 1"
_SILENCES = f"SELECT worker_id, greatest(0, {_NOW} - beat_at) FROM worker_liveness"
_UNHEARD = (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN)
"""The server has not answered to the end."""
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
        self.engine = engine_of(server, timeout_s)
        self._writing = threading.RLock()
        self._writer: Connection | None = None
        self._pipeline: Pipeline | None = None
        """The writer's."""
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
                if not is_passing(error) or not (again or pauses.pause()):
                    raise

    def change_counter(self) -> object:
        with self.reader() as reader:
            return reader.execute(_COUNTER).fetchone()

    # who lives

    def beat(self, worker_id: str, *, first: bool = False) -> bool:
        if not self.writable:
            raise LogReadOnly("the log was opened for reading only (mode='r'); nothing was written")
        with self.reader() as reader:
            return reader.execute(_FIRST_BEAT if first else _BEAT, (worker_id,)).fetchone() is not None

    def silences(self) -> dict[str, int]:
        with self.reader() as reader:
            return dict(reader.execute(_SILENCES).fetchall())

    def forget_workers(self, worker_ids: Iterable[str]) -> None:
        with self.reader() as reader:
            for worker_id in worker_ids:
                reader.execute(FORGET, (worker_id,))

    # writing

    def begin(self, durability: Durability, streams: Collection[str] = ()) -> Writer:
        if not self.writable:
            raise LogReadOnly("the log was opened for reading only (mode='r'); nothing was written")
        if not self._writing.acquire(timeout=self.timeout_s):
            raise LogBusy(
                f"another thread of this process has been in a transaction for {self.timeout_s:g} s; "
                "nothing was written, try again",
                timeout_s=self.timeout_s,
            )
        try:
            return self._begin(durability, lambda writer: writer, streams)
        except BaseException as error:
            self._writing.release()
            translated = self.translate(error)
            if translated is error:
                raise
            raise translated from error

    def _begin(self, durability: Durability, then: Callable[[Writer], T], streams: Collection[str] = ()) -> T:
        """Take the head and ask ``then``; what passes is tried again, all of it, until the time is up."""
        pauses = Pauses(self.timeout_s)
        while True:
            try:
                return then(self._take_head(self._connection(), durability, streams))
            except (psycopg.Error, SQLAlchemyError) as error:
                self._undo()
                if isinstance(error, pg.LockNotAvailable):
                    self._end_stalled()
                if not is_passing(error) or not pauses.pause():
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
            self._pipeline = Pipeline(self._writer)
            if "statement_timeout" not in self.server.options.get("options", ""):
                self._writer.execute(_WRITER)
            (self._pipeline.limit,) = self._writer.execute(_LIMIT).fetchone() or (None,)
        return self._writer

    def _end_stalled(self) -> None:
        """End whoever holds the head and has left the server waiting in the middle of a statement for too long."""
        if self._writer is not None:
            with contextlib.suppress(psycopg.Error):
                self._writer.execute(_END_STALLED)

    def _take_head(self, connection: Connection, durability: Durability, streams: Collection[str]) -> Writer:
        """Begin, and wait for the head; then the last record is known to be the last, until this transaction ends."""
        self._check_usable()
        known = self._known
        last = known.position + _TAIL_RECORDS
        writer = Writer(connection, self._pipeline)
        writer.drop()  # what an interrupt may have left
        writer.later(_BEGIN)
        if durability == "process":
            writer.later(_UNSYNCED)
        writer.later(_LOCK_HEAD)
        asked = writer.later(_TAIL, (known.position, last))
        if streams:
            writer.ask_versions(streams)
        answers = writer.settle()
        rows = writer.rows(answers[asked])
        if streams:
            versions = writer.versions = dict.fromkeys(streams, 0)
            for answer in answers[asked + 1 :]:
                versions.update(writer.rows(answer))
        (generation,) = rows[0][4:] if rows else (writer.execute(_GENERATION).fetchone() or (None,))
        if generation is None:
            raise NotALog(f"{self.url} holds a log without its head; run `eventlog db migrate`")
        # The record known last stands at the end of what was read, unless the log is another; the head at its start,
        # unless more were appended.
        few = bool(rows) and rows[0][0] < last
        same = few and rows[-1][:2] == known[:2]
        writer.locked = Head(*rows[0][:3]) if few else writer.head()
        writer.changed = generation != self._generation or not same
        writer.touched = frozenset([row[3] for row in rows[:-1]])
        self._generation, self._known = generation, writer.locked
        return writer

    def commit(self, writer: Writer, head: Head | None) -> None:
        with self._letting_go():
            try:
                if writer.moved:
                    writer.later(_MOVED)
                writer.check_ours()
                self._in_doubt = head is not None
                done = writer.commit()
            except psycopg.Error as error:
                self._resolve(writer, head, error)
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
        if self._pipeline is not None:
            self._pipeline.drop()
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

    def _resolve(self, writer: Writer, head: Head | None, error: psycopg.Error) -> None:
        """After a commit that failed: get the head again; the hash that was to stand there says what happened."""
        unheard = self._is_unheard()
        self._undo()
        if not unheard and writer.refuses(error):
            raise Refused(str(error)) from error
        if head is None or not unheard:
            raise self._translate(error) from error
        try:
            row = self._begin("full", lambda writer: writer.execute(_HASH, (head.position,)).fetchone())
            self._undo()
        except (psycopg.Error, SQLAlchemyError, EventLogError) as second:
            self._abandon()
            raise OutcomeUnknown(
                f"the connection was lost at the commit ({as_line(error)}) and the server cannot be asked "
                f"({as_line(second)}): whether the events were stored is not known. Retry with a key",
                position=head.position,
            ) from error
        if row is None or row[0] != head.hash:
            raise self._translate(error) from error

    # faults

    def translate(self, error: BaseException) -> BaseException:
        return self._translate(error) if isinstance(error, (psycopg.Error, SQLAlchemyError)) else error

    def _translate(self, error: psycopg.Error | SQLAlchemyError) -> EventLogError:
        return told(error, self.url)

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
