"""``eventlog runs show`` and ``compare``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from eventlog.cli.as_json import struct_fields
from eventlog.cli.options import as_of_option, asked, complete_last, view_options
from eventlog.cli.runs import RUN, outcome, resolve, signal_name
from eventlog.cli.runs_tail import CHANNELS, Growing, file_of
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import show_duration, show_size
from eventlog.cli.view import Column, View, assigned

LAST_MESSAGES = LAST_LINES = 20


@click.command()
@click.argument("run_id", metavar="[RUN]", type=RUN, default="last", shell_complete=complete_last)
@as_of_option
@view_options
@pass_state
def show(state: State, view: View, as_of: str | None, run_id: int) -> None:
    """Show everything that is known about run RUN (default: the last one).

    JSON: the run's fields, and its metrics, outputs, artifacts and messages as lists.
    """
    with asked(state, as_of, view) as source:
        run = source.runs.get(resolve(source, run_id))
        parts = {
            "metrics": list(source.runs.metrics(run.run_id)),
            "artifacts": list(source.runs.artifacts(run.run_id)),
            "outputs": [struct_fields(said.row) | {"tail": said.text} for said in source.runs.output(run.run_id)],
            "messages": [
                struct_fields(said.row) | {"message": said.text}
                for said in source.runs.messages(run.run_id, limit=None if view.is_json else LAST_MESSAGES)
            ],
        }
        if view.is_json:
            view.item(struct_fields(run) | parts)
            return
        if as_of is None and not parts["outputs"]:
            parts["outputs"] = [
                {"channel": name, **found} for name in CHANNELS if (found := _in_file(source, run, name))
            ]
        view.item(run, _fields(run, view))
        _show_parts(view, run.run_id, parts)


def _in_file(log: Any, run: Any, channel: str) -> dict[str, Any] | None:
    """The end of what a run printed that goes on, or was lost before it could say so: its file has it."""
    path = file_of(log, run.run_id, channel)
    if path is None:
        return None
    size = path.stat().st_size
    return {"size_bytes": size, "tail": "\n".join(Growing(path).end(LAST_LINES + 1, whole=False))}


def _fields(run: Any, view: View) -> Iterator[tuple[str, str]]:
    yield "run", str(run.run_id)
    yield "status", run.status + (f" ({run.reason})" if run.reason else "")
    yield "command", run.command
    yield "program", run.program or ""
    yield "project", run.project_id or ""
    yield "note", run.note or ""
    yield "tags", assigned(run.tags or {})
    yield "parameters", assigned(run.parameters or {})
    yield "exit", outcome(run)
    yield "signal", "" if run.signal is None else f"{run.signal} ({signal_name(run.signal)})"
    yield "error", run.error_type or ""
    yield "started", view.time(run.started_at)
    yield "ended", view.time(run.ended_at)
    yield "updated", view.time(run.updated_at)
    yield "took", show_duration(run.wall_us)
    yield "cpu", _cpu(run)
    yield "peak memory", show_size(run.peak_memory_bytes)
    yield "directory", run.cwd or ""
    yield "git", _git(run)
    yield "host", run.host or ""
    yield "user", run.user or ""
    yield "pid", "" if run.pid is None else str(run.pid)
    yield "python", run.python_version or ""
    yield "parent run", "" if run.parent_run_id is None else str(run.parent_run_id)
    yield "environment", "\n".join(f"{key}={value}" for key, value in (run.environment or {}).items())


def _cpu(run: Any) -> str:
    if run.cpu_user_us is None and run.cpu_system_us is None:
        return ""
    return f"{show_duration(run.cpu_user_us or 0)} user, {show_duration(run.cpu_system_us or 0)} system"


def _git(run: Any) -> str:
    if not run.git_commit:
        return ""
    branch = f" on {run.git_branch}" if run.git_branch else ""
    return f"{run.git_commit[:12]}{branch}{', with uncommitted changes' if run.git_dirty else ''}"


def _show_parts(view: View, run_id: int, parts: dict[str, list[Any]]) -> None:
    if parts["metrics"]:
        view.say("\nmetrics")
        view.rows(
            parts["metrics"],
            [
                Column("name", lambda metric: metric.name),
                Column(
                    "step", lambda metric: "" if metric.step is None else str(metric.step), right=True, optional=True
                ),
                Column("value", metric_value, right=True),
                Column("at", lambda metric: view.time(metric.occurred_at)),
            ],
        )
    if parts["artifacts"]:
        view.say("\nfiles")
        view.rows(
            parts["artifacts"],
            [
                Column("kind", lambda file: file.kind),
                Column("size", lambda file: show_size(file.size_bytes), right=True),
                Column("sha256", lambda file: (file.sha256 or "")[:16]),
                Column("name", lambda file: file.name, wide=True),
            ],
        )
    if parts["messages"]:
        view.say("\nmessages")
        view.rows(
            parts["messages"],
            [
                Column("at", lambda entry: view.time(entry["occurred_at"])),
                Column("level", lambda entry: entry["level"]),
                Column("logger", lambda entry: entry["logger"], optional=True),
                Column("message", lambda entry: entry["message"], wide=True),
            ],
        )
    for output in parts["outputs"]:
        tail = output["tail"]
        if not output["size_bytes"]:
            continue
        is_binary = "\0" in (tail or "")
        end = ", the end of it:" if tail else ""
        if is_binary:
            end = f", binary: `eventlog runs tail {run_id}` shows it all the same"
        view.say(f"\n{output['channel']}, {show_size(output['size_bytes'])}{end}")
        if tail and not is_binary:
            # Of a progress bar the end of what is kept is a thousand lines.
            view.say("\n".join(view.text(tail).rstrip("\n").split("\n")[-LAST_LINES:]))


def metric_value(metric: Any) -> str:
    """A metric's value as text; NaN and the infinities by their names."""
    if metric.value is None:
        return metric.non_finite or ""
    return f"{metric.value:g}"


@click.command()
@click.argument("run_ids", metavar="RUN RUN…", type=RUN, nargs=-1, required=True, shell_complete=complete_last)
@as_of_option
@view_options
@pass_state
def compare(state: State, view: View, as_of: str | None, run_ids: tuple[int, ...]) -> None:
    """Show the fields in which runs differ, one column a run.

    JSON: a list of {"field": name, "values": {run: value}}.
    """
    if len(run_ids) < 2:
        raise click.UsageError("Give two runs or more.")
    with asked(state, as_of, view) as source:
        numbers = list(dict.fromkeys(resolve(source, number) for number in run_ids))
        found = source.runs.compare(numbers)
        rows = [
            {"field": field, "values": {str(number): value for number, value in zip(numbers, values, strict=True)}}
            for field, values in found.rows
        ]
        headings = [Column(f"run {number}", _value_of(view, str(number)), wide=True) for number in numbers]
        view.rows(rows, [Column("field", lambda row: row["field"]), *headings], empty="they do not differ")


def _value_of(view: View, number: str) -> Callable[[Any], str]:
    return lambda row: view.value(row["field"], row["values"][number])
