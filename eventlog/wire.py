"""What travels over HTTP where no Struct of the log says it already: bodies of requests, and of some answers.

The server (`eventlog.web`) and its clients share them. Times are µs since the epoch, UTC. What answers hold besides
are the Structs that Python gets: `Run`, `Job`, `Worker` and the rows of the other tables.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from eventlog.events.base import Int64
from eventlog.events.jobs import JobStatus
from eventlog.events.prices import LongContext, ModelPrice, Rates
from eventlog.events.runs import FinalStatus, RunStatus, Scalar
from eventlog.repositories.job_rules import Rung
from eventlog.repositories.jobs import LEASE_US, NewJob
from eventlog.store.base import Record
from projections.containers import ContainerStatus
from projections.jobs import Job
from projections.run_journals import RunMessage, RunOutput

Durability = Literal["full", "process"]
Position = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Expectation = Literal["any", "none", "exists"] | Position
Schema = Annotated[int, Meta(ge=1, le=2**31 - 1)]
JsonObject = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
JsonObjectOrNull = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "null"]})]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request; a field that it does not know is refused."""


# events


class NewEvent(_Body, frozen=True, kw_only=True):
    """An event to append: its tag, its JSON object, and its schema (default: the newest that the server knows)."""

    type: str
    data: JsonObject | UnsetType = UNSET
    schema: Schema | None = None


class NewAppend(_Body, frozen=True, kw_only=True):
    """Events to append to one stream: one as ``type`` and ``data``, or several as ``events``.

    ``occurred_at`` is µs since the epoch, or a time in ISO 8601 with its offset.
    """

    stream: str
    type: str | None = None
    data: JsonObject | UnsetType = UNSET
    schema: Schema | None = None
    events: list[NewEvent] = []
    expect: Expectation = "any"
    key: str | None = None
    occurred_at: Int64 | Annotated[datetime, Meta(tz=True)] | None = None
    actor: str | None = None
    correlation: str | None = None
    causation: str | None = None
    metadata: dict[str, Any] | None = None


class Appended(msgspec.Struct, frozen=True):
    """An append's first and last position, and the stream's version after it; ``duplicate``: they were there before."""

    first: int
    last: int
    version: int
    duplicate: bool


class StoredRecord(msgspec.Struct, frozen=True):
    """An event as stored; ``data`` and ``metadata`` are the stored JSON, byte for byte."""

    position: int
    stream: str
    version: int
    type: str
    schema: int
    occurred_at: int
    recorded_at: int
    key: str | None
    actor: str | None
    correlation: str | None
    causation: str | None
    data: JsonObject
    metadata: JsonObjectOrNull
    hash: str

    @classmethod
    def of(cls, record: Record) -> StoredRecord:
        """A record as it travels."""
        row = record.row
        return cls(*row[:11], Raw(row[11].encode()), Raw((row[12] or "null").encode()), row[13].hex())


class Head(msgspec.Struct, frozen=True):
    """The last position, its hash, and when it was recorded; ``log_id`` tells this log from others."""

    position: int
    hash: str
    recorded_at: int
    log_id: str | None


# runs


class NewRun(_Body, frozen=True, kw_only=True):
    """A run that begins: the fields of `RunStarted`, when it did, and an idempotency key."""

    command: str
    argv: tuple[str, ...] = ()
    program: str = ""
    cwd: str | None = None
    project_id: str | None = None
    note: str = ""
    tags: dict[str, str] = {}
    parameters: dict[str, Scalar] = {}
    parent_run_id: Int64 | None = None
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None
    host: str | None = None
    machine_id: str | None = None
    boot_id: str | None = None
    pid: Int64 | None = None
    pid_namespace: Int64 | None = None
    process_started_ticks: Int64 | None = None
    user: str | None = None
    python_version: str | None = None
    environment: dict[str, str] = {}
    job_id: str | None = None
    started_at: Int64 | None = None
    key: str | None = None


class RunEnd(_Body, frozen=True, kw_only=True):
    """How a run ended: the fields of `RunFinished`, when it did, and an idempotency key."""

    status: FinalStatus
    exit_code: Int64 | None = None
    signal: Int64 | None = None
    reason: str | None = None
    error_type: str | None = None
    wall_us: Int64 | None = None
    cpu_user_us: Int64 | None = None
    cpu_system_us: Int64 | None = None
    peak_memory_bytes: Int64 | None = None
    ended_at: Int64 | None = None
    key: str | None = None


