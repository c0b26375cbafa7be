"""The upkeep of a log in a SQLite file. See `eventlog.maintenance.Upkeep`."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

from eventlog.errors import Corrupt, LogMissing, StoreError
from eventlog.log import ChainReport, EventLog
from eventlog.place import Place
from eventlog.store import environment, sqlite_schema
from eventlog.store.base import Progress
from eventlog.store.filelock import FileLock
from eventlog.store.migrations import SchemaStatus
from eventlog.store.sqlite import LOCK_TIMEOUT_S, PRAGMAS, SQLiteStore, read_schema
from eventlog.store.sqlite_schema import open_store, set_aside_leftovers, trigger_problems
from eventlog.target import data_folder

_PRAGMAS = ("journal_mode", "page_size", "page_count", "freelist_count", "auto_vacuum", "user_version")
CHECK_ROWS = 100


def _sqlite(log: EventLog) -> SQLiteStore:
    if not isinstance(log.store, SQLiteStore):
        raise StoreError(f"{log.store.url} is not a file")
    return log.store


def status(log: EventLog) -> dict[str, Any]:
    """Sizes, versions, settings of the file and of a connection that writes to it, tables with their rows."""
    store = _sqlite(log)
    buggy = environment.has_wal_reset_bug()
    with store.reader() as reader:
        settings = {name: reader.execute(f"PRAGMA {name}").fetchone()[0] for name in _PRAGMAS}
        tables = [
            row[0]
            for row in reader.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1").fetchall()
        ]
        rows = {name: reader.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}
    return {
        "size_bytes": _size(store.path),
        "wal_bytes": _size(Path(f"{store.path}-wal")),
        "free_bytes": environment.free_bytes(store.path.parent),
        "filesystem": environment.filesystem_of(store.path),
        "mode": oct(store.path.stat().st_mode & 0o777),
        "sqlite_version": sqlite3.sqlite_version,
        "wal_reset_bug": buggy,
        "advice": _ADVICE if buggy else None,
        "lock_timeout_s": store.timeout_s,
        "settings": settings,
        "writer_settings": dict(pragma.split(" = ") for pragma in PRAGMAS),
        "tables": rows,
    }


_ADVICE = (
    "this SQLite has the WAL-reset bug: the log is safe, because every commit and checkpoint runs under its lock file; "
    "let no other program write to the file, and copy it with `eventlog db backup` only"
)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def problems(log: EventLog, progress: Progress | None) -> list[str]:
    """SQLite's integrity check, and triggers that are not as they should be."""
    store = _sqlite(log)
    with store.reader() as reader:
        found = [row[0] for row in reader.execute(f"PRAGMA integrity_check({CHECK_ROWS})").fetchall()]
    return [f"page check: {line}" for line in found if line != "ok"] + trigger_problems(store)


def optimize(log: EventLog) -> dict[str, int]:
    """Refresh the query planner's statistics, empty the write-ahead log, give free pages back; sizes in bytes."""
    store = _sqlite(log)
    before = _size(store.path) + _size(Path(f"{store.path}-wal"))
    store.exclusively(("PRAGMA optimize = 0x10002", "PRAGMA incremental_vacuum", "PRAGMA wal_checkpoint(TRUNCATE)"))
    return {"before_bytes": before, "after_bytes": _size(store.path) + _size(Path(f"{store.path}-wal"))}


def backup(log: EventLog, target: Path, progress: Progress | None) -> ChainReport:
    """By ``VACUUM INTO``. Raises Corrupt when the copy does not verify."""
    store = _sqlite(log)
    fresh = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        if progress is not None:
            progress(0, None, "copying")
        with store.reader() as reader:
            reader.execute("VACUUM INTO ?", (str(fresh),))
        report = _verify_copy(fresh, progress)
        _fsync(fresh)
        os.link(fresh, target)
        _fsync(target.parent)
        return report
    finally:
        for leftover in (fresh, *(Path(f"{fresh}{end}") for end in ("-wal", "-shm", ".lock"))):
            leftover.unlink(missing_ok=True)


def _verify_copy(path: Path, progress: Progress | None) -> ChainReport:
    copy = EventLog(SQLiteStore(path, writable=False), writable=False)
    try:
        with copy.store.reader() as reader:
            found = [row[0] for row in reader.execute(f"PRAGMA integrity_check({CHECK_ROWS})")]  # type: ignore[attr-defined]
        report = copy.verify(progress)
    finally:
        copy.close()
    if found != ["ok"] or not report.ok:
        raise Corrupt(f"the copy does not verify: {report.problem or found[0]}; run `eventlog db check`")
    return report


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def restore(source: Path, place: Place, *, force: bool, progress: Progress | None) -> ChainReport:
    """An existing log is kept beside the restored one as ``<name>.replaced-<hex>``."""
    target = _path(place)
    if not source.exists():
        raise LogMissing(f"there is no backup at {source}")
    if target.exists() and not force:
        raise StoreError(f"{target} exists already; nothing was written (with force the old log is set aside)")
    original = EventLog(open_store(source, writable=False, create=False), writable=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
        report = backup(original, fresh, progress)
    finally:
        original.close()
    lock = FileLock(f"{target}.lock", LOCK_TIMEOUT_S)
    try:
        with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        lock.acquire()
        if target.exists():
            _set_aside(target)
        set_aside_leftovers(target)
        os.replace(fresh, target)
        _fsync(target.parent)
    finally:
        lock.release()
        lock.close()
        for leftover in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm")):
            leftover.unlink(missing_ok=True)
    _set_aside_results(target)
    return report


def _set_aside_results(target: Path) -> None:
    """Rename the folders of runs that the restored log does not know: their numbers will be given again."""
    folder = data_folder(None, Place(path=target))
    results = None if folder is None else folder / "result"
    if results is None or not results.is_dir():
        return
    store = open_store(target, writable=False, create=False)
    try:
        with store.reader() as reader:
            for place in results.iterdir():
                number = place.name.partition("-")[0]
                if number.isdecimal() and "." not in place.name and not reader.stream_version(f"run-{number}"):
                    os.replace(place, place.with_name(f"{place.name}.replaced-{os.urandom(4).hex()}"))
    finally:
        store.close()


def _set_aside(target: Path) -> None:
    """Checkpoint an old log into one file and rename it, so that its -wal does not meet the new one."""
    connection = sqlite3.connect(target, isolation_level=None)
    with contextlib.closing(connection), contextlib.suppress(sqlite3.Error):
        read_schema(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    kept = target.with_name(f"{target.name}.replaced-{os.urandom(4).hex()}")
    os.replace(target, kept)
    for end in ("-wal", "-shm"):
        side = Path(f"{target}{end}")
        if side.exists():
            os.replace(side, f"{kept}{end}")


def _path(place: Place) -> Path:
    if place.path is None:
        raise StoreError(f"{place} is not a file")
    return place.path


def schema(place: Place) -> SchemaStatus:
    """How a file's schema stands."""
    return sqlite_schema.status(_path(place))


def migrate(place: Place) -> None:
    """Bring a file's schema up to date, put missing triggers back."""
    with contextlib.closing(sqlite_schema.open_for_schema(_path(place))) as store:
        sqlite_schema.migrate(store)


def rollback(place: Place, to: int) -> None:
    """Take a file's schema back. Refused while that would throw events away."""
    with contextlib.closing(sqlite_schema.open_for_schema(_path(place))) as store:
        sqlite_schema.rollback(store, to)


def open_damaged(place: Place) -> EventLog:
    """The records of a damaged file."""
    return EventLog(sqlite_schema.open_for_schema(_path(place)), writable=False)
