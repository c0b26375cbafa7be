"""`log.executions`, `log.contests`, `log.problems`, `log.settings`, `log.containers`: their core, on every store."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from eventlog.app import Log
from eventlog.errors import Conflict, InvalidEvent, NotFound
from eventlog.events.executions import ExecutionStarted, ProblemAdded
from eventlog.repositories.executions import ExecutionHistory
from projections.containers import Container
from projections.contests import Contest, ContestProblem
from projections.settings import Setting


@pytest.mark.feature("S0-1", "S0-7")
def test_an_execution_is_started_finished_found_and_deleted(log: Log) -> None:
    started = log.executions.start("A", "rust", contest_id="abc300", command="./a < in.txt", started_at=1_000_000)
    assert (started.status, started.finished_at, started.stdout) == ("running", None, "")
    done = log.executions.finish(
        started.id, "wrong_answer", exit_code=1, stdout="41\n", stderr="hm\n", finished_at=3_500_000
    )
    assert (done.status, done.exit_code, done.stdout, done.stderr) == ("wrong_answer", 1, "41\n", "hm\n")
    assert (done.duration_us, done.stdout_bytes, done.stderr_bytes) == (2_500_000, 3, 3)
    assert done == log.executions.find(started.id)
    (row,) = log.executions.find_all(problem_name="A", status="wrong_answer")
    assert (row.id, row.stdout_position, row.contest_id) == (started.id, 2, "abc300")
    with log.as_of(1) as past:
        assert past.executions.get(started.id) == started
        assert past.executions.count(status="running") == 1
    log.executions.delete(started.id, "a mistake")
    assert log.executions.find(started.id) is None
    assert log.executions.find_all() == []


@pytest.mark.feature("S0-6")
def test_transactions_hold_over_repositories(log: Log) -> None:
    with log.transaction():
        log.contests.save(Contest("abc300", "ABC 300"))
        log.problems.save(ContestProblem("abc300_a", "N-choice question", "abc300"))
        log.settings.set("language", "rust")
        container = log.containers.create("rust:1.70")
        log.containers.start(container.container_id)
        execution = log.executions.start("A", "rust", container_id=container.container_id)
        assert log.executions.get(execution.id).status == "running"
    head = log.head()
    with pytest.raises(RuntimeError, match="no network"), log.transaction():
        log.executions.finish(execution.id, "accepted", stdout="42\n")
        log.containers.stop(container.container_id, exit_code=0)
        log.settings.set("language", "python")
        log.problems.delete("abc300_a")
        log.contests.save(Contest("abc300", "another"))
        assert log.settings.value("language") == "python"
        raise RuntimeError("no network")
    assert log.head() == head
    assert log.executions.get(execution.id).status == "running"
    assert log.containers.get(container.container_id).status == "running"
    assert (log.settings.value("language"), log.contests.get("abc300").name) == ("rust", "ABC 300")
    with log.transaction():
        log.settings.set("language", "zig")
        with pytest.raises(NotFound):
            log.problems.delete("none")
    assert log.settings.value("language") == "zig"
    assert log.projections.verify() == []


def test_what_is_saved_unchanged_appends_nothing(log: Log) -> None:
    execution = ExecutionHistory(problem_name="A", language="rust", status="accepted", stdout="token=abc123xyz789\n")
    things = [
        (log.contests, Contest("abc300", "ABC 300", starts_at=1)),
        (log.problems, ContestProblem("abc300_a", "N-choice question", time_limit_us=2_000_000)),
        (log.settings, Setting("editor", {"tab": 4, "wrap": None})),
        (log.containers, Container("c1", "rust:1.70", status="stopped", labels={"a": "b"}, exit_code=0)),
        (log.executions, execution),
    ]
    for repository, thing in things:
        saved = repository.save(thing)  # type: ignore[attr-defined]
        position = log.head().position
        assert repository.save(thing) == saved == repository.save(saved)  # type: ignore[attr-defined]
        assert log.head().position == position, thing


@pytest.mark.feature("S0-3")
def test_a_setting_is_shared_keeps_its_history_and_its_past(log: Log) -> None:
    for value in ("rust", {"name": "rust", "flags": ["-O", None, 1.5]}, None, False, 0):
        assert log.settings.set("language", value).value == value
    log.settings.unset("language")
    assert log.settings.find("language") is None
    assert log.settings.value("language", "c++") == "c++"
    log.settings.set("language", "zig", by="anna")
    told = log.settings.history("language")
    assert [one.version for one in told] == [1, 2, 3, 4, 5, 6, 7]
    assert [one.unset for one in told] == [False] * 5 + [True, False]
    assert (told[1].value["flags"], told[6].value, told[6].by) == (["-O", None, 1.5], "zig", "anna")
    with log.as_of(1) as past:
        assert past.settings.value("language") == "rust"
        assert len(past.settings.history("language")) == 1
    with log.as_of(6) as past:
        assert past.settings.find("language") is None
    log.settings.set("editor/theme", "dark")
    log.settings.set("editor/font", "mono")
    assert [one.name for one in log.settings.list(prefix="editor/")] == ["editor/font", "editor/theme"]
    assert [one.name for one in log.settings.list(text="lang", limit=1)] == ["language"]


@pytest.mark.feature("S0-4")
def test_a_container_lives_and_can_come_back(log: Log) -> None:
    made = log.containers.create("rust:1.70", container_id="c1", labels={"API_TOKEN": "abc", "contest": "abc300"})
    assert made.labels == {"API_TOKEN": "[redacted]", "contest": "abc300"}
    log.containers.start("c1")
    assert log.containers.stop("c1", exit_code=137, reason="out of memory").exit_code == 137
    assert log.containers.start("c1").starts == 2
    assert [one.container_id for one in log.containers.list(status="running")] == ["c1"]
    with pytest.raises(Conflict, match="already"):
        log.containers.create("rust:1.70", container_id="c1")
    assert log.containers.remove("c1").status == "removed"
    assert log.containers.create("rust:1.71", container_id="c1").starts == 0
    log.containers.delete("c1")
    assert log.containers.list() == []


def test_changes_are_events_of_what_changed(log: Log) -> None:
    log.contests.save(Contest("abc300", "ABC 300", platform="atcoder"))
    log.contests.save(Contest("abc300", "ABC 300", platform="atcoder", url="https://example.org/abc300"))
    execution = log.executions.save(ExecutionHistory(problem_name="A", language="rust", started_at=1))
    ended = log.executions.save(replace(execution, status="accepted", finished_at=9, stdout="42\n", language="zig"))
    assert (ended.status, ended.duration_us, ended.language) == ("accepted", 8, "zig")
    corrected = log.executions.save(replace(ended, status="wrong_answer", stderr="oh"))
    assert (corrected.stdout, corrected.stderr, corrected.stderr_bytes) == ("42\n", "oh", 2)
    assert [(one.type, one.as_dict()["data"]) for one in log.read()][1::3] == [
        ("contest.updated", {"type": "contest.updated", "url": "https://example.org/abc300"}),
        (
            "execution.finished",
            {"type": "execution.finished", "status": "accepted", "stdout": "42\n", "stdout_bytes": 3, "duration_us": 8},
        ),
    ]
    last = next(iter(log.read(backwards=True)))
    assert set(last.as_dict()["data"]) == {"type", "status", "stderr", "stderr_bytes"}
    assert log.problems.find_all(contest_id="abc300") == []
    assert [one.contest_id for one in log.contests.find_all(platform="atcoder", text="ABC")] == ["abc300"]


def test_the_longest_names_fit_every_index(log: Log) -> None:
    def long(length: int) -> str:
        return "".join(chr(random.randrange(0x20000, 0x2A000)) for _ in range(length))

    name = long(200)
    log.problems.save(ContestProblem(name, long(200), contest_id=long(200)))
    log.executions.start(name, long(200), id=long(200), contest_id=long(200), problem_id=long(200))
    log.executions.finish(log.executions.find_all(problem_name=name)[0].id, long(200))
    log.append(f"execution-{long(400)}", ExecutionStarted(problem_name=name, language="c"))
    log.append(f"problem-{long(400)}", ProblemAdded(name=name, contest_id=long(200)))
    for event in ({"problem_name": "x" * 201, "language": "c"}, {"problem_name": "x", "language": "c" * 201}):
        with pytest.raises(InvalidEvent):
            log.append("execution-raw", ExecutionStarted(**event))
    assert (log.executions.count(), len(log.problems.find_all())) == (1, 1)
    assert log.projections.verify() == []
