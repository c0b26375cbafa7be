"""Whoever appends holds the head: in what order others see it, how long they wait, and how it comes free."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import psycopg
import pytest
from pg import (
    HOLDS,
    Forked,
    ask,
    assert_sound,
    backends,
    gone,
    opened,
    session,
    somebody_waits,
    stopped,
    stranger,
    with_options,
)
from under_fire import Ticked, keys_in

from eventlog.errors import EventLogError, LogBusy
from tests.helpers import eventually, in_threads, positions, thread


def ticks(log: object) -> list[int]:
    return [record.event.number for record in log.read()]  # type: ignore[attr-defined]


def test_a_slow_writer_is_seen_by_nobody_before_its_commit_and_then_by_everybody_in_order(url: str) -> None:
    with opened(url) as slow, opened(url) as fast, opened(url) as reader, session(url) as watch:
        fast.append("fire-1", Ticked(number=0))
        stop = threading.Event()
        seen: list[int] = []

        def follow() -> None:
            for record in reader.follow(0, poll_s=0.001, stop=stop):
                seen.append(record.position)
                if len(seen) == 6:
                    return

        with thread(follow), contextlib.ExitStack() as later, slow.transaction() as tx:
            tx.append("fire-slow", [Ticked(number=1), Ticked(number=2)])
            assert tx.reader.head().position == 3  # it is inserted
            later.enter_context(thread(lambda: fast.append("fire-fast", [Ticked(number=4), Ticked(number=5)])))
            somebody_waits(watch)
            assert reader.head().position == 1
            assert ticks(reader) == [0]
            assert seen == [1]
            tx.append("fire-slow", Ticked(number=3))
        assert seen == [1, 2, 3, 4, 5, 6]
        assert ticks(reader) == [0, 1, 2, 3, 4, 5]
    assert_sound(url)


def test_an_append_that_is_rolled_back_burns_no_position(url: str) -> None:
    with opened(url) as log, opened(url) as other:
        for turn in range(3):
            with pytest.raises(ZeroDivisionError), log.transaction() as tx:
                tx.append("fire-1", [Ticked(), Ticked()])
                assert tx.reader.head().position == turn + 2
                raise ZeroDivisionError
            assert other.append("fire-1", Ticked()) == (turn + 1, turn + 1, turn + 1, False)
        assert positions(log.read()) == [1, 2, 3]
    assert_sound(url)


def test_appends_wait_for_an_idle_stranger_until_the_server_ends_it(url: str) -> None:
    impatient = with_options(url, idle_in_transaction_session_timeout="700ms")
    with opened(url) as log, session(url) as watch, stranger(impatient, HOLDS) as idle:
        began = time.monotonic()
        appended = in_threads(3, lambda number: log.append(f"fire-{number}", Ticked()))
        assert time.monotonic() - began > 0.5
        assert sorted(result.first for result in appended) == [1, 2, 3]
        gone(watch, idle.info.backend_pid)
    assert_sound(url)


def test_a_stranger_that_keeps_the_head_longer_than_a_writer_waits_is_told_as_busy(url: str) -> None:
    with opened(url, patience_s=0.4) as log:
        log.append("fire-1", Ticked(), key="before")
        with stranger(url, HOLDS):
            for durability in ("full", "process"):
                began = time.monotonic()
                with pytest.raises(LogBusy):
                    log.append("fire-1", Ticked(), key="refused", durability=durability)
                assert time.monotonic() - began < 12
            assert keys_in(log) == ["before"]
        assert log.append("fire-1", Ticked(), key="after") == (2, 2, 2, False)
    assert_sound(url, ["before", "after"])


def test_a_writer_that_waits_is_not_kept_beyond_its_own_time(url: str) -> None:
    with opened(url, patience_s=0.5) as log, stranger(url, HOLDS):
        began = time.monotonic()
        with pytest.raises(LogBusy):
            log.append("fire-1", Ticked())
        assert time.monotonic() - began < 3


def test_settings_in_the_url_prevail_over_the_logs_own(url: str) -> None:
    wanted = {"lock_timeout": "7s", "idle_in_transaction_session_timeout": "11s", "statement_timeout": "13s"}
    ours = {"lock_timeout": "5s", "idle_in_transaction_session_timeout": "10s", "statement_timeout": "30s"}
    for place, expected in ((url, ours), (with_options(url, **wanted), wanted)):
        with opened(place) as log, log.transaction() as tx:
            tx.append("fire-1", Ticked())
            writer = tx.reader.connection  # type: ignore[attr-defined]
            assert {name: ask(writer, f"SHOW {name}") for name in expected} == expected
            questions = expected if expected is wanted else {**expected, "statement_timeout": "0"}
            with log.store.reader() as reader:
                assert {name: ask(reader.connection, f"SHOW {name}") for name in questions} == questions  # type: ignore[attr-defined]


def test_a_log_whose_transaction_idles_too_long_is_told_and_goes_on(url: str) -> None:
    with opened(with_options(url, idle_in_transaction_session_timeout="300ms")) as log, session(url) as watch:
        log.append("fire-1", Ticked(), key="before")
        with pytest.raises(EventLogError), log.transaction() as tx:
            tx.append("fire-1", Ticked(), key="idled")
            backend = tx.reader.connection.info.backend_pid  # type: ignore[attr-defined]
            gone(watch, backend)
        assert keys_in(log) == ["before"]
        assert log.append("fire-1", Ticked(), key="after") == (2, 2, 2, False)
    assert_sound(url, ["before", "after"])


@pytest.mark.parametrize("lock", ["LOCK TABLE runs IN ACCESS EXCLUSIVE MODE", "SELECT 1 FROM runs FOR UPDATE"])
def test_a_deadlock_with_a_stranger_ends_with_an_error_of_ours_or_success(url: str, lock: str) -> None:
    with opened(url) as log, session(url) as watch:
        run = log.runs.start("locked")
        with stranger(url, lock) as other:
            told: list[object] = []

            def finish() -> None:
                try:
                    told.append(log.runs.finish_success(run.run_id))
                except EventLogError as error:
                    told.append(error)

            with thread(finish):
                somebody_waits(watch)
                # Now the append holds the head and wants the table: whoever closes the circle, one of the two is told.
                try:
                    other.execute(HOLDS)
                    other.execute("COMMIT")
                except psycopg.errors.DeadlockDetected:
                    other.execute("ROLLBACK")
        assert len(told) == 1
        finished = not isinstance(told[0], EventLogError)
        assert log.runs.get(run.run_id).status == ("success" if finished else "running")
        assert log.projections.verify() == []
        if not finished:
            assert log.runs.finish_success(run.run_id)
    assert_sound(url)


def test_a_process_stopped_in_a_transaction_loses_it_to_the_server_and_is_told_when_it_goes_on(url: str) -> None:
    place = with_options(url, idle_in_transaction_session_timeout="500ms")
    opened(url).close()
    holder = Forked("hold_and_go_on", place)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "inside\n"
    stopped(holder.pid)
    with opened(url) as log:
        assert log.append("fire-1", Ticked(), key="meanwhile") == (1, 1, 1, False)
    os.kill(holder.pid, signal.SIGCONT)
    out, err = holder.communicate(timeout=20)
    assert out == "ServerUnreachable\nagain\n", (out, err)
    with opened(url) as log:
        assert keys_in(log) == ["meanwhile", "again"]
    assert_sound(url)


@pytest.mark.parametrize("what", ["sending", "receiving"])
def test_a_process_stopped_in_the_middle_of_a_statement_cannot_hold_the_head_for_ever(url: str, what: str) -> None:
    """No time-out of the server reaches it there: neither a statement's nor an idle transaction's."""
    place = with_options(
        url, statement_timeout="500ms", idle_in_transaction_session_timeout="500ms", lock_timeout="300ms"
    )
    with opened(place) as log, session(url) as watch:
        log.append("fire-1", [Ticked(text="x" * 10_000) for _ in range(400)], key="before")
        holder = Forked("stall", place, what)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "stalling\n"
        eventually(lambda: backends(watch, " AND wait_event_type = 'Client' AND state = 'active'"))
        stopped(holder.pid)
        assert log.append("fire-1", Ticked(), key="after").first == 401
        holder.kill()
        holder.communicate()
    assert_sound(url, ["before", "after"])


@pytest.mark.parametrize("limited", [False, True])
def test_a_process_stopped_between_its_inserts_and_the_commit_is_ended_by_the_server(url: str, limited: bool) -> None:
    """Nobody waits behind it here, and of the time-outs of statements and of idle transactions neither runs."""
    settings = (
        {"statement_timeout": "60s", "transaction_timeout": "700ms"} if limited else {"statement_timeout": "700ms"}
    )
    with opened(url) as log, session(url) as watch:
        if ask(watch, "SELECT current_setting('server_version_num')::int") < 170_000:
            pytest.skip("the server has no transaction_timeout")
        log.append("fire-1", Ticked(), key="before")
        holder = Forked("stall_before_the_commit", with_options(url, **settings))
        assert holder.stdout is not None
        backend = int(holder.stdout.readline())
        stopped(holder.pid)
        gone(watch, backend)
        assert log.append("fire-1", Ticked(), key="after").first == 2
        holder.kill()
        holder.communicate()
    assert_sound(url, ["before", "after"])


def test_a_dump_that_takes_long_is_not_ended_for_the_head_that_another_holds(url: str) -> None:
    place = with_options(url, statement_timeout="500ms", lock_timeout="300ms")
    with opened(place, patience_s=2) as log, session(url) as watch:
        log.append("fire-1", [Ticked(text="x" * 10_000) for _ in range(400)], key="before")
        with stranger(url, "LOCK TABLE log_head IN ACCESS SHARE MODE") as dump, stranger(url, HOLDS):
            dump.pgconn.send_query(b"COPY (SELECT data FROM events, generate_series(1, 100)) TO STDOUT")
            eventually(lambda: backends(watch, " AND wait_event_type = 'Client' AND state = 'active'"))
            with pytest.raises(LogBusy):
                log.append("fire-1", Ticked(), key="never")
            assert dump.info.backend_pid in backends(watch)
    assert_sound(url, ["before"])