class RunChange(_Body, frozen=True, kw_only=True):
    """What to correct in a run; fields not given stay as they are."""

    status: RunStatus | UnsetType = UNSET
    note: str | UnsetType = UNSET
    project_id: str | None | UnsetType = UNSET


class Note(_Body, frozen=True, kw_only=True):
    """A run's remark."""

    note: str


class Tags(_Body, frozen=True, kw_only=True):
    """Tags to set, and to take away."""

    tags: dict[str, str] = {}
    removed: tuple[str, ...] = ()


class Parameters(_Body, frozen=True, kw_only=True):
    """Parameters to set."""

    parameters: dict[str, Scalar]


class MetricValue(_Body, frozen=True, kw_only=True):
    """One value of a metric."""

    name: str
    value: float | Literal["nan", "inf", "-inf"]
    step: Int64 | None = None


class LogLine(_Body, frozen=True, kw_only=True):
    """A line of a run's log."""

    message: str
    level: str = "INFO"
    logger: str = ""


class NewArtifact(_Body, frozen=True, kw_only=True):
    """A file that was saved with a run: the fields of `RunArtifactSaved`."""

    kind: Literal["input", "output", "logs"]
    name: str
    size_bytes: Int64
    sha256: str
    source: str | None = None


class SaidMessage(msgspec.Struct, frozen=True):
    """A line of a run's log."""

    row: RunMessage
    text: str


class SaidOutput(msgspec.Struct, frozen=True):
    """What a run wrote to a channel, and the end of it."""

    row: RunOutput
    text: str


class Comparison(msgspec.Struct, frozen=True):
    """Runs side by side: the fields that differ, each with a value for each run."""

    run_ids: list[int]
    rows: list[tuple[str, list[Any]]]


# projects


class NewProject(_Body, frozen=True, kw_only=True):
    """A project to add."""

    project_id: str
    path: str | None = None
    note: str = ""


class ProjectChange(_Body, frozen=True, kw_only=True):
    """What to change in a project; fields not given stay as they are."""

    path: str | None | UnsetType = UNSET
    note: str | UnsetType = UNSET


# contests, problems, executions, settings, containers


class SavedContest(_Body, frozen=True, kw_only=True):
    """A contest as it is to be."""

    contest_id: str
    name: str
    url: str | None = None
    platform: str | None = None
    starts_at: Int64 | None = None
    ends_at: Int64 | None = None
    note: str = ""


class SavedProblem(_Body, frozen=True, kw_only=True):
    """A problem as it is to be."""

    problem_id: str
    name: str
    contest_id: str | None = None
    url: str | None = None
    time_limit_us: Int64 | None = None
    memory_limit_bytes: Int64 | None = None


class NewExecution(_Body, frozen=True, kw_only=True):
    """An execution that begins; without an ``id`` it gets one."""

    problem_name: str
    language: str
    problem_id: str | None = None
    contest_id: str | None = None
    container_id: str | None = None
    command: str | None = None
    id: str | None = None
    started_at: Int64 | None = None


class ExecutionEnd(_Body, frozen=True, kw_only=True):
    """How an execution ended; ``status`` is the verdict."""

    status: str
    exit_code: Int64 | None = None
    stdout: str = ""
    stderr: str = ""
    duration_us: Int64 | None = None
    finished_at: Int64 | None = None


class SavedExecution(_Body, frozen=True, kw_only=True):
    """An execution as it is to be."""

    id: str
    problem_name: str
    language: str
    status: str
    started_at: Int64
    finished_at: Int64 | None = None
    stdout: str = ""
    stderr: str = ""
    exit_code: Int64 | None = None
    duration_us: Int64 | None = None
    problem_id: str | None = None
    contest_id: str | None = None
    container_id: str | None = None
    command: str | None = None


class SettingValue(_Body, frozen=True, kw_only=True):
    """The value of a setting, any JSON, and who wants it so."""

    value: Any
    by: str = ""


class NewContainer(_Body, frozen=True, kw_only=True):
    """A container that was made; without a ``container_id`` it gets one."""

    image: str
    container_id: str | None = None
    name: str | None = None
    command: str | None = None
    labels: dict[str, str] = {}
    created_at: Int64 | None = None


class ContainerStart(_Body, frozen=True, kw_only=True):
    """When a container was started."""

    started_at: Int64 | None = None


class ContainerStop(_Body, frozen=True, kw_only=True):
    """How a container ended."""

    exit_code: Int64 | None = None
    reason: str | None = None
    stopped_at: Int64 | None = None


