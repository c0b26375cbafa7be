"""``eventlog jobs show`` and ``explain``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from eventlog.cli.as_json import struct_fields
from eventlog.cli.jobs import arguments, error, progress, resolve, short
from eventlog.cli.options import as_of_option, asked, complete_last, view_options
from eventlog.cli.runs import columns as run_columns
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import show_duration
from eventlog.cli.view import Column, View


@click.command()
@click.argument("job", metavar="[JOB]", default="last", shell_complete=complete_last)
@as_of_option
@view_options
@pass_state
def show(state: State, view: View, as_of: str | None, job: str) -> None:
    """Show everything that is known about job JOB (default: the last one).

    JSON: the job's fields, the worker of its last attempt, and its attempts (those that ended) and runs as lists.
    """
    with asked(state, as_of, view) as source:
        found = source.jobs.get(resolve(source, job))
        attempts = source.jobs.attempts(found.job_id)
        runs = source.runs.list(job_id=found.job_id)
        worker = None if found.worker_id is None else source.workers.find(found.worker_id)
    if view.is_json:
        view.item(struct_fields(found) | {"worker": worker, "attempts": attempts, "runs": runs})
        return
    view.item(found, _fields(found, worker, view))
    if attempts:
        view.say("\nattempts")
        view.rows(attempts, _attempt_columns(view))
    if runs:
        view.say("\nruns")
        view.rows(runs, run_columns(view))


def _fields(job: Any, worker: Any, view: View) -> Iterator[tuple[str, str]]:
    yield "job", job.job_id
    yield "status", job.status + (f" ({job.reason})" if job.reason else "")
    yield "kind", job.kind
    yield "queue", job.queue
    yield "arguments", arguments(job, view)
    yield "result", _json(job.result)
    yield "error", error(job)
    yield "progress", progress(job)
    yield "cancel asked by", job.cancel_requested_by or ""
    yield "priority", str(job.priority) if job.priority else ""
    yield "attempt", str(job.attempt)
    yield "failures", f"{job.failures} (retries: {job.max_retries})"
    yield "crashes", f"{job.crashes} (at most {job.max_crashes}; on a crash: {job.on_crash})" if job.crashes else ""
    yield "created", view.time(job.created_at)
    yield "can run", view.time(job.ready_at)
    yield "to begin by", view.time(job.expires_at)
    yield "started", view.time(job.started_at)
    yield "ended", view.time(job.ended_at)
    yield "updated", view.time(job.updated_at)
    yield "waited", show_duration(job.wait_us)
    yield "took", show_duration(job.run_us)
    yield "may take", show_duration(job.timeout_us)
    yield "worker", _worker(job.worker_id, worker)
    yield "unique key", job.unique_key or ""
    yield "parent job", job.parent_job_id or ""
    yield "batch", job.batch_id or ""
    yield "schedule", job.schedule or ""


def _worker(worker_id: str | None, worker: Any) -> str:
    if worker is None:
        return worker_id or ""
    facts = (("", worker.host), ("pid ", worker.pid), ("", worker.user), ("", worker.status))
    return f"{worker_id} ({', '.join(f'{name}{value}' for name, value in facts if value is not None)})"


def _json(value: object) -> str:
    from eventlog.cli.as_json import to_json

    return "" if value is None else value if isinstance(value, str) else to_json(value)


def _attempt_columns(view: View) -> list[Column]:
    return [
        Column("attempt", lambda attempt: str(attempt.attempt), right=True),
        Column("outcome", lambda attempt: attempt.outcome, status=True),
        Column("started", lambda attempt: view.time(attempt.started_at)),
        Column("took", lambda attempt: show_duration(attempt.ended_at - attempt.started_at), right=True),
        Column("worker", lambda attempt: short(view, attempt.worker_id), optional=True, spare=True),
        Column("error", error_of_attempt, wide=True, optional=True),
    ]


def error_of_attempt(attempt: Any) -> str:
    """``ValueError: no such file``, or nothing."""
    return ": ".join(part for part in (attempt.error_type, attempt.message) if part)


@click.command()
@click.argument("job", metavar="[JOB]", default="last", shell_complete=complete_last)
@as_of_option
@view_options
@pass_state
def explain(state: State, view: View, as_of: str | None, job: str) -> None:
    """Say how job JOB (default: the last one) came to be in its state, event by event, and what it waits for.

    JSON: job_id, status, sentences (position, at, text, evidence) and blockers (kind, text, facts).
    """
    with asked(state, as_of, view) as source:
        found = source.jobs.explain(resolve(source, job))
    if view.is_json:
        view.item(found)
        return
    view.say(f"job {found.job_id} is {found.status}")
    width = max(len(str(sentence.position)) for sentence in found.sentences)
    for sentence in found.sentences:
        # Not as a table: nothing of a sentence may be cut off.
        view.echo(f"{sentence.position:>{width}}  {view.time(sentence.at)}  {view.line(sentence.text)}")
    if found.blockers:
        view.say()
    for blocker in found.blockers:
        view.echo(f"- {view.line(blocker.text)}")
    if found.status == "queued" and not found.blockers:
        view.say("\nnothing is in its way" if as_of else "\nnothing is in its way: the next worker that asks gets it")
