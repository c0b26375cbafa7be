"""Runs: start and finish them, what they say in between, and every question about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from eventlog.app import Log, Past
from eventlog.errors import InvalidQuery, NotFound, WrongExpectedVersion
from eventlog.events.base import Int64
from eventlog.events.runs import RunArtifactSaved, RunFinished, RunStarted, RunStatus
from eventlog.recorder.artifacts import check_name
from eventlog.repositories.runs import RunsRepository
from eventlog.web.events import Durable
from eventlog.web.operation import Moment, Operation, Query
from eventlog.wire import (
    Comparison,
    LogLine,
    MetricValue,
    NewArtifact,
    NewRun,
    Note,
    Parameters,
    RunChange,
    RunEnd,
    SaidMessage,
    SaidOutput,
    StoredRecord,
    Tags,
)
from projections.run_journals import RunArtifact, RunMetric
from projections.runs import Run

MOST_ROWS = 1000
Rows = Annotated[int, Meta(ge=1, le=MOST_ROWS)]
Offset = Annotated[int, Meta(ge=0, le=2**53)]


class RunsQuery(Query, frozen=True, kw_only=True):
    """Which runs, newest first. ``tag`` is NAME=VALUE; ``from_at`` ≤ created_at < ``to_at``; ``before`` and ``after``
    are run numbers.
    """

    status: list[RunStatus] | None = None
    project_id: str | None = None
    program: str | None = None
    tag: str | None = None
    from_at: Moment | None = None
    to_at: Moment | None = None
    text: str | None = None
    parent_run_id: Int64 | None = None
    job_id: str | None = None
    before: Int64 | None = None
    after: Int64 | None = None
    limit: Rows = 50
    offset: Offset = 0


class RunsCounted(Query, frozen=True, kw_only=True):
    """Which runs."""

    status: list[RunStatus] | None = None
    project_id: str | None = None
    program: str | None = None
    tag: str | None = None
    from_at: Moment | None = None
    to_at: Moment | None = None
    text: str | None = None
    parent_run_id: Int64 | None = None
    job_id: str | None = None


class ByName(Query, frozen=True, kw_only=True):
    """Which metrics, or files."""

    name: str | None = None


class Last(Query, frozen=True, kw_only=True):
    """How many, the last ones."""

    limit: Rows | None = None


class Compared(Query, frozen=True, kw_only=True):
    """Which runs; repeated."""

    run_id: list[Int64]


class Why(Query, frozen=True, kw_only=True):
    """Why."""

    reason: str | None = None


def list_runs(ask: Log | Past, query: RunsQuery) -> list[Run]:
    """Runs, newest first."""
    return ask.runs.list(**_filters(query))


def count_runs(ask: Log | Past, query: RunsCounted) -> int:
    """How many runs there are."""
    return ask.runs.count(**_filters(query))


def _filters(query: Query) -> dict[str, Any]:
    given = msgspec.structs.asdict(query)
    if given["tag"] is not None:
        name, equals, value = given["tag"].partition("=")
        if not equals:
            raise InvalidQuery("a tag is asked for as NAME=VALUE")
        given["tag"] = (name, value)
    return given


def get_run(ask: Log | Past, run_id: int) -> Run:
    """A run."""
    return ask.runs.get(run_id)


def start_run(log: Log, query: Durable, body: NewRun) -> Run:
    """Start a run under the next free number; its row says ``running`` at once. With a key, a retry gives the first."""
    # Not `log.runs`, which is this process's recorder: where the run runs, only its program knows.
    runs = RunsRepository(log, log.projections)
    fields = msgspec.structs.asdict(body)
    occurred_at, key = fields.pop("started_at"), fields.pop("key")
    run_id = runs.append_start(RunStarted(**fields), occurred_at=occurred_at, key=key, durability=query.durability)
    return runs.get(run_id)


def finish_run(log: Log, run_id: int, body: RunEnd) -> Run:
    """End a run: success, fail or killed. 409 when it has ended already."""
    fields = msgspec.structs.asdict(body)
    occurred_at, key = fields.pop("ended_at"), fields.pop("key")
    return log.runs.finish(run_id, RunFinished(**fields), occurred_at=occurred_at, key=key)


def update_run(log: Log, run_id: int, body: RunChange) -> Run:
    """Correct a run by hand."""
    return log.runs.update(run_id, status=body.status, note=body.note, project_id=body.project_id)


def delete_run(log: Log, run_id: int, query: Why) -> None:
    """Take a run out of the tables; its events stay."""
    log.runs.delete(run_id, query.reason)


def _said(run_id: int, say: Callable[[], None]) -> None:
    try:
        say()
    except WrongExpectedVersion as error:
        raise NotFound(f"there is no run {run_id}", run_id=run_id) from error


def note_run(log: Log, run_id: int, body: Note) -> None:
    """Set a run's note."""
    _said(run_id, lambda: log.runs.note(run_id, body.note))


