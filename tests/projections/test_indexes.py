"""Sessions and tasks are found by the indexes that their documents name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from projections.tasks import projections as _tasks
from tests.projections.plans import indexes_taken

TASKS = _tasks[0]
WHERE = {"task_source": "github", "owner": "acme", "repo": "r1"}


@pytest.fixture
def log() -> Any:
    """Some sessions with worktrees and messages, and some tasks."""
    with eventlog.open(":memory:") as log:
        with log.transaction():
            for number in range(60):
                name = f"s{number}"
                log.sessions.create(session_id=name, workspace_id=f"w{number % 6}", kind=("chat", "task")[number % 2])
                log.sessions.create_instance(name, instance_id="i", worktree_path=f"/work/{number}")
                log.sessions.add_message(name, "user", "hello")
                log.tasks.create(
                    uuid=f"00000000-0000-4000-8000-{number:012}", task_type="issue", task_id=str(number),
                    user=f"u{number % 9}", **(WHERE | {"repo": f"r{number % 7}"}),
                )  # fmt: skip
        yield log


@pytest.mark.feature("S1-3")
@pytest.mark.parametrize(
    ("table", "index", "ask"),
    [
        ("sessions", ("workspace_id", "created_at"), lambda log: log.sessions.list(workspace_id="w3")),
        ("sessions", ("status", "created_at"), lambda log: log.sessions.list(status="paused")),
        ("sessions", ("kind", "created_at"), lambda log: log.sessions.list(kind="task")),
        ("sessions", ("created_at",), lambda log: log.sessions.list(limit=5)),
        ("instances", "primary key", lambda log: log.sessions.instances("s7")),
        ("messages", ("stream", "position"), lambda log: log.sessions.messages("s7")),
    ],
)
def test_sessions_and_what_belongs_to_them_are_found_by_index(
    log: Log, monkeypatch: pytest.MonkeyPatch, table: str, index: object, ask: Callable[[Log], object]
) -> None:
    assert indexes_taken(monkeypatch, log, table, lambda: ask(log)) == {
        index
    }  # an instance's key begins with its session


@pytest.mark.feature("S4-1")
@pytest.mark.parametrize(
    ("index", "ask"),
    [
        (("status",), lambda log: log.tasks.list_by_status("failed")),
        (("created_at",), lambda log: log.tasks.list(limit=5)),
        (("user",), lambda log: log.tasks.list_by_user("u3")),
        (("task_source", "owner", "repo"), lambda log: log.tasks.list(**WHERE)),
    ],
)
def test_tasks_are_found_by_the_four_indexes(
    log: Log, monkeypatch: pytest.MonkeyPatch, index: tuple[str, ...], ask: Callable[[Log], object]
) -> None:
    assert indexes_taken(monkeypatch, log, "tasks", lambda: ask(log)) == {index}
    assert index in TASKS.table.indexes and len(TASKS.table.indexes) == 4
