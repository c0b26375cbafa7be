"""`log.projects`."""

from __future__ import annotations

from typing import Any

import pytest
from freezegun import freeze_time

from eventlog.app import Log
from eventlog.errors import Conflict, EventLogError, InvalidInput, InvalidName, NotFound
from tests.helpers import in_threads
from tests.projections.reference import check_every_way

pytestmark = pytest.mark.alike


@pytest.mark.feature("S2-3")
def test_a_project_is_added_updated_and_deleted(log: Log) -> None:
    with freeze_time("2024-05-01 12:00:00"):
        added = log.projects.add("demo", path="/srv/demo", note="first")
    assert added == log.projects.get("demo") == log.projects.find("demo")
    assert (added.project_id, added.path, added.note) == ("demo", "/srv/demo", "first")
    assert added.created_at == added.updated_at == 1_714_564_800_000_000
    with freeze_time("2024-05-01 13:00:00"):
        updated = log.projects.update("demo", note="second")
    assert (updated.path, updated.note) == ("/srv/demo", "second")
    assert updated.updated_at - updated.created_at == 3_600_000_000
    assert log.projects.update("demo", path=None).path is None
    log.projects.delete("demo")
    assert log.projects.find("demo") is None
    check_every_way(log)


def test_a_project_is_there_once_and_can_come_back(log: Log) -> None:
    log.projects.add("demo", note="old")
    with pytest.raises(Conflict, match="demo"):
        log.projects.add("demo")
    log.projects.delete("demo")
    assert log.projects.add("demo").note == ""
    check_every_way(log)


def test_threads_that_add_one_project_let_one_win(log: Log) -> None:
    def add(worker: int) -> bool:
        try:
            return log.projects.add("demo", note=str(worker)).project_id == "demo"
        except Conflict:
            return False

    assert in_threads(5, add).count(True) == 1
    assert log.head().position == 1


@pytest.mark.parametrize("name", ["none", "", "\ud800", "x" * 600])
def test_a_project_that_is_not_there_is_told(log: Log, name: str) -> None:
    uses: list[Any] = [
        lambda: log.projects.get(name),
        lambda: log.projects.update(name, note="x"),
        lambda: log.projects.delete(name),
    ]
    for use in uses:
        with pytest.raises((NotFound, InvalidInput)):
            use()
    assert log.head().position == 0


@pytest.mark.parametrize("name", ["", "a\nb", "\0", "\ud800", "x" * 201, "\u202e"])
def test_a_name_that_cannot_be_used_is_refused(log: Log, name: str) -> None:
    with pytest.raises(InvalidName):
        log.projects.add(name)
    assert log.head().position == 0


@pytest.mark.parametrize("name", ["a", "a-b-c", "1", "01", "Ünï çödé", "x" * 200, "'; --", "%"])
def test_any_printable_name_is_a_project(log: Log, name: str) -> None:
    assert log.projects.add(name).project_id == name
    assert log.projects.get(name).project_id == name
    log.projects.delete(name)
    assert log.projects.list() == []


def test_projects_are_listed_by_name(log: Log) -> None:
    for name, note in (("b", "Red"), ("a", "blue"), ("c", "")):
        log.projects.add(name, note=note)
    assert [one.project_id for one in log.projects.list()] == ["a", "b", "c"]
    assert [one.project_id for one in log.projects.list(limit=1, offset=1)] == ["b"]
    assert [one.project_id for one in log.projects.list(text="red")] == ["b"]


def test_an_update_needs_something_to_change(log: Log) -> None:
    log.projects.add("demo")
    with pytest.raises(EventLogError):
        log.projects.update("demo")
    assert log.head().position == 1


def test_runs_keep_the_name_of_a_project_that_is_gone(log: Log) -> None:
    log.projects.add("demo")
    run = log.runs.start("x", project_id="demo")
    log.projects.delete("demo")
    assert log.runs.get(run.run_id).project_id == "demo"
    assert log.runs.count(project_id="demo") == 1
