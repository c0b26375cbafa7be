"""Logs to measure on: made once an invocation, in its own folder, by batch appends and one rebuild."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import eventlog
from benchmarks import raw, workload
from benchmarks.harness import Size, told
from benchmarks.workload import APP_EVENTS, Burst
from eventlog import Append, Log

EVENTS_A_COMMIT = 1_000


class Bench:
    """One invocation: how much is measured, where its files are, and the logs made so far."""

    def __init__(self, size: Size, folder: Path) -> None:
        self.size = size
        self.folder = folder
        self._made: dict[str, Path] = {}
        self._names = 0

    def fresh(self, name: str) -> Path:
        """A path that nothing uses yet."""
        self._names += 1
        folder = self.folder / f"{self._names:02d}-{name}"
        folder.mkdir()
        return folder / "log.db"

    def mixed(self, events: int) -> Path:
        """A log of this many mixed events, with every projection caught up."""
        return self._make(f"mixed-{events}", f"making a log of {events:,} mixed events", workload.history(events))

    def listed(self, runs: int) -> Path:
        """A log of this many finished runs, with every projection caught up."""
        return self._make(f"runs-{runs}", f"making a log of {runs:,} runs", workload.runs_only(runs))

    def finished(self) -> Path:
        """A log of many finished jobs, with every projection caught up."""
        from benchmarks import jobs

        if "finished" not in self._made:
            self._made["finished"] = self.fresh("finished")
            jobs.finished(self._made["finished"], self.size.finished_jobs)
        return self._made["finished"]

    def _make(self, name: str, label: str, bursts: Iterable[Burst]) -> Path:
        if name not in self._made:
            path = self.fresh(name)
            with told(label):
                build(path, bursts)
            raw.check_same_columns(path)
            self._made[name] = path
        return self._made[name]


def opened(path: Path | str, projections: str = "deferred") -> Log:
    """A log that knows the user's own event types."""
    return eventlog.open(path, events=APP_EVENTS, projections=projections)


def build(path: Path, bursts: Iterable[Burst], *, project: bool = True, events_a_commit: int = 5_000) -> None:
    """Append bursts in big commits, then make the projections from them all at once."""
    with opened(path) as log:
        for appends in commits(bursts, events_a_commit):
            log.append_many(appends, durability="process")
        if project:
            log.projections.rebuild()


def commits(bursts: Iterable[Burst], events: int = EVENTS_A_COMMIT) -> Iterator[list[Append]]:
    """Bursts as lists of appends with exactly this many events each; the last list may be shorter."""
    appends: list[Append] = []
    room = events
    for burst in bursts:
        rest = burst.events
        while rest:
            now, rest = rest[:room], rest[room:]
            appends.append(Append(stream=burst.stream, events=now, occurred_at=burst.occurred_at))
            room -= len(now)
            if room == 0:
                yield appends
                appends, room = [], events
    if appends:
        yield appends


def one_stream(bursts: Iterable[Burst], events: int = EVENTS_A_COMMIT) -> Iterator[list[Append]]:
    """The same events, each commit's in one stream and one append: what an import of one file does."""
    flat = (event for burst in bursts for event in burst.events)
    for number in range(1 << 62):
        part = list(islice(flat, events))
        if not part:
            return
        yield [Append(stream=f"import-{number}", events=part)]
