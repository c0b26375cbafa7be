"""A log in one file of JSON lines: append-only, read whole into memory when it is opened.

The file is the truth, and is what `eventlog log export` writes. The tables, checkpoints and what workers said of
themselves are in memory and are made anew at each opening. Of records that were committed together each but the last
says in ``more`` how many follow it, so that a torn commit is taken off the end whole. One process at a time has the
file open for writing, and holds a side file locked for as long; any number read beside it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from eventlog.errors import (
    Corrupt,
    DiskFull,
    EventLogError,
    LocksLost,
    LogClosed,
    LogReadOnly,
    NotALog,
    OutcomeUnknown,
    StorageFailed,
    StoreError,
)
from eventlog.place import Holder
from eventlog.store.base import Durability, Head, RecordRow, Selection
from eventlog.store.jsonl_file import Mark, commits, hold, lines_of, set_aside, sync_folder, write_all
from eventlog.store.memory import Build, MemoryStore
from eventlog.store.sqlite import LOCK_TIMEOUT_S, missing
from eventlog.store.sqlite_session import ScratchSession, WriteSession

BATCH = 2000
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = "the log was opened for reading only (mode='r'); nothing was written"
_stores: weakref.WeakSet[JsonLinesStore] = weakref.WeakSet()


def open_store(
    path: Path, *, writable: bool, create: bool, timeout_s: float | None = None, damaged: bool = False
) -> JsonLinesStore:
    """The store of a file, read to its end; ``damaged``: to the first line that is not sound.

    Raises LogMissing, NotALog, Corrupt, LogBusy, LogReadOnly, DiskFull, StorageFailed.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise NotALog(f"{path} is a folder, not an event log; nothing was changed")
    if not path.exists() and not (create and writable):
        raise missing(path)
    store = JsonLinesStore(path, writable=writable)
    try:
        store.load(LOCK_TIMEOUT_S if timeout_s is None else timeout_s, damaged=damaged)
    except OSError as error:
        store.close()
        raise store.told(error) from error
    except BaseException:
        store.close()
        raise
    return store


