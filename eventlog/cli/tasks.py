"""``eventlog tasks``: what coding agents were asked to do."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.meant import meant
from eventlog.cli.options import as_of_option, asked, confirm, view_options, yes_option
from eventlog.cli.pairs import pairs
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import show_duration
from eventlog.cli.view import Column, View

_INTEGERS = (
    *("process_id", "context_length", "llm_call_count", "tool_call_count", "total_tokens", "compression_count"),
)
_uuid = click.argument("uuid", metavar="UUID")
_count = click.IntRange(0)


@click.group()
def tasks() -> None:
    """The tasks of coding agents."""


@tasks.command("list")
@click.option("--status", metavar="WORD", help="In this state: running, completed, failed, stopped.")
@click.option("--user", metavar="NAME", help="Of this user.")
@click.option("--task-source", metavar="NAME", help="From there: github, gitlab.")
@click.option("--owner", metavar="NAME", help="Of a repository of this owner.")
@click.option("--repo", metavar="NAME", help="Of a repository of this name.")
@click.option("--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@click.option("--offset", type=_count, default=0, help="Leave out this many.")
@as_of_option
@view_options
@pass_state
def list_tasks(state: State, /, view: View, as_of: str | None, limit: int, **asks: Any) -> None:
    """List tasks, the newest first."""
    with asked(state, as_of, view) as source:
        view.rows(
            source.tasks.list(**asks, limit=limit + 1),
            [
                Column("uuid", lambda task: task.uuid),
                Column("status", lambda task: task.status, status=True),
                Column("created", lambda task: view.time(task.created_at)[:19]),
                Column("task", _what, wide=True),
                Column("user", lambda task: task.user or "", optional=True),
                Column("model", lambda task: task.model or "", optional=True, spare=True),
                Column("calls", lambda task: str(task.llm_call_count), right=True, spare=True),
                Column("tools", lambda task: str(task.tool_call_count), right=True, spare=True),
                Column("tokens", lambda task: str(task.total_tokens), right=True),
                Column("error", lambda task: task.error_message or "", wide=True, optional=True, spare=True),
            ],
            empty="no tasks",
            limit=limit,
        )


@tasks.command()
@_uuid
@as_of_option
@view_options
@pass_state
def show(state: State, view: View, as_of: str | None, uuid: str) -> None:
    """Show task UUID: the whole of it, its beginning, or `last`."""

    def ids(prefix: str | None) -> list[str]:
        return [one.uuid for one in source.tasks.list(prefix=prefix, limit=3)]

    with asked(state, as_of, view) as source:
        _item(view, source.tasks.get(meant(uuid, "task", ids)))


@tasks.command()
@click.option("--uuid", metavar="UUID", help="Its uuid. Default: a new one.")
@click.option("--task-source", required=True, metavar="NAME", help="Where it comes from: github, gitlab.")
@click.option("--owner", required=True, metavar="NAME", help="Owner of the repository.")
@click.option("--repo", required=True, metavar="NAME", help="Name of the repository.")
@click.option("--task-type", required=True, metavar="WORD", help="What it is: issue, pull_request, merge_request.")
@click.option("--task-id", required=True, metavar="ID", help="What it is called there: the number of an issue.")
@click.option("--status", metavar="WORD", help="Its state. Default: running.")
@click.option("--created-at", metavar="TIME", help="When, in ISO 8601. Default: now.")
@click.option("--process-id", type=int, metavar="PID", help="Process that works on it.")
@click.option("--hostname", metavar="NAME", help="Machine on which that runs.")
@click.option("--llm-provider", metavar="NAME", help="Provider of its language model.")
@click.option("--model", metavar="NAME", help="Its language model.")
@click.option("--context-length", type=_count, metavar="TOKENS", help="Length of its context.")
@click.option("--user", metavar="NAME", help="Whose it is.")
@view_options
@pass_state
def create(state: State, /, view: View, **columns: Any) -> None:
    """Create a task."""
    with state.write(create=True) as log:
        task = log.tasks.create({name: value for name, value in columns.items() if value is not None})
        if view.is_json:
            _item(view, task)
        else:
            view.echo(view.line(task.uuid))


@tasks.command()
@_uuid
@click.argument("changes", metavar="COLUMN=VALUE…", nargs=-1, required=True)
@view_options
@pass_state
def update(state: State, view: View, uuid: str, changes: tuple[str, ...]) -> None:
    """Set columns of task UUID; COLUMN= makes one empty, and what is not given stays."""
    given = {name: _value(name, text) for name, text in pairs(changes, "COLUMN=VALUE").items()}
    with state.write() as log:
        _told(log, view, uuid, log.tasks.update(uuid, given) is not None, "updated")


@tasks.command()
@_uuid
@click.argument("word", metavar="STATUS")
@click.option("--error", "error_message", metavar="TEXT", help="What went wrong.")
@view_options
@pass_state
def status(state: State, view: View, uuid: str, word: str, error_message: str | None) -> None:
    """Say that task UUID is in another state: running, completed, failed, stopped."""
    with state.write() as log:
        _told(log, view, uuid, log.tasks.update_status(uuid, word, error_message), word)


@tasks.command()
@_uuid
@view_options
@pass_state
def complete(state: State, view: View, uuid: str) -> None:
    """Say that task UUID is done."""
    with state.write() as log:
        _told(log, view, uuid, log.tasks.complete(uuid), "completed")


@tasks.command()
@_uuid
@click.argument("error_message", metavar="ERROR")
@view_options
@pass_state
def fail(state: State, view: View, uuid: str, error_message: str) -> None:
    """Say that task UUID failed, and why."""
    with state.write() as log:
        _told(log, view, uuid, log.tasks.fail(uuid, error_message), "failed")


@tasks.command()
@_uuid
@view_options
@pass_state
def stop(state: State, view: View, uuid: str) -> None:
    """Say that task UUID was stopped."""
    with state.write() as log:
        _told(log, view, uuid, log.tasks.stop(uuid), "stopped")


@tasks.command()
@_uuid
@click.option("--llm-calls", type=_count, default=0, help="Calls of a language model to add.")
@click.option("--tool-calls", type=_count, default=0, help="Calls of tools to add.")
@click.option("--tokens", type=_count, default=0, help="Tokens to add.")
@click.option("--compressions", type=_count, default=0, help="Compactions of the context to add.")
@view_options
@pass_state
def stats(state: State, /, view: View, uuid: str, **added: int) -> None:
    """Add to the sums of task UUID."""
    if not any(added.values()):
        raise click.UsageError("Nothing to add: give --llm-calls, --tool-calls, --tokens or --compressions.")
    with state.write() as log:
        _told(log, view, uuid, log.tasks.update_statistics(uuid, **added), "updated")


@tasks.command()
@_uuid
@yes_option
@view_options
@pass_state
def delete(state: State, view: View, uuid: str, yes: bool) -> None:
    """Take task UUID out of the table. Its events stay in the log."""
    confirm(f"Delete task {uuid!r}?", yes)
    with state.write() as log:
        _found(uuid, log.tasks.delete(uuid))
    view.done(f"task {uuid} deleted", "deleted", uuid=uuid)


@tasks.command()
@_uuid
@as_of_option
@view_options
@pass_state
def history(state: State, view: View, as_of: str | None, uuid: str) -> None:
    """Show every event of task UUID."""
    with asked(state, as_of, view) as source:
        view.rows(
            source.tasks.history(uuid),
            [
                Column("version", lambda record: str(record.version), right=True),
                Column("occurred", lambda record: view.time(record.occurred_at)[:19]),
                Column("event", lambda record: record.type),
                Column("data", lambda record: record.data, wide=True),
            ],
        )


def _value(name: str, text: str) -> str | int | None:
    if text == "":
        return None
    if name not in _INTEGERS:
        return text
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{name} is an integer, not {text!r}", param_hint="'COLUMN=VALUE'") from None


def _found(uuid: str, done: bool) -> None:
    if not done:
        from eventlog.repositories.task_values import no_task

        raise no_task(uuid)


def _told(log: Any, view: View, uuid: str, done: bool, what: str) -> None:
    _found(uuid, done)
    if view.is_json:
        _item(view, log.tasks.get(uuid))
    else:
        view.say(f"task {uuid} {what}")


def _what(task: Any) -> str:
    return f"{task.task_source} {task.owner}/{task.repo} {task.task_type} {task.task_id}"


def _item(view: View, task: Any) -> None:
    took = None if task.started_at is None or task.completed_at is None else task.completed_at - task.started_at
    process = f"{task.process_id} on {task.hostname}" if task.hostname else str(task.process_id or "")
    view.item(
        task,
        [
            ("uuid", task.uuid),
            ("task", _what(task)),
            ("status", task.status),
            ("error", task.error_message or ""),
            ("user", task.user or ""),
            ("created", view.time(task.created_at)),
            ("started", view.time(task.started_at)),
            ("completed", view.time(task.completed_at)),
            ("took", show_duration(took)),
            ("process", process),
            ("model", " ".join(filter(None, (task.llm_provider, task.model)))),
            ("context", "" if task.context_length is None else f"{task.context_length:,} tokens"),
            ("LLM calls", str(task.llm_call_count)),
            ("tool calls", str(task.tool_call_count)),
            ("tokens", f"{task.total_tokens:,}"),
            ("compactions", str(task.compression_count)),
        ],
    )
