"""What can happen to a run. Stream: ``run-<run_id>``, run ids count 1, 2, 3 …"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from eventlog.events.base import Event, Int64

Scalar = str | int | float | bool | None
FinalStatus = Literal["success", "fail", "killed"]
RunStatus = Literal["running", "success", "fail", "killed", "lost"]


class RunStarted(Event, frozen=True, kw_only=True, tag="run.started"):
    """A program began. Everything about its surroundings that can be known at that moment."""

    command: str
    argv: tuple[str, ...] = ()
    program: str = ""
    cwd: str | None = None
    project_id: str | None = None
    note: str = ""
    tags: dict[str, str] = {}
    parameters: dict[str, Scalar] = {}
    parent_run_id: Int64 | None = None
    job_id: str | None = None
    """The job that this run does, or is a part of."""
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None
    host: str | None = None
    machine_id: str | None = None
    boot_id: str | None = None
    pid: Int64 | None = None
    pid_namespace: Int64 | None = None
    process_started_ticks: Int64 | None = None
    """Start time of the process in clock ticks since boot: /proc/<pid>/stat, field 22."""
    user: str | None = None
    python_version: str | None = None
    environment: dict[str, str] = {}


class RunFinished(Event, frozen=True, kw_only=True, tag="run.finished"):
    """The program ended, as seen by whoever recorded it."""

    status: FinalStatus
    exit_code: Int64 | None = None
    signal: Int64 | None = None
    reason: str | None = None
    error_type: str | None = None
    wall_us: Int64 | None = None
    cpu_user_us: Int64 | None = None
    cpu_system_us: Int64 | None = None
    peak_memory_bytes: Int64 | None = None


class RunLost(Event, frozen=True, kw_only=True, tag="run.lost"):
    """An observation: the process is proven gone without having said how it ended. A later event supersedes it."""

    evidence: str


class RunUpdated(Event, frozen=True, kw_only=True, tag="run.updated"):
    """A person corrected the run; fields not given stay as they are."""

    status: RunStatus | UnsetType = UNSET
    note: str | UnsetType = UNSET
    project_id: str | None | UnsetType = UNSET


class RunDeleted(Event, frozen=True, kw_only=True, tag="run.deleted"):
    """The run leaves the tables; its events stay, its number is not used again."""

    reason: str | None = None


class RunTagged(Event, frozen=True, kw_only=True, tag="run.tagged"):
    """Tags set (or changed), and tags taken away."""

    tags: dict[str, str] = {}
    removed: tuple[str, ...] = ()


class RunNoted(Event, frozen=True, kw_only=True, tag="run.noted"):
    """The program itself set its note."""

    note: str


class RunParametersSet(Event, frozen=True, kw_only=True, tag="run.parameters_set"):
    """Parameters set or changed. Non-finite numbers are written as the strings nan, inf, -inf."""

    parameters: dict[str, Scalar]


class RunMetricLogged(Event, frozen=True, kw_only=True, tag="run.metric_logged"):
    """One value of a named metric. JSON knows no NaN or infinity: those are the strings nan, inf, -inf."""

    name: str
    value: float | Literal["nan", "inf", "-inf"]
    step: Int64 | None = None


class RunMessageLogged(Event, frozen=True, kw_only=True, tag="run.message_logged"):
    """A line of the program's own log (``logging.Handler``)."""

    message: str
    level: str = "INFO"
    logger: str = ""
    truncated: bool = False


class RunOutputCaptured(Event, frozen=True, kw_only=True, tag="run.output_captured"):
    """What the program wrote to a channel: size, hash, and its end. The whole is in ``logs/``."""

    channel: Literal["stdout", "stderr"]
    tail: str = ""
    """The last 4 KiB, decoded with backslash escapes for bytes that are not UTF-8."""
    size_bytes: Int64 = 0
    sha256: str | None = None


class RunArtifactSaved(Event, frozen=True, kw_only=True, tag="run.artifact_saved"):
    """A file in the run's directory, ``result/<run_id>/<kind>/<name>``."""

    kind: Literal["input", "output", "logs"]
    name: str
    size_bytes: Int64
    sha256: str
    source: str | None = None
    """Where an input was copied from."""


RUN_EVENTS: tuple[type[Event], ...] = (
    RunStarted,
    RunFinished,
    RunLost,
    RunUpdated,
    RunDeleted,
    RunTagged,
    RunNoted,
    RunParametersSet,
    RunMetricLogged,
    RunMessageLogged,
    RunOutputCaptured,
    RunArtifactSaved,
)
RunEvent = (
    RunStarted
    | RunFinished
    | RunLost
    | RunUpdated
    | RunDeleted
    | RunTagged
    | RunNoted
    | RunParametersSet
    | RunMetricLogged
    | RunMessageLogged
    | RunOutputCaptured
    | RunArtifactSaved
)
