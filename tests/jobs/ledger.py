"""What must hold of a log of jobs whatever happened to those who did them: found by folding it, event by event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from eventlog import Record

ENDED = {"completed", "failed", "cancelled", "expired"}
FROM: dict[str, set[str]] = {
    "started": {"queued"},
    "progressed": {"processing"},
    "succeeded": {"processing"},
    "attempt_failed": {"processing"},
    "crashed": {"processing"},
    "released": {"processing"},
    "snoozed": {"processing"},
    "cancel_requested": {"processing"},
    # Each follows the event before it in the same transaction.
    "retry_scheduled": {"attempt_failed"},
    "requeued": {"crashed"},
    "held": {"crashed"},
    "failed": {"attempt_failed", "crashed"},
    "cancelled": {"queued", "held", "processing", "attempt_failed", "crashed"},
    "expired": {"queued"},
    "retry_requested": {*ENDED, "held"},
    "changed": {"queued"},
    "purged": ENDED,
}
TO = {
    "enqueued": "queued",
    "started": "processing",
    "succeeded": "completed",
    "released": "queued",
    "snoozed": "queued",
    "retry_scheduled": "queued",
    "requeued": "queued",
    "retry_requested": "queued",
}
SAME = {"progressed", "cancel_requested", "changed"}


class Ledger:
    """The fold of every job's events. ``wrong`` says what is not as it must be; ``states`` where each job stands."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.wrong: list[str] = []
        self.states: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.attempts: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        for record in records:
            self._step(record.stream[4:], record.type.removeprefix("job."), record.event, record.position)

    def _step(self, job_id: str, what: str, event: Any, position: int) -> None:
        self.types[what] += 1
        state = self.states.get(job_id)
        if what == "late_result_discarded":
            return
        if what == "enqueued":
            if state is not None:
                self.wrong.append(f"{position}: {job_id} is enqueued twice")
        elif state not in FROM[what]:
            self.wrong.append(f"{position}: {job_id} is {state} and becomes {what}")
        if what == "started":
            self.attempts[job_id] += 1
            if event.attempt != self.attempts[job_id]:
                self.wrong.append(f"{position}: attempt {event.attempt} of {job_id} is its {self.attempts[job_id]}th")
            self.owners[job_id] = event.worker_id
        elif (owner := getattr(event, "worker_id", None)) is not None and owner != self.owners.get(job_id):
            self.wrong.append(f"{position}: {what} of {job_id} by {owner}, who does not own it")
        if what not in SAME:
            self.states[job_id] = TO.get(what, what)
