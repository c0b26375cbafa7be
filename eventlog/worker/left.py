"""What a worker that ends because nothing is ready leaves in the queues, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from eventlog.clock import counted
from eventlog.repositories.workers import QueueState
from eventlog.worker.attempt import WorkerLog


def left(log: WorkerLog, queues: Collection[str] | None, kinds: Collection[str]) -> Iterator[str]:
    """A sentence for each queue of ``queues`` (None: all) with jobs that wait, and for each that is not there."""
    waiting: dict[str, dict[str, int]] = {}
    for (status, name, kind), number in log.jobs.counts(by=("status", "queue", "kind")).items():
        if status == "queued" and (queues is None or name in queues):
            waiting.setdefault(name, {})[kind] = number
    # After the jobs: one may be enqueued meanwhile, the first of its queue.
    states = {state.queue: state for state in log.queues.list()}
    for name in queues or ():
        if name not in states:
            yield f"there is no queue {name}: no job is in it"
    for name, numbers in sorted(waiting.items()):
        ours = sum(number for kind, number in numbers.items() if kind in kinds)
        if ours:
            yield f"{counted(ours, 'job')} left in the queue {name}: {_why(states[name])}"
        if others := [kind for kind in sorted(numbers) if kind not in kinds]:
            number = sum(numbers[kind] for kind in others)
            yield f"{counted(number, 'job')} left in the queue {name}: nothing here does {', '.join(others)}"


def _why(state: QueueState) -> str:
    if state.paused:
        why = f" ({state.pause_reason})" if state.pause_reason else ""
        return f"paused by {state.paused_by}{why}; `eventlog jobs resume {state.queue}` lets it go on"
    if state.max_running == 0:
        return f"the limit is 0; `eventlog jobs limit {state.queue} none` lifts it"
    return "not to run yet"
