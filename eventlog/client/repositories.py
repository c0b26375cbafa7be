"""The repositories of a log behind a server. What they do not ask for in one call of its own is done as above them: by
events that are appended, and rows that are read by their keys.
"""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from eventlog.client.calls import Call, offered
from eventlog.errors import InvalidQuery, NotFound, WrongExpectedVersion
from eventlog.events.runs import RunLost
from eventlog.projection.manager import Version
from eventlog.recorder.capture import is_gone as process_is_gone
from eventlog.recorder.track import RecordedRuns
from eventlog.repositories.base import Repository
from eventlog.repositories.price_book import Price
from eventlog.repositories.prices import PriceExplanation, PricesRepository
from eventlog.repositories.projects import ProjectsRepository
from eventlog.repositories.runs import Comparison, Said
from eventlog.repositories.schedules import Fired, SchedulesRepository
from eventlog.repositories.statistics import ExecutionStatistics, JobStatistics, RunStatistics, StatisticsRepository
from eventlog.repositories.usage_statistics import CostComparison, CostStatistics, TokenStatistics, ToolStatistics
from eventlog.repositories.workers import QueuesRepository, QueueState, WorkersRepository
from eventlog.wire import (
    Beat,
    Limit,
    Loss,
    NewCatalog,
    NewPrice,
    NewProject,
    NewRun,
    NewSchedule,
    NewWorker,
    ProjectChange,
    Reason,
    RunChange,
    RunEnd,
    SaidMessage,
    SaidOutput,
    Told,
)
from eventlog.wire import By as Who
from eventlog.wire import Comparison as SentComparison
from projections.prices import PriceCatalog
from projections.projects import Project
from projections.run_journals import RunArtifact, RunMetric
from projections.runs import Run
from projections.workers import Queue, Schedule, Worker

RUN = "/api/runs/{run_id}"
PROJECT = "/api/projects/{project_id}"
QUEUE = "/api/queues/{queue}"
WORKER = "/api/workers/{worker_id}"
SCHEDULE = "/api/schedules/{schedule}"
SET_SCHEDULE = Call("POST", "/api/schedules", Schedule, NewSchedule)


class Remote(Repository):
    """A repository whose source is a server."""

    calls: ClassVar[dict[str, Call]]

    def _ask(self, call: Call, given: dict[str, Any]) -> Any:
        if call.method != "GET":
            self._log.check_writable()
        source: Any = self._source
        return source.server.ask(call, given)


def _said(sent: list[SaidMessage] | list[SaidOutput]) -> list[Said]:
    return [Said(one.row, one.text) for one in sent]


def _tag(tag: tuple[str, str] | None) -> str | None:
    return None if tag is None else "=".join(tag)


@offered(
    append_start=Call(
        "POST", "/api/runs", Run, NewRun, names={"occurred_at": "started_at"}, gives=lambda run: run.run_id
    ),
    finish=Call("POST", f"{RUN}/finish", Run, RunEnd, names={"occurred_at": "ended_at"}),
    update=Call("PATCH", RUN, Run, RunChange),
    delete=Call("DELETE", RUN),
    list=Call("GET", "/api/runs", list[Run], pages=True, sends={"tag": _tag}),
    count=Call("GET", "/api/runs/count", int, sends={"tag": _tag}),
    metrics=Call("GET", f"{RUN}/metrics", list[RunMetric]),
    artifacts=Call("GET", f"{RUN}/artifacts", list[RunArtifact]),
    output=Call("GET", f"{RUN}/outputs", list[SaidOutput], gives=_said),
    messages=Call("GET", f"{RUN}/messages", list[SaidMessage], gives=_said),
    compare=Call(
        "GET",
        "/api/runs/compare",
        SentComparison,
        names={"run_ids": "run_id"},
        sends={"run_ids": tuple},
        gives=lambda sent: Comparison(sent.run_ids, sent.rows),
    ),
)
class RemoteRuns(Remote, RecordedRuns):
    """Runs, and the recorder. Files are kept in the log's ``data_dir``; without one only the events travel."""

    def recover(
        self, is_gone: Callable[[Run], str | None] = process_is_gone, *, dry_run: bool = False, limit: int | None = None
    ) -> list[tuple[Run, str]]:
        """See `RecordedRuns.recover`. A run that says anything meanwhile is left alone."""
        if not dry_run:
            self.import_spool()
        gone = [(run, why) for run in self.list(status="running", limit=limit) if (why := is_gone(run)) is not None]
        return gone if dry_run else [(self.get(run.run_id), why) for run, why in gone if self._mark(run.run_id, why)]

    def _mark(self, run_id: int, evidence: str) -> bool:
        """Say that a run is lost, unless something was said since it was looked at."""
        try:
            version = self.history(run_id)[-1].version
            if self.get(run_id).status != "running":
                return False
            self._log.append(f"run-{run_id}", RunLost(evidence=evidence), expect=version)
        except (NotFound, WrongExpectedVersion):
            return False
        return True


@offered(
    add=Call("POST", "/api/projects", Project, NewProject),
    update=Call("PATCH", PROJECT, Project, ProjectChange),
    delete=Call("DELETE", PROJECT),
    list=Call("GET", "/api/projects", list[Project], pages=True),
)
class RemoteProjects(Remote, ProjectsRepository):
    """Projects."""


