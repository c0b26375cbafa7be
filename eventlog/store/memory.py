"""A log in memory: one shared connection, for tests and scratch work. It dies with the process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from eventlog.errors import InvalidQuery, LogClosed, StoreError
from eventlog.place import Holder
from eventlog.store.base import Durability, Head
from eventlog.store.liveness import Liveness
from eventlog.store.sqlite_schema import create_in
from eventlog.store.sqlite_session import ScratchSession, WriteSession


class Build(WriteSession):
    """The shared connection, held by this thread until it is closed."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock) -> None:
        super().__init__(connection)
        self._lock = lock
        lock.acquire()

    @contextmanager
    def writing(self) -> Iterator[None]:
        self.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def close(self) -> None:
        self._lock.release()


class MemoryStore(Liveness):
    """See `eventlog.store.base.Store`; a forked child has a copy of its own."""

    kind: Holder = "memory"
    url = ":memory:"
    path: Path | None = None
    swaps_under_readers = True
    longest_poll_s = 0.0
    address: str | None = None

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA recursive_triggers = ON")
        create_in(self._connection)
        self._session = WriteSession(self._connection)
        self._lock = threading.RLock()
        self._commits = 0
        self._closed = False

    @contextmanager
    def reader(self) -> Iterator[WriteSession]:
        with self._lock:
            self._check()
            try:
                yield self._session
            except sqlite3.Error as error:
                raise StoreError(str(error)) from error
            except (UnicodeEncodeError, OverflowError) as error:
                raise InvalidQuery(f"nothing stored can be like that: {error}") from error

    def scratch(self) -> ScratchSession:
        with self._lock:
            self._check()
            if self._connection.in_transaction:
                raise StoreError("a log kept in memory cannot be asked for its past inside a transaction")
            copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._connection.backup(copy)
        return ScratchSession(copy, nullcontext)

    def builder(self) -> Build:
        self._check()
        return Build(self._connection, self._lock)

    def begin(self, durability: Durability, streams: Collection[str] = ()) -> WriteSession:
        self._lock.acquire()
        try:
            self._check()
            self._session.execute("BEGIN IMMEDIATE")
        except BaseException:
            if not self._closed and self._connection.in_transaction:
                self._session.execute("ROLLBACK")
            self._lock.release()
            raise
        self._session.changed = False
        return self._session

    def commit(self, writer: WriteSession, head: Head | None) -> None:
        try:
            writer.execute("COMMIT")
            self._commits += 1
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error
        finally:
            self._lock.release()

    def recover(self, error: BaseException | None = None) -> None:
        if self._lock._is_owned():  # type: ignore[attr-defined]
            if not self._closed and self._connection.in_transaction:
                self._session.execute("ROLLBACK")
            while self._lock._is_owned():  # type: ignore[attr-defined]
                self._lock.release()

    def translate(self, error: BaseException) -> BaseException:
        return StoreError(str(error)) if isinstance(error, sqlite3.Error) else error

    def rollback(self, writer: WriteSession, error: BaseException | None = None) -> None:
        try:
            if not self._closed and self._connection.in_transaction:
                writer.execute("ROLLBACK")
        finally:
            self._lock.release()

    def change_counter(self) -> object:
        self._check()
        return self._commits

    def close(self) -> None:
        self._closed = True
        self._connection.close()

    def _check(self) -> None:
        if self._closed:
            raise LogClosed("the log is closed")
