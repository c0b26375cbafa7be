"""What a contest programmer does: contests, problems, executions of programs, settings, containers.

Streams: ``contest-<id>``, ``problem-<id>``, ``execution-<id>``, ``setting-<name>``, ``container-<id>``.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from eventlog.events.base import Event, Int64

MAX_SPAN_US = 2**48
"""Almost nine years: durations are summed up, and a sum has to fit a database column."""
Moment = Annotated[int, Meta(gt=-(2**53), lt=2**53)]
"""µs since the epoch, in the years 1684 to 2255, as those of `EventLog.append`."""
Span = Annotated[int, Meta(ge=0, le=MAX_SPAN_US)]
MAX_NAME = 200
Name = Annotated[str, Meta(max_length=MAX_NAME)]
"""What is in an index, whose entries PostgreSQL bounds."""
Size = Annotated[int, Meta(ge=0, lt=2**53)]


class ContestAdded(Event, frozen=True, kw_only=True, tag="contest.added"):
    """A contest; ``starts_at`` and ``ends_at`` are µs since the epoch."""

    name: Name
    url: str | None = None
    platform: str | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    note: str = ""


class ContestUpdated(Event, frozen=True, kw_only=True, tag="contest.updated"):
    """Fields not given stay as they are."""

    name: Name | UnsetType = UNSET
    url: str | None | UnsetType = UNSET
    platform: str | None | UnsetType = UNSET
    starts_at: Moment | None | UnsetType = UNSET
    ends_at: Moment | None | UnsetType = UNSET
    note: str | UnsetType = UNSET


class ContestDeleted(Event, frozen=True, kw_only=True, tag="contest.deleted"):
    """The contest is gone; its problems and executions stay and keep its name."""


class ProblemAdded(Event, frozen=True, kw_only=True, tag="problem.added"):
    """A problem, of a contest or of none."""

    name: Name
    contest_id: Name | None = None
    url: str | None = None
    time_limit_us: Int64 | None = None
    memory_limit_bytes: Int64 | None = None


class ProblemUpdated(Event, frozen=True, kw_only=True, tag="problem.updated"):
    """Fields not given stay as they are."""

    name: Name | UnsetType = UNSET
    contest_id: Name | None | UnsetType = UNSET
    url: str | None | UnsetType = UNSET
    time_limit_us: Int64 | None | UnsetType = UNSET
    memory_limit_bytes: Int64 | None | UnsetType = UNSET


class ProblemDeleted(Event, frozen=True, kw_only=True, tag="problem.deleted"):
    """The problem is gone; its executions stay and keep its name."""


class ExecutionStarted(Event, frozen=True, kw_only=True, tag="execution.started"):
    """A program begins to run on a problem. When it did is when this happened."""

    problem_name: Name
    language: Name
    problem_id: Name | None = None
    contest_id: Name | None = None
    container_id: Name | None = None
    command: str | None = None


class ExecutionFinished(Event, frozen=True, kw_only=True, tag="execution.finished"):
    """How it ended: ``status`` is the verdict. Of an output that is too long for an event the end is here.

    ``stdout_bytes`` and ``stderr_bytes`` are how long the whole was. Without ``duration_us`` it took from its start to
    when this happened.
    """

    status: Name
    exit_code: Int64 | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_bytes: Size = 0
    stderr_bytes: Size = 0
    duration_us: Span | None = None


class ExecutionUpdated(Event, frozen=True, kw_only=True, tag="execution.updated"):
    """Corrected by hand; fields not given stay as they are. An output comes with its size."""

    problem_name: Name | UnsetType = UNSET
    language: Name | UnsetType = UNSET
    problem_id: Name | None | UnsetType = UNSET
    contest_id: Name | None | UnsetType = UNSET
    container_id: Name | None | UnsetType = UNSET
    command: str | None | UnsetType = UNSET
    status: Name | UnsetType = UNSET
    started_at: Moment | UnsetType = UNSET
    finished_at: Moment | None | UnsetType = UNSET
    exit_code: Int64 | None | UnsetType = UNSET
    duration_us: Span | None | UnsetType = UNSET
    stdout: str | UnsetType = UNSET
    stderr: str | UnsetType = UNSET
    stdout_bytes: Size | UnsetType = UNSET
    stderr_bytes: Size | UnsetType = UNSET


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

    image: Name
    name: Name | None = None
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
