"""The one place where errors become a line on stderr and an exit status."""

from __future__ import annotations

import os
import sys

import click

FAILED = 1
INTERRUPTED = 130
PIPE_CLOSED = 141


def exit_status(error: BaseException) -> int:
    """Tell the error and give the status: 1 a told failure, 2 usage, 130 interrupted, 141 nobody reads our output."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _close_stdout()
        return PIPE_CLOSED
    if isinstance(error, click.UsageError):
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help text
            error.show()
            return error.exit_code
        usage = (
            "" if error.ctx is None else f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n\n"
        )
        _tell(error.format_message(), before=usage)
        return error.exit_code
    if isinstance(error, click.ClickException):
        _tell(error.format_message())
        return error.exit_code
    _tell(_message(error))
    return FAILED


def _message(error: BaseException) -> str:
    from eventlog.errors import EventLogError

    if isinstance(error, EventLogError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (this is a bug; `eventlog --debug …` shows where)"


def _tell(text: str, before: str = "") -> None:
    click.echo(f"{before}error: {_clean(text)}", err=True)


def _clean(text: str) -> str:
    from eventlog.cli.sanitise import clean

    return clean(text)


def _close_stdout() -> None:
    """Say nothing more, not even when the interpreter flushes at its end."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):  # not a real file: a test's buffer
        pass
    finally:
        os.close(devnull)
