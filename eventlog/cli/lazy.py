"""Groups whose sub-commands are imported on demand, so that no command pays for another."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from eventlog.cli.failure import exit_status


class LazyGroup(click.Group):
    """A group that knows its sub-commands by name and help text, and imports one when it is called.

    ``table``: name → ("module:attribute" inside ``package``, one line of help).
    """

    def __init__(self, *args: Any, package: str, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package = package
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"{self.package}.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first word; where there is none, it is told what may be meant."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command '{name}'.{self._meant(ctx, name)}", ctx)
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: click.Context, name: str) -> str:
        from difflib import get_close_matches

        root = ctx.find_root().command
        if isinstance(root, LazyGroup) and name in root.table:
            return f" Did you mean `{ctx.find_root().command_path} {name}`?"
        found = [f"`{ctx.command_path} {close}`" for close in get_close_matches(name, self.table)]
        return f" Did you mean {' or '.join(found)}?" if found else ""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' names and lines of help, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])


class RootGroup(LazyGroup):
    """The outermost group: every way to fail ends here, in one line on stderr and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command; with ``--debug``, show where an error came from before it is told."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.exceptions.Abort):
            raise
        except BrokenPipeError as error:
            raise click.exceptions.Exit(exit_status(error)) from error  # click's own handling would exit with 1
        except Exception as error:
            if ctx.params.get("debug"):
                import traceback

                from eventlog.cli.sanitise import clean

                click.echo(clean("".join(traceback.format_exception(error))), err=True, nl=False)
            raise

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run and exit. With ``standalone_mode=False``: run, return, and let errors through."""
        extra.setdefault("complete_var", "_EVENTLOG_COMPLETE")
        if not extra.pop("standalone_mode", True):
            return super().main(args, prog_name or "eventlog", standalone_mode=False, **extra)
        _open_closed_streams()
        _never_fail_to_print()
        try:
            status = super().main(args, prog_name or "eventlog", standalone_mode=False, **extra)
            sys.stdout.flush()
        except BaseException as error:
            status = exit_status(error)
        sys.exit(status if isinstance(status, int) else 0)


def _open_closed_streams() -> None:
    """A standard stream that we were started without is the null device: there is nothing to read, nobody to tell."""
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    from eventlog.recorder.process import fill_standard_streams

    fill_standard_streams()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _never_fail_to_print() -> None:
    """A character that the output's encoding lacks is written as JSON escapes it, instead of ending the program."""
    codecs.register_error("eventlog", _escaped)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="eventlog")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    from eventlog.cli.sanitise import json_escape

    assert isinstance(error, UnicodeEncodeError)  # noqa: S101
    return "".join(map(json_escape, error.object[error.start : error.end])), error.end
