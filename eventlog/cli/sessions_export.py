"""``eventlog sessions export``."""

from __future__ import annotations

import sys

import click

from eventlog.cli.options import as_of_option, asked, complete_last, output_file, yes_option
from eventlog.cli.sessions import resolve
from eventlog.cli.state import State, pass_state
from eventlog.cli.view import View


@click.command()
@click.argument("session", metavar="[SESSION]", default="last", shell_complete=complete_last)
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "json", "jsonl"]),
    default="md",
    show_default=True,
    help="Markdown for people, or everything as JSON: one object, or one a line.",
)
@click.option("--all", "everything", is_flag=True, help="In Markdown, after the conversation what was said beside it.")
@click.option("--output", "-o", metavar="FILE", help="Where to, readable for you alone. Default: stdout.")
@as_of_option
@yes_option
@pass_state
def export(
    state: State, session: str, form: str, everything: bool, output: str | None, as_of: str | None, yes: bool
) -> None:
    """Write SESSION (default: the last one) as Markdown or JSON, secrets masked.

    Markdown is the conversation; JSON has also what is on other branches, the calls, worktrees, compactions, summaries.
    """
    from eventlog.cli.sanitise import clean, clean_json
    from eventlog.exporters import sessions as exporter
    from eventlog.exporters.jsonl import private_file
    from eventlog.redaction.shown import shown

    target = output_file(state, output, yes)
    with asked(state, as_of, View()) as source:
        found = exporter.collect(source.sessions, resolve(source, session), shown)
    made = {
        "md": lambda: exporter.as_markdown(found, clean, everything),
        "json": lambda: exporter.as_json(found),
        "jsonl": lambda: exporter.as_json_lines(found),
    }[form]()
    if target is None:
        for part in made:
            sys.stdout.buffer.write(part if form == "md" else clean_json(part.decode()).encode())
        sys.stdout.buffer.flush()
        return
    with private_file(target) as out:
        out.writelines(made)
    click.echo(f"session {found.session.session_id} written to {output}", err=True)
