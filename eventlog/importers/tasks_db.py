"""A coding agent's database of tasks: the table ``tasks`` of ``contexts/tasks.db``, and the JSON files beside it.

The 21 columns become events of the task (`eventlog.events.tasks`), the sums among them what is added to its sums. A row
is kept as it was, so of one that changed since it was read last the difference is told, and nothing of one that did
not; what the log itself knows of the task stays. Times without an offset are UTC. A JSON file in a folder with the
task's uuid, beside the database or one level below, is kept in the task's stream; lines are `agent-jsonl`'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from eventlog.codec import from_json, to_json
from eventlog.errors import InvalidEvent, InvalidInput
from eventlog.events import Event
from eventlog.events.agents import RecordKept
from eventlog.events.tasks import TaskCreated, TaskDeleted
from eventlog.exporters.session_form import moment
from eventlog.importers.foreign import Row, open_foreign
from eventlog.importers.intake import Intake, Native, Wanted, key_of
from eventlog.importers.pieces import read_plain
from eventlog.repositories.task_values import COLUMNS, COUNTS, CREATED, TIMES, checked_columns, checked_uuid, sums
from eventlog.repositories.tasks import changes
from projections.tasks import Task
from projections.tasks import projections as _tasks

TASKS = _tasks[0]
KEPT = "tasks-db"
"""The kind under which a row is kept in its task's stream."""
MAX_FILE_BYTES = 16 << 20
PAGE = 200
"""Rows of which is asked together what the log has of them."""
_LONG = 4096
_NEEDED = ("uuid", "task_source", "owner", "repo", "task_type", "task_id", "status", "created_at")
_INTEGERS = ("process_id", "context_length", *COUNTS)


class Unfit(Exception):
    """A row that is no task; it says why, and nothing of what is in it."""


class TaskDatabases:
    """See `eventlog.importers.run.TableFormat`."""

    name = "tasks-db"
    looks_for = "tasks.db"

    def sources(self, path: Path) -> Iterator[Path]:
        """The databases called ``tasks.db`` in a folder and below."""
        yield from path.rglob("tasks.db")

    def scan(self, path: Path, intake: Intake) -> Iterator[float]:
        """Add every task that is new, or not as it was."""
        # A task that another database of this import has too is compared with what that one said.
        intake.batch.commit()
        with open_foreign(path, {"tasks": _NEEDED}) as database:
            last = max(1, database.count("tasks"))
            reader = _TaskReader(path, intake)
            rows = database.rows("tasks")
            while page := list(islice(rows, PAGE)):
                reader.look([row.values.get("uuid") for row in page])
                for row in page:
                    reader.take(row)
                yield min(1.0, page[-1].number / last)


