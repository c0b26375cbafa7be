"""Jobs: a whole life (enqueued, claimed, completed) one by one and in batches, recovery, and pages of the history."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import eventlog
from benchmarks.harness import Figure, interleave, over, told
from benchmarks.logs import Bench
from eventlog import Append, Log
from eventlog.events.jobs import JobEnqueued, JobStarted, JobSucceeded
from eventlog.events.workers import WorkerStarted
from eventlog.ids import uuid7
from eventlog.repositories.jobs import NewJob
from eventlog.store.base import Durability

BATCH = 100
RECOVERERS = 8
QUEUES = ("default",)
KINDS = ("work",)


def run(bench: Bench) -> Iterator[Figure]:
    """Lives of jobs on an empty log and on one with many finished jobs; recovery; history."""
    with eventlog.open(bench.fresh("jobs")) as empty, eventlog.open(bench.finished()) as full:
        yield from _lives(bench, empty, full)
        yield from _history(bench, full)
    yield from _recovery(bench)


def one_by_one(log: Log, count: int, durability: Durability) -> None:
    """Enqueue each job in a call of its own, then claim each with the completion of the one before."""
    for number in range(count):
        log.jobs.enqueue("work", {"number": number}, durability=durability)
    claimed = log.jobs.claim("worker", queues=QUEUES, kinds=KINDS, durability=durability)
    while claimed:
        (job,) = claimed
        claimed = log.jobs.complete_and_claim(
            job.job_id, job.token or 0, worker_id="worker", queues=QUEUES, kinds=KINDS, limit=1, durability=durability
        ).claimed


def in_batches(log: Log, count: int) -> None:
    """The same in transactions of a hundred, not synced."""
    for start in range(0, count, BATCH):
        new = [NewJob(kind="work", args={"number": start + number}) for number in range(BATCH)]
        log.jobs.enqueue_many(new, durability="process")
    while claimed := log.jobs.claim("worker", queues=QUEUES, kinds=KINDS, limit=BATCH, durability="process"):
        log.jobs.complete_many([(job.job_id, job.token or 0, None) for job in claimed], durability="process")


def _lives(bench: Bench, empty: Log, full: Log) -> Iterator[Figure]:
    count = bench.size.process_singles
    durable = max(10, bench.size.singles // 5)
    batches = 10 * BATCH
    kinds: list[tuple[str, str, int, Callable[[Log], None], float | None]] = [
        ("single", "one by one, durability=process", count, lambda log: one_by_one(log, count, "process"), 2_000),
        ("durable", "one by one, durable", durable, lambda log: one_by_one(log, durable, "full"), None),
        ("batched", f"batches of {BATCH}, durability=process", batches, lambda log: in_batches(log, batches), 10_000),
    ]
    for name, what, jobs, live, bar in kinds:
        here, there = interleave(min(5, bench.size.rounds), partial(live, empty), partial(live, full))
        yield Figure(
            id=f"jobs.{name}",
            what=f"jobs, enqueued, claimed and completed, {what}",
            unit="jobs/s",
            ours=jobs / here.median,
            bar=bar,
            on_value=True,
        )
        yield Figure(
            id=f"jobs.{name}.full",
            what=f"the same on a log with {bench.size.finished_jobs:,} finished jobs, over the empty one",
            unit="jobs/s",
            ours=jobs / there.median,
            raw=jobs / here.median,
            against="the empty log",
            ratio=over(here, there),
            bar=0.8,
        )


def _history(bench: Bench, log: Log) -> Iterator[Figure]:
    middle = log.jobs.list(limit=1, offset=bench.size.finished_jobs // 2)[0].job_id
    pages = (
        ("first", "the first page", lambda: log.jobs.history(limit=50)),
        ("status", "the first page of one status", lambda: log.jobs.history(limit=50, status="completed")),
        ("cursor", "a page half-way, by cursor", lambda: log.jobs.history(limit=50, before=middle)),
    )
    for name, what, ask in pages:
        (timing,) = interleave(bench.size.queries, ask)
        yield Figure(
            id=f"jobs.history.{name}",
            what=f"history of {bench.size.finished_jobs:,} jobs, 50 a page: {what}, p50",
            unit="ms",
            ours=timing.median * 1e3,
            bar=10,
            sense="<=",
            on_value=True,
        )


def finished(path: Path, jobs: int) -> None:
    """A log of so many jobs that completed, with every projection caught up."""
    with told(f"making a log of {jobs:,} finished jobs"), eventlog.open(path, projections="deferred") as log:
        position, start = 0, time.time_ns() // 1000 - jobs * 1000
        for first in range(0, jobs, 2_000):
            appends = []
            for number in range(first, min(jobs, first + 2_000)):
                at = start + number * 1000
                stream = f"job-{uuid7()}"
                for step, event in enumerate(
                    (
                        JobEnqueued(kind="work", queue=f"queue-{number % 4}", args={"number": number}),
                        JobStarted(attempt=1, worker_id="worker", lease_us=30_000_000),
                        JobSucceeded(attempt=1, worker_id="worker", duration_us=number % 1000),
                    )
                ):
                    appends.append(Append(stream=stream, events=event, occurred_at=at + step * 100))
            position = log.append_many(appends, durability="process")[-1].last
        log.projections.rebuild()
        assert position == 3 * jobs


def _recovery(bench: Bench) -> Iterator[Figure]:
    """Many processes take the jobs of one that is gone, at once; each job must be requeued by one of them."""
    path = bench.fresh("recovery")
    count = min(10_000, bench.size.finished_jobs)
    with eventlog.open(path) as log:
        worker = log.workers.start(WorkerStarted(host="gone"))
        log.jobs.enqueue_many([NewJob(kind="work", queue="lost") for _ in range(count)])
        while log.jobs.claim(worker, limit=1000):
            pass
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RECOVERERS + 1)
    processes = [context.Process(target=_recover, args=(str(path), barrier)) for _ in range(RECOVERERS)]
    for process in processes:
        process.start()
    barrier.wait()
    started = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - started
    with eventlog.open(path) as log:
        requeued = sum(1 for _ in log.read(types=["job.requeued"]))
    yield Figure(
        id="jobs.recovery",
        what=f"{RECOVERERS} processes take {count:,} jobs of a lost worker at once",
        unit="s",
        ours=seconds,
        bar=5,
        sense="<=",
        on_value=True,
    )
    yield Figure(
        id="jobs.recovery.wrong",
        what="the same: jobs requeued never, or twice",
        unit="",
        ours=abs(requeued - count),
        bar=0,
        sense="<=",
        on_value=True,
    )


def _recover(path: str, barrier: object) -> None:
    """In a process of its own: take what is processing, a few hundred at a time."""
    with eventlog.open(path) as log:
        log.head()
        barrier.wait()  # type: ignore[attr-defined]
        while jobs := log.jobs.processing():
            for start in range(0, len(jobs), 500):
                claims = [(job.job_id, job.token or 0) for job in jobs[start : start + 500]]
                log.jobs.crash(claims, "other_boot", "the host was started again")
