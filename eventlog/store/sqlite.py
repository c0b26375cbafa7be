"""One log in one SQLite file: connections, the writer lock, transactions, and the truth about a failed commit."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from eventlog.errors import (
    Conflict,
    Corrupt,
    DiskFull,
    EventLogError,
    InvalidQuery,
    LocksLost,
    LogBusy,
    LogClosed,
    LogMissing,
    LogReadOnly,
    NotALog,
    OutcomeUnknown,
    ProjectionError,
    StorageFailed,
    StoreError,
)
from eventlog.store import environment
from eventlog.store.base import Durability, Head
from eventlog.store.filelock import FileLock
from eventlog.store.liveness import Liveness
from eventlog.store.sqlite_session import BuildSession, ScratchSession, Session, WriteSession

APPLICATION_ID = 0x45764C67
"""``EvLg``, in the header of every log, so that `file` and we can tell it from other databases."""
T = TypeVar("T")
LOCK_TIMEOUT_S = 10.0
_SPACE_CHECK_S = 0.25
_FILES_CHECK_S = 0.001
_FORK_WAIT_S = 1.0
_TICK_NS = 20_000_000
"""A file that was written to twice within a tick of the kernel's clock has one time for both."""
_FAULTS = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FULL")
_DURABILITY = {
    "full": ("PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 1000"),
    "process": ("PRAGMA synchronous = NORMAL", "PRAGMA wal_autocheckpoint = 4000"),
}
"""Where commits are not synced, checkpoints are what takes time: they come later then. A commit that is synced takes
less where the -wal does not grow; 4,000 pages are found as fast as 1,000, one table of the -shm file indexes them.
"""
PRAGMAS = (
    "journal_mode = WAL",
    "busy_timeout = 5000",
    "synchronous = FULL",
    "foreign_keys = ON",
    "recursive_triggers = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "wal_autocheckpoint = 1000",
    "cache_size = -32768",
    "journal_size_limit = 67108864",
    "secure_delete = FAST",
)
"""What a connection that writes is set to, for commits that are synced.

Tables that are dropped are not overwritten, as some builds of SQLite would: what they say, the events say, too.
"""
_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()


class _Apart(sqlite3.Connection):
    """A connection that reads without making the -shm file, for want of room or of the right to.

    ``taken``: the file was taken as it is, with no lock and no write-ahead log, and looked like this then. What is read
    is true as long as it looks so: whoever writes writes beside it first.
    """

    taken: tuple[int, int, int] | None = None


class _ThreadReader:
    """A thread's reading connection; the lock lets a fork wait until it is at rest."""

    __slots__ = ("__weakref__", "connection", "lock", "session", "taken")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.lock = threading.RLock()
        self.session = Session(connection)
        self.taken = connection.taken if isinstance(connection, _Apart) else None