@offered(
    pause=Call("POST", f"{QUEUE}/pause", QueueState, Who),
    resume=Call("POST", f"{QUEUE}/resume", QueueState, Who),
    limit=Call("POST", f"{QUEUE}/limit", QueueState, Limit),
    get=Call("GET", QUEUE, QueueState),
    list=Call("GET", "/api/queues", list[QueueState]),
)
class RemoteQueues(Remote, QueuesRepository):
    """Queues of jobs."""

    def find(self, queue: str) -> Queue | None:
        """See `QueuesRepository.find`; None as well where all that was said was taken back."""
        try:
            state = self.get(queue)
        except NotFound:
            return None
        found = Queue(queue, state.paused, state.paused_by, state.paused_at, state.pause_reason, state.max_running)
        return None if found == Queue(queue) else found


@offered(
    start=Call(
        "POST",
        "/api/workers",
        Worker,
        NewWorker,
        sends={"lock_path": lambda path: None},  # it means nothing on another machine
        gives=lambda worker: worker.worker_id,
    ),
    beat=Call("POST", f"{WORKER}/beat", Beat, again=True, gives=lambda beat: beat.alive),
    stop=Call("POST", f"{WORKER}/stop", body=Reason),
    lost=Call("POST", f"{WORKER}/lost", Told, Loss, gives=lambda told: told.told),
    list=Call("GET", "/api/workers", list[Worker], pages=True),
)
class RemoteWorkers(Remote, WorkersRepository):
    """Those who do jobs."""


@offered(
    pause=Call("POST", f"{SCHEDULE}/pause", Schedule, Who),
    resume=Call("POST", f"{SCHEDULE}/resume", Schedule, Who),
    remove=Call("DELETE", SCHEDULE, sends={"by": lambda by: None}),
    list=Call("GET", "/api/schedules", list[Schedule]),
)
class RemoteSchedules(Remote, SchedulesRepository):
    """Jobs that are enqueued by the clock: by that of the server, which fires them."""

    def set(
        self,
        schedule: str,
        cron: str,
        kind: str,
        args: dict[str, Any] | None = None,
        *,
        queue: str = "default",
        time_zone: str = "UTC",
        by: str = "api",
        **options: Any,
    ) -> Schedule:
        """See `SchedulesRepository.set`."""
        given = {"schedule": schedule, "cron": cron, "kind": kind, "args": args or {}, "queue": queue}
        made: Schedule = self._ask(SET_SCHEDULE, {**given, "time_zone": time_zone, "by": by, "options": options})
        return made

    def fire_due(self, now: int | None = None) -> builtins.list[Fired]:
        """None: the server does it."""
        return []


def zone_name(zone: tzinfo | None) -> str:
    """The name under which a server finds a zone; None is this machine's. Raises InvalidQuery."""
    if zone is UTC:
        return "UTC"
    if isinstance(zone, ZoneInfo):
        return zone.key
    if zone is None:
        if name := os.environ.get("TZ", "").removeprefix(":"):
            return name
        parts = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")
        if parts[2]:
            return parts[2]
        if not time.daylight and not time.timezone:
            return "UTC"
    raise InvalidQuery("a server finds days, weeks and months in a zone with a name: UTC, or ZoneInfo('Europe/Berlin')")


def names(by: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """What statistics are by, where a query can say it: nothing is said by leaving it out."""
    return None if not by else (by,) if isinstance(by, str) else tuple(by)


def version_text(version: Version) -> str:
    """A version as a query has it."""
    return version.isoformat() if isinstance(version, datetime) else str(version)


@offered(
    list=Call("GET", "/api/prices", list[Price], pages=True),
    explain=Call("GET", "/api/prices/explain", PriceExplanation),
    catalogs=Call("GET", "/api/prices/catalogs", list[PriceCatalog]),
    load_catalog=Call("POST", "/api/prices/catalogs", PriceCatalog, NewCatalog, again=True),
    set=Call("POST", "/api/prices", Price, NewPrice),
    unset=Call("DELETE", "/api/prices"),
)
class RemotePrices(Remote, PricesRepository):
    """What tokens cost; files are read here."""


@offered(
    runs=Call("GET", "/api/statistics/runs", list[RunStatistics], sends={"tz": zone_name}),
    jobs=Call("GET", "/api/statistics/jobs", list[JobStatistics], sends={"tz": zone_name}),
    executions=Call("GET", "/api/statistics/executions", list[ExecutionStatistics], sends={"tz": zone_name}),
    tokens=Call("GET", "/api/statistics/tokens", list[TokenStatistics], sends={"tz": zone_name, "by": names}),
    cost=Call("GET", "/api/statistics/cost", list[CostStatistics], sends={"tz": zone_name, "by": names}),
    compare_cost=Call(
        "GET",
        "/api/statistics/cost/compare",
        CostComparison,
        sends={"tz": zone_name, "by": names, "first": version_text, "last": version_text},
        slow=True,
    ),
    tools=Call("GET", "/api/statistics/tools", list[ToolStatistics], sends={"tz": zone_name, "by": names}),
)
class RemoteStatistics(Remote, StatisticsRepository):
    """Statistics."""