class ContainerRemoval(_Body, frozen=True, kw_only=True):
    """When a container was removed."""

    removed_at: Int64 | None = None


class SavedContainer(_Body, frozen=True, kw_only=True):
    """A container as it is to be."""

    container_id: str
    image: str
    name: str | None = None
    status: ContainerStatus = "created"
    command: str | None = None
    labels: dict[str, str] = {}
    exit_code: Int64 | None = None
    reason: str | None = None


# jobs


class NewJobs(_Body, frozen=True, kw_only=True):
    """Jobs to enqueue, all or none."""

    jobs: Annotated[list[NewJob], Meta(max_length=10_000)]


class JobIds(msgspec.Struct, frozen=True):
    """The ids of jobs, in the order in which they were given."""

    job_ids: list[str]


class Claim(_Body, frozen=True, kw_only=True):
    """What a worker would take: see `JobsRepository.claim`."""

    worker_id: str
    queues: list[str] | None = None
    kinds: list[str] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1
    lease_us: Count = LEASE_US


class Token(_Body, frozen=True, kw_only=True):
    """The claim that a worker holds."""

    token: Int64


class Progress(_Body, frozen=True, kw_only=True):
    """How far an attempt is."""

    token: Int64
    done: Int64
    total: Int64 | None = None
    message: str = ""


class Completion(_Body, frozen=True, kw_only=True):
    """An attempt that did it."""

    token: Int64
    result: Any = None


class CompletionAndClaim(_Body, frozen=True, kw_only=True):
    """An attempt that did it, and what its worker would take next, in the same transaction."""

    token: Int64
    result: Any = None
    worker_id: str
    queues: list[str] | None = None
    kinds: list[str] | None = None
    limit: Annotated[int, Meta(ge=0, le=1000)] = 1
    lease_us: Count = LEASE_US


class Done(msgspec.Struct, frozen=True):
    """A job that ended, and what was claimed in the same transaction."""

    job: Job
    claimed: list[Job]


class JobCompletion(_Body, frozen=True, kw_only=True):
    """One of several attempts that did it."""

    job_id: str
    token: Int64
    result: Any = None


class Completions(_Body, frozen=True, kw_only=True):
    """Attempts that did it, told in one transaction."""

    results: Annotated[list[JobCompletion], Meta(max_length=10_000)]


class Failure(_Body, frozen=True, kw_only=True):
    """An attempt that failed; ``retry_at`` overrides the job's policy."""

    token: Int64
    error_type: str
    message: str = ""
    traceback: str = ""
    retryable: bool = True
    retry_at: Int64 | None = None


class Snooze(_Body, frozen=True, kw_only=True):
    """A job that asks to be run later."""

    token: Int64
    until: Int64


class JobClaim(_Body, frozen=True, kw_only=True):
    """A job, and the claim that is meant."""

    job_id: str
    token: Int64


class Crash(_Body, frozen=True, kw_only=True):
    """Jobs whose worker is gone, and how that is known."""

    claims: Annotated[list[JobClaim], Meta(max_length=10_000)]
    rung: Rung
    evidence: str


class By(_Body, frozen=True, kw_only=True):
    """Who wants it, and why."""

    by: str = "api"
    reason: str = ""


class Retry(_Body, frozen=True, kw_only=True):
    """Run a job again; ``force``: also one that completed."""

    by: str = "api"
    reset_failures: bool = False
    force: bool = False


class Requeued(msgspec.Struct, frozen=True):
    """A job that waits again."""

    job_id: str
    status: JobStatus
    message: str


class JobChange(_Body, frozen=True, kw_only=True):
    """Another time, priority or queue for a job that waits."""

    by: str = "api"
    run_at: Int64 | None = None
    priority: Int64 | None = None
    queue: str | None = None


class Purge(_Body, frozen=True, kw_only=True):
    """Which jobs leave the tables: those that ended before a time."""

    ended_before: Count
    statuses: tuple[JobStatus, ...] = ("completed", "failed", "cancelled", "expired")
    reason: str = "retention"
    dry_run: bool = False


class Purged(msgspec.Struct, frozen=True):
    """How many jobs left the tables, or would."""

    purged: int


