"""``eventlog sessions``: conversations with agents."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.lazy import LazyGroup
from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import time_option
from eventlog.cli.view import Column, View, is_terminal

SHORT = 8


@click.group(
    cls=LazyGroup,
    package="eventlog.cli",
    table={
        "list": ("sessions:list_sessions", "List sessions, newest first."),
        "show": ("sessions_show:show", "Show the conversation of a session."),
        "create": ("sessions_change:create", "Begin a session."),
        "message": ("sessions_change:message", "Add a message to a session."),
        "status": ("sessions_change:status", "Say that a session is in another state."),
        "rename": ("sessions_change:rename", "Give a session another title."),
        "archive": ("sessions_change:archive", "Put sessions out of the way; nothing is lost."),
        "restore": ("sessions_change:restore", "Take sessions back from the archive."),
        "delete": ("sessions_change:delete", "Take a session out of the table; its events stay."),
        "rewind": ("sessions_change:rewind", "Go on after an earlier message; what was said since stays."),
        "fork": ("sessions_change:fork", "Begin a session that goes on after a message of another."),
        "export": ("sessions_export:export", "Write a session as Markdown or JSON."),
        "instances": ("sessions_parts:instances", "List the worktrees of a session."),
        "messages": ("sessions_parts:messages", "List a session's own messages, on whichever branch."),
        "tools": ("sessions_parts:tools", "List the calls of tools of a session."),
        "llm-calls": ("sessions_parts:llm_calls", "List the calls of language models of a session."),
        "dual-write": ("sessions_dual_write:dual_write", "Write sessions to JSON files, too, for older programs."),
    },
)
def sessions() -> None:
    """Conversations with agents: show, fork, export.

    SESSION is a session's id, the beginning of one that no other has, or `last`. In what was said, secrets are masked.
    """


def resolve(source: Any, text: str, *, deleted: bool = False) -> str:
    """The id meant: ``last`` is the newest session's; the beginning of an id stands for the one it belongs to.

    ``deleted``: one that was deleted will do, by its whole id.
    """
    from eventlog.errors import NotFound

    if text == "last":
        newest = source.sessions.list(limit=1)
        if not newest:
            raise NotFound("there are no sessions yet; `eventlog sessions create` begins one")
        return str(newest[0].session_id)
    text = text.removeprefix("session-")
    if not text or source.sessions.find(text) is not None:
        return text
    found = [one.session_id for one in source.sessions.list(prefix=text, limit=3)]
    if not found:
        if deleted and source.sessions.messages(text, limit=1):
            return text
        raise NotFound(f"there is no session whose id is, or begins with, {text[:80]!r}")
    if len(found) > 1:
        raise NotFound(f"several sessions' ids begin with {text}: {', '.join(sorted(found)[:2])}, …; give more of it")
    return str(found[0])


@click.command("list")
@click.option("--workspace", "-w", metavar="ID|PATH", help="Only sessions of this workspace.")
@click.option("--status", "-s", metavar="WORD", multiple=True, help="Only those in this state; may be repeated.")
@click.option("--kind", "-k", metavar="WORD", help="Only sessions of this type.")
@click.option("--agent", "-a", metavar="NAME", help="Only sessions with this agent.")
@click.option("--parent", metavar="SESSION", help="Only sessions that come from this one.")
@click.option("--text", metavar="WORDS", help="Only sessions whose title contains this.")
@click.option("--archived", is_flag=True, help="Only those in the archive.")
@click.option("--all", "everything", is_flag=True, help="Those in the archive too.")
@click.option("--since", metavar="TIME", help="Only those created at or after this: 28d, 2h, yesterday, 2026-11-21.")
@click.option("--until", metavar="TIME", help="Only those created before this.")
@click.option(
    "--order",
    type=click.Choice(["created", "updated"]),
    default="created",
    show_default=True,
    help="Newest first by this time.",
)
@click.option("--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the newest.")
@as_of_option
@view_options
@pass_state
def list_sessions(
    state: State,
    view: View,
    as_of: str | None,
    workspace: str | None,
    status: tuple[str, ...],
    kind: str | None,
    agent: str | None,
    parent: str | None,
    text: str | None,
    archived: bool,
    everything: bool,
    since: str | None,
    until: str | None,
    order: str,
    limit: int,
    offset: int,
) -> None:
    """List sessions, newest first; those in the archive are left out."""
    from eventlog.cli.workspaces import workspace_of
    from eventlog.redaction.shown import shown

    with asked(state, as_of, view) as source:
        found = source.sessions.list(
            workspace_id=workspace_of(source, workspace),
            status=status or None,
            kind=kind,
            agent=agent,
            parent_session_id=None if parent is None else resolve(source, parent),
            text=text,
            archived=True if archived else None if everything else False,
            since=time_option(since, view.zone, "--since"),
            until=time_option(until, view.zone, "--until"),
            order=f"-{order}_at",
            limit=limit + 1,
            offset=offset,
        )
        view.rows(shown(found), columns(view), empty="no sessions", limit=limit)


def columns(view: View) -> list[Column]:
    """The columns of a list of sessions."""
    return [
        Column("session", lambda one: one.session_id),
        Column("status", lambda one: one.status, status=True),
        Column("kind", lambda one: one.kind, spare=True),
        Column("created", lambda one: view.time(one.created_at)[:19]),
        Column("agent", lambda one: one.agent or "", optional=True, spare=True),
        Column("model", lambda one: one.model or "", optional=True, spare=True),
        Column("messages", lambda one: str(one.message_count), right=True),
        Column("tools", lambda one: str(one.tool_call_count or ""), right=True, optional=True),
        Column("tokens", lambda one: f"{one.total_tokens:,}" if one.total_tokens else "", right=True, optional=True),
        Column("from", lambda one: _origin(one), optional=True, spare=True),
        Column("title", lambda one: one.title or "", wide=True, optional=True),
    ]


def _origin(session: Any) -> str:
    if session.parent_session_id is None:
        return ""
    parent = session.parent_session_id[:SHORT] if is_terminal() else session.parent_session_id
    return f"{session.link or 'child'} of {parent}"
