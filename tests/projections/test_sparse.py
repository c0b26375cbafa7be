"""Indexes that hold only the rows with something in one column: they are partial, and claims are served by them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from eventlog import Append
from eventlog.app import Log
from eventlog.errors import Conflict
from eventlog.events.jobs import JobEnqueued, JobStarted, JobSucceeded
from eventlog.repositories.jobs import NewJob
from eventlog.store.base import Sparse
from eventlog.store.postgres import PostgresStore
from eventlog.store.sql import SqlReader
from projections.jobs import projections
from tests.helpers import behind_the_back

JOBS = projections[0]
READY, WAITING = ("queue, kind, priority, ready_at, job_id", "ready_at"), ("job_id", "ready_at")
CLAIMED, ENDED, UNIQUE = ("job_id", "claimed_at"), ("status, job_id", "ended_at"), ("unique_key", "unique_key")
Statement = tuple[str, tuple[Any, ...]]


@pytest.fixture
def full(log: Log) -> Log:
    """Many jobs that ended, and some that wait, of which few can run."""
    done = [
        JobEnqueued(kind="work", queue="q"),
        JobStarted(attempt=1, worker_id="w", lease_us=1),
        JobSucceeded(attempt=1, worker_id="w", duration_us=1),
    ]
    # Not in the order of their ids: PostgreSQL would think that of any few jobs.
    ids = [f"job-0{n * 389 % 900:04}" for n in range(900)]
    log.append_many([Append(stream=stream, events=done) for stream in ids], durability="process")
    log.jobs.enqueue_many([NewJob(kind="work", queue="q", run_at=2**52, unique_key=str(n)) for n in range(5)])
    log.jobs.enqueue_many([NewJob(kind="work", queue="q") for _ in range(4)])
    log.jobs.claim("w", limit=2)
    if isinstance(log.store, PostgresStore):
        with behind_the_back(log) as back:
            back.execute("ANALYZE jobs")
    return log


def indexes(log: Log) -> dict[tuple[str, str | None], str]:
    """What the indexes of jobs are called, by their columns and the one that has to hold something."""
    catalogue = (
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = 'jobs'"
        if isinstance(log.store, PostgresStore)
        else "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'jobs' AND sql IS NOT NULL"
    )
    with behind_the_back(log) as back:
        rows = back.execute(catalogue).fetchall()
    found = [
        (name, re.search(r"\((.*?)\)(?: WHERE \(?(\w+) IS NOT NULL\)?)?$", sql.replace('"', ""))) for name, sql in rows
    ]
    return {(match[1], match[2]): name for name, match in found if match}


def asked(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> list[Statement]:
    """The questions about jobs that a piece of work asks."""
    statements: list[Statement] = []

    def spy(name: str) -> None:
        ask = getattr(SqlReader, name)

        def spied(reader: Any, *arguments: Any, **options: Any) -> Any:
            execute = reader.execute

            def noted(sql: str, values: Any = ()) -> Any:
                statements.append((sql, tuple(values)))
                return execute(sql, values)

            reader.execute = noted
            try:
                return ask(reader, *arguments, **options)
            finally:
                reader.execute = execute

        patch.setattr(SqlReader, name, spied)

    with monkeypatch.context() as patch:
        for name in ("select", "count", "totals"):
            spy(name)
        work()
    return [(sql, values) for sql, values in statements if ' FROM "jobs" ' in sql]


def plans(log: Log, statements: list[Statement]) -> list[str]:
    how = "EXPLAIN" if isinstance(log.store, PostgresStore) else "EXPLAIN QUERY PLAN"
    with log.reader() as reader:
        return [
            "\n".join(str(row) for row in reader.execute(f"{how} {sql}", values).fetchall())  # type: ignore[attr-defined]
            for sql, values in statements
        ]


def test_every_sparse_index_is_partial(log: Log) -> None:
    found = [index for index in JOBS.table.indexes if isinstance(index, Sparse)]
    assert {index.on for index in found} >= {"ready_at", "claimed_at", "ended_at", "unique_key"}
    for _ in range(2):
        made = indexes(log)
        assert {(", ".join(index), index.on) for index in found} <= made.keys()
        log.projections.rebuild()  # whose tables are others


def test_claims_and_recovery_look_only_at_jobs_that_wait_or_run(full: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def claim() -> None:
        assert len(full.jobs.claim("w", limit=1)) == 1  # the first of the index can run
        assert len(full.jobs.claim("w", limit=3)) == 1  # the others are for later

    named = indexes(full)
    claims = asked(monkeypatch, claim)
    assert len(claims) >= 4
    for plan in plans(full, claims):
        assert named[READY] in plan, plan
        assert "Seq Scan" not in plan
        assert "TEMP B-TREE" not in plan, plan  # it is in order
    for plan in plans(full, asked(monkeypatch, full.jobs.processing)):
        assert named[CLAIMED] in plan, plan


def test_whoever_asks_for_a_key_a_count_or_a_page_looks_at_few_rows(full: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken() -> None:
        with pytest.raises(Conflict):
            full.jobs.enqueue("work", unique_key="3")

    questions: list[tuple[Callable[[], object], tuple[str, str]]] = [
        (taken, UNIQUE),
        (lambda: full.jobs.count(status="queued"), READY),
        (lambda: full.jobs.count(status="processing"), CLAIMED),
        (lambda: full.jobs.list(status="completed", limit=3), ENDED),
        (lambda: full.jobs.list(status=["processing", "held"], limit=3), CLAIMED),
        (lambda: full.jobs.history(status="queued", limit=3), WAITING),
        (full.jobs.get_pending, CLAIMED),
        (lambda: full.jobs.purge(5), ENDED),
    ]
    named = indexes(full)
    if isinstance(full.store, PostgresStore):
        del questions[1:]  # it knows how many rows there are, and may well find another way shorter
    for ask, index in questions:
        statements = asked(monkeypatch, ask)
        found = plans(full, statements)
        assert any(named[index] in plan for plan in found), (index, statements)
        assert not any("Seq Scan" in plan or "SCAN jobs'" in plan for plan in found), found


def test_an_index_of_the_same_columns_that_is_not_sparse_is_another() -> None:
    index = Sparse(("a", "b"), on="b")
    assert (tuple(index), index.on, repr(index)) == (("a", "b"), "b", "Sparse(('a', 'b'), on='b')")
    renamed = JOBS.table.renamed("other").indexes
    assert [getattr(one, "on", None) for one in renamed] == [getattr(one, "on", None) for one in JOBS.table.indexes]
