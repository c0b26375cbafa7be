"""What a contest programmer does: contests, problems, executions of programs, settings, containers.

Streams: ``contest-<id>``, ``problem-<id>``, ``execution-<id>``, ``setting-<name>``, ``container-<id>``.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from eventlog.events.base import Event, Int64


class ContestAdded(Event, frozen=True, kw_only=True, tag="contest.added"):
    """A contest; ``starts_at`` and ``ends_at`` are µs since the epoch."""

    name: str
    url: str | None = None
    platform: str | None = None
    starts_at: Int64 | None = None
    ends_at: Int64 | None = None
    note: str = ""


class ContestUpdated(Event, frozen=True, kw_only=True, tag="contest.updated"):
    """Fields not given stay as they are."""

    name: str | UnsetType = UNSET
    url: str | None | UnsetType = UNSET
    platform: str | None | UnsetType = UNSET
    starts_at: Int64 | None | UnsetType = UNSET
    ends_at: Int64 | None | UnsetType = UNSET
    note: str | UnsetType = UNSET


class ContestDeleted(Event, frozen=True, kw_only=True, tag="contest.deleted"):
    """The contest is gone; its problems and executions stay and keep its name."""


class ProblemAdded(Event, frozen=True, kw_only=True, tag="problem.added"):
    """A problem, of a contest or of none."""

    name: str
    contest_id: str | None = None
    url: str | None = None
    time_limit_us: Int64 | None = None
    memory_limit_bytes: Int64 | None = None


class ProblemUpdated(Event, frozen=True, kw_only=True, tag="problem.updated"):
    """Fields not given stay as they are."""

    name: str | UnsetType = UNSET
    contest_id: str | None | UnsetType = UNSET
    url: str | None | UnsetType = UNSET
    time_limit_us: Int64 | None | UnsetType = UNSET
    memory_limit_bytes: Int64 | None | UnsetType = UNSET


class ProblemDeleted(Event, frozen=True, kw_only=True, tag="problem.deleted"):
    """The problem is gone; its executions stay and keep its name."""


class ExecutionStarted(Event, frozen=True, kw_only=True, tag="execution.started"):
    """A program begins to run on a problem. When it did is when this happened."""

    problem_name: str
    language: str
    problem_id: str | None = None
    contest_id: str | None = None
    container_id: str | None = None
    command: str | None = None


class ExecutionFinished(Event, frozen=True, kw_only=True, tag="execution.finished"):
    """How it ended: ``status`` is the verdict. Of an output that is too long for an event the end is here.

    ``stdout_bytes`` and ``stderr_bytes`` are how long the whole was. Without ``duration_us`` it took from its start to
    when this happened.
    """

    status: str
    exit_code: Int64 | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_bytes: Int64 = 0
    stderr_bytes: Int64 = 0
    duration_us: Int64 | None = None


class ExecutionUpdated(Event, frozen=True, kw_only=True, tag="execution.updated"):
    """Corrected by hand; fields not given stay as they are. An output comes with its size."""

    problem_name: str | UnsetType = UNSET
    language: str | UnsetType = UNSET
    problem_id: str | None | UnsetType = UNSET
    contest_id: str | None | UnsetType = UNSET
    container_id: str | None | UnsetType = UNSET
    command: str | None | UnsetType = UNSET
    status: str | UnsetType = UNSET
    started_at: Int64 | UnsetType = UNSET
    finished_at: Int64 | None | UnsetType = UNSET
    exit_code: Int64 | None | UnsetType = UNSET
    duration_us: Int64 | None | UnsetType = UNSET
    stdout: str | UnsetType = UNSET
    stderr: str | UnsetType = UNSET
    stdout_bytes: Int64 | UnsetType = UNSET
    stderr_bytes: Int64 | UnsetType = UNSET


class ExecutionDeleted(Event, frozen=True, kw_only=True, tag="execution.deleted"):
    """The execution leaves its tables; its events stay."""

    reason: str | None = None


class SettingSet(Event, frozen=True, kw_only=True, tag="setting.set"):
    """A setting has this value, any JSON, from now on."""

    value: Any
    by: str = ""


class SettingUnset(Event, frozen=True, kw_only=True, tag="setting.unset"):
    """The setting has no value any more."""

    by: str = ""


class ContainerCreated(Event, frozen=True, kw_only=True, tag="container.created"):
    """A container was made of an image."""

    image: str
    name: str | None = None
    command: str | None = None
    labels: dict[str, str] = {}


class ContainerStarted(Event, frozen=True, kw_only=True, tag="container.started"):
    """The container runs."""


class ContainerStopped(Event, frozen=True, kw_only=True, tag="container.stopped"):
    """The container does not run any more."""

    exit_code: Int64 | None = None
    reason: str | None = None


class ContainerRemoved(Event, frozen=True, kw_only=True, tag="container.removed"):
    """The container is not there any more; its row says so."""


class ContainerDeleted(Event, frozen=True, kw_only=True, tag="container.deleted"):
    """The container leaves its table; its events stay."""


EXECUTION_EVENTS: tuple[type[Event], ...] = (
    ContestAdded,
    ContestUpdated,
    ContestDeleted,
    ProblemAdded,
    ProblemUpdated,
    ProblemDeleted,
    ExecutionStarted,
    ExecutionFinished,
    ExecutionUpdated,
    ExecutionDeleted,
    SettingSet,
    SettingUnset,
    ContainerCreated,
    ContainerStarted,
    ContainerStopped,
    ContainerRemoved,
    ContainerDeleted,
)
ExecutionEvent = (
    ContestAdded
    | ContestUpdated
    | ContestDeleted
    | ProblemAdded
    | ProblemUpdated
    | ProblemDeleted
    | ExecutionStarted
    | ExecutionFinished
    | ExecutionUpdated
    | ExecutionDeleted
    | SettingSet
    | SettingUnset
    | ContainerCreated
    | ContainerStarted
    | ContainerStopped
    | ContainerRemoved
    | ContainerDeleted
)
