"""The worker: it claims jobs, has them done in threads or processes, and says in the log how they ended."""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any, Literal

from eventlog.clock import counted
from eventlog.errors import (
    EventLogError,
    InvalidInput,
    LogClosed,
    LogReadOnly,
    NotFound,
    ProjectionError,
    StoreError,
)
from eventlog.events.runs import RunStarted
from eventlog.recorder import capture, values
from eventlog.recorder.sink import Sink
from eventlog.repositories.jobs import LateResult, WorkerGone
from eventlog.store.base import Durability
from eventlog.worker.attempt import Attempt, WorkerLog
from eventlog.worker.child import Child, check_reachable
from eventlog.worker.context import Cancelled, JobContext
from eventlog.worker.ending import told
from eventlog.worker.handlers import SHELL, JobFunction, by_kind, functions_of
from eventlog.worker.heart import Heart
from eventlog.worker.inline import run_here
from eventlog.worker.left import left
from eventlog.worker.outcome import Crashed, Failed, Outcome, Snoozed, Stopped, Succeeded
from eventlog.worker.registration import Registration
from eventlog.worker.retention import Retention
from eventlog.worker.shell import Command, command_of, run_shell
from eventlog.worker.streams import AttemptRun
from eventlog.worker.upkeep import Upkeep, quietly
from eventlog.worker.watchdog import Watchdog
from projections.jobs import Job

Mode = Literal["threads", "processes"]
FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.2
LONGEST_PAUSE_SERVER_S = 0.5
PROBE_S = 0.5
"""Jobs whose time comes change nothing in the log: they are looked for this often."""
PATIENCE_S = 0.2
"""How long a thread that was told to end is waited for before it is left behind."""
LONGEST_RETRY_S = 5.0


class _Slot:
    """One thread of a worker, and its child process where it has one."""

    def __init__(self, number: int, child: Child | None) -> None:
        self.number = number
        self.child = child