class JsonLinesStore(MemoryStore):
    """See `eventlog.store.base.Store`. A forked child has to open the log anew."""

    kind: Holder = "jsonl"

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        super().__init__()
        self.path: Path = path
        self.url = f"jsonl:///{path}"
        self.writable = writable
        self._files: list[int] = []
        """Descriptors: the log's, then the side file's."""
        self._inode = 0
        self._mark = Mark()
        self._seen = 0
        """For a reader: the size of the file when it was last looked at."""
        self._durability: Durability = "full"
        self._unsynced = False
        self._pending: Mark | None = None
        """Where the file ends once the commit under way has succeeded."""
        self._unsettled = False
        """A commit was interrupted: file and memory may differ."""
        self._uncut = False
        """The file may have more than the mark: the rest of a commit that failed."""
        self._keep: Callable[[], object] | None = None
        self._keeping = False
        self._reading = 0
        self._forked = False
        self._finalizer = weakref.finalize(self, _close, self._files, self._connection)
        _stores.add(self)

    # opening

    def load(self, timeout_s: float = LOCK_TIMEOUT_S, *, damaged: bool = False) -> None:
        """Read the file; for writing: lock it, make it where there is none, and set a torn end aside."""
        if not self.writable:
            self._files.append(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC))
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            side = hold(self.path, timeout_s)
            try:
                new = not self.path.exists()
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._files += [os.open(self.path, flags, 0o600), side]
            except BaseException:
                os.close(side)
                raise
            if new:
                sync_folder(self.path)
        self._inode = os.fstat(self._file).st_ino
        try:
            self._take_in()
        except Corrupt:
            if not damaged:
                raise
        if self.writable:
            self._repair()

    @property
    def _file(self) -> int:
        return self._files[0]

    def _take_in(self) -> bool:
        """Bring into memory what the file has behind the mark; whether there was anything."""
        before = self._mark.head.position
        self._seen = os.fstat(self._file).st_size
        with os.fdopen(self._file, "rb", closefd=False) as file:
            file.seek(self._mark.size)
            batch: list[RecordRow] = []
            mark = self._mark
            try:
                for rows, mark in commits(file, self._mark, self.path):
                    batch += rows
                    if len(batch) >= BATCH:
                        self._insert(batch, mark)
                        batch = []
            except Corrupt:
                self._insert(batch, mark)
                raise
            self._insert(batch, mark)
        return self._mark.head.position > before

    def _insert(self, rows: list[RecordRow], mark: Mark) -> None:
        self._connection.execute("BEGIN")
        try:
            self._session.insert_records(rows)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            self._connection.execute("ROLLBACK")
            first, last = self._mark.lines + 1, mark.lines
            raise Corrupt(f"{self.path}, lines {first} to {last}: {error}. Restore a copy of the file") from error
        self._mark = mark

    def _repair(self) -> None:
        """Set aside what a killed process or a full disk left behind the last whole commit; end its last line."""
        size = self._mark.size
        if torn := os.pread(self._file, os.fstat(self._file).st_size - size, size):
            set_aside(self.path, torn)
            self._cut()
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            write_all(self._file, b"\n")
            self._mark = self._mark._replace(size=size + 1, lines=self._mark.lines + 1)

    def torn_bytes(self) -> int:
        """How many bytes there are behind the last whole commit: being written, or left by who was killed."""
        with self._lock:
            self._check()
            return os.fstat(self._file).st_size - self._mark.size

    # reading

    @contextmanager
    def reader(self) -> Iterator[WriteSession]:
        with self._lock:
            self._check()
            self._come_to_rest()
            before = self._reading
            if not self.writable and not before and not self._keeping:
                self._look()
            try:
                self._reading = before + 1
                with super().reader() as session:
                    yield session
            finally:
                self._reading = before

    def _look(self) -> None:
        """For a reader: take in what was appended since."""
        inode, size = self._stat()
        if inode != self._inode or size < self._mark.size:
            raise self._changed()
        if size == self._seen:
            return
        try:
            grown = self._take_in()
        except (Corrupt, NotALog) as error:
            raise self._changed() from error
        if grown:
            self._commits += 1
            self._bring_along()

    def keep_tables(self, keep: Callable[[], object]) -> None:
        """For a reader: ``keep`` brings the tables along, now and whenever more was found in the file."""
        with self._lock:
            self._keep = keep
            self._bring_along()

    def _bring_along(self) -> None:
        if self._keep is not None:
            self._keeping = True
            try:
                self._keep()
            finally:
                self._keeping = False

    def scratch(self) -> ScratchSession:
        with self.reader():
            return super().scratch()

    def builder(self) -> Build:
        self._check()
        with self._lock:
            if not self.writable and not self._keeping:
                raise LogReadOnly(_READ_ONLY)
            self._come_to_rest()
            return super().builder()

    def change_counter(self) -> object:
        self._check()
        return self._commits if self.writable else self._stat()

    def _stat(self) -> tuple[int, int]:
        try:
            found = os.stat(self.path)
        except OSError:
            return 0, 0
        return found.st_ino, found.st_size

    def _changed(self) -> LocksLost:
        return LocksLost(
            f"{self.path} was cut, replaced or removed under this process; nothing was written. Close the log and open "
            "it again"
        )

    # writing

    def begin(self, durability: Durability, streams: Collection[str] = ()) -> WriteSession:
        with self._lock:
            self._check()
            if not self.writable and not self._keeping:
                raise LogReadOnly(_READ_ONLY)
            self._come_to_rest()
            writer = super().begin(durability)
            self._durability = durability
            writer.changed = not self.writable
            return writer

    def commit(self, writer: WriteSession, head: Head | None) -> None:
        # The file first: what is committed in memory is in the file, and what an interrupt leaves between the two is
        # settled by asking whether memory still has its transaction open.
        try:
            self._unsettled = True
            self._commits += 1
            if head is not None:
                self._append(writer, head)
            writer.execute("COMMIT")
            self._settle()
        except BaseException as error:
            self._settle()
            if self._uncut:
                raise OutcomeUnknown(
                    f"the disk failed ({error}), and {self.path} cannot be cut back to what it was: whether the events "
                    "are stored is not known. Retry with a key",
                    position=head.position if head is not None else None,
                ) from error
            if (told := self.told(error)) is not error:
                raise told from error
            raise
        finally:
            self._lock.release()

    def _append(self, writer: WriteSession, head: Head) -> None:
        if self._stat() != (self._inode, self._mark.size):
            raise self._changed()
        size, lines, before = self._mark
        rows = writer.records(before.position, None, Selection())
        data = lines_of(rows)
        self._pending = Mark(size + len(data), lines + len(rows), head)
        self._unsynced = True
        write_all(self._file, data)
        if self._durability == "full":
            self._sync()

    def flush(self) -> None:
        """Bring to the disk what was appended with durability "process". Raises StorageFailed."""
        with self._lock:
            self._check()
            try:
                self._sync()
            except OSError as error:
                raise StorageFailed(
                    f"{self.path} could not be brought to the disk ({error.strerror}): what was appended with "
                    "durability='process' may not survive a power cut"
                ) from error

    def _sync(self) -> None:
        if self._unsynced:
            os.fsync(self._file)
            self._unsynced = False

    def _settle(self) -> None:
        """After a commit, however it ended: file and memory hold the same."""
        if self._connection.in_transaction:
            self._uncut = self._uncut or self._pending is not None
            self._pending = None
            self._connection.execute("ROLLBACK")
        elif self._pending is not None:
            self._mark, self._pending = self._pending, None
        self._unsettled = False
        if self._uncut:
            with contextlib.suppress(OSError):
                self._cut()

    def _cut(self) -> None:
        """Take off what is behind the mark. Raises OSError."""
        os.ftruncate(self._file, self._mark.size)
        os.fsync(self._file)
        self._uncut = False

    def _come_to_rest(self) -> None:
        if self._unsettled:
            self._settle()
        if self._uncut:
            try:
                self._cut()
            except OSError as error:
                raise StorageFailed(
                    f"the end of {self.path} cannot be cut off after a failed append ({error.strerror}); nothing was "
                    "written. Close the log and open it again"
                ) from error

    def recover(self, error: BaseException | None = None) -> None:
        if self._lock._is_owned() and self._unsettled:  # type: ignore[attr-defined]
            self._settle()
        super().recover(error)

    def told(self, error: BaseException) -> BaseException:
        """An error of the system or of SQLite as one of ours."""
        if isinstance(error, sqlite3.Error):
            return StoreError(f"{self.path}: {error}; nothing was written")
        if not isinstance(error, OSError):
            return error
        if error.errno in _NO_SPACE:
            return DiskFull(
                f"no space left for {self.path} ({error.strerror}); nothing was written. Free some space and try again"
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return LogReadOnly(f"{self.path} cannot be opened or written: {error.strerror}; nothing was written")
        return StorageFailed(f"the system reported an error on {self.path} ({error.strerror}); nothing was written")

    # the end

    def close(self) -> None:
        if self._closed:
            return
        if self._forked:
            self._closed = True
            return
        with self._lock:
            with contextlib.suppress(OSError, EventLogError):
                if self._files:
                    self._come_to_rest()
                    self._sync()
            super().close()
            self._finalizer()

    def _check(self) -> None:
        super()._check()
        if self._forked:
            raise LogClosed(
                "this process was forked from the one that has the log open, and a log in JSON lines is written by "
                "one: open it again (eventlog.open), with mode='r' while the other has it"
            )

    def after_fork_in_child(self) -> None:
        """Leave the parent's file and lock to the parent: closing these copies takes nothing from it."""
        self._forked = True
        self._lock = threading.RLock()
        self._finalizer.detach()
        _close(self._files)
        # SQLite must not be entered here, not even to close: a thread of the parent may have been inside.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))


def _close(files: list[int], connection: sqlite3.Connection | None = None) -> None:
    """The log's file first: the lock of the side file goes with its descriptor."""
    if connection is not None:
        connection.close()
    while files:
        with contextlib.suppress(OSError):
            os.close(files.pop(0))


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
