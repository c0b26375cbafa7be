"""``eventlog search``: what was said, called, run and noted, found by its words."""

from __future__ import annotations

import typing

import click

from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.sessions import resolve
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import time_option
from eventlog.cli.view import View
from eventlog.cli.workspaces import workspace_of
from eventlog.repositories.search import DocumentKind, Hit


@click.command()
@click.argument("query", metavar="WORDS", nargs=-1, required=True)
@click.option("--kind", type=click.Choice(typing.get_args(DocumentKind)), help="Only texts of this kind.")
@click.option("--role", metavar="ROLE", help="Only messages of this role: user, assistant, …")
@click.option(
    "--name", metavar="NAME", help="Only calls of this tool; results have no name unless their program gave one."
)
@click.option("--session", "session_id", metavar="SESSION", help="Only this session: id, its beginning, or `last`.")
@click.option("--stream", metavar="STREAM", help="Only this stream: run-42, task-…")
@click.option("--workspace", "-w", metavar="ID|PATH", help="Only sessions of this workspace.")
@click.option("--agent", metavar="NAME", help="Only sessions of this agent.")
@click.option("--since", metavar="TIME", help="Only what happened from then on.")
@click.option("--until", metavar="TIME", help="Only what happened before.")
@click.option("--before", metavar="POSITION", type=click.IntRange(1), help="Only what is older: the next page.")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="At most this many.")
@as_of_option
@view_options
@pass_state
def search(
    state: State,
    view: View,
    as_of: str | None,
    query: tuple[str, ...],
    since: str | None,
    until: str | None,
    limit: int,
    kind: DocumentKind | None,
    role: str | None,
    name: str | None,
    session_id: str | None,
    stream: str | None,
    workspace: str | None,
    agent: str | None,
    before: int | None,
) -> None:
    """Find what has these WORDS; what came into the log last comes first.

    All words have to be there; "two words" beside each other (quote once more for the shell), begin* for words that
    begin so, one OR other, -word for what is not to be there (after --, where it comes first).
    """
    with asked(state, as_of, view) as source:
        hits = source.search.find(
            " ".join(query),
            kind=kind,
            role=role,
            name=name,
            session_id=None if session_id is None else resolve(source, session_id, deleted=True),
            stream=stream,
            workspace_id=workspace_of(source, workspace),
            agent=agent,
            since=time_option(since, view.zone, "--since"),
            until=time_option(until, view.zone, "--until"),
            before=before,
            limit=limit + 1,
        )
    more = len(hits) > limit
    hits = hits[:limit]
    if view.is_json:
        view.objects(hits)
        return
    for hit in hits:
        _show(view, hit)
    if more:
        click.echo(f"{limit:,} shown; there are more: --limit, --before {hits[-1].position}", err=True)
    if not hits:
        click.echo("nothing was found", err=True)


def _show(view: View, hit: Hit) -> None:
    what = " ".join(text for text in (hit.kind, hit.role, hit.name) if text)
    title = f" ({view.line(hit.session_title)})" if hit.session_title else ""
    relation = "id" if hit.kind == "message" else "of message"
    message = f"  {relation} {view.line(hit.message_id)}" if hit.message_id else ""
    when = view.time(hit.occurred_at)[:19]
    heading = f"{when}  {view.line(hit.stream)}{title}  {view.line(what)}{message}  at {hit.position}"
    pieces: list[str] = []
    done = 0
    for first, end in hit.marks:
        pieces += (view.line(hit.snippet[done:first]), click.style(view.line(hit.snippet[first:end]), bold=True))
        done = end
    view.echo(f"{click.style(heading, dim=True)}\n  {''.join(pieces)}{view.line(hit.snippet[done:])}")
