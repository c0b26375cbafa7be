"""`log.jobs.explain`: how a job came to be in the state it is in, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from eventlog.clock import counted, now_us, show_duration
from eventlog.errors import NotFound, ProjectionError
from eventlog.events.jobs import JobCancelRequested, JobHeld, JobStatus
from eventlog.events.workers import QueueLimited, QueuePaused
from eventlog.log import EventLog
from eventlog.repositories.base import Repository
from eventlog.repositories.job_rules import lease_of
from eventlog.repositories.job_story import (
    JOBS,
    SHORT,
    Sentence,
    Told,
    fold,
    progress_text,
    story,
    when,
    worker_text,
    workers_in,
)
from eventlog.store.base import Filter, QueryReader, Selection
from projections.jobs import Job
from projections.workers import Worker
from projections.workers import projections as _workers

WORKERS, QUEUES, _ = _workers
NAMED = 20
"""At most so many ids are named where there may be any number."""
_LONG_AGO = -(2**62)

BlockerKind = Literal[
    "tables", "paused", "not_before", "expiry", "limit", "no_worker", "workers_busy", "jobs_ahead",
    "person", "running", "silent", "gone", "cancel_requested",
]  # fmt: skip


class Blocker(msgspec.Struct, frozen=True):
    """One thing that stands between a job and its end. ``facts`` hold ids, numbers, and times in µs."""

    kind: BlockerKind
    text: str
    facts: dict[str, Any]


class JobExplanation(msgspec.Struct, frozen=True):
    """Why a job is in the state it is in: its events as sentences, and what it waits for now."""

    job_id: str
    status: JobStatus
    sentences: list[Sentence]
    blockers: list[Blocker]


Proof = Callable[[Worker], str | None]
"""What proves that a worker which is said to run is gone, as one sentence; None: nothing does."""


class JobExplainer(Repository):
    """Explains jobs, those of the past too; who lives is known of the present only."""

    gone: Proof | None = None

    def explain(self, job_id: str) -> JobExplanation:
        """The story of a job, from its events, and what it waits for. Raises NotFound."""
        told = fold(self._source.read_stream(f"job-{job_id}"))
        job = told[-1].after if told else None
        if job is None:
            raise NotFound(f"there is no job {job_id}", job_id=job_id)
        for projection in (JOBS, QUEUES, WORKERS):
            self._fresh(projection)
        held = list(self._tables_held(job))
        live = isinstance(self._source, EventLog)
        silences = self._log.store.silences() if live else None
        with self._source.reader() as reader:
            keys = [(worker_id,) for worker_id in workers_in(told)]
            workers = {key[0]: row for key, row in reader.load(WORKERS.table, keys).items()}
            sentences = story(told, workers)
            now = now_us() if live else reader.head().recorded_at
            scene = _Scene(reader, job, told, now, workers, silences, self.gone or (lambda worker: None))
            return JobExplanation(job_id, job.status, sentences, [*held, *_blockers(scene)])

    def _tables_held(self, job: Job) -> Iterator[Blocker]:
        """Tables that are rolled back, or have failed, hold up every job."""
        if self._projections is None or job.ended_at is not None:
            return
        for name in ("jobs", "queues"):
            try:
                self._projections.require(name)
            except ProjectionError as error:
                yield Blocker("tables", error.message, {"table": name})


class _Scene(NamedTuple):
    """What there is around a job. ``silences``: how long ago each worker said that it lives; None in the past."""

    reader: QueryReader
    job: Job
    told: Sequence[Told]
    now: int
    workers: Mapping[str, Worker]
    silences: Mapping[str, int] | None
    gone: Proof


def _blockers(scene: _Scene) -> Iterator[Blocker]:
    job = scene.job
    if job.status == "queued":
        yield from _not_before(scene)
        yield from _held_back(scene)
        yield from _without_worker(scene)
        yield from _behind(scene)
    elif job.status == "processing":
        yield from _running(scene)
        yield from _silent(scene)
        yield from _to_be_cancelled(scene)
    elif job.status == "held":
        asked = _last(scene.told, JobHeld)
        yield Blocker(
            "person",
            "a person has to decide: `eventlog jobs retry` runs it again, `eventlog jobs cancel` ends it",
            {"reason": job.reason, "position": None if asked is None else asked.record.position},
        )


def _not_before(scene: _Scene) -> Iterator[Blocker]:
    job, now = scene.job, scene.now
    if job.ready_at is not None and job.ready_at > now:
        wait = job.ready_at - now
        yield Blocker(
            "not_before",
            f"it is not to run before {when(job.ready_at)}, in {show_duration(wait)}",
            {"run_at": job.ready_at, "in_us": wait},
        )
    if job.expires_at is not None and job.expires_at < now:
        yield Blocker(
            "expiry",
            f"it was to begin by {when(job.expires_at)}: whoever would claim it will find it expired",
            {"expires_at": job.expires_at},
        )


def _held_back(scene: _Scene) -> Iterator[Blocker]:
    reader, name = scene.reader, scene.job.queue
    queue = reader.load(QUEUES.table, [(name,)]).get((name,))
    if queue is None:
        return
    if queue.paused:
        position = _said_at(reader, name, QueuePaused)
        why = f": {queue.pause_reason}" if queue.pause_reason else ""
        yield Blocker(
            "paused",
            f"the queue {name} was paused by {queue.paused_by} at event {position}{why}; "
            f"`eventlog jobs resume` lets it go on",
            {"queue": name, "position": position, "by": queue.paused_by, "at": queue.paused_at,
             "reason": queue.pause_reason},
        )  # fmt: skip
    if queue.max_running is not None:
        holders = [job.job_id for job in _processing(reader) if job.queue == name]
        if len(holders) >= queue.max_running:
            shown = ", ".join(job_id[-SHORT:] for job_id in holders[:3])
            more = f" and {len(holders) - 3} more" if len(holders) > 3 else ""
            held = f"held by {counted(len(holders), 'job')}: {shown}{more}" if holders else "so nothing of it runs"
            yield Blocker(
                "limit",
                f"the limit of the queue {name} is {queue.max_running}, {held}",
                {"queue": name, "limit": queue.max_running, "running": len(holders), "job_ids": holders[:NAMED],
                 "position": _said_at(reader, name, QueueLimited)},
            )  # fmt: skip


def _without_worker(scene: _Scene) -> Iterator[Blocker]:
    """No worker that lives would take it, or each that would is busy."""
    if scene.silences is None:
        return
    job = scene.job
    able = [
        worker
        for worker in scene.reader.select(WORKERS.table, [Filter("status", "=", "running")], order=("-worker_id",))
        if (not worker.queues or job.queue in worker.queues) and (not worker.kinds or job.kind in worker.kinds)
    ]
    gone = [worker.worker_id for worker in able if scene.gone(worker) is not None]
    heard = [worker for worker in able if scene.silences.get(worker.worker_id, worker.lease_us) < worker.lease_us]
    alive = [worker for worker in heard if worker.worker_id not in gone]
    if not alive:
        silent = [worker.worker_id for worker in able if worker.worker_id not in gone]
        known = f"; {counted(len(silent), 'worker')} that would take it said nothing for too long" if silent else ""
        known += f"; {counted(len(gone), 'worker')} that would have taken it went without a word" if gone else ""
        yield Blocker(
            "no_worker",
            f"no worker lives that takes {job.kind} from the queue {job.queue}{known}; `eventlog jobs work` starts one",
            {"queue": job.queue, "kind": job.kind, "silent": silent[:NAMED], "gone": gone[:NAMED]},
        )
        return
    names = {worker.worker_id for worker in alive}
    taken = sum(running.worker_id in names for running in _processing(scene.reader))
    places = sum(worker.concurrency for worker in alive)
    if taken >= places:
        yield Blocker(
            "workers_busy",
            f"{counted(len(alive), 'worker')} would take it, with {counted(places, 'place')} for a job, "
            "and none is free",
            {"workers": sorted(names)[:NAMED], "places": places, "taken": taken},
        )


def _behind(scene: _Scene) -> Iterator[Blocker]:
    """Jobs of its queue that can run and go first: a smaller priority, then an earlier time, then an earlier id."""
    job, reader = scene.job, scene.reader
    if job.ready_at is None:
        return
    same = [Filter("queue", "=", job.queue)]
    equal = [*same, Filter("priority", "=", job.priority)]
    latest = min(job.ready_at - 1, scene.now)
    ahead = (
        reader.count(JOBS.table, [*same, Filter("priority", "<", job.priority), Filter("ready_at", "<=", scene.now)])
        + reader.count(JOBS.table, [*equal, Filter("ready_at", ">", _LONG_AGO), Filter("ready_at", "<=", latest)])
        + reader.count(JOBS.table, [*equal, Filter("ready_at", "=", job.ready_at), Filter("job_id", "<", job.job_id)])
    )
    if ahead:
        yield Blocker(
            "jobs_ahead",
            f"{counted(ahead, 'job')} of the queue {job.queue} can run and {'goes' if ahead == 1 else 'go'} before it",
            {"queue": job.queue, "jobs": ahead},
        )


def _running(scene: _Scene) -> Iterator[Blocker]:
    job = scene.job
    since = max(0, scene.now - (job.started_at or scene.now))
    facts: dict[str, Any] = {
        "worker_id": job.worker_id, "attempt": job.attempt, "token": job.token, "since": job.started_at,
        "for_us": since, "progress_done": job.progress_done, "progress_total": job.progress_total,
        "progress_message": job.progress_message,
    }  # fmt: skip
    text = f"attempt {job.attempt} has run for {show_duration(since)} on {worker_text(job.worker_id, scene.workers)}"
    if job.progress_done is not None:
        text += f", {progress_text(job.progress_done, job.progress_total, job.progress_message)}"
    silence = _silence(scene)
    if silence is not None:
        text += f"; it was heard of {show_duration(silence)} ago"
        facts["silence_us"] = silence
    yield Blocker("running", text, facts)


def _silent(scene: _Scene) -> Iterator[Blocker]:
    if scene.silences is None:
        return
    job, silence, worker = scene.job, _silence(scene), scene.workers.get(scene.job.worker_id or "")
    if worker is not None and worker.status == "running" and (evidence := scene.gone(worker)) is not None:
        yield Blocker(
            "gone",
            f"its worker is gone ({evidence}): `eventlog jobs recover` takes the job back, and any other worker does",
            {"worker_id": job.worker_id, "evidence": evidence},
        )
        return
    lease = lease_of(job, worker)
    if silence is not None and silence <= lease:
        return
    heard = "of its worker nothing is known"
    if silence is not None:
        heard = f"its worker is silent for {show_duration(silence)}, longer than its lease of {show_duration(lease)}"
    yield Blocker(
        "silent",
        f"{heard}: `eventlog jobs recover` takes the job back",
        {"worker_id": job.worker_id, "silence_us": silence, "lease_us": lease},
    )


def _to_be_cancelled(scene: _Scene) -> Iterator[Blocker]:
    if scene.job.cancel_requested_by is None:
        return
    asked = _last(scene.told, JobCancelRequested)
    facts: dict[str, Any] = {"by": scene.job.cancel_requested_by}
    why = ""
    if asked is not None:
        facts |= {"position": asked.record.position, "at": asked.record.occurred_at, "reason": asked.event.reason}
        why = f": {asked.event.reason}" if asked.event.reason else ""
    yield Blocker(
        "cancel_requested",
        f"{scene.job.cancel_requested_by} asked to cancel it, and its worker is told at its next heartbeat{why}",
        facts,
    )


def _silence(scene: _Scene) -> int | None:
    return None if scene.silences is None else scene.silences.get(scene.job.worker_id or "")


def _last(told: Sequence[Told], event: type) -> Told | None:
    return next((one for one in reversed(told) if type(one.event) is event), None)


def _processing(reader: QueryReader) -> list[Job]:
    where = [Filter("claimed_at", ">", _LONG_AGO), Filter("status", "=", "processing")]
    return reader.select(JOBS.table, where, order=("claimed_at", "job_id"))


def _said_at(reader: QueryReader, queue: str, event: type[QueuePaused | QueueLimited]) -> int | None:
    """Where a queue's last event of a type is."""
    where = Selection(streams=(f"queue-{queue}",), types=(str(event.__struct_config__.tag),))
    rows = reader.records(0, None, where, backwards=True, limit=1)
    return rows[0][0] if rows else None
