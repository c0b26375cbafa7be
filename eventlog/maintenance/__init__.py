"""What keeps a log healthy: status, schema, check, optimise, backup, restore, copy.

One module a database, all with the same functions (`Upkeep`); what they share stands here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from eventlog.errors import EventLogError, InvalidInput, StoreError
from eventlog.log import ChainReport, EventLog
from eventlog.place import Place
from eventlog.store.base import Progress
from eventlog.store.migrations import SchemaStatus
from eventlog.target import check_output


class Upkeep(Protocol):
    """What an operator can do with a database, as functions of its module here."""

    def status(self, log: EventLog) -> dict[str, Any]:
        """Sizes, versions, settings, tables, and what is wrong with them."""

    def problems(self, log: EventLog, progress: Progress | None) -> list[str]:
        """What is wrong with pages, indexes and triggers, as sentences."""

    def optimize(self, log: EventLog) -> dict[str, int]:
        """Refresh the planner's statistics and give free space back; sizes in bytes before and after."""

    def backup(self, log: EventLog, target: Path, progress: Progress | None) -> ChainReport:
        """A consistent copy in one private file, verified before it takes its name."""

    def restore(self, source: Path, place: Place, *, force: bool, progress: Progress | None) -> ChainReport:
        """Put a backup in a log's place, verified."""

    def schema(self, place: Place) -> SchemaStatus:
        """How the schema stands."""

    def migrate(self, place: Place) -> None:
        """Bring the schema up to date and put missing triggers back."""

    def rollback(self, place: Place, to: int) -> None:
        """Take the schema back to an earlier version."""

    def open_damaged(self, place: Place) -> EventLog:
        """The records of a log that cannot be opened as it should, for reading."""


def of(kind: str) -> Upkeep:
    """The upkeep of a kind of place or store. Raises StoreError for logs in memory."""
    if kind == "postgresql":
        try:
            from eventlog.maintenance import postgres
        except ImportError as error:
            raise InvalidInput("PostgreSQL needs pip install 'execution-eventlog[postgres]'") from error
        return postgres
    if kind == "file":
        from eventlog.maintenance import sqlite

        return sqlite
    if kind == "jsonl":
        from eventlog.maintenance import jsonl

        return jsonl
    if kind == "http":
        raise InvalidInput("the database is kept where the server of the log runs: do this there, on the log itself")
    raise StoreError("a log in memory has no file, and nothing to keep")


def status(log: EventLog) -> dict[str, Any]:
    """What an operator asks: where the log is, its head, sizes and settings; how tables stand, projections say."""
    head = log.head()
    found = {"url": log.store.url, "position": head.position, "hash": head.hash.hex(), "log_id": log.log_id}
    return found | of(log.store.kind).status(log)


def check(log: EventLog, progress: Progress | None = None) -> list[str]:
    """Everything that can be wrong with the database and the chain, as sentences; an empty list means sound.

    Pages, triggers, and the hash chain: each finds damage that the others do not.
    """
    upkeep = of(log.store.kind)
    problems: list[str] = []
    try:
        if progress is not None:
            progress(0, None, "checking pages")
        problems += upkeep.problems(log, progress)
    except EventLogError as error:
        problems.append(str(error))
    try:
        report = log.verify(progress)
        if not report.ok:
            problems.append(f"hash chain: position {report.bad_position}: {report.problem}")
    except EventLogError as error:
        problems.append(f"hash chain: {error}")
    return problems


def optimize(log: EventLog) -> dict[str, int]:
    """Refresh what the query planner knows, and give free space back; sizes in bytes."""
    return of(log.store.kind).optimize(log)


def backup(log: EventLog, target: Path, progress: Progress | None = None) -> ChainReport:
    """A consistent copy while others write: one file, private, verified before it takes its name.

    Returns the copy's chain report. Raises StoreError when the target exists, InvalidInput for a name that belongs to
    a log, Corrupt when the copy does not verify.
    """
    check_output(target, Place(path=log.store.path))
    if target.exists():
        raise StoreError(f"{target} exists already; nothing was written")
    if not target.parent.is_dir():
        raise StoreError(f"there is no folder {target.parent}; nothing was written")
    return of(log.store.kind).backup(log, target, progress)


def restore(source: Path, place: Place, *, force: bool = False, progress: Progress | None = None) -> ChainReport:
    """Put a backup in a log's place, verified. An existing file is set aside; an existing database must be empty.

    Raises LogMissing, NotALog or Corrupt for the backup, StoreError when there is a log and ``force`` is not given.
    """
    return of(place.kind).restore(source, place, force=force, progress=progress)