def tag_run(log: Log, run_id: int, body: Tags) -> None:
    """Set and remove tags."""
    _said(run_id, lambda: log.runs.tag(run_id, body.tags, body.removed))


def set_run_parameters(log: Log, run_id: int, body: Parameters) -> None:
    """Set parameters."""
    _said(run_id, lambda: log.runs.set_parameters(run_id, body.parameters))


def log_run_metric(log: Log, run_id: int, query: Durable, body: MetricValue) -> None:
    """Log one value of a metric."""
    durability = query.durability
    _said(run_id, lambda: log.runs.metric(run_id, body.name, float(body.value), step=body.step, durability=durability))


def log_run_message(log: Log, run_id: int, query: Durable, body: LogLine) -> None:
    """Log a line of text."""
    durability = query.durability
    _said(run_id, lambda: log.runs.message(run_id, body.message, body.level, body.logger, durability=durability))


def save_run_artifact(log: Log, run_id: int, body: NewArtifact) -> None:
    """Record that a file was saved; the file itself stays where it is."""
    check_name(body.name)
    artifact = RunArtifactSaved(**msgspec.structs.asdict(body))
    _said(run_id, lambda: log.runs.save_artifact(run_id, artifact))


def list_run_metrics(ask: Log | Past, run_id: int, query: ByName) -> list[RunMetric]:
    """The values of a run's metrics, in the order in which they were logged."""
    return ask.runs.metrics(run_id, query.name)


def list_run_messages(ask: Log | Past, run_id: int, query: Last) -> list[SaidMessage]:
    """The lines of a run's log, in order."""
    return [SaidMessage(row, text) for row, text in ask.runs.messages(run_id, query.limit)]  # type: ignore[arg-type]


def list_run_outputs(ask: Log | Past, run_id: int) -> list[SaidOutput]:
    """What a run wrote to stdout and stderr: sizes, hashes and the tails."""
    return [SaidOutput(row, text) for row, text in ask.runs.output(run_id)]  # type: ignore[arg-type]


def list_run_artifacts(ask: Log | Past, run_id: int, query: ByName) -> list[RunArtifact]:
    """The files that a run took in or left behind."""
    return ask.runs.artifacts(run_id, query.name)


def list_run_events(ask: Log | Past, run_id: int) -> list[StoredRecord]:
    """Every record of a run's stream."""
    return [StoredRecord.of(record) for record in ask.runs.history(run_id)]


def compare_runs(ask: Log | Past, query: Compared) -> Comparison:
    """Runs side by side: what differs, field by field."""
    found = ask.runs.compare(query.run_id)
    return Comparison(found.run_ids, found.rows)


def _next_page(query: RunsQuery, runs: list[Run]) -> dict[str, Any] | None:
    return {"before": runs[-1].run_id} if len(runs) == query.limit else None


RUN = "/api/runs/{run_id}"
OPERATIONS = (
    Operation("GET", "/api/runs", list_runs, follows=_next_page),
    Operation("POST", "/api/runs", start_run, status=201),
    Operation("GET", "/api/runs/count", count_runs),
    Operation("GET", "/api/runs/compare", compare_runs),
    Operation("GET", RUN, get_run),
    Operation("PATCH", RUN, update_run),
    Operation("DELETE", RUN, delete_run, status=204),
    Operation("POST", f"{RUN}/finish", finish_run),
    Operation("POST", f"{RUN}/note", note_run, status=204),
    Operation("POST", f"{RUN}/tags", tag_run, status=204),
    Operation("POST", f"{RUN}/parameters", set_run_parameters, status=204),
    Operation("GET", f"{RUN}/metrics", list_run_metrics),
    Operation("POST", f"{RUN}/metrics", log_run_metric, status=204),
    Operation("GET", f"{RUN}/messages", list_run_messages),
    Operation("POST", f"{RUN}/messages", log_run_message, status=204),
    Operation("GET", f"{RUN}/outputs", list_run_outputs),
    Operation("GET", f"{RUN}/artifacts", list_run_artifacts),
    Operation("POST", f"{RUN}/artifacts", save_run_artifact, status=204),
    Operation("GET", f"{RUN}/events", list_run_events),
)