class Worker:
    """Claims and does jobs until it is stopped, or (``run(until_empty=True)``) until there is nothing to do.

    ``handlers``: functions made by `job`, or a module or list of them; default: those made with ``@log.job``.
    ``queues``: which, the first one first (default: all); ``kinds``: only these of the kinds that have a handler;
    ``shell``: whether commands are run as well. ``concurrency`` jobs are done at once, each in a thread of this process
    or (``mode="processes"``) in a child process of its own; commands are always processes of their own.

    ``lease_s``: how long it may be silent before others take its jobs. ``grace_s``: how long jobs may go on when it is
    asked to stop; what is not done by then goes back to the queue. ``kill_after_s``: how long a process that was asked
    to end is waited for. ``retention``: jobs that ended longer ago leave the tables, hourly. ``tell`` is told what
    happens, a line at a time.
    """

    def __init__(
        self,
        log: WorkerLog,
        *,
        handlers: object = None,
        queues: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        concurrency: int = 1,
        mode: Mode = "threads",
        shell: bool = True,
        lease_s: float = 30.0,
        grace_s: float = 10.0,
        kill_after_s: float = 5.0,
        durability: Durability = "full",
        retention: Retention | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        if not 1 <= concurrency <= 1000 or mode not in ("threads", "processes"):
            raise InvalidInput("concurrency is 1 to 1,000; mode is 'threads' or 'processes'")
        if not lease_s > 0 or grace_s < 0 or kill_after_s < 0:
            raise InvalidInput("a lease is longer than nothing, and no other time is negative")
        self._log = log
        self._functions = by_kind(functions_of(log if handlers is None else handlers))
        self._kinds = _kinds(self._functions, kinds, shell)
        if mode == "processes":
            for kind in self._kinds:
                if kind != SHELL:
                    check_reachable(self._functions[kind])
        self._queues = None if queues is None else tuple(queues)
        self._concurrency = concurrency
        self._mode = mode
        self._lease_s = lease_s
        self._grace_s = grace_s
        self._kill_after_s = kill_after_s
        self._durability = durability
        self._retention = retention
        self._said = quietly(tell or (lambda text: None))
        self._heart: Heart | None = None
        self._asked = 0
        self._ending = False
        self._done = 0
        self._idle = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._inbox: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        self._active: dict[int, Attempt] = {}
        self._slots: list[_Slot] = []
        self._sink = Sink(lambda: log, log.url, log.data_dir)
        self._watchdog = Watchdog()
        self._probe_at = 0.0
        self._counter: object = None
        self._pause_s = FIRST_PAUSE_S
        self._trouble_s = LONGEST_PAUSE_S
        asks_a_server = log.store.kind in ("postgresql", "http")
        self._longest_pause_s = LONGEST_PAUSE_SERVER_S if asks_a_server else LONGEST_PAUSE_S

    # from start to end

    def run(self, until_empty: bool = False) -> int:
        """Work until `stop`, SIGTERM or SIGINT (in the main thread), or until nothing is ready and nothing runs.

        Returns how many attempts ended. A second signal stops hard: what runs is killed and handed back at once.
        Raises the log's errors where it cannot even begin.
        """
        if self._heart is not None:
            raise InvalidInput("a worker runs once; make another one")
        with self._signals():
            heart = self._heart = Heart(
                self._log, self._register, lambda: list(self._active.values()), self._lease_s, self._said
            )
            upkeep = Upkeep(
                self._log, lease_s=self._lease_s, retention=self._retention, mine=lambda: heart.ids, tell=self._said
            )
            try:
                heart.start()
                upkeep.start_up()
                upkeep.start()
                for number in range(self._concurrency):
                    self._add_slot(number)
                self._said(self._described(heart))
                self._loop(until_empty)
            finally:
                self._finish(upkeep, heart)
        return self._done

    def stop(self, *, hard: bool = False) -> None:
        """Ask it to stop: finish what runs within the grace, hand back the rest. Safe from any thread."""
        self._asked = max(self._asked + 1, 2 if hard else 1)

    @property
    def worker_id(self) -> str | None:
        """Under which id it works now; None while it is registered nowhere."""
        return None if self._heart is None else self._heart.worker_id

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def asked(number: int, frame: FrameType | None) -> None:
            # Nothing but a number: the interrupted code may hold any lock.
            self._asked += 1

        before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _register(self) -> Registration:
        return Registration(
            self._log,
            lease_us=round(self._lease_s * 1e6),
            queues=self._queues or (),
            kinds=tuple(self._kinds),
            concurrency=self._concurrency,
        )

    def _described(self, heart: Heart) -> str:
        mode = {"threads": "thread", "processes": "process"}[self._mode] if self._concurrency == 1 else self._mode
        done_in = f"{self._concurrency} {mode}"
        where = "all queues" if self._queues is None else f"queues {', '.join(self._queues)}"
        return f"worker {heart.worker_id}: {where}, kinds {', '.join(self._kinds)}, {done_in}"

    # the loop

    def _loop(self, until_empty: bool) -> None:
        while not self._asked:
            self._watch()
            idle = self._idle
            if idle and self._is_worth_a_look() and self._claim(idle, until_empty):
                self._pause_s = FIRST_PAUSE_S
                continue
            if until_empty and idle == self._concurrency and not self._active and self._is_drained():
                self._tell_left()
                return
            self._wake.wait(self._pause_s * random.uniform(0.8, 1.0))  # noqa: S311 (no secret)
            if self._wake.is_set():
                self._wake.clear()
                self._probe_at = 0.0
            self._pause_s = min(self._pause_s * 1.5, self._longest_pause_s)

    def _is_worth_a_look(self) -> bool:
        """Whether anything was written since, or so much time went by that a job's may have come."""
        now = time.monotonic()
        try:
            counter = self._log.store.change_counter()
        except StoreError:
            counter = None
        if counter is not None and counter == self._counter and now < self._probe_at:
            return False
        if counter != self._counter:
            self._pause_s = FIRST_PAUSE_S
        self._counter = counter
        self._probe_at = now + PROBE_S
        return True

    def _claim(self, idle: int, until_empty: bool) -> bool:
        worker_id = self.worker_id
        if worker_id is None:
            return False
        try:
            jobs = self._log.jobs.claim(worker_id, limit=idle, durability=self._durability, **self._wish)
        except (LogClosed, LogReadOnly):
            raise
        except WorkerGone as error:
            self._said(f"cannot claim: {error}")
            if self._heart is not None:
                self._heart.doubt()
            self._wake.wait(self._trouble_s)
            return False
        except EventLogError as error:
            if until_empty and isinstance(error, ProjectionError):
                raise
            # The store fails for a while, or somebody looks into the past of the queue: nothing is begun meanwhile.
            self._said(f"cannot claim, tries again: {error}")
            self._wake.wait(self._trouble_s)
            self._trouble_s = min(self._trouble_s * 2, LONGEST_RETRY_S)
            return False
        self._trouble_s = LONGEST_PAUSE_S
        for job in jobs:
            with self._lock:
                self._idle -= 1
            self._inbox.put(self._adopt(job, worker_id))
        return bool(jobs)

    @property
    def _wish(self) -> dict[str, Any]:
        return {"queues": self._queues, "kinds": self._kinds, "lease_us": round(self._lease_s * 1e6)}

    def _is_drained(self) -> bool:
        """Nothing of ours is under way anywhere: what is, may come back to the queue."""
        counts = self._log.jobs.counts(by=("status", "queue", "kind"))
        return not any(
            number
            for (status, name, kind), number in counts.items()
            if status == "processing" and kind in self._kinds and (self._queues is None or name in self._queues)
        )

    def _tell_left(self) -> None:
        with contextlib.suppress(EventLogError):  # nothing depends on it
            for sentence in left(self._log, self._queues, self._kinds):
                self._said(sentence)

    def _watch(self) -> None:
        """Threads that were told to end and did not are left behind; others take their place."""
        now = time.monotonic()
        for attempt in list(self._active.values()):
            if attempt.killable:
                continue
            if attempt.overdue:
                attempt.tell("timeout")
            if attempt.why is None or now - (attempt.told_at or now) < PATIENCE_S:
                continue
            if attempt.why == "cancelled" and not self._ending:
                continue  # it may take its time to stop, or finish all the same
            if attempt.settle():
                self._say_ended(attempt, told(attempt))
                self._said(f"job {attempt.job.job_id} did not end ({attempt.why}): its thread is left behind")
                self._forget(attempt)
                self._add_slot(self._concurrency)

    # doing jobs

    def _adopt(self, job: Job, worker_id: str) -> Attempt:
        """A claim that this worker knows of."""
        context = JobContext(job, report=partial(self._progress, job), track=self._log.runs.track)
        killable = self._mode == "processes" or job.kind == SHELL
        attempt = Attempt(job, context, worker_id, killable=killable)
        with self._lock:
            self._active[attempt.token] = attempt
        if self._asked:
            context.stopping.set()
        return attempt

    def _add_slot(self, number: int) -> None:
        child = Child(self._log, self._watchdog, self._kill_after_s) if self._mode == "processes" else None
        slot = _Slot(number, child)
        with self._lock:
            self._idle += 1
            self._slots.append(slot)
        threading.Thread(target=self._serve, args=(slot,), daemon=True, name=f"eventlog slot {number}").start()
        self._wake.set()

    def _serve(self, slot: _Slot) -> None:
        """A slot's thread: jobs one after the other, until there are none, or until it was left behind in one."""
        while (attempt := self._inbox.get()) is not None:
            following: Attempt | None = attempt
            while following is not None:
                attempt = following
                outcome = self._attempt(slot, attempt)
                if not attempt.settle():
                    return
                following = self._say_ended(attempt, outcome)
                self._forget(attempt)
            with self._lock:
                self._idle += 1
            self._wake.set()

    def _forget(self, attempt: Attempt) -> None:
        with self._lock:
            self._active.pop(attempt.token, None)
            self._done += 1

    def _attempt(self, slot: _Slot, attempt: Attempt) -> Outcome:
        job = attempt.job
        if attempt.context.stopping.is_set() or attempt.why is not None:
            return Stopped()
        attempt.begin()
        try:
            if job.kind == SHELL:
                command = command_of(job.args)
                return run_shell(attempt, command, self._recorded(job, command), self._watchdog, self._kill_after_s)
            function = self._functions[job.kind]
            if slot.child is None:
                return run_here(function, attempt.context)
            return slot.child.run(attempt, function, self._recorded(job, None))
        except InvalidInput as error:
            return Failed("InvalidInput", error.message, retryable=False)
        except Exception as error:
            if slot.child is not None:
                slot.child.close()
            return Failed(f"worker: {type(error).__name__}", values.text(error, 2000))

    def _recorded(self, job: Job, command: Command | None) -> AttemptRun:
        folder = capture.working_directory() if command is None or command.cwd is None else command.cwd
        if command is None:
            what: dict[str, Any] = {
                "command": f"job {job.kind}",
                "program": values.text(job.kind, values.MAX_NAME),
                "parameters": values.parameters(job.args),
            }
        else:
            what = capture.command_facts(command.words, command.command or None)
        return AttemptRun(
            self._sink,
            RunStarted(
                **what,
                job_id=job.job_id,
                cwd=None if folder is None else values.text(folder),
                environment=capture.environment(),
                **capture.process_facts(),
            ),
        )

    def _progress(self, job: Job, done: int, total: int | None, message: str) -> None:
        try:
            self._log.jobs.progress(job.job_id, job.token or 0, done, total, values.text(message, 500))
        except LateResult:
            if (attempt := self._active.get(job.token or 0)) is not None:
                attempt.tell("lost")
            raise Cancelled("the job is not this worker's any more") from None
        except StoreError as error:
            # How far it is is not worth the attempt.
            self._said(f"progress of job {job.job_id}: {error}")

    # saying how they ended

    def _say_ended(self, attempt: Attempt, outcome: Outcome) -> Attempt | None:
        """Say in the log how an attempt ended, again and again while the store fails; returns what was claimed next."""
        if attempt.is_lost:
            return None
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return self._end(attempt, outcome)
            except (LateResult, NotFound) as error:
                self._said(f"job {attempt.job.job_id}: {error}")
                return None
            except InvalidInput as error:
                if isinstance(outcome, Failed) and not outcome.message:
                    self._said(f"job {attempt.job.job_id}: {error}")
                    return None
                kept = outcome if isinstance(outcome, Failed) else Failed("NotStored", retryable=False)
                message = "" if isinstance(outcome, Failed) else values.text(error, 2000)
                outcome = Failed(kept.error_type, message, retryable=kept.retryable)
            except Exception as error:
                if attempt.is_lost or self._asked > 1 or not isinstance(error, EventLogError):
                    self._said(f"job {attempt.job.job_id}: how it ended is not in the log: {error}")
                    return None
                self._said(f"job {attempt.job.job_id} ended, the log does not take it, tries again: {error}")
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_RETRY_S)

    def _end(self, attempt: Attempt, outcome: Outcome) -> Attempt | None:
        jobs, job_id, token = self._log.jobs, attempt.job.job_id, attempt.token
        match outcome:
            case Succeeded(result):
                return self._complete(attempt, result)
            case Failed():
                job = jobs.fail(
                    job_id,
                    token,
                    outcome.error_type,
                    outcome.message,
                    traceback=outcome.traceback,
                    retryable=outcome.retryable,
                    retry_at=outcome.retry_at,
                )
                said = f"failed: {outcome.error_type}: {outcome.message[:200]}; it is {job.status} now"
            case Crashed(evidence):
                jobs.crash([(job_id, token)], "parent_wait", evidence)
                said = f"crashed: {evidence}"
            case Snoozed(until):
                jobs.snooze(job_id, token, until)
                said = "snoozed"
            case Stopped():
                said = self._end_stopped(attempt)
        self._said(f"job {job_id} ({attempt.job.kind}) {said}")
        return None

    def _end_stopped(self, attempt: Attempt) -> str:
        jobs, job_id, token = self._log.jobs, attempt.job.job_id, attempt.token
        if attempt.why == "cancelled":
            jobs.stopped(job_id, token)
            return "stopped: it was cancelled"
        if attempt.why == "shutdown" or attempt.context.stopping.is_set():
            jobs.release(job_id, token)
            return "handed back: the worker stops"
        if attempt.why == "timeout":
            jobs.fail(job_id, token, "Timeout", f"took longer than {(attempt.job.timeout_us or 0) / 1e6:g} s")
            return "took too long"
        jobs.fail(job_id, token, "Cancelled", "the handler gave up, and nobody had asked it to")
        return "gave up"

    def _complete(self, attempt: Attempt, result: Any) -> Attempt | None:
        job_id, token, worker_id = attempt.job.job_id, attempt.token, self.worker_id
        following: Attempt | None = None
        if self._asked or worker_id is None:
            self._log.jobs.complete(job_id, token, result, durability=self._durability)
        else:
            done = self._log.jobs.complete_and_claim(
                job_id, token, result, worker_id=worker_id, limit=1, durability=self._durability, **self._wish
            )
            if done.claimed:
                following = self._adopt(done.claimed[0], worker_id)
        self._said(f"job {job_id} ({attempt.job.kind}) completed")
        return following

    # the end

    def _finish(self, upkeep: Upkeep, heart: Heart) -> None:
        """Let what runs finish within the grace, hand back the rest, and leave nothing behind."""
        reason = "asked to stop" if self._asked else "nothing left to do"
        self._asked = max(self._asked, 1)
        if self._active:
            self._said(f"stops: {self._grace_s:g} s to finish for {counted(len(self._active), 'job')}")
        for attempt in list(self._active.values()):
            attempt.context.stopping.set()
        self._until_quiet(self._grace_s, lambda: self._asked > 1)
        for attempt in list(self._active.values()):
            attempt.tell("shutdown")
        self._ending = True
        self._until_quiet(self._kill_after_s + PATIENCE_S + 1, lambda: False)
        for attempt in list(self._active.values()):
            attempt.hard = True
        self._until_quiet(2, lambda: False)
        upkeep.stop()
        for _ in self._slots:
            self._inbox.put(None)
        for slot in self._slots:
            if slot.child is not None:
                slot.child.close()
        heart.stop(reason)
        self._watchdog.close()
        self._sink.settle()
        self._sink.say()
        self._said(f"worker stopped after {counted(self._done, 'attempt')}")

    def _until_quiet(self, seconds: float, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while self._active and time.monotonic() < deadline and not enough():
            if self._asked > 1:
                for attempt in list(self._active.values()):
                    attempt.hard = True
            self._watch()
            time.sleep(0.02)


def _kinds(functions: dict[str, JobFunction], wanted: Iterable[str] | None, shell: bool) -> list[str]:
    there = [*functions, *([SHELL] if shell else [])]
    if wanted is None:
        kinds = there
    else:
        kinds = list(dict.fromkeys(wanted))
        if missing := [kind for kind in kinds if kind not in there]:
            raise InvalidInput(f"no handler is of kind {missing[0]!r}; there are {', '.join(there) or 'none'}")
    if not kinds:
        raise InvalidInput("there is nothing to do: no handlers, and no shell commands")
    return kinds
