"""`eventsourcing` on SQLite, as its documentation uses it.

That is `Application.save`, `select_notifications`, a `Projection` with a `SQLiteTrackingRecorder` as its view, and
`repository.get`. Its connection runs WAL with SQLite's default, synchronous FULL.

Given less to do than ours: its events are plain objects that hold only the fields that are set, with their versions
known beforehand and times as integers; no aggregate is rebuilt before an append; its projection keeps one table of runs
with nine columns from two event types, ours all shipped projections; it keeps no chain and no idempotency key.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from eventsourcing.application import Application
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection
from eventsourcing.sqlite import SQLiteFactory, SQLiteTrackingRecorder
from eventsourcing.utils import Environment

from benchmarks import workload
from benchmarks.harness import Figure, Timing, chunks, interleave
from benchmarks.logs import Bench, commits, opened
from benchmarks.peers.comparing import latencies, rates
from benchmarks.workload import APP_EVENTS, Burst
from eventlog.events import EVENTS

AGAINST = "eventsourcing"
BATCH = 1_000


class Fact:
    """What every event of the peer has besides its payload."""

    originator_id: str
    originator_version: int


FACTS = {cls: type(cls.__name__, (Fact,), {"__module__": __name__}) for cls in (*EVENTS, *APP_EVENTS)}
globals().update({cls.__name__: cls for cls in FACTS.values()})


class Runs(SQLiteTrackingRecorder):  # type: ignore[misc]
    """The view: a row is written in the transaction that moves the tracking."""

    def construct_create_table_statements(self) -> list[str]:
        return [
            *super().construct_create_table_statements(),
            "CREATE TABLE IF NOT EXISTS runs (run_id TEXT PRIMARY KEY, command TEXT, program TEXT, project_id TEXT, "
            "created_at INTEGER, status TEXT, exit_code INTEGER, ended_at INTEGER, wall_us INTEGER) STRICT",
        ]

    def start(self, event: Any, tracking: Tracking) -> None:
        values = (event.originator_id, event.command, event.program, event.project_id, event.timestamp)
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, 'running', NULL, NULL, NULL)", values)

    def finish(self, event: Any, tracking: Tracking) -> None:
        values = (event.status, getattr(event, "exit_code", None), event.timestamp, event.wall_us, event.originator_id)
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "UPDATE runs SET status = ?, exit_code = ?, ended_at = ?, wall_us = ? WHERE run_id = ?", values
            )


class RunsProjection(Projection):  # type: ignore[misc]
    """One transaction an event, as documented; events it has no use for only move the tracking."""

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        kind = type(domain_event).__name__
        if kind == "RunStarted":
            self.view.start(domain_event, tracking)
        elif kind == "RunFinished":
            self.view.finish(domain_event, tracking)
        else:
            self.view.insert_tracking(tracking)


def run(bench: Bench) -> Iterator[Figure]:
    """Append one by one and in batches, replay, project, state of one run."""
    warnings.simplefilter("ignore", DeprecationWarning)
    yield _singles(bench)
    yield _batches(bench)
    yield from _reads(bench)


def _application(path: Path) -> Application[str]:
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(path),
        "ORIGINATOR_ID_TYPE": "text",
    }
    return Application(environment)


def _facts(bursts: list[Burst]) -> list[Fact]:
    versions: defaultdict[str, int] = defaultdict(int)
    facts = []
    for burst in bursts:
        for event in burst.events:
            fact: Fact = object.__new__(FACTS[type(event)])
            versions[burst.stream] += 1
            payload = msgspec.json.decode(msgspec.json.encode(event))
            del payload["type"]
            vars(fact).update(
                originator_id=burst.stream,
                originator_version=versions[burst.stream],
                timestamp=burst.occurred_at,
                **payload,
            )
            facts.append(fact)
    return facts


def _singles(bench: Bench) -> Figure:
    count = bench.size.singles
    bursts = list(workload.singles(count))
    facts = iter(_facts(bursts))
    application = _application(bench.fresh("eventsourcing"))
    waiting = iter(bursts)
    with opened(bench.fresh("ours")) as log:

        def append() -> None:
            burst = next(waiting)
            log.append(burst.stream, burst.events, occurred_at=burst.occurred_at)

        ours, peer = interleave(count, append, lambda: application.save(next(facts)))
    application.close()
    return rates("eventsourcing.single", "one durable append at a time (p50)", AGAINST, 1, ours, peer)


def _batches(bench: Bench) -> Figure:
    rounds = bench.size.rounds * bench.size.batch_commits
    bursts = list(workload.history(rounds * BATCH))
    facts = iter(chunks(_facts(bursts), BATCH))
    application = _application(bench.fresh("eventsourcing"))
    waiting = commits(bursts, BATCH)
    with opened(bench.fresh("ours")) as log:
        appends = iter(list(waiting))
        ours, peer = interleave(rounds, lambda: log.append_many(next(appends)), lambda: application.save(*next(facts)))
    application.close()
    return rates("eventsourcing.batch", "append 1,000 events a commit", AGAINST, BATCH, ours, peer)


def _reads(bench: Bench) -> Iterator[Figure]:
    size = bench.size
    events = min(size.log_events, 200_000)
    path = bench.mixed(events)
    application = _application(bench.fresh("eventsourcing"))
    facts = _facts(list(workload.history(events)))
    for part in chunks(facts, 5_000):
        application.save(*part)
    runs = [fact.originator_id for fact in facts if type(fact).__name__ == "RunStarted"]
    with opened(path) as log:

        def replay() -> None:
            for record in log.read():
                _ = record.event

        ours, peer = interleave(min(3, size.rounds), replay, lambda: _replay(application))
        yield rates("eventsourcing.replay", f"replay {events:,} events into objects", AGAINST, events, ours, peer)

        asked = runs[:: max(1, len(runs) // 200)]
        ours_one, peer_one = iter(asked), iter(asked)
        ours, peer = interleave(
            len(asked),
            lambda: log.runs.get(int(next(ours_one).removeprefix("run-"))),
            lambda: application.repository.get(next(peer_one), projector_func=_fold),
        )
        yield latencies("eventsourcing.state", "the state of one run", AGAINST, ours, peer)
    yield _projection(bench, application)
    application.close()


def _replay(application: Application[str]) -> None:
    after = 0
    while notifications := application.recorder.select_notifications(after, BATCH, inclusive_of_start=False):
        for notification in notifications:
            application.mapper.to_domain_event(notification)
        after = notifications[-1].id


class _Run:
    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.version = 0
        self.values: dict[str, Any] = {}


def _fold(run: _Run | None, events: Any) -> _Run | None:
    for event in events:
        run = run or _Run(event.originator_id)
        run.version = event.originator_version
        run.values.update(vars(event))
    return run


def _projection(bench: Bench, application: Application[str]) -> Figure:
    """Ours catches up on as many events, from nothing, through the same call that deferred projections use."""
    events = bench.size.singles * 2
    ours, peer = Timing([]), Timing([])
    for _ in range(3):
        path = bench.fresh("ours")
        with opened(path) as log:
            for appends in commits(workload.history(events)):
                log.append_many(appends, durability="process")
            started = time.perf_counter()
            log.projections.catch_up()
            ours.seconds.append(time.perf_counter() - started)
        peer.seconds.append(_project(application, bench.fresh("view"), events))
    what = f"projections of {events:,} events to tables, durably"
    return rates("eventsourcing.projection", what, AGAINST, events, ours, peer)


def _project(application: Application[str], path: Path, events: int) -> float:
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}
    factory = SQLiteFactory(Environment(env=environment))
    projection = RunsProjection(factory.tracking_recorder(Runs))
    started = time.perf_counter()
    for notification in islice(_notifications(application), events):
        event = application.mapper.to_domain_event(notification)
        projection.process_event(event, Tracking(application.name, notification.id))
    taken = time.perf_counter() - started
    factory.close()
    return taken


def _notifications(application: Application[str]) -> Iterator[Any]:
    after = 0
    while notifications := application.recorder.select_notifications(after, BATCH, inclusive_of_start=False):
        yield from notifications
        after = notifications[-1].id
