"""Many who claim at once, in threads, in processes, through two logs: each job is one's, and everybody sees it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from eventlog.errors import Conflict, EventLogError, LogReadOnly
from eventlog.events.workers import WorkerStarted
from eventlog.repositories.jobs import LateResult, NewJob
from tests.conftest import OpenLog
from tests.contract.jobs_support import assert_sound, become, claim, ids, token
from tests.helpers import in_processes, in_threads


def work_off(log: Log, worker: str, limit: int = 1) -> list[str]:
    """Claim and complete until nothing is left; the ids of what was done."""
    done: list[str] = []
    jobs = log.jobs.claim(worker, limit=limit, durability="process")
    while jobs:
        *others, last = jobs
        log.jobs.complete_many([(job.job_id, token(job), worker) for job in others], durability="process")
        done += ids(jobs)
        jobs = log.jobs.complete_and_claim(
            last.job_id, token(last), worker, worker_id=worker, limit=limit, durability="process"
        ).claimed
    return done


def drain(number: int, target: str) -> None:
    """Work for a process."""
    with eventlog.open(target) as log:
        worker = log.workers.start(WorkerStarted())
        done = work_off(log, worker, limit=2 + number)
        assert len(done) == len(set(done))
        assert log.workers.beat(worker)


def assert_each_done_once(log: Log, made: list[str]) -> None:
    assert log.jobs.counts() == {"completed": len(made)}
    claims = Counter(record.stream for record in log.read(types=["job.started"]))
    assert claims == {f"job-{job_id}": 1 for job_id in made}
    for record in log.read(types=["job.succeeded"]):
        assert record.event.result == record.event.worker_id  # type: ignore[union-attr]
    assert_sound(log)


def test_eight_threads_do_500_jobs_each_once(log: Log) -> None:
    made = log.jobs.enqueue_many([NewJob(kind="work", queue=f"q{n % 3}", priority=n % 2) for n in range(500)])
    done = in_threads(8, lambda number: work_off(log, f"worker-{number}", limit=1 + number % 3))
    assert sorted(job_id for ours in done for job_id in ours) == made
    assert_each_done_once(log, made)


@pytest.mark.shared
def test_four_processes_do_500_jobs_each_once(log: Log, target: str) -> None:
    made = log.jobs.enqueue_many([NewJob(kind="work") for _ in range(500)])
    in_processes(4, drain, target, method="fork")
    assert_each_done_once(log, made)


def test_a_limit_holds_when_all_claim_at_once(log: Log) -> None:
    log.jobs.enqueue_many([NewJob(kind="work") for _ in range(60)])
    log.queues.limit("default", 3)
    most = 0

    def work(number: int) -> None:
        nonlocal most
        done = 0
        while done < 4:
            for job in log.jobs.claim(f"w{number}", limit=2, durability="process"):
                most = max(most, len(log.jobs.processing()))
                log.jobs.complete(job.job_id, token(job), durability="process")
                done += 1

    in_threads(6, work)
    assert 1 <= most <= 3
    assert log.jobs.count(status="completed") >= 24
    assert_sound(log)


def all_at_once(count: int, work: Callable[[int], Any]) -> Counter[str]:
    """What came of the same thing done by many: names of errors, or ``ok``."""

    def tried(number: int) -> str:
        try:
            work(number)
        except EventLogError as error:
            return type(error).__name__
        return "ok"

    return Counter(in_threads(count, tried))


def test_of_many_who_want_the_same_one_gets_it(log: Log) -> None:
    assert all_at_once(6, lambda _: log.jobs.enqueue("work", unique_key="u")) == {"ok": 1, "Conflict": 5}
    assert all_at_once(6, lambda _: log.jobs.enqueue("other", key="k")) == {"ok": 6}
    assert log.jobs.count() == 2
    claimed = in_threads(6, lambda number: log.jobs.claim(f"w{number}", limit=9))
    (job, other) = sorted((job for jobs in claimed for job in jobs), key=token)
    ends = all_at_once(6, lambda number: log.jobs.fail(job.job_id, token(job), str(number)))
    assert ends == {"ok": 1, "LateResult": 5}
    crashes = in_threads(6, lambda _: log.jobs.crash([(other.job_id, token(other))], "lease_expired", "e"))
    assert sorted(map(len, crashes)) == [0] * 5 + [1]
    log.jobs.cancel(other.job_id)
    assert all_at_once(6, lambda _: log.jobs.delete(other.job_id)) == {"ok": 1, "NotFound": 5}
    assert_sound(log)


@pytest.mark.shared
def test_two_logs_see_each_other_s_claims_at_once(log: Log, open_log: OpenLog) -> None:
    logs = [log, open_log(), open_log(projections="deferred")]
    made = log.jobs.enqueue_many([NewJob(kind="work") for _ in range(12)])
    for number in range(12):
        mine, other, third = (logs[(number + turn) % 3] for turn in range(3))
        job = claim(mine)
        assert job.job_id == made[number]
        assert other.jobs.get(job.job_id).worker_id == "w"
        assert third.jobs.processing() == [job]
        with pytest.raises(Conflict):
            other.jobs.change(job.job_id, priority=1)
        if number % 2:
            (job,) = other.jobs.crash([(job.job_id, token(job))], "lease_expired", "silent")
            with pytest.raises(LateResult):
                mine.jobs.complete(job.job_id, token(job))
            third.jobs.cancel(job.job_id)
        else:
            third.jobs.complete(job.job_id, token(job))
        assert mine.jobs.processing() == []
        assert mine.jobs.counts() == other.jobs.counts() == third.jobs.counts()
    for one in logs:
        assert one.projections.verify() == []
    assert_sound(log)


# who lives


def test_a_worker_lives_as_long_as_it_says_so(log: Log) -> None:
    worker = log.workers.start(WorkerStarted(host="h", pid=1))
    assert log.workers.get(worker).status == "running"
    first = log.workers.silences()[worker]
    assert 0 <= first < 10_000_000
    time.sleep(0.02)
    assert log.workers.silences()[worker] >= 20_000
    head = log.head()
    assert log.workers.beat(worker)
    assert log.workers.silences()[worker] < 20_000_000
    assert log.head() == head  # no event
    assert not log.workers.beat("nobody")
    assert set(log.workers.silences()) == {worker}
    log.workers.stop(worker, "done")
    assert not log.workers.beat(worker)
    assert log.workers.silences() == {}
    assert (log.workers.get(worker).status, log.workers.get(worker).reason) == ("stopped", "done")


def test_a_worker_is_lost_once_and_is_told_at_its_next_beat(log: Log) -> None:
    worker, other = log.workers.start(WorkerStarted()), log.workers.start(WorkerStarted())
    told = in_threads(5, lambda _: log.workers.lost(worker, "process_gone", "pid 7 is gone"))
    assert sorted(told) == [False] * 4 + [True]
    assert not log.workers.beat(worker)
    assert log.workers.get(worker).reason == "pid 7 is gone"
    assert not log.workers.lost("nobody", "process_gone", "e")
    log.workers.stop(other)
    assert not log.workers.lost(other, "process_gone", "e")
    assert [one.status for one in log.workers.list()] == ["stopped", "lost"]
    with pytest.raises(EventLogError):
        log.workers.start(WorkerStarted(), worker)
    assert log.store.beat("twice", first=True)
    with pytest.raises(EventLogError):
        log.store.beat("twice", first=True)
    log.store.forget_workers(["twice", "never there"])
    assert log.workers.silences() == {}
    assert log.projections.verify() == []


@pytest.mark.shared
def test_a_beat_hides_nothing_that_others_wrote(log: Log, open_log: OpenLog) -> None:
    other = open_log()
    worker = log.workers.start(WorkerStarted())
    log.jobs.enqueue_many([NewJob(kind="work") for _ in range(6)])
    for _ in range(3):
        theirs = claim(other)
        assert log.workers.beat(worker)
        mine = claim(log)
        assert mine.job_id != theirs.job_id
        other.jobs.complete(theirs.job_id, token(theirs))
        assert log.workers.beat(worker)
        log.jobs.complete(mine.job_id, token(mine))
        assert other.workers.beat(worker)
    assert log.jobs.counts() == {"completed": 6}
    assert_sound(log)


@pytest.mark.shared
def test_a_log_opened_for_reading_beats_for_nobody(log: Log, open_log: OpenLog) -> None:
    become(log, "queued")
    worker = log.workers.start(WorkerStarted())
    reading = open_log(mode="r")
    assert set(reading.workers.silences()) == {worker}
    for command in (lambda: reading.workers.beat(worker), lambda: reading.jobs.claim("w")):
        with pytest.raises(LogReadOnly):
            command()
    assert reading.jobs.counts() == {"queued": 1}
    assert reading.jobs.check() == []
