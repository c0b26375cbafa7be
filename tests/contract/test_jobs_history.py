"""Questions about jobs, and how they leave the tables: lists, counts, cursors, purges, what statistics keep."""

from __future__ import annotations

from typing import Any

import pytest
from freezegun import freeze_time

from eventlog import Append
from eventlog.app import Log
from eventlog.clock import now_us
from eventlog.errors import IllegalTransition, InvalidInput, NotFound
from eventlog.events.jobs import JobCancelled, JobEnqueued, JobPurged
from eventlog.repositories.jobs import NewJob
from tests.contract.jobs_support import ENDED, HOUR, SECOND, STATUSES, assert_sound, become, claim, ids, token

pytestmark = pytest.mark.alike

NOON = "2024-05-01 12:00:00"


def test_counts_are_those_of_the_rows_at_every_turn(log: Log) -> None:
    for number, status in enumerate((*STATUSES, *STATUSES[::2])):
        become(log, status, queue=f"q{number % 2}")
        if number % 3 == 0 and status in ENDED:
            log.jobs.delete(log.jobs.list(status=status)[0].job_id)
        rows = log.jobs.list(limit=None)
        assert log.jobs.count() == len(rows)
        for one in STATUSES:
            assert log.jobs.count(status=one) == len(log.jobs.list(status=one, limit=None))
            assert log.jobs.count(status=one, queue="q1") == sum(
                job.queue == "q1" and job.status == one for job in rows
            )
        assert log.jobs.count(status=["queued", "held"]) == len(log.jobs.list(status=("queued", "held"), limit=None))
        assert log.jobs.count(status=[]) == len(log.jobs.list(status=[])) == 0
        assert sum(log.jobs.counts(("status", "queue", "kind")).values()) == len(rows)
    assert set(log.jobs.counts(("queue",))) == {"q0", "q1"}
    assert log.jobs.count(worker_id="w") == len(log.jobs.list(worker_id="w", limit=None)) > 0
    with pytest.raises(InvalidInput, match="status is one of"):
        log.jobs.count(status="done")
    assert_sound(log)


def test_lists_filter_and_pages_follow_each_other_without_gap_or_double(log: Log) -> None:
    parent = log.jobs.enqueue("parent")
    made = log.jobs.enqueue_many(
        [
            NewJob(kind=f"k{n % 2}", queue=f"q{n % 3}", batch_id=f"b{n % 4}", parent_job_id=parent.job_id)
            for n in range(23)
        ]
    )
    newest = made[::-1]
    pages: list[str] = []
    while page := log.jobs.list(limit=5, before=pages[-1] if pages else None):
        pages += ids(page)
    assert pages == [*newest, parent.job_id]
    assert ids(log.jobs.list(limit=4, offset=3)) == newest[3:7]
    assert ids(log.jobs.list(after=made[19])) == newest[:3]
    assert ids(log.jobs.list(kind="k1", queue="q2", limit=None)) == [made[n] for n in (17, 11, 5)]
    assert ids(log.jobs.list(batch_id="b3")) == [made[n] for n in (19, 15, 11, 7, 3)]
    assert log.jobs.count(batch_id="b3") == 5
    assert ids(log.jobs.list(parent_job_id=parent.job_id, limit=None)) == newest
    assert ids(log.jobs.list(text="PAREN")) == [parent.job_id]
    history = log.jobs.history(limit=10, offset=20)
    assert (ids(history.jobs), history.total, history.limit, history.offset) == (pages[20:], 24, 10, 20)
    assert log.jobs.history(status="failed").total == 0


def test_what_is_pending_and_what_runs_is_told_oldest_first(log: Log) -> None:
    made = [become(log, status) for status in STATUSES]
    assert ids(log.jobs.get_pending()) == ids(made[:3])
    second = become(log, "processing")
    assert ids(log.jobs.processing()) == [made[1].job_id, second.job_id]


def test_what_ended_long_ago_is_purged_by_status_and_the_rest_stays(log: Log) -> None:
    with freeze_time(NOON) as clock:
        old = [become(log, status) for status in STATUSES]
        clock.tick(100)
        border = now_us()
        new = [become(log, status) for status in STATUSES]
        assert log.jobs.purge(border, dry_run=True) == 4
        assert log.jobs.purge(border, ["failed"]) == 1
        assert log.jobs.purge(border, ["failed"]) == 0
        assert log.jobs.cleanup(border) == 3
        assert {job.job_id for job in log.jobs.list(limit=None)} == set(ids(new)) | set(ids(old[:3]))
        for job in old[3:]:
            with pytest.raises(NotFound):
                log.jobs.get(job.job_id)
            with pytest.raises(NotFound):
                log.jobs.retry(job.job_id)
            assert log.jobs.events(job.job_id)[-1].type == "job.purged"
        clock.tick(100)
        assert log.jobs.purge(now_us()) == 4
    for nothing in (-(2**62), -5_000, 0):
        assert log.jobs.purge(nothing) == 0
    assert log.jobs.purge(2**62) == 0
    with pytest.raises(InvalidInput, match="not those queued"):
        log.jobs.purge(now_us(), ["completed", "queued"])
    with pytest.raises(InvalidInput):
        log.jobs.purge("yesterday")  # type: ignore[arg-type]
    assert_sound(log)


