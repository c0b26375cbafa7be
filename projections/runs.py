"""`runs`: one row per run, from its start to its end and whatever a person corrected later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from eventlog.events.runs import (
    RunArtifactSaved,
    RunDeleted,
    RunFinished,
    RunLost,
    RunMessageLogged,
    RunMetricLogged,
    RunNoted,
    RunOutputCaptured,
    RunParametersSet,
    RunStarted,
    RunStatus,
    RunTagged,
    RunUpdated,
    Scalar,
)
from eventlog.projection import Entity, Record, Row, Sparse


class Run(Row, frozen=True):
    """A run. Times are µs since the epoch, UTC; durations are µs, memory is bytes."""

    run_id: int
    status: RunStatus
    command: str
    program: str
    project_id: str | None
    note: str
    tags: dict[str, str]
    parameters: dict[str, Scalar]
    created_at: int
    started_at: int
    ended_at: int | None
    updated_at: int
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    error_type: str | None = None
    wall_us: int | None = None
    cpu_user_us: int | None = None
    cpu_system_us: int | None = None
    peak_memory_bytes: int | None = None
    argv: tuple[str, ...] = ()
    cwd: str | None = None
    parent_run_id: int | None = None
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None
    host: str | None = None
    machine_id: str | None = None
    boot_id: str | None = None
    pid: int | None = None
    pid_namespace: int | None = None
    process_started_ticks: int | None = None
    user: str | None = None
    python_version: str | None = None
    environment: dict[str, str] = {}
    job_id: str | None = None


def _started(row: Run | None, event: RunStarted, record: Record) -> Run:
    return Run(
        int(record.stream[4:]),
        "running",
        event.command,
        event.program,
        event.project_id,
        event.note,
        event.tags,
        event.parameters,
        record.recorded_at,
        record.occurred_at,
        None,
        record.recorded_at,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        event.argv,
        event.cwd,
        event.parent_run_id,
        event.git_commit,
        event.git_branch,
        event.git_dirty,
        event.host,
        event.machine_id,
        event.boot_id,
        event.pid,
        event.pid_namespace,
        event.process_started_ticks,
        event.user,
        event.python_version,
        event.environment,
        event.job_id,
    )


def _finished(row: Run, event: RunFinished, record: Record) -> Run:
    wall = event.wall_us
    return replace(
        row,
        status=event.status,
        ended_at=record.occurred_at,
        updated_at=record.recorded_at,
        exit_code=event.exit_code,
        signal=event.signal,
        reason=event.reason,
        error_type=event.error_type,
        wall_us=max(0, record.occurred_at - row.started_at) if wall is None else wall,
        cpu_user_us=event.cpu_user_us,
        cpu_system_us=event.cpu_system_us,
        peak_memory_bytes=event.peak_memory_bytes,
    )


def _lost(row: Run, event: RunLost, record: Record) -> Run:
    if row.status != "running":
        return row
    return replace(row, status="lost", reason=event.evidence, updated_at=record.recorded_at)


def _updated(row: Run, event: RunUpdated, record: Record) -> Run:
    return replace(
        row,
        status=row.status if event.status is UNSET else event.status,
        note=row.note if event.note is UNSET else event.note,
        project_id=row.project_id if event.project_id is UNSET else event.project_id,
        updated_at=record.recorded_at,
    )


def _tagged(row: Run, event: RunTagged, record: Record) -> Run:
    tags = {name: value for name, value in (row.tags | event.tags).items() if name not in event.removed}
    return replace(_alive(row), tags=tags, updated_at=record.recorded_at)


def _noted(row: Run, event: RunNoted, record: Record) -> Run:
    return replace(_alive(row), note=event.note, updated_at=record.recorded_at)


def _parameters_set(row: Run, event: RunParametersSet, record: Record) -> Run:
    return replace(_alive(row), parameters=row.parameters | event.parameters, updated_at=record.recorded_at)


def _alive(row: Run) -> Run:
    """A run that was taken for lost and speaks again was not lost."""
    return replace(row, status="running", reason=None) if row.status == "lost" else row


_STEPS: dict[type, Callable[[Any, Any, Record], Run]] = {
    RunFinished: _finished,
    RunLost: _lost,
    RunUpdated: _updated,
    RunTagged: _tagged,
    RunNoted: _noted,
    RunParametersSet: _parameters_set,
}
_SPOKEN = frozenset((RunMetricLogged, RunMessageLogged, RunOutputCaptured, RunArtifactSaved))
"""What changes nothing in the row, unless the run was taken for lost."""


def evolve(row: Run | None, event: object, record: Record) -> Run | None:
    """A run after one more event; events of a run that was never started, or was deleted, change nothing."""
    kind = type(event)
    if kind is RunStarted:
        return _started(row, event, record)  # type: ignore[arg-type]
    if row is None or kind is RunDeleted:
        return None
    if kind in _SPOKEN:
        return _alive(row) if row.status == "lost" else row
    return _STEPS[kind](row, event, record)


projections = (
    Entity(
        "runs",
        version=2,
        row=Run,
        category="run",
        types=(
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
        ),
        evolve=evolve,
        indexes=(
            ("status", "run_id"),
            ("project_id", "run_id"),
            ("program", "run_id"),
            ("created_at",),
            Sparse(("job_id", "run_id"), on="job_id"),
        ),
    ),
)
