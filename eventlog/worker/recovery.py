"""Recovery: jobs whose worker is gone are taken from it, each once, by whoever finds out first.

The ladder of evidence, the strongest first; the rung that was reached is in `JobCrashed` and `WorkerLost`:

``parent_wait``     the worker itself saw its child process end (`eventlog.worker.child`)
``lock_released``   the file that the worker kept locked is not locked any more; same machine only
``other_boot``      the machine was started again since
``process_gone``    no such process, or another one with its number, or the worker said that it stopped
``lease_expired``   it said nothing for longer than its lease, by the clock of the database
``worker_unknown``  nobody of this id ever registered, and the lease has passed since the claim: those who work
                    over HTTP may register late

Only the last two can be wrong about somebody who lives; the token of a claim then keeps his result out.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast, get_args

from eventlog.clock import now_us
from eventlog.errors import EventLogError, IllegalTransition, NotFound
from eventlog.events.workers import WorkerLost
from eventlog.recorder.capture import is_gone, process_facts
from eventlog.repositories.job_rules import Rung, lease_of
from eventlog.repositories.jobs import JOBS
from eventlog.worker.attempt import WorkerLog
from eventlog.worker.registration import is_lock_path, is_unlocked, remove_stale_locks
from projections.jobs import Job
from projections.workers import Worker

BATCH = 500
CHEAP_S = 1.0
"""How often a worker looks for crashes on its own machine."""
LEASES_S = 15.0
"""How often it looks for leases that ran out; more often where leases are short."""


class RecoveryResult(NamedTuple):
    """Jobs taken from workers that are gone; of those, how many wait again, and how many failed for good."""

    recovered: int
    requeued: int
    failed: int


class Found(NamedTuple):
    """A job whose worker is gone: which claim of which job, the rung that was reached, and the evidence."""

    job: Job
    rung: Rung
    evidence: str


class RecoveryManager:
    """Finds and takes what crashes left behind. ``mine`` gives the ids of workers that are never judged."""

    def __init__(self, log: WorkerLog, *, mine: Callable[[], Iterable[str]] = tuple) -> None:
        self._log = log
        self._mine = mine
        self._looked_at: float | None = None
        self._looked_at_of_day = 0.0
        self._woke_at = -math.inf

    # what the document names

    def recover_on_startup(self) -> RecoveryResult:
        """Take every job whose worker is gone, and tidy up what dead workers of this machine left."""
        taken = self.sweep()
        if self._log.data_dir is not None:
            running = [worker.worker_id for worker in self._log.workers.list(status="running", limit=None)]
            remove_stale_locks(self._log.data_dir, running)
        return result_of(taken)

    def requeue_processing(self) -> int:
        """Put jobs that are being processed by nobody back into their queue; returns how many."""
        return result_of(self.sweep()).requeued

    def retry_failed(self, max_retries: int) -> int:
        """Run failed jobs again that had fewer than ``max_retries`` retries; returns how many."""
        count = 0
        before: str | None = None
        while page := self._log.jobs.list(status="failed", before=before, limit=BATCH):
            before = page[-1].job_id
            for job in page:
                if job.failures + job.crashes > max_retries:
                    continue
                # Another recoverer, or a person, may have been first.
                with contextlib.suppress(IllegalTransition, NotFound):
                    self._log.jobs.retry(job.job_id, "recovery")
                    count += 1
        return count

    # sweeps

    def look(self, *, leases: bool = True) -> list[Found]:
        """Every job that is being processed by a worker that is gone, and how that is known. Writes nothing.

        ``leases``: also those whose worker only fell silent.
        """
        by_worker: dict[str, list[Job]] = {}
        for job in self._log.jobs.processing():
            by_worker.setdefault(job.worker_id or "", []).append(job)
        for worker_id in self._mine():
            by_worker.pop(worker_id, None)
        silences = self._log.workers.silences() if by_worker else {}
        found: list[Found] = []
        for worker_id, jobs in by_worker.items():
            worker = self._log.workers.find(worker_id)
            certain = None if worker is None else self._certain(worker)
            if certain is not None:
                found += [Found(job, *certain) for job in jobs]
            elif leases:
                silence = silences.get(worker_id)
                for job in jobs:
                    since = max(job.claimed_at or 0, 0 if worker is None else worker.started_at)
                    if (told := self._silent(worker_id, worker, silence, since, lease_of(job, worker))) is not None:
                        found.append(Found(job, *told))
        return found

    def sweep(self, *, leases: bool = True) -> list[Job]:
        """Take every job whose worker is gone; returns them as they are now. Any number may do it at once."""
        self._notice_sleep()
        groups: dict[tuple[str, Rung, str], list[Job]] = {}
        for job, rung, evidence in self.look(leases=leases):
            groups.setdefault((job.worker_id or "", rung, evidence), []).append(job)
        batches: list[tuple[list[Job], Rung, str]] = []
        for (worker_id, rung, evidence), jobs in groups.items():
            self._tell_lost(worker_id, rung, evidence)
            batches += [(jobs[start : start + BATCH], rung, evidence) for start in range(0, len(jobs), BATCH)]
        if leases:
            self._tell_idle_lost()
        # Several recoverers at once begin at different ends, and do not wait for each other to find nothing left.
        random.shuffle(batches)
        taken = [job for batch in batches for job in self._take(*batch)]
        if taken:
            # Their commands were runs, which would be running for ever; who is first takes them, too.
            with contextlib.suppress(EventLogError, OSError):
                self._log.runs.recover()
        return taken

    def _take(self, jobs: Sequence[Job], rung: Rung, evidence: str) -> list[Job]:
        """Those of them that nobody else has taken meanwhile: looked at before the others are kept from writing."""
        with self._log.reader() as reader:
            rows = reader.load(JOBS.table, [(job.job_id,) for job in jobs])
        still = {job.job_id: job for job in rows.values() if job.status == "processing"}
        claims = [
            (job.job_id, job.token or 0)
            for job in jobs
            if (now := still.get(job.job_id)) is not None and now.token == job.token
        ]
        return self._log.jobs.crash(claims, rung, evidence) if claims else []

    def _tell_lost(self, worker_id: str, rung: Rung, evidence: str) -> None:
        worker = self._log.workers.find(worker_id)
        if worker is None or worker.status != "running":
            return
        self._log.workers.lost(worker_id, rung, evidence)
        if (path := _lock_of(worker)) is not None and is_unlocked(path):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _tell_idle_lost(self) -> None:
        """Workers that went while they had nothing to do: no job leads to them, and they would be running for ever."""
        mine, silences = set(self._mine()), self._log.workers.silences()
        for worker in self._log.workers.list(status="running", limit=None):
            worker_id = worker.worker_id
            if worker_id in mine:
                continue
            gone = self._certain(worker) or self._silent(
                worker_id, worker, silences.get(worker_id), worker.started_at, worker.lease_us
            )
            if gone is not None:
                self._tell_lost(worker_id, *gone)

    def _certain(self, worker: Worker) -> tuple[Rung, str] | None:
        """What proves that a worker is gone, whatever its heartbeat said."""
        if worker.status == "lost":
            return self._said_lost(worker)
        if worker.status == "stopped":
            return "process_gone", f"worker {worker.worker_id} stopped and did not hand the job back"
        return proof(worker)

    def _said_lost(self, worker: Worker) -> tuple[Rung, str]:
        """Somebody found it lost and did not get to all of its jobs."""
        for record in self._log.read_stream(f"worker-{worker.worker_id}"):
            # Whoever may append could have written any word there.
            if isinstance(event := record.event, WorkerLost) and event.rung in get_args(Rung):
                return cast(Rung, event.rung), event.evidence
        return "process_gone", worker.reason or "it was found lost"

    def _silent(
        self, worker_id: str, worker: Worker | None, silence: int | None, since: int, lease: int
    ) -> tuple[Rung, str] | None:
        """That a worker said nothing for longer than a lease; ``since``: when it must have lived."""
        if silence is None:
            # Not said a word yet, or the log was copied without what workers said.
            silence = now_us() - since
        if silence <= lease or _awake_clock() < self._woke_at + max(lease / 1e6, self.longest_gap_s):
            return None
        said = f"said nothing for {silence / 1e6:.0f} s, and its lease is {lease / 1e6:g} s"
        if worker is None:
            return "worker_unknown", f"worker {worker_id} never registered and {said}"
        where = "" if worker.host is None else f" on {worker.host}"
        return "lease_expired", f"worker {worker_id}{where} {said}"

    def _notice_sleep(self) -> None:
        """Who slept himself (a closed lid, SIGSTOP) cannot blame others for their silence: they get a lease more.

        So they do where the time of day was put forward: by it nobody has said anything since.
        """
        now, of_day = _awake_clock(), now_us() / 1e6
        if self._looked_at is not None:
            gap = max(now - self._looked_at, of_day - self._looked_at_of_day)
            if gap > self.longest_gap_s:
                self._woke_at = now
        self._looked_at, self._looked_at_of_day = now, of_day

    longest_gap_s: float = 30.0
    """A pause between two sweeps that is longer than this is sleep. Meaningful only where sweeps are regular."""


def proof(worker: Worker) -> tuple[Rung, str] | None:
    """What proves, on this machine, that a worker that is said to run is gone; None: nothing does."""
    if (path := _lock_of(worker)) is not None and is_unlocked(path):
        return "lock_released", f"{path} is not locked any more"
    evidence = is_gone(worker)
    if evidence is None:
        return None
    return ("process_gone" if worker.boot_id == process_facts()["boot_id"] else "other_boot"), evidence


def result_of(taken: Iterable[Job]) -> RecoveryResult:
    """What became of jobs that were taken."""
    statuses = [job.status for job in taken]
    return RecoveryResult(len(statuses), statuses.count("queued"), statuses.count("failed"))


def _is_here(worker: Worker) -> bool:
    """Whether a worker's files are this machine's: the same host, and the same machine or the same boot of it."""
    here = process_facts()
    if worker.host is None or worker.host != here["host"]:
        return False
    if worker.machine_id is not None and here["machine_id"] is not None:
        return bool(worker.machine_id == here["machine_id"])
    return worker.boot_id is not None and bool(worker.boot_id == here["boot_id"])


def _lock_of(worker: Worker) -> str | None:
    """The lock file of a worker of this machine. Whoever may append could name any file: only one that can be its own
    is opened, and removed.
    """
    path = worker.lock_path
    if path is None or not _is_here(worker) or not is_lock_path(path, worker.worker_id):
        return None
    return path


def _awake_clock() -> float:
    """Seconds, those in which the machine was suspended too: `time.monotonic` leaves them out."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Patience:
    """When the next look at leases is due."""

    def __init__(self, lease_s: float) -> None:
        self._every_s = min(LEASES_S, lease_s / 2)
        self._due = time.monotonic()
        self._lock = threading.Lock()

    def is_due(self) -> bool:
        """Whether it is; then the next one is later."""
        with self._lock:
            now = time.monotonic()
            if now < self._due:
                return False
            self._due = now + self._every_s
            return True