def test_a_purge_is_done_in_parts(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventlog.repositories.jobs.MAX_AT_ONCE", 10)
    for job_id in log.jobs.enqueue_many([NewJob(kind="work") for _ in range(25)]):
        log.jobs.cancel(job_id)
    assert log.jobs.purge(now_us() + SECOND) == 25
    assert log.jobs.list() == []
    assert_sound(log)


@pytest.mark.parametrize("job_id", ["7", "00000000", "job", "zzz", "f" * 300, "0" + "é" * 10])
def test_a_job_whose_id_others_chose_is_purged_as_well(log: Log, job_id: str) -> None:
    log.append_many([Append(stream=f"job-{job_id}", events=[JobEnqueued(kind="work"), JobCancelled(by="me")])])
    assert log.jobs.get(job_id).status == "cancelled"
    assert log.jobs.purge(now_us() - HOUR) == 0
    assert log.jobs.purge(now_us() + SECOND, dry_run=True) == 1
    assert log.jobs.purge(now_us() + SECOND) == 1
    assert log.jobs.count() == 0
    assert_sound(log)


def statistics(log: Log) -> dict[str, int]:
    """All hours together."""
    rows = log.projections.rows("job_statistics")
    return {name: sum(row[name] for row in rows) for name in rows[0] if isinstance(rows[0][name], int)}


def test_statistics_keep_what_was_purged_and_counts_do_not(log: Log) -> None:
    with freeze_time(NOON) as clock:
        for status in STATUSES:
            become(log, status)
        job = log.jobs.enqueue("work", queue="late")
        clock.tick(7)
        claimed = claim(log, queues=["late"])
        clock.tick(3)
        log.jobs.complete(job.job_id, token(claimed))
        before = statistics(log), log.projections.rows("job_times")
        counted = {"jobs": 8, "completed": 2, "failed": 1, "cancelled": 1, "expired": 1, "crashes": 1}
        assert {name: before[0][name] for name in counted} == counted
        assert (before[0]["wait_us"], before[0]["run_us"]) == (7 * SECOND, 3 * SECOND)
        at = log.head().position
        clock.tick(1)
        assert log.jobs.purge(now_us()) == 5
        assert log.jobs.count() == sum(log.jobs.counts().values()) == 3
        assert (statistics(log), log.projections.rows("job_times")) == before
        log.projections.rollback(at)
        assert (log.jobs.count(), statistics(log)) == (8, before[0])
        log.projections.resume()
        assert (log.jobs.count(), statistics(log)) == (3, before[0])
        log.projections.rebuild()
        assert (log.jobs.count(), statistics(log)) == (3, before[0])
    assert_sound(log)


@pytest.mark.shared
def test_nothing_that_follows_a_purge_brings_a_job_back(log: Log, open_log: Any) -> None:
    """Whoever has the row in memory, and whoever finds none in the table, come to the same."""
    job = become(log, "completed")
    log.jobs.delete(job.job_id)
    counted = statistics(log)
    stream = f"job-{job.job_id}"
    log.append(stream, JobEnqueued(kind="again"))
    assert log.jobs.find(job.job_id) is None
    open_log().append(stream, JobEnqueued(kind="again"))
    open_log(projections="off").append(stream, [JobPurged(), JobEnqueued(kind="again")])
    assert log.jobs.find(job.job_id) is None
    assert log.jobs.count() == 0
    assert statistics(log) == counted
    assert log.projections.verify() == []
    assert [found.job_id for found in log.jobs.check()] == [job.job_id] * 4
    with pytest.raises(NotFound):
        log.jobs.delete(job.job_id)


def test_what_has_not_ended_is_not_deleted(log: Log) -> None:
    for status in STATUSES[:3]:
        with pytest.raises(IllegalTransition, match=f"is {status} and cannot become purged: cancel it first"):
            log.jobs.delete(become(log, status).job_id)
    assert log.jobs.count() == 3
