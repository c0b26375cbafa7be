"""The upkeep of a log in a file of JSON lines: there is little. See `eventlog.maintenance.Upkeep`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NoReturn

from eventlog.errors import EventLogError, StoreError
from eventlog.log import ChainReport, EventLog
from eventlog.place import Place
from eventlog.store import environment
from eventlog.store.base import Progress, Selection
from eventlog.store.jsonl import JsonLinesStore, open_store
from eventlog.store.jsonl_file import writer_of
from eventlog.store.migrations import SchemaStatus

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1"


def _lines(log: EventLog) -> JsonLinesStore:
    if not isinstance(log.store, JsonLinesStore):
        raise StoreError(f"{log.store.url} is not a file of JSON lines")
    return log.store


def status(log: EventLog) -> dict[str, Any]:
    """Sizes, who is writing, what was set aside, and the tables, which every process makes for itself."""
    store = _lines(log)
    with store.reader() as reader:
        names = [row[0] for row in reader.execute(_TABLES).fetchall()]
        rows = {name: reader.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}
    aside = sorted(path.name for path in store.path.parent.glob(f"{_literal(store.path.name)}.torn-*"))
    return {
        "size_bytes": store.path.stat().st_size,
        "torn_bytes": store.torn_bytes(),
        "free_bytes": environment.free_bytes(store.path.parent),
        "filesystem": environment.filesystem_of(store.path),
        "mode": oct(store.path.stat().st_mode & 0o777),
        "writer": writer_of(store.path),
        "set_aside": aside,
        "advice": _ADVICE if aside else None,
        "settings": {},
        "tables": rows,
    }


_ADVICE = (
    "the files set aside hold what was being written when a process was killed, the disk was full or the power failed; "
    "nothing of it had been confirmed as durable, and they can be deleted"
)


def _literal(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def problems(log: EventLog, progress: Progress | None) -> list[str]:
    """The file read again, from its first line on: the first one that is not sound."""
    try:
        with contextlib.closing(open_store(_lines(log).path, writable=False, create=False)) as again:
            with log.reader() as here:
                position, digest = here.head()[:2]
            with again.reader() as there:
                found = [row[13] for row in there.records(position - 1, position, Selection())]
            if position and found != [digest]:
                return [f"line check: the file has another record at position {position} than was read from it"]
    except EventLogError as error:
        return [f"line check: {error}"]
    return []


def _refused(what: str) -> NoReturn:
    raise StoreError(f"a log in JSON lines {what}")


def optimize(log: EventLog) -> dict[str, int]:
    """Refused: there is nothing."""
    _refused("holds nothing but its events: there is nothing to optimize")


def backup(log: EventLog, target: Path, progress: Progress | None) -> ChainReport:
    """Refused: any tool can copy the file."""
    _refused("is backed up by copying the file with any tool, at any moment; `eventlog db check` proves the copy")


def restore(source: Path, place: Place, *, force: bool, progress: Progress | None) -> ChainReport:
    """Refused: any tool can put a copy in its place."""
    _refused("is restored by putting a copy of the file in its place, while no program has it open")


def schema(place: Place) -> SchemaStatus:
    """Refused: a file of lines has none."""
    _refused("has no schema: there is nothing to migrate or to take back")


def migrate(place: Place) -> None:
    """Refused, as `schema`."""
    schema(place)


def rollback(place: Place, to: int) -> None:
    """Refused, as `schema`."""
    schema(place)


def open_damaged(place: Place) -> EventLog:
    """The records before the first line that is not sound."""
    if place.path is None:
        raise StoreError(f"{place} is not a file")
    return EventLog(open_store(place.path, writable=False, create=False, damaged=True), writable=False)