class JobNumber(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many jobs there are of a status, queue or kind, whichever were asked for."""

    jobs: int
    status: JobStatus | None = None
    queue: str | None = None
    kind: str | None = None


# workers and queues


class NewWorker(_Body, frozen=True, kw_only=True):
    """A worker that begins: the fields of `WorkerStarted` that can be told from elsewhere; ``worker_id``: a new one."""

    worker_id: str | None = None
    host: str | None = None
    machine_id: str | None = None
    boot_id: str | None = None
    pid: Int64 | None = None
    pid_namespace: Int64 | None = None
    process_started_ticks: Int64 | None = None
    user: str | None = None
    lease_us: Count = LEASE_US
    queues: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    concurrency: Count = 1


class Beat(msgspec.Struct, frozen=True):
    """Whether a worker still counts as alive (if not, its jobs are others' by now), and which of its jobs to stop."""

    alive: bool
    cancel: list[str]


class Loss(_Body, frozen=True, kw_only=True):
    """How it is known that a worker is gone."""

    rung: Rung
    evidence: str


class Told(msgspec.Struct, frozen=True):
    """Whether it was news."""

    told: bool


class Reason(_Body, frozen=True, kw_only=True):
    """Why."""

    reason: str = ""


class Limit(_Body, frozen=True, kw_only=True):
    """How many jobs of a queue may run at once; null: any number."""

    max_running: Count | None
    by: str = "api"


class NewSchedule(_Body, frozen=True, kw_only=True):
    """A job to enqueue at the times of a cron expression; ``options`` are further fields of `NewJob`."""

    schedule: str
    cron: str
    kind: str
    args: dict[str, Any] = {}
    queue: str = "default"
    time_zone: str = "UTC"
    options: dict[str, Any] = {}
    by: str = "api"


# prices


class NewCatalog(_Body, frozen=True, kw_only=True):
    """A price list: see `PricesRepository.load_catalog`. Rates are pico-USD a token."""

    name: str
    prices: Annotated[list[ModelPrice], Meta(max_length=100_000)]
    digest: str
    source: str
    effective: Position | str = 0
    skipped: dict[str, Count] | None = None


class NewPrice(_Body, frozen=True, kw_only=True):
    """A price set by hand: see `PricesRepository.set`. Rates are pico-USD a token."""

    model: str
    rates: Rates
    tiers: Annotated[list[LongContext], Meta(max_length=10)] = []
    effective: Position | str = 0
    provider: str | None = None
    reason: str = ""


# projections


class Names(_Body, frozen=True, kw_only=True):
    """Which projections; none named: all."""

    names: list[str] | None = None


class Rollback(_Body, frozen=True, kw_only=True):
    """A version (a position, or a time in ISO 8601) to take projections back to; none named: all."""

    to: Position | str
    names: list[str] | None = None


class ProjectionStatus(msgspec.Struct, frozen=True):
    """How a projection stands: live, pinned, failed, new (not made yet), stale (older code made it), or newer."""

    name: str
    kind: str
    state: str
    mode: str
    position: int | None
    lag: int | None
    version: int
    stored_version: int | None
    fingerprint_matches: bool | None
    rows: int | None
    error: str | None
    error_position: int | None
    updated_at: int | None


class RowDiff(msgspec.Struct, frozen=True):
    """A row that differs between two versions, which columns differ, and the positions of the events that did it."""

    table: str
    key: tuple[Any, ...]
    change: Literal["added", "changed", "removed"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    columns: tuple[str, ...]
    positions: tuple[int, ...]


class Step(msgspec.Struct, frozen=True):
    """One event behind a row: the columns it set, as [before, after]."""

    position: int
    version: int
    type: str
    occurred_at: int
    changes: dict[str, tuple[Any, Any]]


class Explanation(msgspec.Struct, frozen=True):
    """A row and the events behind it; for a rollup ``sources`` are the keys of the rows with a share in it."""

    table: str
    key: tuple[Any, ...]
    row: dict[str, Any] | None
    steps: list[Step]
    sources: list[Any]


class Difference(msgspec.Struct, frozen=True):
    """A row that is not what the log says: ``stored`` in the live table, ``expected`` by a fresh fold."""

    table: str
    key: tuple[Any, ...]
    stored: dict[str, Any] | None
    expected: dict[str, Any] | None


# the server


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, as RFC 9457 has it. ``type`` ends in the class of the error (`eventlog.errors`)."""

    type: str
    title: str
    status: int
    detail: str
    facts: dict[str, Any] = {}


class Health(msgspec.Struct, frozen=True):
    """Whether the server can do its work, and if not, why."""

    ready: bool
    problems: list[str]
