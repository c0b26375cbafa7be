"""``eventlog import``: what other programs wrote, brought into the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.progress import bar
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted, show_duration, show_size
from eventlog.cli.view import Column, View
from eventlog.importers.formats import FORMATS

if TYPE_CHECKING:
    from eventlog.app import Log

PARTIAL = 3
TOLD = 10
"""Sources with a problem that are told of one by one."""


class _Importers(click.Group):
    """A command for each format, and those that are always there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The formats first."""
        return [*FORMATS, *sorted(self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a format, made now."""
        return _command(cmd_name) if cmd_name in FORMATS else super().get_command(ctx, cmd_name)


@click.group("import", cls=_Importers)
def import_() -> None:
    """Bring in what other programs wrote.

    An import can be repeated: what is there is left out, and a file that grew adds its end. It can be interrupted, and
    goes on where it was. What cannot be read is noted, and told by `import list`; the exit status is 3 then.
    """


def _command(name: str) -> click.Command:
    @click.command(name, help=FORMATS[name][1])
    @click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(exists=True))
    @click.option("--dry-run", is_flag=True, help="Only say what would be imported.")
    @click.option("--strict", is_flag=True, help="Stop at the first record that cannot be read.")
    @click.option(
        "--deferred",
        is_flag=True,
        help="Only append; tables follow when they are asked, or by `projections follow`.",
    )
    @click.option(
        "--max-line",
        metavar="BYTES",
        type=click.IntRange(1),
        help="Quarantine lines longer than this (32 MiB).",
    )
    @view_options
    @pass_state
    def command(
        state: State,
        view: View,
        paths: tuple[str, ...],
        dry_run: bool,
        strict: bool,
        deferred: bool,
        max_line: int | None,
    ) -> None:
        with _opened(state, name, paths, dry_run, deferred) as log, bar() as progress:
            try:
                report = log.import_from(
                    name, *paths, dry_run=dry_run, strict=strict, max_line_bytes=max_line, progress=progress
                )
            except KeyboardInterrupt:
                click.echo("interrupted: what was read is in the log; the same command goes on from there", err=True)
                raise
        _tell(view, report)

    return command


def _opened(state: State, name: str, paths: tuple[str, ...], dry_run: bool, deferred: bool) -> Log:
    """The log. Where there is none, and nothing would be added, one in memory: looking is no reason to make it."""
    import eventlog
    from eventlog.errors import LogMissing
    from eventlog.importers.run import has_sources
    from eventlog.target import data_folder, parse_target

    kept: Literal["inline", "deferred"] = "deferred" if deferred else "inline"
    try:
        return state.write(projections=kept)
    except LogMissing:
        nowhere = eventlog.open(":memory:", data_dir=data_folder(None, parse_target(state.place)))
        if dry_run or not has_sources(nowhere, nowhere.projections, name, [Path(path) for path in paths]):
            return nowhere
        nowhere.close()
        return state.write(create=True, projections=kept)


