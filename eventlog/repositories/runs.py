"""`log.runs`: start and finish runs, what they say in between, and every question about them."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from eventlog.committer import Appended
from eventlog.errors import IllegalTransition, InvalidInput, KeyReused, NotFound
from eventlog.events import Event
from eventlog.events.runs import (
    FinalStatus,
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
from eventlog.log import EXISTS, Tx
from eventlog.repositories.base import Repository
from eventlog.store.base import Durability, Filter, Record, Selection
from projections.run_journals import RunArtifact, RunMessage, RunMetric, RunOutput
from projections.run_journals import projections as _journals
from projections.runs import Run
from projections.runs import projections as _runs

RUNS = _runs[0]
METRICS, MESSAGES, OUTPUTS, ARTIFACTS = _journals
STATUSES: tuple[RunStatus, ...] = ("running", "success", "fail", "killed", "lost")
MAX_RUN_ID = 2**53 - 1
_LIFE = (RunStarted, RunFinished, RunLost, RunUpdated, RunDeleted)
_SPOKEN = (
    RunTagged,
    RunNoted,
    RunParametersSet,
    RunMetricLogged,
    RunMessageLogged,
    RunOutputCaptured,
    RunArtifactSaved,
)
_CANNOT_FINISH = "run {} has ended already ({}); correct it with runs update"


class Comparison(NamedTuple):
    """Runs side by side: only what differs, field by field."""

    run_ids: list[int]
    rows: list[tuple[str, list[Any]]]


class Said(NamedTuple):
    """A text that a run left (a message, the tail of an output) with its journal row."""

    row: RunMessage | RunOutput
    text: str


class RunsRepository(Repository):
    """Commands and queries for runs. Run numbers count 1, 2, 3 … and are never used again."""

    # from start to end

    def append_start(
        self,
        event: RunStarted,
        *,
        occurred_at: int | None = None,
        key: str | None = None,
        durability: Durability = "full",
    ) -> int:
        """Start a run under the next free number, and return it. With a ``key`` a retry returns the first number."""
        log = self._before_command("runs")

        def work(tx: Tx) -> int:
            if key is not None and (first := _keyed(tx, key)) is not None:
                run_id = RUNS.key_of(first.stream)
                if run_id is None or first.event != event:
                    raise KeyReused(key, first.position)
                return int(run_id)
            run_id = next_number(tx)
            tx.append(f"run-{run_id}", event, expect=0, occurred_at=occurred_at, key=key)
            return run_id

        return log.decide(work, durability=durability)

    def start(
        self,
        command: str,
        *,
        project_id: str | None = None,
        note: str = "",
        tags: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        started_at: int | None = None,
        durability: Durability = "full",
        **captured: Any,
    ) -> Run:
        """Start a run; its row says ``running`` at once. ``captured`` are further fields of `RunStarted`."""
        event = RunStarted(
            command=command,
            project_id=project_id,
            note=note,
            tags=dict(tags or {}),
            parameters=_scalars(parameters or {}),
            **captured,
        )
        return self.get(self.append_start(event, occurred_at=started_at, durability=durability))

    def finish(self, run_id: int, event: RunFinished, *, occurred_at: int | None = None, key: str | None = None) -> Run:
        """End a run. Raises NotFound, or IllegalTransition when it has ended already."""

        def work(tx: Tx) -> None:
            if key is not None and (first := _keyed(tx, key)) is not None:
                if first.stream != _stream(run_id) or first.event != event:
                    raise KeyReused(key, first.position)
                return
            status = self._status(tx, run_id)
            if status not in ("running", "lost"):
                raise IllegalTransition(_CANNOT_FINISH.format(run_id, status), run_id=run_id, status=status)
            tx.append(_stream(run_id), event, occurred_at=occurred_at, key=key)

        self._before_command("runs").decide(work)
        return self.get(run_id)

    def finish_success(self, run_id: int, **measured: Any) -> Run:
        """End a run as a success; ``measured`` are further fields of `RunFinished`."""
        return self._finish(run_id, "success", **measured)

    def finish_fail(self, run_id: int, reason: str | None = None, **measured: Any) -> Run:
        """End a run as a failure, and say why."""
        return self._finish(run_id, "fail", reason=reason, **measured)

    def finish_killed(self, run_id: int, reason: str | None = None, signal: int | None = None, **measured: Any) -> Run:
        """End a run that was stopped from outside."""
        return self._finish(run_id, "killed", reason=reason, signal=signal, **measured)

    def _finish(self, run_id: int, status: FinalStatus, *, ended_at: int | None = None, **fields: Any) -> Run:
        return self.finish(run_id, RunFinished(status=status, **fields), occurred_at=ended_at)

    def update(
        self,
        run_id: int,
        *,
        status: RunStatus | UnsetType = UNSET,
        note: str | UnsetType = UNSET,
        project_id: str | None | UnsetType = UNSET,
    ) -> Run:
        """Correct a run by hand. Raises NotFound; InvalidInput when nothing is given or the status is none."""
        if status is not UNSET and status not in STATUSES:
            raise InvalidInput(f"a run's status is one of {', '.join(STATUSES)}, not {status!r}")
        if status is UNSET and note is UNSET and project_id is UNSET:
            raise InvalidInput("say what to update: status, note or project")
        self._tell(run_id, RunUpdated(status=status, note=note, project_id=project_id))
        return self.get(run_id)

    def delete(self, run_id: int, reason: str | None = None) -> None:
        """Take a run out of the tables; its events stay. Raises NotFound."""
        self._tell(run_id, RunDeleted(reason=reason))

    # what it says in between

    def note(self, run_id: int, text: str) -> None:
        """Set a run's note."""
        self._say(run_id, RunNoted(note=text))

    def tag(self, run_id: int, tags: Mapping[str, str], removed: Iterable[str] = ()) -> None:
        """Set and remove tags."""
        self._say(run_id, RunTagged(tags=dict(tags), removed=tuple(removed)))

    def set_parameters(self, run_id: int, parameters: Mapping[str, Any]) -> None:
        """Set parameters: text, numbers, true, false or None."""
        self._say(run_id, RunParametersSet(parameters=_scalars(parameters)))

    def metric(
        self, run_id: int, name: str, value: float, step: int | None = None, *, durability: Durability = "process"
    ) -> None:
        """Log one value of a metric; NaN and infinities are kept."""
        self._say(run_id, RunMetricLogged(name=name, value=_number(value), step=step), durability)

    def message(
        self, run_id: int, text: str, level: str = "INFO", logger: str = "", *, durability: Durability = "process"
    ) -> None:
        """Log a line of text."""
        self._say(run_id, RunMessageLogged(message=text, level=level, logger=logger), durability)

    def _say(self, run_id: int, event: Event, durability: Durability = "full") -> Appended:
        """Append to a run's stream without asking for its state: for what the run itself says, often."""
        return self._log.append(_stream(run_id), event, expect=EXISTS, durability=durability)

    def _tell(self, run_id: int, event: Event) -> None:
        def work(tx: Tx) -> None:
            self._status(tx, run_id)
            tx.append(_stream(run_id), event)

        self._before_command("runs").decide(work)

    def _status(self, tx: Tx, run_id: int) -> RunStatus:
        """The status by the stream's own events. Raises NotFound."""
        status: RunStatus | None = None
        lost_at = 0
        for record in tx.read_stream(_stream(run_id), types=_LIFE):
            event = record.event
            match event:
                case RunStarted():
                    status = "running"
                case RunFinished() if status is not None:
                    status = event.status
                case RunLost() if status == "running":
                    status, lost_at = "lost", record.version
                case RunUpdated() if status is not None and event.status is not UNSET:
                    status = event.status
                case RunDeleted():
                    status = None
        if status is None:
            raise _no_run(run_id)
        if status == "lost" and tx.read_stream(_stream(run_id), lost_at, types=_SPOKEN):
            return "running"
        return status

    # lost runs

    def recover(
        self, is_gone: Callable[[Run], str | None], *, dry_run: bool = False, limit: int | None = None
    ) -> list[tuple[Run, str]]:
        """Mark running runs whose process is proven gone as lost; ``is_gone`` gives the evidence, or None.

        Returns them with the evidence. With ``dry_run`` nothing is written.
        """
        gone = [
            (run, evidence)
            for run in self.list(status="running", limit=limit)
            if (evidence := is_gone(run)) is not None
        ]
        if dry_run:
            return gone
        marked = []
        for run, evidence in gone:

            def work(tx: Tx, run_id: int = run.run_id, evidence: str = evidence) -> bool:
                if self._status(tx, run_id) != "running":
                    return False
                tx.append(_stream(run_id), RunLost(evidence=evidence))
                return True

            if self._before_command("runs").decide(work):
                marked.append((self.get(run.run_id), evidence))
        return marked

    # questions

    def find(self, run_id: int) -> Run | None:
        """A run, or None."""
        if isinstance(run_id, bool) or not isinstance(run_id, int):
            raise InvalidInput(f"a run number is 1, 2, 3 …, not {run_id!r} (None: the run could not be recorded)")
        if not 0 < run_id <= MAX_RUN_ID:
            return None
        table = self._fresh(RUNS)
        with self._source.reader() as reader:
            return reader.load(table, [(run_id,)]).get((run_id,))

    def get(self, run_id: int) -> Run:
        """A run. Raises NotFound."""
        run = self.find(run_id)
        if run is None:
            raise _no_run(run_id)
        return run

    def list(
        self,
        *,
        status: str | Sequence[str] | None = None,
        project_id: str | None = None,
        program: str | None = None,
        tag: tuple[str, str] | None = None,
        from_at: int | None = None,
        to_at: int | None = None,
        text: str | None = None,
        parent_run_id: int | None = None,
        job_id: str | None = None,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = 50,
        offset: int = 0,
    ) -> builtins.list[Run]:
        """Runs, newest first. ``from_at`` ≤ created_at < ``to_at`` in µs; ``before``, ``after``: run ids (cursors)."""
        where = _filters(status, project_id, program, tag, from_at, to_at, text, parent_run_id, job_id)
        where += [] if before is None else [Filter("run_id", "<", before)]
        where += [] if after is None else [Filter("run_id", ">", after)]
        table = self._fresh(RUNS)
        with self._source.reader() as reader:
            # By time only where time is asked for: then its index gives both the bounds and the order.
            order = ("-run_id",) if from_at is None and to_at is None else ("-created_at", "-run_id")
            return reader.select(table, where, order=order, limit=limit, offset=offset)

    def count(
        self,
        *,
        status: str | Sequence[str] | None = None,
        project_id: str | None = None,
        program: str | None = None,
        tag: tuple[str, str] | None = None,
        from_at: int | None = None,
        to_at: int | None = None,
        text: str | None = None,
        parent_run_id: int | None = None,
        job_id: str | None = None,
    ) -> int:
        """How many runs `list` would give without a limit."""
        where = _filters(status, project_id, program, tag, from_at, to_at, text, parent_run_id, job_id)
        table = self._fresh(RUNS)
        with self._source.reader() as reader:
            return reader.count(table, where)

    def metrics(self, run_id: int, name: str | None = None) -> builtins.list[RunMetric]:
        """The values of a run's metrics, in the order in which they were logged."""
        return self._journal(METRICS, run_id, [] if name is None else [Filter("name", "=", name)])

    def artifacts(self, run_id: int, name: str | None = None) -> builtins.list[RunArtifact]:
        """The files a run took in or left behind, in the order in which they were saved."""
        return self._journal(ARTIFACTS, run_id, [] if name is None else [Filter("name", "=", name)])

    def output(self, run_id: int) -> builtins.list[Said]:
        """What a run wrote to stdout and stderr: sizes, hashes and the tails."""
        rows: list[RunOutput] = self._journal(OUTPUTS, run_id)
        found = ((row, self._event(row.position)) for row in rows)
        return [Said(row, event.tail) for row, event in found if isinstance(event, RunOutputCaptured)]

    def messages(self, run_id: int, limit: int | None = None) -> builtins.list[Said]:
        """The lines of a run's log, in order; with a limit the last ones."""
        rows: list[RunMessage] = self._journal(MESSAGES, run_id, (), limit)
        found = ((row, self._event(row.position)) for row in rows)
        return [Said(row, event.message) for row, event in found if isinstance(event, RunMessageLogged)]

    def history(self, run_id: int) -> builtins.list[Record]:
        """Every record of a run's stream. Raises NotFound."""
        records = list(self._source.read_stream(_stream(run_id)))
        if not records:
            raise _no_run(run_id)
        return records

    def save_artifact(self, run_id: int, artifact: RunArtifactSaved) -> None:
        """Record that a file was saved (`eventlog.recorder.artifacts` saves it)."""
        self._say(run_id, artifact)

    def compare(self, run_ids: Sequence[int]) -> Comparison:
        """Runs side by side: fields, tags, parameters and last metric values that differ. Raises NotFound."""
        if len(run_ids) < 2:
            raise InvalidInput("compare at least two runs")
        columns = [self._flat(run_id) for run_id in run_ids]
        names = dict.fromkeys(name for column in columns for name in column)
        rows = [(name, [column.get(name) for column in columns]) for name in names]
        return Comparison(list(run_ids), [row for row in rows if any(value != row[1][0] for value in row[1])])

    def _flat(self, run_id: int) -> dict[str, Any]:
        fields = asdict(self.get(run_id))
        del fields["run_id"]
        for group, word in (("tags", "tag"), ("parameters", "parameter"), ("environment", "environment")):
            for name, value in sorted(fields.pop(group).items()):
                fields[f"{word} {name}"] = value
        for metric in self.metrics(run_id):
            fields[f"metric {metric.name}"] = metric.value if metric.non_finite is None else metric.non_finite
        return fields

    def _journal(
        self, journal: Any, run_id: int, where: Sequence[Filter] = (), limit: int | None = None
    ) -> builtins.list[Any]:
        table = self._fresh(journal)
        conditions = [Filter("run_id", "=", run_id), *where]
        with self._source.reader() as reader:
            if limit is None:
                return reader.select(table, conditions, order=("position",))
            return reader.select(table, conditions, order=("-position",), limit=limit)[::-1]

    def _event(self, position: int) -> object:
        with self._source.reader() as reader:
            rows = reader.records(position - 1, position, Selection())
        return Record(*rows[0]).event if rows else None