class SQLiteStore(Liveness):
    """See `eventlog.store.base.Store`. ``vfs`` names a SQLite VFS; ``timeout_s``: how long a writer waits."""

    kind: Literal["file"] = "file"
    swaps_under_readers = True
    longest_poll_s = 0.0

    def __init__(self, path: Path, *, writable: bool = True, timeout_s: float = LOCK_TIMEOUT_S, vfs: str = "") -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        # In a URL these two mean something else, and nothing but a file stands in it.
        self.address = None if vfs or "%" in self.url or "?" in self.url else self.url
        self.writable = writable
        self.timeout_s = timeout_s
        self._vfs = f"&vfs={quote(vfs)}" if vfs else ""
        self._wal = f"{path}-wal"
        self.lock = FileLock(f"{path}.lock", timeout_s)
        self._local = threading.local()
        self._readers: weakref.WeakSet[_ThreadReader] = weakref.WeakSet()
        self._scratches: weakref.WeakSet[ScratchSession | BuildSession] = weakref.WeakSet()
        self._writing = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._session: WriteSession | None = None
        self._seen = False
        self._inodes = 0, 0
        self._durability: Durability = "full"
        self._files_checked = 0.0
        self._space_checked = 0.0
        self._modules = 0
        self._closed = False
        self._forked_in_use = False
        self._finalizer: weakref.finalize[Any, Any] | None = None
        _stores.add(self)

    # reading

    @contextmanager
    def reader(self) -> Iterator[Session]:
        holder = getattr(self._local, "holder", None)
        if holder is None or (holder.taken is not None and self._is_outdated(holder.taken)):
            holder = self._open_reader()
        with holder.lock:
            try:
                yield holder.session
                if holder.taken is not None:
                    self._check_taken(holder.taken)
            except sqlite3.Error as error:
                if holder.taken is not None:
                    self._check_taken(holder.taken)
                raise self._translate(error) from error
            except (UnicodeEncodeError, OverflowError) as error:
                raise InvalidQuery(f"nothing stored can be like that: {error}") from error

    def _open_reader(self) -> _ThreadReader:
        holder = _ThreadReader(self._connect_to_read())
        self._local.holder = holder
        self._readers.add(holder)
        return holder

    def _connect_to_read(self) -> sqlite3.Connection:
        self._check_usable()
        try:
            connection = self._connect("ro")
            read_schema(connection)
        except DiskFull:
            if self.writable:
                raise
            found = self._connect_apart()
            if found is None:
                raise
            connection = found
        except sqlite3.Error as error:
            if os.access(self.path.parent, os.W_OK) or not os.access(self.path, os.R_OK):
                raise self._translate(error) from error
            found = self._connect_apart()
            if found is None:
                raise self._not_without_the_folder(error) from error
            connection = found
        connection.execute("PRAGMA busy_timeout = 5000")
        return connection

    def _connect_apart(self) -> sqlite3.Connection | None:
        """Read where the -shm file, which reading a write-ahead log needs, cannot be made; None where that cannot be.

        One that is there is used as it is. Without one nobody is writing, and the file is all there is, unless a log
        was left beside it.
        """
        if os.path.exists(f"{self.path}-shm"):
            with contextlib.suppress(sqlite3.Error):
                connection = self._connect("ro", "&readonly_shm=1")
                read_schema(connection)
                return connection
        taken = _looks(self.path)
        if 0 <= time.time_ns() - taken[2] < _TICK_NS:
            time.sleep(_TICK_NS / 1e9)  # written again at once, it would look the same
            taken = _looks(self.path)
        if self._is_outdated(taken):
            return None
        try:
            connection = self._connect("ro", "&immutable=1")
            connection.taken = taken  # type: ignore[attr-defined]
            read_schema(connection)
        except sqlite3.Error as damage:
            raise self._translate(damage) from damage
        return connection

    def _is_outdated(self, taken: tuple[int, int, int]) -> bool:
        """Whether somebody has written since the file was taken as it is, in it or beside it."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._wal).st_size > 0:
                return True
        return _looks(self.path) != taken

    def _check_taken(self, taken: tuple[int, int, int]) -> None:
        if _looks(self.path) != taken:
            raise LogBusy(f"{self.path} was written to while it was read without locks; ask again")

    def _not_without_the_folder(self, error: sqlite3.Error) -> LogReadOnly:
        return LogReadOnly(
            f"{self.path} cannot be read here ({error}): the last events are in {self._wal}, and to read them SQLite "
            f"must make a file in {self.path.parent}, which cannot be written. Ask for the right to write there, or "
            "for a copy (`eventlog db backup FILE` makes one)"
        )

    def _connect(self, mode: str, more: str = "", *, with_space: bool = True) -> sqlite3.Connection:
        environment.check_engines(self.path, self._own_connections)
        if not more and with_space and not self._holds_index():
            # The first connection makes the -shm file, and on a full disk the kernel kills who touches it.
            environment.check_space(self.path.parent)
        place = quote(str(self.path.absolute()))
        return sqlite3.connect(
            f"file:{place}?mode={mode}{self._vfs}{more}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
            factory=_Apart if more else sqlite3.Connection,
        )

    def _holds_index(self) -> bool:
        """Whether this process has the -shm file already."""
        connections: list[sqlite3.Connection | None] = []
        for store in [store for store in _each(_stores) if store.path == self.path]:
            connections += [holder.connection for holder in _each(store._readers)]
            connections += [session.connection for session in _each(store._scratches)]
            connections.append(store._writer)
        return any(one is not None and not isinstance(one, _Apart) for one in connections)

    def _own_connections(self) -> int:
        stores = [store for store in _each(_stores) if store.path == self.path]
        return sum(len(s._readers) + len(s._scratches) + (s._writer is not None) for s in stores)

    def scratch(self) -> ScratchSession:
        self._check_usable()
        try:
            writable = self.writable and os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
            connection = self._connect_to_write() if writable else self._connect_to_read()
            session = ScratchSession(connection, self.exclusive if writable else nullcontext)
            if isinstance(connection, _Apart) and connection.taken is not None:
                session.at_end = partial(self._check_taken, connection.taken)
        except sqlite3.Error as error:
            raise self._translate(error) from error
        self._scratches.add(session)
        return session

    def builder(self) -> BuildSession:
        self._check_usable()
        if not self.writable:
            raise LogReadOnly("the log was opened for reading only (mode='r'); nothing was written")
        try:
            session = BuildSession(self._connect_to_write(), self.exclusive)
        except sqlite3.Error as error:
            raise self._translate(error) from error
        self._scratches.add(session)
        return session

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone on the file, over all threads and processes."""
        self._enter()
        try:
            if self.lock.acquire():
                self._seen = False
            try:
                yield
            except sqlite3.Error as error:
                raise self._translate(error) from error
            finally:
                self.lock.release()
        finally:
            self._writing.release()

    def change_counter(self) -> object:
        # The number counts for one connection: a follower that changes threads must not compare two of them.
        with self.reader() as reader:
            return id(reader), reader.execute("PRAGMA data_version").fetchone()[0]

    # writing

    def begin(self, durability: Durability, streams: Collection[str] = ()) -> WriteSession:
        self._enter()
        try:
            if self._closed or self._forked_in_use:
                self._check_usable()
            changed = self.lock.acquire()
            try:
                session = self._session or self._open_writer()
                self._check_files()
                if durability != self._durability:
                    for pragma in _DURABILITY[durability]:
                        session.execute(pragma)
                    self._durability = durability
                session.execute("BEGIN IMMEDIATE")
                session.changed = changed or not self._seen
                self._seen = True
                return session
            except BaseException:
                self._abandon()
                raise
        except BaseException as error:
            self.lock.release_all()
            self._writing.release()
            if isinstance(error, sqlite3.Error):
                raise self._translate(error) from error
            raise

    def _enter(self) -> None:
        if not self._writing.acquire(timeout=self.timeout_s):
            raise LogBusy(
                f"another thread of this process has been in a transaction for {self.timeout_s:g} s; "
                "nothing was written, try again",
                timeout_s=self.timeout_s,
            )

    def commit(self, writer: WriteSession, head: Head | None) -> None:
        if head is None and writer.changed:
            self._seen = False  # it may have been a heartbeat: who remembers the head has not looked
        try:
            writer.execute("COMMIT")
        except sqlite3.Error as error:
            self._resolve(head, error)
        finally:
            self.lock.release()
            self._writing.release()

    def rollback(self, writer: WriteSession, error: BaseException | None = None) -> None:
        try:
            self._undo(error)
        finally:
            self.lock.release()
            self._writing.release()

    def _undo(self, error: BaseException | None) -> None:
        """Roll back what is open; after a fault of the disk the connection is not used again."""
        self._seen = False
        try:
            if self._writer is not None and self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            if getattr(error, "sqlite_errorname", "").startswith(_FAULTS):
                self._abandon()
        except sqlite3.Error:
            self._abandon()

    def recover(self, error: BaseException | None = None) -> None:
        # An interrupt may fall between any two steps, so what this thread holds is asked, not remembered.
        if not self._writing._is_owned():  # type: ignore[attr-defined]
            return
        self._undo(error)
        self.lock.release_all()
        while self._writing._is_owned():  # type: ignore[attr-defined]
            self._writing.release()

    def _resolve(self, head: Head | None, error: sqlite3.Error) -> None:
        """After a commit that failed: reopen, and let the hash that was to become the head say whether it did."""
        self._seen = False
        if head is None:
            self._abandon()
            raise self._translate(error) from error
        try:
            session = self._reopen_writer()
            row = session.execute("SELECT hash FROM events WHERE position = ?", (head.position,)).fetchone()
            if row is None or row[0] != head.hash:
                self._bury_what_failed(session, error)
        except (sqlite3.Error, EventLogError) as second:
            self._abandon()
            raise OutcomeUnknown(
                f"the commit failed ({error}) and the log cannot be reopened ({second}): whether the events were "
                "stored is not known. Retry with a key",
                position=head.position,
            ) from error
        if row is None or row[0] != head.hash:
            raise self._translate(error) from error

    def _reopen_writer(self) -> WriteSession:
        """A new writing connection. The old one is closed after it: on a full disk that keeps the -shm alive."""
        old, self._writer, self._session = self._writer, None, None
        if self._finalizer is not None:
            self._finalizer.detach()
        try:
            if old is not None:
                with contextlib.suppress(sqlite3.Error):
                    old.execute("ROLLBACK")
            return self._open_writer(with_space=old is None)
        finally:
            if old is not None:
                with contextlib.suppress(sqlite3.Error):
                    old.close()

    def _bury_what_failed(self, session: WriteSession, error: sqlite3.Error) -> None:
        # A commit whose sync failed stands whole behind the end of the write-ahead log, where the recovery after a
        # crash would find it and bring back what was told to be absent: a small commit takes its place.
        if getattr(error, "sqlite_errorname", "") not in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
            version = session.execute("PRAGMA user_version").fetchone()[0]
            session.execute(f"PRAGMA user_version = {int(version)}")

    def _abandon(self) -> None:
        """Give up the writing connection; its uncommitted work is undone."""
        connection, self._writer, self._session = self._writer, None, None
        self._seen = False
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        if self._finalizer is not None:
            self._finalizer.detach()

    def _open_writer(self, *, with_space: bool = True) -> WriteSession:
        if not self.writable:
            raise LogReadOnly("the log was opened for reading only (mode='r'); nothing was written")
        self._writer = connection = self._connect_to_write(with_space=with_space)
        self._durability = "full"
        self._inodes = 0, 0
        self._session = WriteSession(connection)
        self._finalizer = weakref.finalize(self, _close_under_lock, connection, self.lock, os.getpid())
        return self._session

    def _connect_to_write(self, *, with_space: bool = True) -> sqlite3.Connection:
        if with_space:
            environment.check_space(self.path.parent)
        connection = self._connect("rw", with_space=with_space)
        read_schema(connection)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("SELECT 1 FROM events LIMIT 1").fetchone()
        return connection

    def _check_files(self) -> None:
        """Before a transaction: are these still the files we write to, is there room, is this the only library?"""
        now = time.monotonic()
        if now < self._files_checked + _FILES_CHECK_S:
            return
        self._files_checked = now
        if now > self._space_checked + _SPACE_CHECK_S:
            environment.check_space(self.path.parent)
            self._space_checked = now
        inodes = _inode(self.path), _inode(self._wal)
        if inodes != self._inodes:
            for file, was, found in zip((self.path, self._wal), self._inodes, inodes, strict=True):
                if was and found != was:
                    self._abandon()
                    raise LocksLost(
                        f"{file} was removed or replaced under this process (a restore, a file copy, or another SQLite "
                        "library dropped its locks); nothing was written. Close the log and open it again"
                    )
            self._inodes = inodes
        modules = len(sys.modules)
        if modules != self._modules:
            # Something was imported since the last look: another SQLite library, perhaps.
            if environment.foreign_engine():
                environment.check_engines(self.path, self._own_connections)
            else:
                self._modules = modules

    def exclusively(self, sql: Iterable[str]) -> None:
        """Run statements that no transaction may hold, alone on the file."""
        self._check_usable()
        with self.exclusive():
            session = self._session or self._open_writer()
            for statement in sql:
                session.execute(statement).fetchall()

    # faults

    def translate(self, error: BaseException) -> BaseException:
        return self._translate(error) if isinstance(error, sqlite3.Error) else error

    def _translate(self, error: sqlite3.Error) -> EventLogError:
        name = getattr(error, "sqlite_errorname", "") or ""
        text = str(error)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return LogBusy(f"{self.path} is locked by a program that bypasses the log; nothing was written, try again")
        if name.startswith("SQLITE_FULL"):
            return DiskFull(f"no space left for {self.path}; nothing was written. Free some space and append again")
        if name.startswith("SQLITE_NOTADB"):
            return NotALog(f"{self.path} is not a SQLite database; nothing was changed")
        if name.startswith("SQLITE_CORRUPT") or text.startswith("Could not decode to UTF-8"):
            text = text.partition(" with text ")[0]
            return Corrupt(f"{self.path} is damaged ({text}); `eventlog db check` says where, restore a backup")
        if name.startswith("SQLITE_READONLY"):
            return LogReadOnly(f"{self.path} cannot be written: {text}; nothing was written")
        if name.startswith("SQLITE_CANTOPEN"):
            return self._cannot_open(text)
        if name.startswith("SQLITE_IOERR"):
            return StorageFailed(f"the disk reported an error on {self.path} ({name}); nothing was written")
        if name.startswith("SQLITE_CONSTRAINT"):
            return Conflict(f"{self.path}: {text}; nothing was written")
        if "no such table: events" in text:
            return NotALog(f"{self.path} holds no event log; nothing was changed")
        if "no such table" in text:
            return ProjectionError(
                f"{self.path}: {text}; the tables of this projection are not made yet: open the log for writing once, "
                "or run `eventlog projections rebuild`"
            )
        return StoreError(f"{self.path}: {text}")

    def _cannot_open(self, text: str) -> EventLogError:
        if not self.path.exists():
            return missing(self.path)
        if not os.access(self.path, os.R_OK):
            return LogReadOnly(
                f"{self.path} may not be read by this user: ask whoever owns it for the right to, or for a copy "
                "(`eventlog db backup FILE` makes one)"
            )
        if not os.access(self.path, os.W_OK) or not os.access(self.path.parent, os.W_OK):
            return LogReadOnly(f"{self.path} or its folder cannot be written: {text}; nothing was written")
        return StorageFailed(f"{self.path} cannot be opened: {text}")

    def _check_usable(self) -> None:
        if self._closed:
            raise LogClosed("the log is closed")
        if self._forked_in_use:
            raise LogClosed(
                "this process was forked while the log was in a transaction; open the log again with eventlog.open, "
                "in a process that was started by spawn or exec"
            )

    # the end

    def close(self) -> None:
        """Close every connection; the last one out checkpoints, under the writer lock."""
        if self._closed:
            return
        self._closed = True
        with self._writing:
            self._close_connections()
        self.lock.close()
        _stores.discard(self)

    def _close_connections(self) -> None:
        for holder in _each(self._readers):
            with holder.lock:
                holder.connection.close()
        self._readers.clear()
        self._local = threading.local()
        if self._writer is not None or self._scratches:
            with contextlib.suppress(EventLogError):
                self.lock.acquire()
            for session in _each(self._scratches):
                session.connection.close()
            self._abandon()
            self.lock.release()
        self._scratches.clear()

    # fork

    def before_fork(self) -> bool:
        """SQLite must not be carried over a fork: close what is at rest. True when this thread has the writing lock."""
        if not self._writing.acquire(timeout=_FORK_WAIT_S):
            return False
        if not self._in_use():
            self._close_connections()
            self.lock.close()
        return True

    def _in_use(self) -> bool:
        connections = [self._writer] if self._writer is not None else []
        connections += [session.connection for session in _each(self._scratches)]
        return any(_in_transaction(connection) for connection in connections)

    def after_fork_in_child(self) -> None:
        held = [holder.connection for holder in _each(self._readers)]
        held += [session.connection for session in _each(self._scratches)]
        held += [self._writer] if self._writer is not None else []
        for connection in held:
            # Closing an inherited connection would undo the parent's work, so it must never be collected.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self._forked_in_use = bool(held)
        if self._finalizer is not None:
            self._finalizer.detach()
        self._writer = self._session = None
        self._seen = False
        self._readers = weakref.WeakSet()
        self._scratches = weakref.WeakSet()
        self._local = threading.local()
        self._writing = threading.RLock()
        self.lock.close()


