"""The connection lost exactly at COMMIT: what the append says is what happened."""

from __future__ import annotations

import threading

import pytest
from pg import Wire, assert_sound, opened, session
from under_fire import Ticked, keys_in

from eventlog import Append
from eventlog.errors import OutcomeUnknown, ServerUnreachable
from tests.helpers import eventually, in_threads, thread


@pytest.mark.parametrize("how", ["answer", "fatal"])
def test_an_append_whose_commit_was_done_but_not_answered_succeeds(url: str, wire: Wire, how: str) -> None:
    with opened(wire.url) as log:
        log.append("fire-1", Ticked(), key="first")
        wire.how = how
        assert log.append("fire-1", [Ticked(number=1), Ticked(number=2)], key="second") == (2, 3, 3, False)
        assert wire.cuts == 1
        assert log.append("fire-1", Ticked(), key="third") == (4, 4, 4, False)
        run = log.runs.start("goes on")
        assert log.runs.get(run.run_id).command == "goes on"
    assert_sound(url, ["first", "second", "third"])


def test_an_append_whose_commit_never_arrived_is_told_as_not_written(url: str, wire: Wire) -> None:
    with opened(wire.url) as log:
        log.append("fire-1", Ticked(), key="first")
        wire.how = "before"
        with pytest.raises(ServerUnreachable):
            log.append("fire-1", Ticked(), key="second")
        assert wire.cuts == 1
        assert keys_in(log) == ["first"]
        assert log.append("fire-1", Ticked(), key="second") == (2, 2, 2, False)
    assert_sound(url, ["first", "second"])


@pytest.mark.parametrize("how", ["answer", "before", "fatal"])
def test_a_commit_lost_with_the_server_staying_away_is_told_as_unknown(url: str, wire: Wire, how: str) -> None:
    with opened(wire.url, patience_s=1.0) as log:
        log.append("fire-1", Ticked(), key="first")
        wire.how, wire.away_after_cut = how, True
        with pytest.raises(OutcomeUnknown) as told:
            log.append("fire-1", Ticked(), key="second")
        assert told.value.position == 2
        wire.away = False
        # A retry with the key is right whatever happened.
        again = log.append("fire-1", Ticked(), key="second")
        assert again == (2, 2, 2, how != "before")
        assert log.append("fire-1", Ticked(), key="third").version == 3
    assert_sound(url, ["first", "second", "third"])


@pytest.mark.parametrize("how", ["answer", "before", "fatal"])
def test_others_who_append_while_a_commit_is_in_doubt_do_not_blur_its_outcome(url: str, wire: Wire, how: str) -> None:
    with opened(wire.url) as log, opened(url) as other:
        log.append("fire-1", Ticked(), key="first")
        wire.how = how
        ending = threading.Event()

        def append_on() -> None:
            number = 0
            while not ending.is_set():
                other.append("fire-1", Ticked(), key=f"other-{number}")
                number += 1

        with thread(append_on):
            eventually(lambda: other.head().position > 3)
            try:
                appended = log.append("fire-1", Ticked(), key="doubtful")
            except ServerUnreachable:
                appended = None
            ending.set()
        assert (appended is None) == (how == "before")
        assert ("doubtful" in keys_in(log)) == (how != "before")
        if appended is not None:
            assert next(log.read(appended.first - 1)).key == "doubtful"
    assert_sound(url, ["first"])


@pytest.mark.parametrize("how", ["answer", "before", "fatal"])
def test_each_of_a_group_whose_commit_was_lost_is_told_the_truth(url: str, wire: Wire, how: str) -> None:
    with opened(wire.url) as log:
        told: dict[str, str] = {}

        def work(number: int) -> None:
            for turn in range(6):
                key = f"{number}-{turn}"
                if (number, turn) == (0, 2):
                    wire.how = how
                try:
                    log.append_many([Append(stream=f"fire-{number}", events=Ticked(number=turn), key=key)])
                    told[key] = "stored"
                except ServerUnreachable:
                    told[key] = "not stored"

        in_threads(4, work)
        assert wire.cuts == 1
        assert ("not stored" in told.values()) == (how == "before")
        stored = keys_in(log)
        assert {key for key, what in told.items() if what == "stored"} == set(stored)
        assert len(stored) == len(set(stored))
    assert_sound(url, stored)


@pytest.mark.parametrize("how", ["answer", "before", "fatal"])
def test_a_command_that_moves_projections_and_loses_its_commit_can_be_given_again(
    url: str, wire: Wire, how: str
) -> None:
    with opened(wire.url) as log:
        for number in range(5):
            run = log.runs.start(f"job {number}")
            log.runs.finish_success(run.run_id)
        for command in (lambda: log.projections.rollback(4), log.projections.resume, log.projections.rebuild):
            wire.how = how
            try:
                command()
            except ServerUnreachable:
                command()
            wire.how = None
        assert log.runs.count() == 5
        assert log.projections.verify() == []
    with session(url) as connection:
        left = connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE '%\\_\\_%'").fetchall()
        assert left == []
    assert_sound(url)
