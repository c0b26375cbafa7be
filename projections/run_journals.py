"""What a run said and left, a row per event: metrics, messages, outputs, artifacts. Big text stays in the record."""

from __future__ import annotations

from eventlog.events.runs import RunArtifactSaved, RunMessageLogged, RunMetricLogged, RunOutputCaptured
from eventlog.projection import Entity, Journal, Record, Row
from projections.runs import Run
from projections.runs import projections as runs


class RunMetric(Row, frozen=True):
    """One value of a metric; ``non_finite`` is nan, inf or -inf where ``value`` cannot hold it."""

    position: int
    run_id: int
    name: str
    value: float | None
    non_finite: str | None
    step: int | None
    occurred_at: int


class RunMessage(Row, frozen=True):
    """A line of a program's log; its text is in the record at this position."""

    position: int
    run_id: int
    level: str
    logger: str
    occurred_at: int


class RunOutput(Row, frozen=True):
    """What a run wrote to a channel; the tail is in the record at this position."""

    position: int
    run_id: int
    channel: str
    size_bytes: int
    sha256: str | None
    occurred_at: int


class RunArtifact(Row, frozen=True):
    """A file in a run's directory."""

    position: int
    run_id: int
    kind: str
    name: str
    size_bytes: int
    sha256: str
    source: str | None
    occurred_at: int


RUNS: Entity[Run] = runs[0]


def run_id_of(record: Record) -> int | None:
    """The run to whose stream a record belongs."""
    run_id: int | None = RUNS.key_of(record.stream)
    return run_id


def metric(event: RunMetricLogged, record: Record) -> RunMetric | None:
    """The row of a metric."""
    run_id = run_id_of(record)
    if run_id is None:
        return None
    value = event.value
    if isinstance(value, str):
        return RunMetric(record.position, run_id, event.name, None, value, event.step, record.occurred_at)
    return RunMetric(record.position, run_id, event.name, value, None, event.step, record.occurred_at)


def message(event: RunMessageLogged, record: Record) -> RunMessage | None:
    """The row of a message."""
    run_id = run_id_of(record)
    if run_id is None:
        return None
    return RunMessage(record.position, run_id, event.level, event.logger, record.occurred_at)


def output(event: RunOutputCaptured, record: Record) -> RunOutput | None:
    """The row of a captured output."""
    run_id = run_id_of(record)
    if run_id is None:
        return None
    return RunOutput(record.position, run_id, event.channel, event.size_bytes, event.sha256, record.occurred_at)


def artifact(event: RunArtifactSaved, record: Record) -> RunArtifact | None:
    """The row of an artifact."""
    run_id = run_id_of(record)
    if run_id is None:
        return None
    return RunArtifact(
        record.position,
        run_id,
        event.kind,
        event.name,
        event.size_bytes,
        event.sha256,
        event.source,
        record.occurred_at,
    )


_BY_RUN = (("run_id", "position"),)

projections = (
    Journal("run_metrics", version=1, row=RunMetric, types=(RunMetricLogged,), make=metric, indexes=_BY_RUN),
    Journal("run_messages", version=1, row=RunMessage, types=(RunMessageLogged,), make=message, indexes=_BY_RUN),
    Journal("run_outputs", version=1, row=RunOutput, types=(RunOutputCaptured,), make=output, indexes=_BY_RUN),
    Journal("run_artifacts", version=1, row=RunArtifact, types=(RunArtifactSaved,), make=artifact, indexes=_BY_RUN),
)