def _each(known: weakref.WeakSet[T]) -> list[T]:
    """Those that are known; other threads may come and go meanwhile."""
    while True:
        with contextlib.suppress(RuntimeError):
            return list(known)


def _looks(path: Path) -> tuple[int, int, int]:
    """What is different about a file when it was written to, replaced or removed."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _inode(path: str | Path) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def missing(path: Path) -> LogMissing:
    """What to say when there is no log."""
    return LogMissing(
        f"there is no log at {path}: check the path (--db, EVENTLOG_URL); "
        "`eventlog run -- COMMAND` or `eventlog db init` creates it"
    )


def read_schema(connection: sqlite3.Connection) -> None:
    """Let SQLite read the schema, as a connection's first statement does.

    Raises DatabaseError where it is damaged: SQLite says what it found there, and Python fails on what is no text.
    """
    try:
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except UnicodeDecodeError as error:
        damage = sqlite3.DatabaseError(error.object.decode(errors="backslashreplace"))
        damage.sqlite_errorname = "SQLITE_CORRUPT"
        raise damage from None


def _in_transaction(connection: sqlite3.Connection) -> bool:
    try:
        return connection.in_transaction
    except sqlite3.ProgrammingError:
        return False


def _close_under_lock(connection: sqlite3.Connection, lock: FileLock, pid: int) -> None:
    # A store that was dropped without close(): its last close checkpoints, which needs the lock. If somebody else has
    # the lock they have the file open, and this is not the last close.
    if os.getpid() == pid:
        try:
            lock.acquire(timeout_s=0)
        except EventLogError:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
            return
        with contextlib.suppress(sqlite3.Error):
            connection.close()
        lock.release()


_held_over_fork: list[SQLiteStore] = []


def _before_fork() -> None:
    _held_over_fork[:] = [store for store in _each(_stores) if store.before_fork()]


def _after_fork_in_parent() -> None:
    for store in _held_over_fork:
        store._writing.release()
    _held_over_fork.clear()


def _after_fork_in_child() -> None:
    _held_over_fork.clear()
    for store in _each(_stores):
        store.after_fork_in_child()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
