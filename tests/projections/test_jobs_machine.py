"""Any history of commands on jobs, by several workers through two logs, against a model in memory."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import eventlog
from eventlog.app import Log
from eventlog.clock import now_us
from eventlog.errors import Conflict, IllegalTransition, NotFound, ProjectionPinned
from eventlog.events.jobs import RetryPolicy
from eventlog.repositories.jobs import LateResult, NewJob

NEVER = 2**52
"""Long after any test ends."""
AT_ONCE = RetryPolicy(base_us=0, cap_us=0)
QUEUES = st.sampled_from(["a", "b"])
KINDS = st.sampled_from(["k", "l"])
WORKERS = st.sampled_from(["w1", "w2", "w3"])
PICK = st.integers(0, 10_000)
LOG = st.sampled_from([0, 1])
ENDED = ("completed", "failed", "cancelled", "expired")


class Model(msgspec.Struct):
    """What a job ought to be."""

    job_id: str
    kind: str
    queue: str
    priority: int
    ready_at: int
    on_crash: str
    max_retries: int
    max_crashes: int
    unique_key: str | None
    expires: bool
    status: str = "queued"
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    token: int | None = None
    worker: str | None = None
    cancelling: bool = False

    @property
    def due(self) -> bool:
        return self.status == "queued" and self.ready_at < NEVER


class Jobs(RuleBasedStateMachine):
    """Enqueue, claim, end, crash, cancel, retry, purge, pause, roll back; who lost a job still says how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="jobs"))
        self.models: dict[str, Model] = {}
        self.purged: list[Model] = []
        self.claims: list[tuple[str, int]] = []
        self.paused: set[str] = set()
        self.limits: dict[str, int] = {}
        self.keys: dict[str, str] = {}

    @initialize()
    def create(self) -> None:
        self.logs = [self.open(), self.open()]

    def open(self) -> Log:
        return eventlog.open(self.folder / "log.db")

    def pick(self, number: int) -> Model | None:
        models = list(self.models.values())
        return models[number % len(models)] if models else None

    # enqueueing

    @rule(
        log=LOG,
        kind=KINDS,
        queue=QUEUES,
        priority=st.integers(-1, 1),
        when=st.sampled_from(["now", "past", "never", "too late"]),
        unique=st.none() | st.sampled_from(["u", "v"]),
        key=st.none() | st.none() | st.sampled_from(["x", "y"]),
        on_crash=st.sampled_from(["requeue", "requeue", "fail", "ask"]),
        budget=st.integers(0, 2),
        many=st.booleans(),
    )
    def enqueue(
        self, log: int, kind: str, queue: str, priority: int, when: str, unique: str | None, key: str | None,
        on_crash: Any, budget: int, many: bool,
    ) -> None:  # fmt: skip
        new = NewJob(
            kind=kind,
            queue=queue,
            priority=priority,
            run_at={"past": 5, "never": NEVER}.get(when),
            expires_at=1 if when == "too late" else None,
            unique_key=unique,
            key=key,
            on_crash=on_crash,
            max_retries=budget,
            max_crashes=budget + 1,
            retry_policy=AT_ONCE,
        )
        jobs = self.logs[log].jobs
        first = self.keys.get(key) if key else None
        if first is not None:
            head = self.logs[0].head()
            try:
                found = jobs.enqueue_many([new]) if many else [jobs.enqueue(**msgspec.structs.asdict(new)).job_id]
                assert found == [first]
            except Conflict:
                pass  # other content, or purged
            assert self.logs[0].head() == head
            return
        held = unique and any(m.unique_key == unique and m.status not in ENDED for m in self.models.values())
        if held:
            with pytest.raises(Conflict, match="unique key"):
                jobs.enqueue_many([NewJob(kind="k"), new]) if many else jobs.enqueue(**msgspec.structs.asdict(new))
            return
        if many:
            made = jobs.enqueue_many([new, NewJob(kind="k", queue="a", retry_policy=AT_ONCE)])
            self.born(made[1], NewJob(kind="k", queue="a"))
        else:
            made = [jobs.enqueue(**msgspec.structs.asdict(new)).job_id]
        self.born(made[0], new)
        if key:
            self.keys[key] = made[0]

    def born(self, job_id: str, new: NewJob) -> None:
        self.models[job_id] = Model(
            job_id, new.kind, new.queue, new.priority, self.logs[0].jobs.get(job_id).ready_at or 0, new.on_crash,
            new.max_retries, new.max_crashes, new.unique_key, new.expires_at is not None,
        )  # fmt: skip

    # claiming

    @rule(
        log=LOG,
        worker=WORKERS,
        queues=st.none() | st.lists(st.sampled_from(["a", "b", "nowhere"]), max_size=3),
        kinds=st.none() | st.just(["l"]) | st.just(["k", "l"]),
        limit=st.integers(1, 4),
        finish=st.booleans(),
    )
    def claim(
        self, log: int, worker: str, queues: list[str] | None, kinds: list[str] | None, limit: int, finish: bool
    ) -> None:
        jobs = self.logs[log].jobs
        mine = next((m for m in self.models.values() if m.status == "processing" and m.worker == worker), None)
        if finish and mine is not None:
            done = jobs.complete_and_claim(
                mine.job_id, mine.token or 0, worker_id=worker, queues=queues, kinds=kinds, limit=limit
            )
            mine.status, mine.cancelling = "completed", False
            claimed = done.claimed
        else:
            claimed = jobs.claim(worker, queues=queues, kinds=kinds, limit=limit)
        expected = self.expect_claims(queues, kinds, limit)
        assert [job.job_id for job in claimed] == [model.job_id for model in expected]
        for job, model in zip(claimed, expected, strict=True):
            model.status, model.attempt, model.worker, model.token = "processing", model.attempt + 1, worker, job.token
            assert (job.attempt, job.worker_id) == (model.attempt, worker)
            assert job.token is not None and job.token > max((t for _, t in self.claims), default=0)
            self.claims.append((job.job_id, job.token))

    def expect_claims(self, queues: list[str] | None, kinds: list[str] | None, limit: int) -> list[Model]:
        found: list[Model] = []
        for queue in dict.fromkeys(("a", "b", "c") if queues is None else queues):
            if queue in self.paused:
                continue
            running = sum(m.status == "processing" and m.queue == queue for m in self.models.values())
            room = min(limit - len(found), self.limits.get(queue, 99) - running)
            waiting = [m for m in self.models.values() if m.due and m.queue == queue and (not kinds or m.kind in kinds)]
            for model in sorted(waiting, key=lambda m: (m.priority, m.ready_at, m.job_id)):
                if room <= 0:
                    break
                if model.expires:
                    model.status = "expired"
                else:
                    found.append(model)
                    room -= 1
        return found

    # ends

    @precondition(lambda self: self.claims)
    @rule(
        log=LOG,
        number=PICK,
        how=st.sampled_from(["complete", "fail", "give up", "release", "snooze", "stop", "progress"]),
    )
    def end(self, log: int, number: int, how: str) -> None:
        """By whoever claimed it at some time."""
        jobs = self.logs[log].jobs
        job_id, token = self.claims[number % len(self.claims)]
        model = self.models.get(job_id)

        def say() -> Any:
            match how:
                case "complete":
                    return jobs.complete(job_id, token, number)
                case "fail" | "give up":
                    return jobs.fail(job_id, token, "E", retryable=how == "fail")
                case "release":
                    return jobs.release(job_id, token)
                case "snooze":
                    return jobs.snooze(job_id, token, NEVER)
                case "stop":
                    return jobs.stopped(job_id, token)
            return jobs.progress(job_id, token, number)

        if model is None:
            with pytest.raises(NotFound):
                say()
            return
        if model.token == token and model.status == "completed" and how == "complete":
            assert say().status == "completed"
            return
        if model.token != token or model.status != "processing":
            with pytest.raises(LateResult):
                say()
            return
        if how == "stop" and not model.cancelling:
            with pytest.raises(IllegalTransition):
                say()
            return
        after = say()
        if how == "progress":
            assert after.progress_done == number
            return
        model.failures += how in ("fail", "give up")
        if how == "complete":
            model.status, model.cancelling = "completed", False
        elif model.cancelling:
            model.status = "cancelled"
        elif how in ("release", "snooze"):
            model.status = "queued"
        else:
            model.status = "failed" if how == "give up" or model.failures > model.max_retries else "queued"
        model.ready_at = after.ready_at if after.ready_at is not None else model.ready_at
        assert after.status == model.status

    @precondition(lambda self: self.claims)
    @rule(log=LOG, numbers=st.lists(PICK, min_size=1, max_size=4))
    def crash(self, log: int, numbers: list[int]) -> None:
        claims = [self.claims[number % len(self.claims)] for number in numbers]
        taken = self.logs[log].jobs.crash(claims, "process_gone", "gone")
        expected = []
        for job_id, token in claims:
            model = self.models.get(job_id)
            if model is not None and model.status == "processing" and model.token == token:
                model.crashes += 1
                expected.append(job_id)
                if model.cancelling:
                    model.status = "cancelled"
                elif model.on_crash == "fail" or model.crashes >= model.max_crashes:
                    model.status = "failed"
                else:
                    model.status = "held" if model.on_crash == "ask" else "queued"
        assert [job.job_id for job in taken] == expected
        for job in taken:
            self.models[job.job_id].ready_at = job.ready_at or 0

    # people

    @rule(log=LOG, number=PICK)
    def cancel(self, log: int, number: int) -> None:
        model = self.pick(number)
        if model is None:
            return
        if model.status in ENDED:
            with pytest.raises(IllegalTransition):
                self.logs[log].jobs.cancel(model.job_id)
            return
        self.logs[log].jobs.cancel(model.job_id)
        if model.status == "processing":
            model.cancelling = True
        else:
            model.status, model.cancelling = "cancelled", False

    @rule(log=LOG, number=PICK, reset=st.booleans(), force=st.booleans())
    def retry(self, log: int, number: int, reset: bool, force: bool) -> None:
        model = self.pick(number)
        if model is None:
            return
        jobs = self.logs[log].jobs
        if model.status == "processing" or (model.status == "completed" and not force):
            with pytest.raises(IllegalTransition):
                jobs.retry(model.job_id, reset_failures=reset, force=force)
            return
        others = [m for m in self.models.values() if m is not model and m.status not in ENDED]
        if model.status in ENDED and model.unique_key and any(m.unique_key == model.unique_key for m in others):
            with pytest.raises(Conflict, match="unique key"):
                jobs.retry(model.job_id, reset_failures=reset, force=force)
            return
        after = jobs.retry(model.job_id, reset_failures=reset, force=force)
        if model.status == "queued":
            return
        model.status, model.cancelling, model.ready_at, model.expires = "queued", False, after.ready_at or 0, False
        if reset:
            model.failures = model.crashes = 0
        model.max_retries = max(model.max_retries, model.failures)

    @rule(log=LOG, number=PICK, queue=st.none() | QUEUES, run_at=st.none() | st.sampled_from([0, NEVER]))
    def change(self, log: int, number: int, queue: str | None, run_at: int | None) -> None:
        model = self.pick(number)
        if model is None:
            return
        jobs = self.logs[log].jobs
        if model.status != "queued":
            with pytest.raises(IllegalTransition):
                jobs.change(model.job_id, priority=0, queue=queue, run_at=run_at)
            return
        jobs.change(model.job_id, priority=0, queue=queue, run_at=run_at)
        model.priority, model.queue = 0, queue or model.queue
        model.ready_at = model.ready_at if run_at is None else run_at

    @rule(log=LOG, number=PICK, all_of_them=st.booleans())
    def purge(self, log: int, number: int, all_of_them: bool) -> None:
        ended = [model for model in self.models.values() if model.status in ENDED]
        if all_of_them:
            assert self.logs[log].jobs.purge(now_us() + 5_000_000) == len(ended)
        elif ended:
            ended = [ended[number % len(ended)]]
            self.logs[log].jobs.delete(ended[0].job_id)
        for model in ended:
            self.purged.append(self.models.pop(model.job_id))

    @rule(log=LOG, queue=QUEUES, how=st.sampled_from(["pause", "resume", "limit", "unlimit"]), limit=st.integers(0, 2))
    def hold_back(self, log: int, queue: str, how: str, limit: int) -> None:
        queues = self.logs[log].queues
        match how:
            case "pause":
                queues.pause(queue)
                self.paused.add(queue)
            case "resume":
                queues.resume(queue)
                self.paused.discard(queue)
            case "limit":
                queues.limit(queue, limit)
                self.limits[queue] = limit
            case _:
                queues.limit(queue, None)
                self.limits.pop(queue, None)

    # accidents

    @rule(log=LOG, number=PICK, names=st.sampled_from([None, ["jobs"], ["queues"], ["job_attempts"]]))
    def roll_back_and_resume(self, log: int, number: int, names: list[str] | None) -> None:
        mine, other = self.logs[log], self.logs[1 - log]
        mine.projections.rollback(number % (mine.head().position + 1), names)
        assert mine.projections.verify() == []
        if names != ["job_attempts"]:
            with pytest.raises(ProjectionPinned):
                other.jobs.crash([], "process_gone", "e")
        other.projections.resume()

    @rule(log=LOG, rebuild=st.booleans())
    def reopen(self, log: int, rebuild: bool) -> None:
        self.logs[log].close()
        self.logs[log] = self.open()
        if rebuild:
            self.logs[log].projections.rebuild(["jobs"])

    @invariant()
    def everybody_sees_the_jobs_of_the_model(self) -> None:
        for log in getattr(self, "logs", ()):
            seen = {
                job.job_id: (
                    job.status, job.queue, job.priority, job.attempt, job.failures, job.crashes, job.token,
                    job.ready_at, bool(job.cancel_requested_by) and job.status not in ENDED,
                )
                for job in log.jobs.list(limit=None)
            }  # fmt: skip
            assert seen == {
                m.job_id: (
                    m.status, m.queue, m.priority, m.attempt, m.failures, m.crashes, m.token,
                    m.ready_at if m.status == "queued" else None, m.cancelling and m.status not in ENDED,
                )
                for m in self.models.values()
            }  # fmt: skip

    def teardown(self) -> None:
        try:
            for log in getattr(self, "logs", ()):
                assert log.jobs.check() == []
                assert log.projections.verify() == []
                assert log.jobs.count() == len(self.models)
                assert sum(row["jobs"] for row in log.projections.rows("job_statistics")) == len(self.models) + len(
                    self.purged
                )
                log.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


Jobs.TestCase.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


class TestAnyJobs(Jobs.TestCase):  # type: ignore[misc, valid-type]
    """The long suite runs it with more examples."""
