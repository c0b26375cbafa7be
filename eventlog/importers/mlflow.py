"""MLflow's tracking store in SQLite (``mlflow.db``, ``mlruns.db``): experiments, runs, parameters, tags, metrics.

A run gets the next free number here; its tag ``mlflow.run_id`` says which one it is there. A run that is still going on
there is so here, and ends here when an import finds it ended. Artifacts stay where they are: the tag
``mlflow.artifact_uri`` says where. Data sets, models and traces are kept as their rows are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any, Literal

from eventlog.codec import to_json
from eventlog.events import Event
from eventlog.events.projects import ProjectAdded
from eventlog.events.runs import (
    FinalStatus,
    RunDeleted,
    RunFinished,
    RunMetricLogged,
    RunParametersSet,
    RunStarted,
    RunTagged,
)
from eventlog.importers.cells import Scan, count, name_of, needed, text
from eventlog.importers.foreign import Foreign, Row, open_foreign
from eventlog.importers.intake import Intake, Native, Wanted, key_of
from eventlog.importers.numbers import RunOf

EXPECTED = {
    "experiments": ("experiment_id", "name", "artifact_location"),
    "runs": (
        "run_uuid",
        "name",
        "status",
        "start_time",
        "end_time",
        "lifecycle_stage",
        "artifact_uri",
        "experiment_id",
    ),
    "params": ("key", "value", "run_uuid"),
    "tags": ("key", "value", "run_uuid"),
    "metrics": ("key", "value", "timestamp", "run_uuid", "step", "is_nan"),
}
KEPT = (
    "experiment_tags",
    "datasets",
    "inputs",
    "input_tags",
    "logged_models",
    "logged_model_metrics",
    "logged_model_params",
    "logged_model_tags",
    "registered_models",
    "registered_model_tags",
    "registered_model_aliases",
    "model_versions",
    "model_version_tags",
    "evaluation_datasets",
    "trace_info",
    "trace_tags",
    "trace_request_metadata",
    "spans",
    "assessments",
)
_ENDED: dict[str, FinalStatus] = {"FINISHED": "success", "FAILED": "fail", "KILLED": "killed"}
_LARGEST = 1.7976931348623157e308
"""What MLflow writes for an infinity."""


class MlflowStore:
    """See `eventlog.importers.run.TableFormat`."""

    name = "mlflow"
    looks_for = "mlflow.db and mlruns.db"

    def sources(self, path: Path) -> Iterator[Path]:
        """The stores below a folder."""
        for name in ("mlflow.db", "mlruns.db"):
            yield from path.rglob(name)

    def scan(self, path: Path, intake: Intake) -> Iterator[float]:
        """Add every run with what it said."""
        expected = {**EXPECTED, **dict.fromkeys(KEPT, ())}
        with open_foreign(path, expected, optional=KEPT) as database:
            yield from _Store(database, intake).run()


class _Store:
    """One store on its way in."""

    def __init__(self, database: Foreign, intake: Intake) -> None:
        self.scan = Scan("mlflow", database, intake)
        self.intake = intake
        self.params = database.by("params", "run_uuid")
        self.tags = database.by("tags", "run_uuid")
        self.projects: dict[Any, str] = {}
        self.runs: set[str] = set()

    def run(self) -> Iterator[float]:
        """Add everything; yields how much is done."""
        yield from self.scan.records("experiments", self._experiment, 0.0, 0.02)
        yield from self.scan.records("runs", self._run, 0.02, 0.3)
        yield from self.scan.records("metrics", self._metric, 0.3, 0.9)
        yield from self.scan.records("params", self._of_no_run, 0.9, 0.91)
        yield from self.scan.records("tags", self._of_no_run, 0.91, 0.92)
        for place, table in enumerate(KEPT):
            step = 0.08 / len(KEPT)
            yield from self.scan.kept(table, 0.92 + place * step, 0.92 + (place + 1) * step)

    def _experiment(self, row: Row) -> Native:
        values = row.values
        project = name_of(values["name"])
        self.projects[values["experiment_id"]] = project
        note = f"MLflow experiment {values['experiment_id']}"
        added = ProjectAdded(path=text(values["artifact_location"]), note=note)
        key = key_of("mlflow", "experiment", project)
        at = _time(values.get("creation_time"))
        return Native(0, 0, [Wanted(f"project-{project}", [added], key, at, fresh=True)])

    def _run(self, row: Row) -> Native:
        values = row.values
        run = needed(values["run_uuid"])
        started = _time(values["start_time"])
        tags = {one.values["key"]: one.values["value"] for one in self.tags(run) if text(one.values["key"])}
        key = key_of("mlflow", run)
        stream = RunOf(key)
        wanted = [Wanted(stream, [self._started(values, tags)], key, started)]

        def also(what: str, event: Event, at: int | None, *told: Any) -> None:
            wanted.append(Wanted(stream, [event], key_of("mlflow", run, what, *told), at))

        parameters = {one.values["key"]: _text(one.values["value"]) for one in self.params(run)}
        if parameters := {name: value for name, value in parameters.items() if text(name)}:
            parameters = self.intake.masker.value(parameters)
            also("params", RunParametersSet(parameters=dict(parameters)), started, _digest(parameters))
        told = {name: _text(value) for name, value in tags.items() if name != "mlflow.note.content"}
        told |= {"mlflow.run_id": run, "mlflow.artifact_uri": _text(values["artifact_uri"])}
        told = self.intake.masker.value(told)
        also("tags", RunTagged(tags=told), started, _digest(told))
        ended = _ENDED.get(str(values["status"]))
        if ended is not None:
            end = _time(values["end_time"])
            also("ended", RunFinished(status=ended), end if end is not None else started, ended, end)
        if values["lifecycle_stage"] == "deleted":
            deleted = _time(values.get("deleted_time"))
            also("deleted", RunDeleted(reason="deleted in MLflow"), deleted, deleted)
        self.runs.add(run)
        return Native(0, 0, wanted)

    def _started(self, values: dict[str, Any], tags: dict[str, Any]) -> RunStarted:
        source = self._masked(text(tags.get("mlflow.source.name")) or text(values.get("source_name")))
        entry = self._masked(text(values.get("entry_point_name")))
        commit = text(tags.get("mlflow.source.git.commit")) or text(values.get("source_version"))
        return RunStarted(
            command=" ".join(filter(None, (source, entry))) or self._masked(text(values["name"])) or "mlflow",
            program=PurePath(source).name if source else "",
            project_id=self.projects.get(values["experiment_id"]),
            note=self._masked(tags.get("mlflow.note.content")) or "",
            git_commit=commit,
            git_branch=text(tags.get("mlflow.source.git.branch")),
            user=text(values.get("user_id")),
        )

    def _metric(self, row: Row) -> Native:
        values = row.values
        run, name = needed(values["run_uuid"]), needed(values["key"])
        if run not in self.runs:
            raise ValueError("of no run")
        key = key_of(
            "mlflow", run, "metric", name, values["timestamp"], values["step"], values["value"], values["is_nan"]
        )
        step = values["step"]
        event = RunMetricLogged(
            name=name,
            value=_value(values["value"], values["is_nan"]),
            step=step if isinstance(step, int) and abs(step) < 2**53 else None,
        )
        return Native(0, 0, [Wanted(RunOf(key_of("mlflow", run)), [event], key, _time(values["timestamp"]))])

    def _of_no_run(self, row: Row) -> Native | None:
        if row.values["run_uuid"] in self.runs and text(row.values["key"]):
            return None  # told with its run
        raise ValueError("of no run")

    def _masked(self, given: Any) -> str | None:
        if given is None or isinstance(given, bytes):
            return None
        return self.intake.masker.text(str(given))


def _text(given: Any) -> str:
    return "" if given is None or isinstance(given, bytes) else str(given)


def _value(given: Any, is_nan: Any) -> float | Literal["nan", "inf", "-inf"]:
    if is_nan:
        return "nan"
    if not isinstance(given, (int, float)):
        raise ValueError("no number")
    value = float(given)
    if not math.isfinite(value) or abs(value) >= _LARGEST:
        return "inf" if value > 0 else "-inf"
    return value


def _time(given: Any) -> int | None:
    """µs of MLflow's milliseconds."""
    milliseconds = count(given)
    return None if milliseconds is None or milliseconds >= 2**53 // 1000 else milliseconds * 1000


def _digest(told: dict[str, Any]) -> str:
    return sha256(to_json(dict(sorted(told.items())))).hexdigest()
