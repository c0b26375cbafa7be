"""Following: live, resumable, filtered, stoppable; by threads and by other processes."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

import eventlog
from eventlog.app import Log
from eventlog.errors import EventLogError
from eventlog.log import PAGE
from tests.conftest import OpenLog
from tests.helpers import Measured, Noted, append_notes, eventually, in_processes, notes, positions, thread


def test_follow_gives_what_is_there_and_what_comes(log: Log) -> None:
    log.append("note-1", notes(3))
    seen: list[int] = []

    def follower() -> None:
        seen.extend(positions(itertools.islice(log.follow(after=0, timeout_s=10), 6)))

    with thread(follower):
        eventually(lambda: log.head().position == 3)
        for _ in range(3):
            log.append("note-1", Noted())
            time.sleep(0.01)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_follow_begins_at_the_head_unless_told_otherwise(log: Log) -> None:
    log.append("note-1", notes(3))
    following = log.follow(poll_s=0.005, timeout_s=0.2)
    assert next(following, None) is None
    live = log.follow(poll_s=0.005, timeout_s=5)
    timer = threading.Timer(0.1, log.append, ("note-1", Noted()))
    timer.start()
    assert next(live).position == 4
    timer.join()


def test_follow_resumes_where_it_was_left(log: Log) -> None:
    log.append("note-1", notes(4))
    seen = positions(itertools.islice(log.follow(after=0), 2))
    log.append("note-1", notes(2))
    seen += positions(log.follow(after=seen[-1], poll_s=0.005, timeout_s=0.1))
    assert seen == [1, 2, 3, 4, 5, 6]


def test_follow_passes_over_what_the_filters_do_not_name(log: Log) -> None:
    for number in range(12):
        log.append(("a-1", "a-2", "b-1")[number % 3], Measured() if number % 4 == 0 else Noted())
    quick = {"after": 0, "poll_s": 0.005, "timeout_s": 0.05}
    assert {r.stream for r in log.follow(categories="a", **quick)} == {"a-1", "a-2"}  # type: ignore[arg-type]
    assert {r.stream for r in log.follow(streams=["b-1"], **quick)} == {"b-1"}  # type: ignore[arg-type]
    assert positions(log.follow(types=Measured, **quick)) == [1, 5, 9]  # type: ignore[arg-type]


def test_follow_gives_more_than_a_page(log: Log) -> None:
    log.append("note-1", notes(PAGE + 3))
    assert positions(log.follow(after=0, poll_s=0.005, timeout_s=0.05)) == list(range(1, PAGE + 4))


def test_follow_ends_when_stopped(log: Log) -> None:
    stop = threading.Event()
    seen: list[int] = []
    with thread(lambda: seen.extend(positions(log.follow(after=0, stop=stop))), 5):
        log.append("note-1", Noted())
        eventually(lambda: seen == [] and log.head().position == 1)
        time.sleep(0.15)
        stop.set()
    assert seen == [1]


def test_follow_ends_at_once_when_stopped_between_records(log: Log) -> None:
    log.append("note-1", notes(10))
    stop = threading.Event()
    following = log.follow(after=0, stop=stop)
    next(following)
    stop.set()
    assert list(following) == []


def test_follow_ends_after_a_quiet_time_and_not_before(log: Log) -> None:
    began = time.monotonic()
    with thread(lambda: (time.sleep(0.15), log.append("note-1", Noted()))):
        seen = positions(log.follow(after=0, poll_s=0.01, timeout_s=0.3))
    assert seen == [1]
    assert time.monotonic() - began >= 0.45


def test_follow_ends_even_while_others_append_what_it_does_not_want(log: Log) -> None:
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            log.append("other-1", Noted(), durability="process")
            time.sleep(0.002)

    with thread(busy):
        began = time.monotonic()
        assert list(log.follow(streams="mine-1", poll_s=0.01, timeout_s=0.3)) == []
        took = time.monotonic() - began
        stop.set()
    assert took < 5


def test_follow_sees_every_append_of_many_threads_once_and_in_order(log: Log) -> None:
    seen: list[int] = []
    with thread(lambda: seen.extend(positions(itertools.islice(log.follow(after=0, poll_s=0.002, timeout_s=10), 120)))):
        workers = [
            threading.Thread(target=lambda: [log.append("note-1", Noted()) for _ in range(30)]) for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert seen == list(range(1, 121))


def test_follow_continues_when_it_is_read_from_another_thread(log: Log) -> None:
    following = log.follow(after=0, poll_s=0.005, timeout_s=3)
    seen: list[int] = []
    for number in range(6):
        log.append("note-1", Noted())
        if number % 2:
            with thread(lambda: seen.append(next(following).position)):
                pass
        else:
            seen.append(next(following).position)
    assert seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.shared
def test_follow_sees_what_other_processes_append(log: Log, target: str) -> None:
    seen: list[int] = []
    follower = thread(lambda: seen.extend(positions(itertools.islice(log.follow(after=0, timeout_s=20), 120))))
    with follower:
        in_processes(3, append_notes, target, 20)
    assert seen == list(range(1, 121))


@pytest.mark.shared
def test_follow_sees_what_another_log_object_appends(log: Log, open_log: OpenLog) -> None:
    other = open_log()
    following = log.follow(after=0, poll_s=0.005, timeout_s=5)
    for number in range(1, 4):
        other.append("note-1", Noted())
        assert next(following).position == number


def test_follow_tells_that_the_log_was_closed(target: str) -> None:
    log = eventlog.open(target)
    log.append("note-1", Noted())
    following = log.follow(after=0, poll_s=0.005)
    next(following)
    log.close()

    def ask() -> None:
        with pytest.raises(EventLogError, match="closed"):
            next(following)

    with thread(ask, 5):
        pass