def _keyed(tx: Tx, key: str) -> Record | None:
    row = tx.reader.record_with_key(key)
    return None if row is None else Record(*row)


def next_number(tx: Tx) -> int:
    """A number whose stream is free and whose predecessor's is not: doubling steps, then halving ones.

    Numbers are given one after the other, so this finds the end of the row in a few look-ups, and a free number always.
    """
    low, high = 0, 1
    while tx.stream_version(f"run-{high}"):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if tx.stream_version(f"run-{middle}"):
            low = middle
        else:
            high = middle
    return high


def _stream(run_id: int) -> str:
    if isinstance(run_id, bool) or not isinstance(run_id, int) or not 0 < run_id <= MAX_RUN_ID:
        raise InvalidInput(f"a run number is 1, 2, 3 …, not {run_id!r}")
    return f"run-{run_id}"


def _no_run(run_id: int) -> NotFound:
    return NotFound(f"there is no run {run_id}", run_id=run_id)


def _number(value: float) -> Any:
    value = float(value)
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _scalars(parameters: Mapping[str, Any]) -> dict[str, Scalar]:
    return {
        str(name): _number(value)
        if isinstance(value, float)
        else value
        if value is None or isinstance(value, (str, int, bool))
        else str(value)
        for name, value in parameters.items()
    }


def _filters(
    status: str | Sequence[str] | None,
    project_id: str | None,
    program: str | None,
    tag: tuple[str, str] | None,
    from_at: int | None,
    to_at: int | None,
    text: str | None,
    parent_run_id: int | None,
    job_id: str | None,
) -> list[Filter]:
    where: list[Filter] = []
    if status is not None:
        statuses = (status,) if isinstance(status, str) else tuple(status)
        if unknown := [one for one in statuses if one not in STATUSES]:
            raise InvalidInput(f"a run's status is one of {', '.join(STATUSES)}, not {unknown[0]!r}")
        where.append(Filter("status", "in", statuses) if len(statuses) > 1 else Filter("status", "=", statuses[0]))
    equal = (("project_id", project_id), ("program", program), ("parent_run_id", parent_run_id), ("job_id", job_id))
    where += [Filter(column, "=", value) for column, value in equal if value is not None]
    if tag is not None:
        where.append(Filter("tags", "has", tag))
    if from_at is not None:
        where.append(Filter("created_at", ">=", from_at))
    if to_at is not None:
        where.append(Filter("created_at", "<", to_at))
    if text is not None:
        where.append(Filter("command|note|program", "text", text))
    return where