@import_.command()
@click.argument("source_ids", metavar="[SOURCE]…", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only say what would be imported.")
@click.option("--max-line", metavar="BYTES", type=click.IntRange(1), help="Read lines up to this length (32 MiB).")
@view_options
@pass_state
def retry(state: State, view: View, source_ids: tuple[str, ...], dry_run: bool, max_line: int | None) -> None:
    """Read again what could not be read, of every source or of some (their ids are in `import list`)."""
    with state.write() as log, bar() as progress:
        report = log.retry_imports(*source_ids, dry_run=dry_run, max_line_bytes=max_line, progress=progress)
    _tell(view, report)


@import_.command("list")
@click.option("--kind", "-k", metavar="NAME", help="Only sources of this importer.")
@click.option("--text", "-t", metavar="TEXT", help="Only sources with this in their path.")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
@as_of_option
@view_options
@pass_state
def list_sources(
    state: State, view: View, as_of: str | None, kind: str | None, text: str | None, limit: int | None
) -> None:
    """What was imported: each source with its records and bytes, understood, kept raw, there before, quarantined."""
    with asked(state, as_of, view) as source:
        view.rows(source.imports.list(kind=kind, text=text, limit=limit), _INVENTORY, empty="nothing was imported")


@import_.command()
@click.argument("source_id", metavar="SOURCE")
@click.option("--all", "resolved", is_flag=True, help="Also what could be read later.")
@as_of_option
@view_options
@pass_state
def quarantine(state: State, view: View, as_of: str | None, source_id: str, resolved: bool) -> None:
    """What could not be read of a source: where it is, how long, and why.

    SOURCE is its id, its path, or `last`: the last one of which something could not be read.
    """
    with asked(state, as_of, view) as source:
        view.rows(
            source.imports.quarantined(_meant(source.imports, source_id), resolved=resolved),
            [
                Column("offset", lambda row: str(row.offset), right=True),
                Column("bytes", lambda row: str(row.length_bytes), right=True),
                Column("since", lambda row: view.time(row.quarantined_at)[:19]),
                Column("outcome", lambda row: row.outcome or "", optional=True),
                Column("reason", lambda row: row.reason, wide=True),
            ],
            empty="everything could be read",
        )


def _meant(imports: Any, text: str) -> str:
    """The id of the source meant; what is none is given back, for the repository to refuse."""
    if text != "last" and imports.find(text) is not None:
        return text
    path = str(Path(text).absolute())
    found = [
        one
        for one in imports.list(text=None if text == "last" else Path(text).name)
        if (one.quarantined_records if text == "last" else one.path in (text, path))
    ]
    if text == "last" and not found:
        raise click.ClickException("everything could be read, of every source")
    return max(found, key=lambda one: one.last_at).source_id if found else text


def _tell(view: View, report: Any) -> None:
    if view.is_json:
        view.item(report, [])
    else:
        _print(view, report)
    if report.partial:
        raise click.exceptions.Exit(PARTIAL)


def _print(view: View, report: Any) -> None:
    bad = [source for source in report.sources if source.problem is not None]
    for source in bad[:TOLD]:
        view.say(f"{view.line(source.path)}: {view.line(source.problem)}")
    if len(bad) > TOLD:
        more = counted(len(bad) - TOLD, "source")
        view.say(f"and {more} more with a problem; the same command with --json tells them all")
    total = report.total
    changed = [source for source in report.sources if source.status not in ("unchanged", "failed")]
    seconds = report.elapsed_us / 1_000_000
    rate = f", {show_size(int(report.size_bytes / seconds))}/s" if changed and seconds > 1 else ""
    would = "would be " if report.dry_run else ""
    view.say(
        f"{len(changed)} of {counted(len(report.sources), 'source')}, {show_size(report.size_bytes)} "
        f"in {show_duration(report.elapsed_us)}{rate}: {counted(total.events, 'event')} {would}added"
    )
    parts = [
        ("understood", total.understood_records, total.understood_bytes),
        ("kept as they are", total.raw_records, total.raw_bytes),
        ("there before", total.duplicate_records, total.duplicate_bytes),
        ("quarantined", total.quarantined_records, total.quarantined_bytes),
    ]
    for what, records, size in parts:
        if records:
            view.say(f"  {counted(records, 'record')} {what}, {show_size(size)}")
    if total.secrets:
        view.say(f"  {counted(total.secrets, 'secret')} masked")
    strange = [one for one in report.sources if one.counts.raw_records and not one.counts.understood_records]
    if strange and report.importer in FORMATS:
        view.say(f"nothing in {len(strange)} of them is of a form that is known, as {view.line(strange[0].path)}")
    if total.quarantined_records and not report.dry_run:
        view.say("`eventlog import list` shows where; `eventlog import retry` reads them again")


def _share(row: Any) -> str:
    known = row.understood_bytes + row.raw_bytes + row.duplicate_bytes + row.blank_bytes
    # Of a database the bytes are those of its rows, not of its file.
    return f"{known / row.offset:.1%}" if row.offset and row.fingerprint else ""


_INVENTORY = [
    Column("source", lambda row: row.source_id),
    Column("kind", lambda row: row.kind),
    Column("records", lambda row: str(row.records), right=True),
    Column("understood", lambda row: str(row.understood_records), right=True),
    Column("raw", lambda row: str(row.raw_records or ""), right=True, optional=True),
    Column("there", lambda row: str(row.duplicate_records or ""), right=True, optional=True),
    Column("quarantined", lambda row: str(row.quarantined_records or ""), right=True, optional=True),
    Column("size", lambda row: show_size(row.size_bytes), right=True),
    Column("explained", _share, right=True),
    Column("path", lambda row: row.path, wide=True),
]
