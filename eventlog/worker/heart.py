"""The heartbeat of a worker, in a thread of its own, and what it learns by it: a lost lease, a cancelled job."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection

from eventlog.repositories.jobs import JOBS, LateResult
from eventlog.worker.attempt import Attempt, WorkerLog
from eventlog.worker.registration import Registration

LOOK_S = 0.25
"""How often a worker looks whether somebody wants its jobs cancelled, or has taken them."""


class Heart(threading.Thread):
    """Registers the worker, and again under a new id when it was taken for lost.

    ``attempts`` gives those under way. Who was silent for longer than his lease, because the database did not answer,
    has lost it as well: others may be doing his jobs.
    """

    def __init__(
        self,
        log: WorkerLog,
        register: Callable[[], Registration],
        attempts: Callable[[], Collection[Attempt]],
        lease_s: float,
        tell: Callable[[str], None],
    ) -> None:
        super().__init__(daemon=True, name="eventlog heartbeat")
        self._log = log
        self._register = register
        self._attempts = attempts
        self._lease_s = lease_s
        self._tell = tell
        self._over = threading.Event()
        self._counter: object = None
        self._unknown: set[int] = set()
        self.ids: set[str] = set()
        self.place: Registration | None = None
        self._begin()

    def _begin(self) -> Registration:
        place = self._register()
        self.ids.add(place.worker_id)
        self.place = place
        self._beat_at = self._good_at = time.monotonic()
        return place

    @property
    def worker_id(self) -> str | None:
        """The id to claim under; None while the worker is registered nowhere."""
        place = self.place
        return None if place is None else place.worker_id

    def run(self) -> None:
        """Until `stop`."""
        while not self._over.wait(min(LOOK_S, self._lease_s / 6)):
            try:
                self._step()
            except Exception as error:
                if time.monotonic() - self._good_at > self._lease_s:
                    self._lose(f"no heartbeat could be written for {self._lease_s:g} s: {error}")

    def _step(self) -> None:
        if self.place is None:
            self._tell(f"registered anew as {self._begin().worker_id}")
        place = self.place
        if place is None:
            return
        now = time.monotonic()
        if now - self._beat_at >= self._lease_s / 3:
            self._beat_at = now
            if not place.beat():
                self._lose("this worker was taken for lost")
                return
            self._good_at = time.monotonic()
            self._hand_back_unknown()
        self._look()

    def _lose(self, why: str) -> None:
        place, self.place = self.place, None
        if place is None:
            return
        self._tell(f"{why}; its work is given up")
        for attempt in self._attempts():
            if attempt.worker_id == place.worker_id:
                attempt.tell("lost")
        place.let_go()

    def _look(self) -> None:
        """Whether a job under way was cancelled, or is not ours any more."""
        attempts = list(self._attempts())
        if not attempts:
            return
        counter = self._log.store.change_counter()
        if counter == self._counter:
            return
        with self._log.reader() as reader:
            rows = reader.load(JOBS.table, [(attempt.job.job_id,) for attempt in attempts])
        self._counter = counter
        for attempt in attempts:
            job = rows.get((attempt.job.job_id,))
            # A table that lags has the job as it was before the claim: that says nothing.
            token = 0 if job is None else job.token or 0
            if job is None or token < attempt.token or attempt.settled:
                continue
            if token > attempt.token or job.status != "processing":
                attempt.tell("lost")
                self.doubt()
            elif job.cancel_requested_by is not None:
                attempt.tell("cancelled")

    def doubt(self) -> None:
        """Somebody took a job, or refused a claim: ask at once whether this worker was taken for lost."""
        self._beat_at = -math.inf

    def _hand_back_unknown(self) -> None:
        """A claim whose commit was not heard of is ours by the log, and nobody does it: a beat later it goes back."""
        place = self.place
        if place is None:
            return
        known = {attempt.token for attempt in self._attempts()}
        mine = [job for job in self._log.jobs.processing() if job.worker_id == place.worker_id]
        unknown = {job.token or 0: job for job in mine if job.token not in known}
        for token in unknown.keys() & self._unknown:
            try:
                self._log.jobs.release(unknown[token].job_id, token)
            except LateResult:
                continue
        self._unknown = set(unknown)

    def stop(self, reason: str) -> None:
        """The worker ends in good order."""
        self._over.set()
        if self.is_alive():
            self.join(timeout=10)
        place, self.place = self.place, None
        if place is not None:
            try:
                place.stop(reason)
            except Exception as error:
                self._tell(f"the log does not know that this worker stopped: {error}")
                place.let_go()
