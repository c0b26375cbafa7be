"""``eventlog sessions instances``, ``messages``, ``tools`` and ``llm-calls``."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.options import as_of_option, asked, complete_last, view_options
from eventlog.cli.sessions import resolve
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import show_duration, show_size
from eventlog.cli.view import Column, View

limit_option = click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
offset_option = click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the first.")


@click.command()
@click.argument("session", metavar="[SESSION]", default="last", shell_complete=complete_last)
@click.option("--status", "-s", metavar="WORD", help="Only those in this state.")
@as_of_option
@view_options
@pass_state
def instances(state: State, view: View, as_of: str | None, session: str, status: str | None) -> None:
    """List the worktrees of SESSION (default: the last one)."""
    from eventlog.redaction.shown import shown

    with asked(state, as_of, view) as source:
        found = shown(source.sessions.instances(resolve(source, session), status=status))
    view.rows(
        found,
        [
            Column("instance", lambda one: one.instance_id),
            Column("status", lambda one: one.status + (f" ({one.status_reason})" if one.status_reason else "")),
            Column("agent", lambda one: one.agent or "", optional=True),
            Column("updated", lambda one: view.time(one.updated_at)[:19], spare=True),
            Column("branch", lambda one: one.git_branch or "", optional=True),
            Column("worktree", lambda one: one.worktree_path or "", wide=True, optional=True),
            Column("task", lambda one: one.task, wide=True, optional=True),
        ],
        empty="no instances",
    )


@click.command()
@click.argument("session", metavar="[SESSION]", default="last", shell_complete=complete_last)
@click.option(
    "--role", "-r", type=click.Choice(["system", "user", "assistant", "tool"]), help="Only those of this role."
)
@click.option("--full", is_flag=True, help="Each with all that it says, instead of a table.")
@limit_option
@offset_option
@as_of_option
@view_options
@pass_state
def messages(
    state: State,
    view: View,
    as_of: str | None,
    session: str,
    role: str | None,
    full: bool,
    limit: int | None,
    offset: int,
) -> None:
    """List the messages of SESSION (default: the last one) as they were written down, on whichever branch.

    JSON: each has message and parts.
    """
    import msgspec

    from eventlog.cli.sessions_show import first_words, tell_message
    from eventlog.redaction.shown import shown

    with asked(state, as_of, view) as source:
        found = shown(
            source.sessions.said(resolve(source, session, deleted=True), role=role, limit=limit, offset=offset)
        )
    if view.is_json:
        view.objects(msgspec.to_builtins(one) for one in found)
        return
    if full and found:
        for one in found:
            tell_message(view, one, (), full, with_id=True)
        return
    view.rows(
        found,
        [
            Column("message", lambda one: one.message.message_id),
            Column("parent", lambda one: one.message.parent_id or "", spare=True),
            Column("at", lambda one: view.time(one.message.occurred_at)[:19]),
            Column("role", lambda one: one.message.role + (" (beside)" if one.message.sidechain else "")),
            Column("size", lambda one: show_size(one.message.text_bytes), right=True),
            Column("text", first_words, wide=True),
        ],
        empty="no messages",
    )


@click.command()
@click.argument("session", metavar="[SESSION]", default="last", shell_complete=complete_last)
@click.option(
    "--outcome",
    "-o",
    type=click.Choice(["ok", "error", "cancelled", "unknown", "none"]),
    help="Only those that ended like this; none: those without an answer.",
)
@click.option("--name", metavar="NAME", help="Only calls of this tool.")
@limit_option
@offset_option
@as_of_option
@view_options
@pass_state
def tools(
    state: State,
    view: View,
    as_of: str | None,
    session: str,
    outcome: str | None,
    name: str | None,
    limit: int | None,
    offset: int,
) -> None:
    """List the calls of tools of SESSION (default: the last one), in order."""
    with asked(state, as_of, view) as source:
        found = source.sessions.tool_calls(
            resolve(source, session, deleted=True), outcome=outcome, name=name, limit=limit, offset=offset
        )
    view.rows(
        found,
        [
            Column("call", lambda one: one.tool_call_id),
            Column("tool", lambda one: one.name),
            Column("started", lambda one: view.time(one.started_at)[:19]),
            Column("outcome", lambda one: one.outcome or "none yet"),
            Column("exit", lambda one: "" if one.exit_code is None else str(one.exit_code), right=True, optional=True),
            Column("took", lambda one: show_duration(one.duration_us), right=True),
            Column("arguments", lambda one: show_size(one.arguments_bytes), right=True, spare=True),
            Column("result", lambda one: show_size(one.result_bytes), right=True, spare=True),
            Column("error", lambda one: one.error_type or "", optional=True),
        ],
        empty="no calls",
    )


@click.command("llm-calls")
@click.argument("session", metavar="[SESSION]", default="last", shell_complete=complete_last)
@click.option(
    "--status", "-s", type=click.Choice(["completed", "failed", "retracted"]), help="Only those in this state."
)
@limit_option
@offset_option
@as_of_option
@view_options
@pass_state
def llm_calls(
    state: State, view: View, as_of: str | None, session: str, status: str | None, limit: int | None, offset: int
) -> None:
    """List the calls of language models of SESSION (default: the last one), in order."""
    with asked(state, as_of, view) as source:
        found = source.sessions.llm_calls(
            resolve(source, session, deleted=True), status=status, limit=limit, offset=offset
        )
    view.rows(
        found,
        [
            Column("at", lambda one: view.time(one.occurred_at)[:19]),
            Column("model", lambda one: one.model or ""),
            Column("status", lambda one: one.status + (f" ({one.error_type})" if one.error_type else "")),
            _tokens("input"),
            _tokens("cache read", "cache_read"),
            Column("written", lambda one: _number(one.cache_write_5m + one.cache_write_1h), right=True, optional=True),
            _tokens("output"),
            _tokens("reasoning"),
            Column("took", lambda one: show_duration(one.duration_us), right=True, optional=True),
            Column("quality", lambda one: "" if one.quality == "exact" else one.quality, optional=True),
        ],
        empty="no calls",
    )


def _tokens(title: str, name: str | None = None) -> Column:
    def text(call: Any) -> str:
        return _number(getattr(call, name or title))

    return Column(title, text, right=True, optional=True)


def _number(number: int) -> str:
    return f"{number:,}" if number else ""
