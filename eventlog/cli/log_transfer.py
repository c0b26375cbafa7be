"""``eventlog log export`` and ``import``."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from eventlog.cli.log import selection
from eventlog.cli.options import capped, output_file, view_options, yes_option
from eventlog.cli.progress import bar
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted
from eventlog.cli.view import View


@click.command()
@click.argument("file", default="-", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "cloudevents"]),
    default="jsonl",
    show_default=True,
    help="JSON lines that `log import` takes back, or CloudEvents 1.0, one a line.",
)
@click.option("--after", type=click.IntRange(0), default=0, help="Only records above this position.")
@click.option("--to", type=click.IntRange(0), help="Only records up to this position.")
@click.option("--stream", "-s", "streams", metavar="NAME", multiple=True, help="Only this stream; may be repeated.")
@click.option("--category", "-c", "categories", metavar="NAME", multiple=True, help="Only streams NAME-…")
@click.option("--as-of", metavar="VERSION|TIME", help="Only what was there at this version or time.")
@yes_option
@pass_state
def export(
    state: State,
    file: str,
    form: str,
    after: int,
    to: int | None,
    streams: tuple[str, ...],
    categories: tuple[str, ...],
    as_of: str | None,
    yes: bool,
) -> None:
    """Write records to FILE (default: stdout), which only you can read then. A whole export brings an empty log to the
    same head hash.
    """
    from eventlog.exporters import cloudevents, jsonl

    target = output_file(state, file, yes)
    with state.read() as source, bar() as progress:
        last = min(bound for bound in (to, capped(source, as_of, View()), source.head().position) if bound is not None)
        records = source.read(after, last, **selection(streams, categories, ()))
        options: dict[str, Any] = {
            "encode": jsonl.line if form == "jsonl" else cloudevents.encoder(source.log_id),
            "total": None if streams or categories else max(0, last - after),
            "progress": progress,
        }
        if target is None:
            jsonl.write(records, sys.stdout.buffer, **options)
            return
        with jsonl.private_file(target) as out:
            count = jsonl.write(records, out, **options)
    click.echo(f"{counted(count, 'record')} written to {file}", err=True)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@view_options
@pass_state
def import_(state: State, view: View, file: str) -> None:
    """Take in FILE (- is stdin), written by `eventlog log export`. Importing it again adds nothing.

    Records that continue this log are taken over with their positions and hashes. Those of another log are appended
    under keys of their own, to streams that this log does not have.
    """
    from eventlog.importers import jsonl

    with ExitStack() as stack:
        source = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        # For what is no export no log is made.
        entries = jsonl.begun(source)
        log = stack.enter_context(state.write(create=True))
        done = jsonl.import_entries(log, entries, progress=stack.enter_context(bar()))
    view.item(
        done,
        [
            ("added", str(done.added)),
            ("present", str(done.present)),
            ("position", str(done.position)),
            ("hash", done.hash),
        ],
    )
