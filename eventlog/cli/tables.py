"""``eventlog tables``: the tables as files."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from eventlog.cli.options import as_of_option, complete_table, output_file, tell_old, yes_option
from eventlog.cli.progress import bar
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted, version_option

if TYPE_CHECKING:
    from eventlog.app import Log

FORMS = ("csv", "json", "jsonl", "parquet")
SPREADSHEETS = ("xlsx", "xls", "ods")


@click.group()
def tables() -> None:
    """The tables as files: CSV, JSON, Parquet."""


@tables.command()
@click.argument("table", metavar="TABLE", shell_complete=complete_table)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="What kind of file. Default: as FILE ends, else CSV.",
)
@click.option("--output", "-o", metavar="FILE", help="Where to, readable for you alone. Default: stdout.")
@click.option("--exact", is_flag=True, help="In CSV, leave texts as they are that a spreadsheet takes for formulas.")
@as_of_option
@yes_option
@pass_state
def export(state: State, table: str, form: Any, output: str | None, exact: bool, as_of: str | None, yes: bool) -> None:
    """Write TABLE, as it is or was at one moment, to a file. `eventlog projections list` has the names.

    In CSV a text that begins with =, +, -, @, a tab or a line break gets an apostrophe before it: a spreadsheet would
    take it for a formula. Secrets in texts of sessions are masked.
    """
    from eventlog.client.faults import needs_the_log
    from eventlog.exporters import tables as exporter
    from eventlog.exporters.jsonl import private_file
    from eventlog.redaction.shown import shown

    if form is None:
        ending = PurePath(output or "").suffix.lower().removeprefix(".")
        if ending in SPREADSHEETS:
            raise click.UsageError(f"No .{ending} is made here, but a spreadsheet opens CSV: let FILE end in .csv.")
        form = ending if ending in FORMS else "csv"
    target = output_file(state, output, yes)
    if target is None and form == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: give --output.")
    with state.query() as log:
        if log.store.kind == "http":
            raise needs_the_log("exporting a table")
        made = log.projections.projection(table).table
        version = version_option(as_of, None)
        if version is None:
            log.projections.ensure(table)
            tell_old(log)
        with log.projections.as_of(_version(log, table) if version is None else version) as past, bar() as progress:
            with past.reader() as reader:
                total = reader.count(made)
            rows = exporter.pages(past.reader, made)
            if made.name in ("sessions", "instances"):
                rows = map(shown, rows)
            options: dict[str, Any] = {"exact": exact, "total": total, "progress": progress}
            if target is None:
                exporter.write(rows, made, form, sys.stdout.buffer, **options)
                return
            with private_file(target) as out:
                count = exporter.write(rows, made, form, out, **options)
    click.echo(f"{counted(count, 'row')} of {table} written to {output}", err=True)


def _version(log: Log, table: str) -> int:
    """The version at which a table stands: the head, but where it is pinned. As of it, all pages are of one moment."""
    for one in log.projections.status(counted=False):
        if one.name == table and one.state == "pinned" and one.position is not None:
            return one.position
    return log.head().position
