"""A coding agent's database of tasks: rows become events, changed rows what changed in them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventlog.app import Log
from eventlog.events.agents import RecordKept
from eventlog.importers.formats import format_of
from eventlog.importers.run import Report, import_paths
from projections.tasks import Task
from tests.projections.reference import check_every_way

pytestmark = pytest.mark.alike
UUID = "0b0c6f0e-4d2f-4a53-9f3c-0f6f0b1c2d3e"
SCHEMA = """CREATE TABLE tasks (
    uuid TEXT PRIMARY KEY, task_source TEXT NOT NULL, owner TEXT NOT NULL, repo TEXT NOT NULL, task_type TEXT NOT NULL,
    task_id TEXT NOT NULL, status TEXT NOT NULL, created_at TEXT NOT NULL, started_at TEXT, completed_at TEXT,
    process_id INTEGER, hostname TEXT, llm_provider TEXT, model TEXT, context_length INTEGER, llm_call_count INTEGER,
    tool_call_count INTEGER, total_tokens INTEGER, compression_count INTEGER, error_message TEXT, user TEXT)"""
ROW = {
    "uuid": UUID, "task_source": "github", "owner": "acme", "repo": "shop", "task_type": "issue", "task_id": "42",
    "status": "running", "created_at": "2026-01-02T03:04:05.678901", "started_at": "2026-01-02T04:00:00+09:00",
    "process_id": 4711, "hostname": "build-1", "llm_provider": "openai", "model": "gpt-4.1", "context_length": 128_000,
    "llm_call_count": 3, "tool_call_count": 2, "total_tokens": 1_000, "compression_count": None, "user": "anna",
}  # fmt: skip
CREATED_AT = 1_767_323_045_678_901


class Database:
    """A ``tasks.db`` as the agent writes it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute(SCHEMA)

    def add(self, **columns: Any) -> None:
        row = ROW | columns
        names = ", ".join(row)
        self._connection.execute(f"INSERT INTO tasks ({names}) VALUES ({', '.join('?' * len(row))})", [*row.values()])

    def change(self, uuid: str = UUID, **columns: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        self._connection.execute(f"UPDATE tasks SET {names} WHERE uuid = ?", [*columns.values(), uuid])

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "contexts" / "tasks.db")) as made:
        yield made


def bring(log: Log, path: Path, **options: Any) -> Report:
    return import_paths(log, log.projections, format_of("tasks-db"), [path], data_dir=log.data_dir, **options)


def counts(task: Task) -> tuple[int, int, int, int]:
    return task.llm_call_count, task.tool_call_count, task.total_tokens, task.compression_count


@pytest.mark.feature("S4-5")
def test_a_row_is_a_task_with_all_its_columns(log: Log, database: Database) -> None:
    database.add()
    report = bring(log, database.path.parent)
    assert (report.total.understood_records, report.partial) == (1, False)
    task = log.tasks.get(UUID)
    expected = {**ROW, "created_at": CREATED_AT, "started_at": 1_767_294_000_000_000, "compression_count": 0}
    expected |= {"completed_at": None, "error_message": None}
    assert {name: getattr(task, name) for name in task.__struct_fields__} == expected
    assert [record.type for record in log.tasks.history(UUID)] == [
        "task.created", "task.statistics_added", "source.record_kept",
    ]  # fmt: skip
    assert log.tasks.history(UUID)[0].occurred_at == CREATED_AT
    check_every_way(log)


def test_what_did_not_change_says_nothing_and_what_did_says_the_difference(log: Log, database: Database) -> None:
    database.add()
    database.add(uuid="other", status="completed", completed_at="2026-01-02T05:00:00Z")
    bring(log, database.path)
    head = log.head()
    assert bring(log, database.path).sources[0].status == "unchanged"
    database.change(UUID, owner="acme")  # the file is another, and its rows are not
    database.path.touch()
    assert bring(log, database.path).total.records == 0
    assert log.head() == head
    database.change(
        status="failed", completed_at="2026-01-02T06:00:00Z", error_message="no space", llm_call_count=5,
        total_tokens=1_700, compression_count=1,
    )  # fmt: skip
    assert bring(log, database.path).total.understood_records == 1
    task = log.tasks.get(UUID)
    assert (task.status, task.error_message, task.completed_at) == ("failed", "no space", 1_767_333_600_000_000)
    assert counts(task) == (5, 2, 1_700, 1)
    told = log.tasks.history(UUID)[3:]
    assert [record.type for record in told] == [
        "task.status_changed", "task.updated", "task.statistics_added", "source.record_kept",
    ]  # fmt: skip
    assert told[0].occurred_at == task.completed_at
    assert len(log.tasks.history("other")) == 3
    # Back to what it was once: that is a change, too.
    database.change(status="running", completed_at=None, error_message=None, compression_count=None,
                    llm_call_count=3, total_tokens=1_000)  # fmt: skip
    bring(log, database.path)
    task = log.tasks.get(UUID)
    assert (task.status, task.completed_at, task.error_message) == ("running", None, None)
    assert counts(task) == (3, 2, 1_000, 0)
    assert log.projections.verify() == []


