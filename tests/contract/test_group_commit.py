"""Many callers, one commit: each gets its own result or its own error, and an interrupt leaves the log whole."""

from __future__ import annotations

import threading

import pytest

from eventlog import Append
from eventlog.app import Log
from eventlog.errors import WrongExpectedVersion
from tests.helpers import Noted, assert_whole, in_child, in_threads, notes, numbers, positions


def test_each_thread_gets_its_own_result(log: Log) -> None:
    def work(worker: int) -> list[tuple[int, int]]:
        return [log.append(f"own-{worker}", Noted(number=number))[:2] for number in range(20)]

    results = in_threads(8, work)
    taken = sorted(first for one in results for first, _ in one)
    assert taken == list(range(1, 161))
    for worker, one in enumerate(results):
        assert [first for first, last in one] == positions(log.read(streams=f"own-{worker}"))
        assert numbers(log.read_stream(f"own-{worker}")) == list(range(20))
    assert_whole(log)


def test_each_thread_gets_its_own_error(log: Log) -> None:
    log.append("taken-1", Noted())

    def work(worker: int) -> int:
        refused = 0
        for number in range(10):
            try:
                expect = 99 if (worker + number) % 3 == 0 else number - refused
                log.append(f"own-{worker}", Noted(number=number), expect=expect)
            except WrongExpectedVersion as error:
                assert (error.stream, error.expected, error.actual) == (f"own-{worker}", 99, number - refused)
                refused += 1
        return 10 - refused

    stored = in_threads(6, work)
    assert [len(list(log.read_stream(f"own-{worker}"))) for worker in range(6)] == stored
    assert_whole(log)


def test_one_stream_contended_for_gives_each_version_to_one_winner(log: Log) -> None:
    def work(worker: int) -> int:
        won = 0
        while won < 10:
            version = max((record.version for record in log.read_stream("race-1", backwards=True, limit=1)), default=0)
            try:
                log.append("race-1", Noted(number=worker), expect=version)
                won += 1
            except WrongExpectedVersion as error:
                assert error.actual > version
        return won

    assert in_threads(4, work) == [10] * 4
    assert sorted(numbers(log.read_stream("race-1"))) == sorted([0, 1, 2, 3] * 10)
    assert_whole(log)


@pytest.mark.feature("S0-9")
def test_batches_of_threads_stay_together(log: Log) -> None:
    def work(worker: int) -> None:
        for number in range(5):
            log.append_many([Append(stream=f"{name}-{worker}", events=notes(2, number)) for name in ("a", "b")])

    in_threads(6, work)
    batches = [record.stream.partition("-")[2] for record in log.read()]
    assert all(len(set(batches[at : at + 4])) == 1 for at in range(0, len(batches), 4))
    assert_whole(log)


def test_more_waiting_than_one_commit_takes_are_all_stored(log: Log) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold(tx: object) -> None:
        entered.set()
        assert leave.wait(20)

    with log.transaction():  # every append below waits in the queue until this ends
        threads = [threading.Thread(target=log.append, args=(f"own-{n}", Noted())) for n in range(60)]
        for one in threads:
            one.start()
    for one in threads:
        one.join(20)
    assert len({record.stream for record in log.read()}) == 60
    assert_whole(log)


@pytest.mark.parametrize(
    "moment",
    [
        "interrupted_while_waiting",
        "interrupted_while_next",
        "interrupted_while_deciding",
        "interrupted_in_a_transaction",
    ],
)
@pytest.mark.alike
def test_ctrl_c_leaves_the_log_whole_and_everybody_else_served(target: str, moment: str) -> None:
    assert in_child(moment, target) == "interrupted\n"


@pytest.mark.alike
def test_ctrl_c_at_any_moment_leaves_the_log_whole(target: str) -> None:
    assert in_child("interrupted_at_any_moment", target) == "whole\n"
