"""Executions, contests, problems, settings and containers through a server: what their suites promise."""

from __future__ import annotations

import pytest

from eventlog.app import Log
from eventlog.errors import Conflict, IllegalTransition, InvalidInput, NotFound
from projections.contests import Contest, ContestProblem
from tests.client.support import TRANSACTION, contract
from tests.conftest import OpenLog

globals().update(
    contract(
        "test_executions",
        without={
            "test_transactions_hold_over_repositories": TRANSACTION,
            "test_the_longest_names_fit_every_index": "it is about the store",
        },
    )
)
NAMES = ("a/b/history", "ü %2F?#", "save", "x" * 200)


@pytest.fixture
def log(open_log: OpenLog) -> Log:
    return open_log()


@pytest.mark.parametrize("name", NAMES)
def test_whatever_they_are_called_they_are_found(log: Log, served: Log, name: str) -> None:
    log.contests.save(Contest(name, name))
    log.problems.save(ContestProblem(name, name, name))
    log.settings.set(name, {"deep": [1, None]})
    log.containers.create("image", container_id=name)
    log.executions.start(name, "c", id=name)
    log.executions.finish(name, "accepted", stdout="42\n")
    assert log.contests.get(name) == served.contests.get(name)
    assert log.problems.find_all(contest_id=name) == [served.problems.get(name)] == [log.problems.get(name)]
    assert log.settings.get(name) == served.settings.get(name)
    assert log.settings.history(name) == served.settings.history(name)
    assert log.containers.start(name) == served.containers.get(name)
    assert log.executions.get(name) == served.executions.get(name)
    for delete in (log.contests.delete, log.problems.delete, log.settings.delete, log.containers.delete):
        delete(name)
    log.executions.delete(name, "why not")
    assert log.executions.find(name) is None


def test_pages_follow_each_other(log: Log, served: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        served.settings.set(f"s{number}", number)
        served.executions.start("A", "rust", started_at=number)
    monkeypatch.setattr("eventlog.client.calls.MOST_ROWS", 2)
    assert log.settings.list() == served.settings.list()
    assert log.executions.find_all(limit=3, offset=1) == served.executions.find_all(limit=3, offset=1)
    assert log.executions.find_all(limit=None) == served.executions.find_all(limit=None)
    assert log.statistics.executions(by="problem") == served.statistics.executions(by="problem")


def test_what_is_refused_is_refused_in_the_same_words(log: Log) -> None:
    with pytest.raises(InvalidInput, match="environment"):
        log.settings.set("api_token", "x")
    with pytest.raises(NotFound, match="settings set"):
        log.settings.get("none")
    execution = log.executions.start("A", "rust", id="e")
    log.executions.finish(execution.id, "accepted")
    with pytest.raises(IllegalTransition, match="has ended already"):
        log.executions.finish("e", "accepted")
    with pytest.raises(Conflict, match="already"):
        log.executions.start("A", "rust", id="e")