def test_what_the_log_knows_itself_stays(log: Log, database: Database) -> None:
    known = log.tasks.create({**ROW, "user": "ben", "created_at": CREATED_AT}, uuid=UUID)
    log.tasks.llm_call(UUID, {"output": 10})
    database.add()
    bring(log, database.path)
    task = log.tasks.get(UUID)
    assert (task.user, counts(task)) == ("anna", (3, 2, 1_000, 0))
    assert known.started_at == task.started_at
    log.tasks.update(UUID, {"user": "carl"})
    log.tasks.update_statistics(UUID, tokens=7)
    database.change(llm_call_count=4)
    bring(log, database.path)
    task = log.tasks.get(UUID)
    assert (task.user, counts(task)) == ("carl", (4, 2, 1_007, 0))
    log.tasks.delete(UUID)
    database.change(llm_call_count=9)
    bring(log, database.path)
    assert log.tasks.get_by_uuid(UUID) is None
    assert log.projections.verify() == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"uuid": None}, "uuid is no text"),
        ({"uuid": "a/b"}, "cannot be stored: uuid"),
        ({"created_at": "yesterday"}, "created_at is no time"),
        ({"completed_at": "later"}, "completed_at is no time"),
        ({"owner": b"\x00\xff"}, "owner is no text"),
        ({"process_id": "many"}, "process_id is no integer"),
        ({"total_tokens": -1}, "cannot be stored: total_tokens"),
        ({"status": ""}, "cannot be stored: status"),
    ],
)
def test_a_row_that_is_no_task_is_told_and_the_rest_is_there(
    log: Log, database: Database, wrong: dict[str, Any], reason: str
) -> None:
    database.add(**({"uuid": "bad"} | wrong))
    database.add(user="ok")
    report = bring(log, database.path)
    assert (report.total.understood_records, report.total.quarantined_records, report.partial) == (1, 1, True)
    assert log.tasks.get(UUID).user == "ok" and log.tasks.count() == 1
    (row,) = log.projections.rows("import_quarantine")
    assert (row["offset"], row["reason"]) == (1, reason)
    database.change(user="still ok")
    assert bring(log, database.path).partial
    assert len(log.projections.rows("import_quarantine")) == 1


def test_what_is_no_database_of_tasks_fails_alone(log: Log, tmp_path: Path, database: Database) -> None:
    database.add()
    broken = tmp_path / "broken.db"
    broken.write_bytes(database.path.read_bytes()[:5000] + b"\xff" * 3000)
    (tmp_path / "empty.db").touch()
    with closing(sqlite3.connect(tmp_path / "others.db")) as other:
        other.execute("CREATE TABLE tasks (uuid TEXT, title TEXT)")
    for name in ("broken.db", "empty.db", "others.db"):
        report = bring(log, tmp_path / name)
        assert (report.sources[0].status, report.partial) == ("failed", True)
    assert log.tasks.count() == 0
    assert not bring(log, tmp_path).partial
    assert log.tasks.count() == 1


def test_secrets_are_masked_and_long_messages_kept(log: Log, database: Database) -> None:
    secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
    long = "x " * 50_000
    database.add(error_message=f"git push failed with {secret}")
    database.add(uuid="long", error_message=long)
    report = bring(log, database.path)
    assert report.total.secrets >= 1
    assert log.tasks.get("long").error_message == long
    database.change("long", user="new")
    bring(log, database.path)
    assert log.tasks.get("long").user == "new"
    assert not any(secret in record.data for record in log.read())
    assert len(log.tasks.history("long")[-1].data) < 2_000


def test_files_of_a_task_beside_its_database_are_kept(log: Log, database: Database) -> None:
    database.add()
    folder = database.path.parent / "running" / UUID
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps({"branch": "fix-42"}))
    (folder / "broken.json").write_text('{"a": ')
    report = bring(log, database.path)
    assert (report.total.raw_records, report.total.quarantined_records) == (1, 1)
    kept = [record.event for record in log.tasks.history(UUID) if isinstance(record.event, RecordKept)]
    assert [one.kind for one in kept] == ["tasks-db", "file metadata.json"]
    assert json.loads(bytes(kept[1].data)) == {"branch": "fix-42"}  # type: ignore[arg-type]
    head = log.head()
    database.path.touch()
    bring(log, database.path)
    assert log.head() == head


def test_a_dry_run_adds_nothing(log: Log, database: Database) -> None:
    from eventlog.importers.run import Options

    database.add()
    report = bring(log, database.path, options=Options(dry_run=True))
    assert report.total.understood_records == 1 and report.total.events > 2
    assert log.head().position == 0
