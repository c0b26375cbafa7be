"""What every worker does beside its jobs: look for crashes, fire schedules, let old jobs go."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable

from eventlog.clock import counted
from eventlog.worker.attempt import WorkerLog
from eventlog.worker.recovery import CHEAP_S, Patience, RecoveryManager, result_of
from eventlog.worker.retention import EVERY_S, Retention

TOLD_AGAIN_S = 60.0


class Upkeep(threading.Thread):
    """Each second, in a thread of its own. What fails is told and tried again; nothing is raised."""

    def __init__(
        self,
        log: WorkerLog,
        *,
        lease_s: float,
        retention: Retention | None = None,
        mine: Callable[[], Iterable[str]] = tuple,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(daemon=True, name="eventlog upkeep")
        self._log = log
        self._tell = quietly(tell)
        self._retention = retention
        self._manager = RecoveryManager(log, mine=mine)
        self._manager.longest_gap_s = max(lease_s, 5 * CHEAP_S)
        self._leases = Patience(lease_s)
        self._over = threading.Event()
        self._purge_at = time.monotonic()
        self._told: dict[str, float] = {}

    def run(self) -> None:
        """Until `stop`."""
        # Workers that started together do not look together.
        while not self._over.wait(CHEAP_S * random.uniform(0.75, 1.0)):  # noqa: S311 (no secret)
            self._try("recovery", self.recover)
            self._try("schedules", self._fire)
            if self._retention is not None and time.monotonic() >= self._purge_at:
                self._purge_at = time.monotonic() + EVERY_S
                self._try("retention", self.purge)

    def start_up(self) -> None:
        """Before the first job: what crashed while nobody looked. Raises the log's errors."""
        result = self._manager.recover_on_startup()
        if result.recovered:
            self._tell(_recovered(*result))
        self._try("schedules", self._fire)
        if self._retention is not None:
            self._purge_at = time.monotonic() + EVERY_S
            self._try("retention", self.purge)

    def recover(self) -> None:
        """Take what crashed."""
        if taken := self._manager.sweep(leases=self._leases.is_due()):
            self._tell(_recovered(*result_of(taken)))

    def _fire(self) -> None:
        for fired in self._log.schedules.fire_due():
            late = f", {fired.missed} missed" if fired.missed else ""
            self._tell(f"schedule {fired.schedule} fired: job {fired.job_id}{late}")

    def purge(self) -> None:
        """Let old jobs go."""
        assert self._retention is not None  # noqa: S101
        if count := self._retention.apply(self._log):
            self._tell(f"retention: {counted(count, 'job')} left the tables")

    def _try(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            problem = f"{what}: {type(error).__name__}: {error}"
            now = time.monotonic()
            if now - self._told.get(problem, -TOLD_AGAIN_S) >= TOLD_AGAIN_S:
                self._told[problem] = now
                self._tell(problem)

    def stop(self) -> None:
        """No more after what is under way."""
        self._over.set()
        if self.is_alive():
            self.join(timeout=10)


def quietly(tell: Callable[[str], None]) -> Callable[[str], None]:
    """The same, raising nothing: where nobody listens any more (a closed pipe) there is still work to be done."""

    def told(text: str) -> None:
        with contextlib.suppress(Exception):
            tell(text)

    return told


def _recovered(recovered: int, requeued: int, failed: int) -> str:
    return f"recovered {counted(recovered, 'job')} of workers that are gone: {requeued:,} requeued, {failed:,} failed"
