"""Options that many commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from eventlog.cli.state import State
from eventlog.cli.times import parse_zone, version_option
from eventlog.cli.view import View

if TYPE_CHECKING:
    from eventlog.app import Log

Command = Callable[..., Any]


def view_options(function: Command) -> Command:
    """``--json --jsonl --raw --jst --utc --tz``; the command gets them as one ``view``."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON; a list is one array.")
    @click.option("--jsonl", "as_jsonl", is_flag=True, help="Print JSON, one object a line.")
    @click.option("--raw", is_flag=True, help="Print logged text as it is, control characters and all.")
    @click.option("--jst", is_flag=True, help="Show times in Japan's time zone.")
    @click.option("--utc", is_flag=True, help="Show times in UTC.")
    @click.option(
        "--tz", metavar="NAME", envvar="EVENTLOG_TZ", help="Show times in this zone. Default: this machine's."
    )
    @functools.wraps(function)
    def wrapped(
        *args: Any,
        as_json: bool,
        as_jsonl: bool,
        raw: bool,
        jst: bool,
        utc: bool,
        tz: str | None,
        **kwargs: Any,
    ) -> Any:
        if as_json and as_jsonl:
            raise click.UsageError("--json and --jsonl exclude each other.")
        if jst and utc:
            raise click.UsageError("--jst and --utc exclude each other.")
        try:
            zone = parse_zone("JST" if jst else "UTC" if utc else tz or "local")
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=_said_where("tz", "--tz", "EVENTLOG_TZ")) from None
        view = View(form="json" if as_json else "jsonl" if as_jsonl else "text", raw=raw, zone=zone)
        return function(*args, view=view, **kwargs)

    return wrapped


def _said_where(name: str, option: str, variable: str) -> str:
    """Where the value of an option comes from."""
    source = click.get_current_context().get_parameter_source(name)
    return variable if source is ParameterSource.ENVIRONMENT else f"'{option}'"


as_of_option = click.option(
    "--as-of",
    metavar="VERSION|TIME",
    help="Answer as of this version of the log (a position), or of what was recorded by this time.",
)


def complete_table(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: the tables that begin so. No log is opened for it."""
    from eventlog.projection.discovery import installed

    return [projection.name for projection in installed() if projection.name.startswith(incomplete)]


def complete_last(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: the one word that means a run, a session or a job whatever the log is."""
    return ["last"] if "last".startswith(incomplete) else []


yes_option = click.option("--yes", "-y", is_flag=True, help="Do it without asking.")


@contextmanager
def asked(state: State, as_of: str | None, view: View) -> Iterator[Any]:
    """What to ask: the log itself, or its past when ``--as-of`` was given."""
    version = version_option(as_of, view.zone)
    with state.query() as log:
        if version is None:
            yield log
            tell_old(log)
        else:
            with log.as_of(version) as past:
                yield past


def tell_old(log: Log) -> None:
    """Say when tables that were asked are rolled back or failed: their answer is old, and looks as if it were new."""
    if held := sorted(set(log.projections.held.values())):
        at = ", ".join(map(str, held))
        click.echo(f"the tables are held at version {at} (`eventlog projections resume` lets them go on)", err=True)
    places: dict[int, list[str]] = {}
    for name, position in log.projections.stopped.items():
        places.setdefault(position, []).append(name)
    for position, names in sorted(places.items()):
        click.echo(
            f"{', '.join(names)}: stopped at version {position}, because the projection failed "
            "(`eventlog projections status` says why)",
            err=True,
        )
    for name, position in sorted(log.projections.behind.items()):
        click.echo(
            f"{name}: as of version {position}; to bring it on, the log must be written, which it cannot", err=True
        )


def capped(log: Log, as_of: str | None, view: View) -> int | None:
    """The position that ``--as-of`` stands for, for commands that read the log itself; None: no limit."""
    version = version_option(as_of, view.zone)
    return None if version is None else log.projections.version(version)


def confirm(question: str, yes: bool) -> None:
    """Ask before something that takes away; without a terminal, ``--yes`` has to stand there."""
    if yes:
        return
    import sys

    from eventlog.cli.sanitise import clean_line

    question = clean_line(question)
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say --yes to do it without being asked.")
    if not click.confirm(question, err=True):
        raise click.ClickException("nothing was done")


def output_file(state: State, file: str | Path | None, yes: bool) -> Path | None:
    """The file that a command is to write, asked about where there is one already; None: stdout.

    Raises InvalidInput for a file of a log.
    """
    from eventlog.target import check_output, parse_target

    if file in (None, "-"):
        return None
    target = Path(file)
    check_output(target, parse_target(state.db))
    if target.exists():
        confirm(f"Replace {target}?", yes)
    return target
