"""Statements that are sent and answered together."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import psycopg
import pytest

import eventlog
from eventlog.store import postgres_pipeline
from eventlog.store.postgres_pipeline import Pipeline
from eventlog.store.postgres_pool import at_rest
from eventlog.store.postgres_session import Writer, rolled_back
from tests.postgres import borrow_log, connect, return_log

INSERT = "INSERT INTO things VALUES (?, ?, ?)"
ALL = "SELECT number, name, part FROM things ORDER BY number"


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    with connect() as connection:
        connection.execute("CREATE TEMP TABLE things (number bigint PRIMARY KEY, name text, part double precision)")
        yield Pipeline(connection)


def rows(pipeline: Pipeline) -> list[tuple[object, ...]]:
    pipeline.ask(ALL)
    return pipeline.rows(pipeline.exchange()[-1])


def test_values_are_stored_as_they_are_and_text_as_it_can_be_held(pipeline: Pipeline) -> None:
    for number in range(3):  # as it is, prepared, and by its name
        pipeline.tell(INSERT, (number, "é\0\1", 0.1))
    pipeline.tell(INSERT, (2**63 - 1, None, float("inf")))
    assert pipeline.waiting == 4
    assert rows(pipeline) == [
        *((number, "é\1\1\1\2", 0.1) for number in range(3)),
        (2**63 - 1, None, float("inf")),
    ]


def test_values_of_types_like_ours_are_stored_as_ours(pipeline: Pipeline) -> None:
    class Text(str):
        pass

    class Fraction(float):
        def __repr__(self) -> str:
            return f"Fraction({float(self)!r})"

    pipeline.tell(INSERT, (1, Text("a\0b"), Fraction(0.5)))
    assert rows(pipeline) == [(1, "a\1\1b", 0.5)]


@pytest.mark.parametrize("wrong", [1.5, True, "one", 2**63])
def test_what_does_not_fit_its_column_is_refused_and_nothing_after_it_is_run(pipeline: Pipeline, wrong: object) -> None:
    for number in range(2):
        with pytest.raises(psycopg.DataError):
            pipeline.tell(INSERT, (wrong, "wrong", None))
            pipeline.tell("SELECT no_such_thing")
            pipeline.exchange()
        assert at_rest(pipeline.connection)
        pipeline.tell(INSERT, (number, "right", None))
        pipeline.exchange()
    assert rows(pipeline) == [(0, "right", None), (1, "right", None)]


def test_statements_make_room_for_others(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_pipeline, "MOST_KNOWN", 3)
    for turn in range(4):
        for number in range(5):
            pipeline.tell(f"INSERT INTO things VALUES (?, '{number}')", (5 * turn + number,))
            pipeline.tell(f"UPDATE things SET part = {number} WHERE number = ?", (5 * turn + number,))
            pipeline.tell(
                f"UPDATE things SET part = part + 1 WHERE number = ? AND part = {number}", (5 * turn + number,)
            )
        assert len(pipeline.exchange()) == 15
    assert [row[2] for row in rows(pipeline)] == [1.0, 2.0, 3.0, 4.0, 5.0] * 4
    kept = pipeline.connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert kept is not None and kept[0] <= 3


def test_a_failed_transaction_is_not_asked_to_make_room(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server takes nothing then but the end of the transaction, or of its nested part."""
    writer = Writer(pipeline.connection, pipeline)
    monkeypatch.setattr(postgres_pipeline, "MOST_KNOWN", 2)
    writer.execute("BEGIN")
    writer.savepoint()
    writer.execute(ALL)
    writer.execute(ALL)
    writer.later("SELECT no_such_thing")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        writer.settle()
    writer.rollback_to_savepoint()
    writer.later(INSERT, (1, "after", None))
    assert writer.commit()
    assert [row[1] for row in rows(pipeline)] == ["after"]


def test_what_an_interrupt_kept_from_being_prepared_is_prepared_anew(pipeline: Pipeline) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    pipeline.tell(INSERT, (0, "before", None))
    pipeline.exchange()
    pipeline.tell("BEGIN")
    pipeline.tell("SELECT pg_sleep(20)")
    pipeline.tell(INSERT, (1, "never", None))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            pipeline.exchange()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rolled_back(pipeline.connection)  # the driver has cancelled it: the connection is of use
    for number in range(2, 5):
        pipeline.tell(INSERT, (number, "after", None))
        pipeline.exchange()
    assert [row[1] for row in rows(pipeline)] == ["before", "after", "after", "after"]


def test_what_is_refused_again_and_again_is_prepared_once(pipeline: Pipeline) -> None:
    pipeline.tell(INSERT, (0, "there", None))
    pipeline.exchange()
    for _ in range(10):
        with pytest.raises(psycopg.errors.UniqueViolation):
            pipeline.tell(INSERT, (0, "there", None))
            pipeline.exchange()
    kept = pipeline.connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert kept is not None and kept[0] == 1


def test_what_is_begun_is_answered_with_the_rest(pipeline: Pipeline) -> None:
    pipeline.tell(INSERT, (1, "begun", None))
    pipeline.begin()
    assert not at_rest(pipeline.connection)
    pipeline.tell(INSERT, (2, "told after", None))
    assert len(pipeline.exchange()) == 2
    assert at_rest(pipeline.connection)
    assert [row[1] for row in rows(pipeline)] == ["begun", "told after"]


def test_what_was_asked_of_a_live_table_is_asked_of_what_shadows_it_then() -> None:
    url = borrow_log()
    with eventlog.open(url) as log:
        key = (log.runs.start("shown").run_id,)
        runs, jobs = (log.projections.projection(name).table for name in ("runs", "jobs"))
        scratch = log.store.scratch()
        try:
            scratch.overlay(jobs)
            for _ in range(3):
                assert key in scratch.load(runs, [key])
            scratch.overlay(runs)
            scratch.touch(runs, [key], [])
            assert scratch.load(runs, [key]) == {}
        finally:
            scratch.close()
    return_log(url)
