"""Ids that sort by the time they were made: in one process always, between processes by microsecond."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta

import pytest
from freezegun import freeze_time

from eventlog.clock import now_us
from eventlog.ids import floor_of, uuid7
from tests.helpers import in_threads

NOON = "2024-05-01 12:00:00"


@pytest.fixture(autouse=True)
def _own_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: nothing was made before."""
    monkeypatch.setattr("eventlog.ids._last", 0)


def milliseconds(made: str) -> int:
    return uuid.UUID(made).int >> 80


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_it() -> None:
    before = now_us() // 1000
    made = uuid7()
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, made)
    assert before <= milliseconds(made) <= now_us() // 1000 + 1


def test_each_is_larger_than_all_before_it() -> None:
    made = [uuid7() for _ in range(5000)]
    assert made == sorted(set(made))


def test_threads_get_different_ones_each_in_its_order() -> None:
    made = in_threads(8, lambda _: [uuid7() for _ in range(500)])
    for mine in made:
        assert mine == sorted(mine)
    assert len({one for mine in made for one in mine}) == 4000


def test_they_count_on_while_the_clock_stands_still_or_goes_back() -> None:
    last = uuid7()
    for back in (0, 3600, 86_400 * 400):
        with freeze_time(NOON) as clock:
            clock.tick(timedelta(seconds=-back))
            made = [last, *(uuid7() for _ in range(5000))]
        assert made == sorted(set(made))
        last = made[-1]
    with freeze_time("2099-01-01"):
        ahead = uuid7()
    assert last < ahead < uuid7()  # however far the clock jumped: the next one is larger
    assert all(uuid.UUID(one).version == 7 for one in (last, ahead, uuid7()))


def test_the_floor_of_a_time_parts_those_made_by_then_from_those_made_a_millisecond_later() -> None:
    with freeze_time(NOON) as clock:
        for _ in range(3):
            clock.tick(timedelta(microseconds=333))
            at = now_us()
            made = uuid7()
            clock.tick(timedelta(milliseconds=1))
            later = uuid7()
            assert made < floor_of(at) < later


@pytest.mark.parametrize("at", [0, -1, -(2**40), -(2**63), 2**48 * 1000 - 1, 2**48 * 1000, 2**62, 2**63 - 1])
def test_any_time_has_a_floor(at: int) -> None:
    floor = floor_of(at)
    assert len(floor) == 36
    assert (floor > uuid7()) == (at > 2**52)
    assert (floor < uuid7()) == (at < 2**40)


def test_a_forked_child_makes_others_than_its_parent() -> None:
    read, write = os.pipe()
    uuid7()
    pid = os.fork()
    if pid == 0:
        os.write(write, "\n".join(uuid7() for _ in range(100)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = pipe.read().split()
    assert os.waitpid(pid, 0)[1] == 0
    ours = [uuid7() for _ in range(100)]
    assert len({*theirs, *ours}) == 200
    assert theirs == sorted(theirs)


def test_a_fork_while_another_thread_makes_ids_does_not_hang_the_child() -> None:
    stop = []

    def make(number: int) -> None:
        if number:
            while not stop:
                uuid7()
            return
        try:
            for _ in range(20):
                pid = os.fork()
                if pid == 0:
                    uuid7()
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
        finally:
            stop.append(True)

    in_threads(2, make)
