"""Backends ended under their clients: they connect again by themselves, and what they are told is the truth."""

from __future__ import annotations

import random
import threading
import time

import psycopg
import pytest
from pg import WRITERS, Forked, Wire, all_of, ask, assert_sound, backends, gone, opened, session, with_options
from under_fire import Ticked, keys_in

from eventlog.app import Log
from eventlog.errors import ServerUnreachable
from tests.helpers import eventually, positions, thread

END = "SELECT pg_terminate_backend(%s)"


def end_all_of(log: Log, watch: psycopg.Connection[object]) -> None:
    """End every session of open logs, and wait until they are gone."""
    for pid in backends(watch):
        ask(watch, END, pid)
        gone(watch, pid)


def test_a_log_whose_sessions_were_ended_while_it_was_at_rest_does_not_notice(url: str) -> None:
    with opened(url) as log, session(url) as watch:
        log.append("fire-1", Ticked(), key="first")
        list(log.read())
        end_all_of(log, watch)
        assert log.append("fire-1", Ticked(), key="second") == (2, 2, 2, False)
        end_all_of(log, watch)
        assert keys_in(log) == ["first", "second"]
        end_all_of(log, watch)
        assert log.runs.count() == 0
        with log.as_of(1) as past:
            assert past.runs.count() == 0
    assert_sound(url, ["first", "second"])


def test_a_session_that_the_server_ends_for_idling_is_opened_again(url: str) -> None:
    with opened(with_options(url, idle_session_timeout="200ms")) as log, session(url) as watch:
        for turn in range(2):
            log.append("fire-1", Ticked(), key=str(turn))
            assert keys_in(log) == [str(one) for one in range(turn + 1)]
            for pid in backends(watch):
                gone(watch, pid)
    assert_sound(url, ["0", "1"])


def test_an_append_whose_session_is_ended_in_its_transaction_is_told_as_not_written(url: str) -> None:
    with opened(url) as log, session(url) as watch:
        log.append("fire-1", Ticked(), key="first")
        with pytest.raises(ServerUnreachable), log.transaction() as tx:
            tx.append("fire-1", Ticked(), key="second")
            assert tx.reader.head().position == 2
            (writer,) = backends(watch, WRITERS)
            ask(watch, END, writer)
            gone(watch, writer)
        assert keys_in(log) == ["first"]
        assert log.append("fire-1", Ticked(), key="second") == (2, 2, 2, False)
    assert_sound(url, ["first", "second"])


def test_a_reader_whose_session_is_ended_reads_on_and_a_follower_goes_on_where_it_was(url: str) -> None:
    with opened(url) as log, opened(url) as reader, session(url) as watch:
        log.append("fire-1", [Ticked(number=n) for n in range(5000)])
        records = reader.read()
        assert [next(records).position for _ in range(10)] == list(range(1, 11))
        end_all_of(reader, watch)
        assert positions(records) == list(range(11, 5001))
        seen: list[int] = []

        def follow() -> None:
            for record in reader.follow(0, poll_s=0.005):
                seen.append(record.position)
                if record.position == 5060:
                    return

        with thread(follow):
            for turn in range(6):
                log.append("fire-2", [Ticked(number=n) for n in range(10)], key=str(turn))
                eventually(lambda turn=turn: len(seen) > 4000 + turn * 10)  # type: ignore[misc]
                end_all_of(log, watch)
        assert seen == list(range(1, 5061))
    assert_sound(url)


def test_a_reader_whose_session_is_ended_in_the_middle_of_a_question_asks_it_again(url: str) -> None:
    with opened(url) as log, session(url) as watch:
        log.append("fire-1", Ticked())
        answers: list[object] = []

        def ask_slowly() -> None:
            with log.reader() as reader:
                answers.append(reader.execute("SELECT 7 FROM pg_sleep(0.5)").fetchone())  # type: ignore[attr-defined]

        with thread(ask_slowly):
            asking = " AND query LIKE 'SELECT 7 FROM%' AND state = 'active'"
            eventually(lambda: backends(watch, asking))
            ask(watch, END, backends(watch, asking)[0])
        assert answers == [(7,)]


