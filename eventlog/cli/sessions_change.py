"""``eventlog sessions``: the commands that tell something."""

from __future__ import annotations

import sys
from typing import Any

import click

from eventlog.cli.options import complete_last, confirm, view_options, yes_option
from eventlog.cli.sessions import resolve
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import time_option
from eventlog.cli.view import View


@click.command()
@click.argument("title", required=False)
@click.option("--id", "session_id", metavar="ID", help="Its id. Default: a new one.")
@click.option("--workspace", "-w", metavar="PATH", help="The folder it works in, which is registered where it is not.")
@click.option("--kind", "-k", metavar="WORD", default="chat", show_default=True, help="What type of session it is.")
@click.option("--agent", "-a", metavar="NAME", help="With which agent.")
@click.option("--model", metavar="NAME", help="With which model.")
@click.option("--branch", metavar="NAME", help="On which git branch.")
@view_options
@pass_state
def create(
    state: State,
    view: View,
    title: str | None,
    session_id: str | None,
    workspace: str | None,
    kind: str,
    agent: str | None,
    model: str | None,
    branch: str | None,
) -> None:
    """Begin a session, with TITLE or without."""
    with state.write(create=True) as log:
        folder = None if workspace is None else log.workspaces.register(workspace)
        made = log.sessions.create(
            session_id=session_id,
            title=title,
            workspace_id=None if folder is None else folder.workspace_id,
            cwd=None if folder is None else folder.path,
            kind=kind,
            agent=agent,
            model=model,
            git_branch=branch,
        )
    _told(view, made, f"session {made.session_id} begun")


@click.command()
@click.argument("session", metavar="SESSION", shell_complete=complete_last)
@click.argument("text", default="-")
@click.option(
    "--role",
    "-r",
    type=click.Choice(["system", "user", "assistant", "tool"]),
    default="user",
    show_default=True,
    help="Whose it is.",
)
@click.option("--parent", metavar="MESSAGE", help="The message that it follows. Default: the last one.")
@click.option("--id", "message_id", metavar="ID", help="Its id. Default: a new one.")
@click.option("--at", metavar="TIME", help="When it was said. Default: now.")
@view_options
@pass_state
def message(
    state: State,
    view: View,
    session: str,
    text: str,
    role: Any,
    parent: str | None,
    message_id: str | None,
    at: str | None,
) -> None:
    """Add a message to SESSION that says TEXT (default, and -: what comes on stdin)."""
    try:
        said = sys.stdin.read().removesuffix("\n") if text == "-" else text
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"not UTF-8: {error}", param_hint="'TEXT'") from None
    options: dict[str, Any] = {} if parent is None else {"parent_id": parent}
    with state.write() as log:
        made = log.sessions.add_message(
            resolve(log, session),
            role,
            said,
            message_id=message_id,
            occurred_at=time_option(at, view.zone, "--at"),
            **options,
        )
    _told(view, made, f"message {made.message_id} added")


@click.command()
@click.argument("session", metavar="SESSION", shell_complete=complete_last)
@click.argument("word", metavar="STATUS")
@click.option("--reason", metavar="TEXT", help="Why.")
@view_options
@pass_state
def status(state: State, view: View, session: str, word: str, reason: str | None) -> None:
    """Say that SESSION is in state STATUS, whatever word its program has for it."""
    with state.write() as log:
        made = log.sessions.set_status(resolve(log, session), word, reason)
    _told(view, made, f"session {made.session_id} is {made.status}")


@click.command()
@click.argument("session", metavar="SESSION", shell_complete=complete_last)
@click.argument("title")
@view_options
@pass_state
def rename(state: State, view: View, session: str, title: str) -> None:
    """Give SESSION another TITLE."""
    with state.write() as log:
        made = log.sessions.update(resolve(log, session), title=title)
    _told(view, made, f"session {made.session_id} renamed")


@click.command()
@click.argument("sessions", metavar="SESSION…", nargs=-1, required=True)
@view_options
@pass_state
def archive(state: State, view: View, sessions: tuple[str, ...]) -> None:
    """Put SESSIONs out of the way. `sessions list --archived` lists them."""
    with state.write() as log:
        made = [log.sessions.archive(resolve(log, one)) for one in sessions]
    _told_all(view, made, "archived")


@click.command()
@click.argument("sessions", metavar="SESSION…", nargs=-1, required=True)
@view_options
@pass_state
def restore(state: State, view: View, sessions: tuple[str, ...]) -> None:
    """Take SESSIONs back from the archive."""
    with state.write() as log:
        made = [log.sessions.restore(resolve(log, one)) for one in sessions]
    _told_all(view, made, "restored")


@click.command()
@click.argument("session", metavar="SESSION", shell_complete=complete_last)
@click.option("--reason", metavar="TEXT", help="Why.")
@yes_option
@view_options
@pass_state
def delete(state: State, view: View, session: str, reason: str | None, yes: bool) -> None:
    """Take SESSION out of the table. What was said in it, and what it cost, stays in the log."""
    with state.write() as log:
        session_id = resolve(log, session)
        log.sessions.get(session_id)
        confirm(f"Delete session {session_id}?", yes)
        log.sessions.delete(session_id, reason)
    view.done(f"session {session_id} deleted", "deleted", session_id=session_id)


@click.command()
@click.argument("session", metavar="SESSION", shell_complete=complete_last)
@click.argument("message", metavar="[MESSAGE]", required=False)
@click.option("--start", is_flag=True, help="Go on from the start, after no message.")
@click.option("--reason", metavar="TEXT", help="Why.")
@view_options
@pass_state
def rewind(state: State, view: View, session: str, message: str | None, start: bool, reason: str | None) -> None:
    """Let SESSION go on after MESSAGE. What was said since stays, and `sessions messages` lists it."""
    if (message is None) is not start:
        raise click.UsageError("Give the message to go on after, or --start.")
    with state.write() as log:
        made = log.sessions.rewind(resolve(log, session), message, reason)
    _told(view, made, f"session {made.session_id} goes on {f'after {message}' if message else 'from the start'}")


@click.command()
@click.argument("session", metavar="SESSION", shell_complete=complete_last)
@click.argument("message", metavar="[MESSAGE]", required=False)
@click.option("--id", "session_id", metavar="ID", help="The new session's id. Default: a new one.")
@click.option("--title", metavar="TEXT", help="The new session's title. Default: that of SESSION.")
@view_options
@pass_state
def fork(
    state: State, view: View, session: str, message: str | None, session_id: str | None, title: str | None
) -> None:
    """Begin a session that goes on after MESSAGE of SESSION (default: its last one). Nothing is copied."""
    with state.write() as log:
        made = log.sessions.fork(resolve(log, session), message, new_session_id=session_id, title=title)
    _told(view, made, f"session {made.session_id} begun")


def _told(view: View, made: Any, sentence: str) -> None:
    from eventlog.redaction.shown import shown

    if view.is_json:
        view.item(shown(made))
    else:
        view.say(sentence)


def _told_all(view: View, made: list[Any], what: str) -> None:
    from eventlog.redaction.shown import shown

    if view.is_json:
        view.objects(shown(made))
    for one in made:
        view.say(f"session {one.session_id} {what}")
