"""Several processes on one log: forked, spawned, at once."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from pathlib import Path

import pytest

import eventlog
from eventlog.app import Log
from tests.conftest import OpenLog
from tests.helpers import Noted, append_notes, assert_whole, in_processes, in_threads, notes, numbers, start_runs

pytestmark = pytest.mark.shared


def test_four_processes_append_without_gaps_or_errors(log: Log, target: str) -> None:
    in_processes(4, append_notes, target, 25)
    assert log.head().position == 4 * 2 * 25
    for worker in range(4):
        assert numbers(log.read_stream(f"own-{worker}")) == list(range(25))
    assert sorted(numbers(log.read_stream("shared-1"))) == sorted(list(range(25)) * 4)
    assert_whole(log)


def test_four_processes_and_threads_number_their_runs_without_gaps_or_doubles(log: Log, target: str) -> None:
    in_processes(3, start_runs, target, 8)
    in_threads(4, lambda worker: [log.runs.start(f"thread {worker}", durability="process") for _ in range(4)])
    runs = log.runs.list(limit=None)
    assert [run.run_id for run in runs] == list(range(40, 0, -1))
    assert Counter(run.command.split(" run ")[0] for run in runs if "worker" in run.command) == {
        f"worker {worker}": 8 for worker in range(3)
    }
    assert log.runs.count(status="success") == 12
    assert log.projections.verify() == []
    assert_whole(log)


def _child_appends(number: int, log: Log) -> None:
    for _ in range(10):
        log.append(f"child-{number}", Noted(), durability="process")
    assert log.head().position >= 10
    assert [record.version for record in log.read_stream(f"child-{number}")] == list(range(1, 11))
    log.close()


def test_forked_children_append_through_the_inherited_log_and_the_parent_goes_on(log: Log) -> None:
    log.append("parent-1", notes(3))
    list(log.read())
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child_appends, args=(number, log)) for number in range(3)]
    for child in children:
        child.start()
    for _ in range(10):
        log.append("parent-1", Noted(), durability="process")
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert log.append("parent-1", Noted()).version == 14
    assert [len(list(log.read_stream(f"child-{number}"))) for number in range(3)] == [10, 10, 10]
    assert log.projections.verify() == []
    assert_whole(log)


def test_a_forked_child_that_leaves_without_a_word_harms_nothing(log: Log) -> None:
    log.append("parent-1", notes(3))
    pid = os.fork()
    if pid == 0:
        log.append("child-1", Noted())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert log.append("parent-1", Noted()) == (5, 5, 4, False)
    assert_whole(log)


def test_spawned_children_open_the_log_anew(log: Log, target: str) -> None:
    log.append("parent-1", Noted())
    in_processes(2, append_notes, target, 5, method="spawn")
    assert log.append("parent-1", Noted()).version == 2
    assert log.head().position == 22
    assert_whole(log)


def test_a_child_of_a_log_in_memory_has_a_copy_of_its_own() -> None:
    with eventlog.open(":memory:") as log:
        log.append("parent-1", Noted())
        pid = os.fork()
        if pid == 0:
            ok = log.append("child-1", Noted()) == (2, 2, 1, False)
            os._exit(0 if ok else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert log.head().position == 1


def test_a_log_opened_while_another_writes_gets_all_of_it(log: Log, open_log: OpenLog, tmp_path: Path) -> None:
    for number in range(3):
        log.append("note-1", Noted(number=number))
        assert numbers(open_log().read()) == list(range(number + 1))