def test_writers_whose_sessions_are_ended_at_random_store_each_event_once_and_are_told_the_truth(url: str) -> None:
    opened(url).close()
    chance = random.Random(3)
    children = [Forked("stubborn", url, f"w{number}", 2.5) for number in range(3)]
    ended = 0
    with session(url) as watch:
        while any(child.poll() is None for child in children):
            found = backends(watch, chance.choice(["", WRITERS]))
            for pid in chance.sample(found, min(1, len(found))):
                ended += bool(ask(watch, END, pid))
            threading.Event().wait(chance.uniform(0, 0.08))
    acknowledged: list[str] = []
    figures = [0, 0, 0]
    for *keys, last in all_of(children):
        acknowledged += keys
        figures = [had + int(more) for had, more in zip(figures, last.split()[1:], strict=True)]
    refused, unknown, lies = figures
    print(f"{ended} sessions ended, {len(acknowledged)} acknowledged, {refused} refused, {unknown} unknown")
    assert lies == 0, "told as not written, and it was"
    assert unknown == 0, "the server was there to be asked"
    assert ended > 5
    assert assert_sound(url, acknowledged) == len(acknowledged)


def test_a_rebuild_whose_session_is_ended_says_so_leaves_the_tables_and_can_be_given_again(url: str) -> None:
    with opened(url) as log, session(url) as watch:
        for number in range(20):
            log.runs.finish_success(log.runs.start(f"job {number}").run_id)
        ended: list[int] = []

        def end(done: int, total: int | None, what: str) -> None:
            if not ended:
                building = " AND backend_type = 'client backend' ORDER BY backend_start DESC LIMIT 1"
                ended.extend(backends(watch, building))
                ask(watch, END, ended[0])
                gone(watch, ended[0])

        with pytest.raises(ServerUnreachable):
            log.projections.rebuild(progress=end)
        assert log.projections.verify() == []
        assert log.runs.count() == 20
        log.projections.rebuild()
        assert log.projections.verify() == []
    assert_sound(url)


def test_a_server_that_stays_away_is_told_as_such_to_readers_and_writers_alike(url: str, wire: Wire) -> None:
    with opened(wire.url, patience_s=0.25) as log:
        log.append("fire-1", Ticked(), key="first")
        wire.stay_away()
        for question in (
            lambda: log.append("fire-1", Ticked(), key="never"),
            log.head,
            lambda: list(log.read()),
            log.runs.count,
            log.projections.rebuild,
            log.projections.verify,
            lambda: log.as_of(1).__enter__(),
            log.store.change_counter,
        ):
            began = time.monotonic()
            with pytest.raises(ServerUnreachable):
                question()
            assert time.monotonic() - began < 5
        wire.away = False
        assert keys_in(log) == ["first"]
        assert log.append("fire-1", Ticked(), key="second") == (2, 2, 2, False)
    assert_sound(url, ["first", "second"])


def test_a_server_that_is_gone_without_a_word_is_not_waited_for_for_hours(url: str) -> None:
    """No packet of a Unix socket is ever lost: what can be seen here is only what the connections ask for."""
    for place, idle in ((url, "15"), (f"{url}&keepalives_idle=7", "7")):
        with opened(place) as log, log.reader() as reader, log.transaction() as tx:
            for asking in (reader, tx.reader):
                parameters = asking.connection.info.get_parameters()  # type: ignore[attr-defined]
                assert parameters["keepalives_idle"] == idle
                assert parameters["tcp_user_timeout"] == "30000"


@pytest.mark.parametrize(
    "question", [b"pg_catalog.version()", b"current_schema()", b"eventlog_migrations", b"pg_trigger"]
)
def test_a_session_that_ends_while_a_log_is_opened_is_told_as_such_and_the_next_open_succeeds(
    url: str, wire: Wire, question: bytes
) -> None:
    opened(url).close()
    wire.cut_at = question
    try:
        opened(wire.url).close()
    except ServerUnreachable:
        pass
    assert wire.cut_at is None
    opened(wire.url).close()
