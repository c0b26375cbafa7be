"""``eventlog search``: what was said, called, run and noted, found by its words."""

from __future__ import annotations

import typing

import click

from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import time_option
from eventlog.cli.view import View
from eventlog.repositories.search import DocumentKind, Hit


@click.command()
@click.argument("query", metavar="WORDS", nargs=-1, required=True)
@click.option("--kind", type=click.Choice(typing.get_args(DocumentKind)), help="Only texts of this kind.")
@click.option("--role", metavar="ROLE", help="Only messages of this role: user, assistant, …")
@click.option("--name", metavar="NAME", help="Only calls of this tool.")
@click.option("--session", "session_id", metavar="ID", help="Only this session.")
@click.option("--stream", metavar="STREAM", help="Only this stream: run-42, task-…")
@click.option("--workspace", "workspace_id", metavar="ID", help="Only sessions of this workspace.")
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
    workspace_id: str | None,
    agent: str | None,
    before: int | None,
) -> None:
    """Find what has these WORDS, newest first.

    All words have to be there; "two words" beside each other (quote once more for the shell), begin* for words that
    begin so, one OR other, -word for what is not to be there (after --, where it comes first).
    """
    with asked(state, as_of, view) as source:
        hits = source.search.find(
            " ".join(query),
            kind=kind,
            role=role,
            name=name,
            session_id=session_id,
            stream=stream,
            workspace_id=workspace_id,
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
    heading = f"{view.time(hit.occurred_at)[:19]}  {view.line(hit.stream)}  {view.line(what)}  at {hit.position}"
    pieces: list[str] = []
    done = 0
    for first, end in hit.marks:
        pieces += (view.line(hit.snippet[done:first]), click.style(view.line(hit.snippet[first:end]), bold=True))
        done = end
    view.echo(f"{click.style(heading, dim=True)}\n  {''.join(pieces)}{view.line(hit.snippet[done:])}")