class _TaskReader:
    """Makes appends of the rows of one database."""

    def __init__(self, path: Path, intake: Intake) -> None:
        self._intake = intake
        self._log = intake.batch.log
        self._mtime = int(path.stat().st_mtime * 1_000_000)
        self._folders = _folders(path.parent)
        self._kept: dict[str, tuple[int, RecordKept]] = {}
        self._deleted: set[str] = set()
        self._rows: dict[str, Task] = {}

    def take(self, row: Row) -> None:
        """One row."""
        whole = to_json(row.values)
        try:
            if row.too_big:
                raise Unfit(f"the value of {row.too_big[0]} is too long")
            given = self._intake.masker.value(row.values)
            uuid, columns = _read(given)
            told = self._told(uuid, columns, given)
            if told is not None:
                self._log.prepare(f"task-{uuid}", told.events, occurred_at=told.occurred_at)
                self._intake.add(Native(row.number, len(whole), [told]))
        except Unfit as error:
            self._intake.quarantine(row.number, len(whole), str(error), sha256(whole).hexdigest())
            return
        except (InvalidInput, InvalidEvent) as error:
            reason = f"cannot be stored: {error.facts.get('field') or type(error).__name__}"
            self._intake.quarantine(row.number, len(whole), reason, sha256(whole).hexdigest())
            return
        for folder in self._folders.get(uuid, ()):
            for file in sorted(folder.glob("*.json")):
                self._file(uuid, file, row.number)

    def _told(self, uuid: str, columns: dict[str, Any], given: Mapping[str, Any]) -> Wanted | None:
        """What is new in a row; None where nothing is."""
        stream = f"task-{uuid}"
        kept = self._intake.kept(KEPT, {name: _short(value) for name, value in given.items()})
        last = self._kept.get(stream)
        if last is not None and (last[1].data, last[1].blob) == (kept.data, kept.blob):
            return None
        own = key_of("tasks-db", uuid, 0 if last is None else last[0], to_json(kept))
        before = self._before(uuid, columns, None if last is None else last[1])
        events: list[Event] = []
        if before is not None:
            events += changes(before, columns)
        elif stream not in self._deleted:
            created = TaskCreated(**{name: columns[name] for name in CREATED if name in columns})
            events += [one for one in (created, sums(columns)) if one is not None]
        at = self._mtime if before is not None else columns["created_at"]
        if before is not None and columns["status"] != before.status and columns.get("completed_at") is not None:
            at = columns["completed_at"]
        return Wanted(stream, [*events, kept], own, at)

    def look(self, uuids: Iterable[Any]) -> None:
        """See how these rows were kept last, and which of them are tasks of the log or were."""
        keys = [(uuid,) for uuid in uuids if isinstance(uuid, str)]
        streams = [f"task-{uuid}" for (uuid,) in keys if uuid and len(uuid) <= 200]
        self._kept = {}
        self._deleted = set()
        for record in self._log.read(streams=streams, types=[RecordKept, TaskDeleted]):
            if isinstance(record.event, RecordKept) and record.event.kind == KEPT:
                self._kept[str(record.stream)] = record.position, record.event
            elif isinstance(record.event, TaskDeleted):
                self._deleted.add(str(record.stream))
        with self._log.reader() as reader:
            self._rows = {key[0]: row for key, row in reader.load(TASKS.table, keys).items()}

    def _before(self, uuid: str, columns: Mapping[str, Any], kept: RecordKept | None) -> Task | None:
        """What a row is compared with: itself as it was, else what the log knows of the task."""
        if kept is not None and isinstance(kept.data, Raw):
            old = from_json(bytes(kept.data))
            _, then = _read(old)
            if _short(columns.get("error_message")) == old.get("error_message"):
                then["error_message"] = columns.get("error_message")
            return Task(**{**dict.fromkeys(COLUMNS), **dict.fromkeys(COUNTS, 0), **then, "uuid": uuid})
        return self._rows.get(uuid)

    def _file(self, uuid: str, file: Path, number: int) -> None:
        """Keep a JSON file of a task as it is."""
        size = file.lstat().st_size
        if size > MAX_FILE_BYTES:
            self._intake.quarantine(number, size, f"a file longer than {MAX_FILE_BYTES:,} bytes", f"{size} {file.name}")
            return
        try:
            data = read_plain(file)
        except OSError:
            # Its name is no content of a file, and tells it from others of the same task.
            self._intake.quarantine(number, 0, "a file beside the database cannot be read", file.name)
            return
        digest = sha256(data).hexdigest()
        try:
            value = msgspec.json.decode(data.strip(b"\xef\xbb\xbf \t\r\n\0"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._intake.quarantine(number, size, "a file beside the database is not valid JSON", digest)
            return
        own = key_of("tasks-db", "file", uuid, file.name, digest)
        wanted = Wanted(f"task-{uuid}", [self._intake.kept(f"file {file.name}", value)], own, self._mtime)
        self._intake.add(Native(number, size, [wanted], (), "raw"))


def _read(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The uuid and the other columns of a row. Raises Unfit and InvalidInput."""
    uuid = given.get("uuid")
    if not isinstance(uuid, str):
        raise Unfit("uuid is no text")
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        value = given.get(name)
        if name in TIMES:
            columns[name] = None if value in (None, "") else moment(value)
            if columns[name] is None and value not in (None, ""):
                raise Unfit(f"{name} is no time")
        elif name in _INTEGERS:
            columns[name] = _integer(name, 0 if value is None and name in COUNTS else value)
        elif value is None and name in _NEEDED:
            raise Unfit(f"{name} is missing")
        elif value is None or isinstance(value, str):
            columns[name] = value
        elif isinstance(value, int) and name == "task_id":
            columns[name] = str(value)
        else:
            raise Unfit(f"{name} is no text")
    if columns["created_at"] is None:
        raise Unfit("created_at is missing")
    return checked_uuid(uuid), checked_columns({name: value for name, value in columns.items() if name != "uuid"})


def _integer(name: str, value: Any) -> int | None:
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or (type(value) is int and -(2**63) <= value < 2**63):
        return value
    raise Unfit(f"{name} is no integer")


def _short(value: Any) -> Any:
    """A value as it is kept: of a long text its hash, because the event of the change has the text."""
    if isinstance(value, str) and len(value) > _LONG:
        return f"sha256:{sha256(value.encode('utf-8', 'replace')).hexdigest()}"
    return value


def _folders(parent: Path) -> dict[str, list[Path]]:
    """The folders beside a database, and one level below, by their names."""
    found: dict[str, list[Path]] = {}
    for level in (parent, *_below(parent)):
        for one in _below(level):
            found.setdefault(one.name, []).append(one)
    return found


def _below(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(one.path) for one in entries if one.is_dir(follow_symlinks=False))
    except OSError:
        return []
