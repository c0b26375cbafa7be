"""``eventlog runs tail``: the end of what a run printed, and what it prints now."""

from __future__ import annotations

import codecs
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from eventlog.cli.as_json import to_json
from eventlog.cli.options import complete_last, view_options
from eventlog.cli.runs import RUN, resolve
from eventlog.cli.state import State, pass_state
from eventlog.cli.view import View

CHANNELS = ("stdout", "stderr")
POLL_S = 0.2
CHUNK_BYTES = 1 << 16


@click.command()
@click.argument("run_id", metavar="[RUN]", type=RUN, default="last", shell_complete=complete_last)
@click.option("--lines", "-n", type=click.IntRange(0), default=20, show_default=True, help="So many lines of each.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
@click.option("--stdout", "only", flag_value="stdout", help="Only what it printed on stdout.")
@click.option("--stderr", "only", flag_value="stderr", help="Only what it printed on stderr.")
@view_options
@pass_state
def tail(state: State, view: View, run_id: int, lines: int, follow: bool, only: str | None) -> None:
    """Show the end of what run RUN (default: the last one) printed.

    From its files; where they are gone, from the last 4 KiB that the log keeps. JSON: one object for each line, with
    channel and text (--json: an array, without --follow).
    """
    channels = (only,) if only else CHANNELS
    with state.query() as log:
        run = log.runs.get(resolve(log, run_id))
        files = {channel: Growing(path) for channel in channels if (path := file_of(log, run.run_id, channel))}
        kept = {getattr(said.row, "channel", ""): said.text for said in log.runs.output(run.run_id)}
        ends: dict[str, list[str]] = {}
        for channel in channels:
            found = files[channel].end(lines, whole=follow) if channel in files else _lines(kept.get(channel, ""))
            ends[channel] = found[-lines:] if lines else []
        if view.form == "json" and not follow:
            view.objects(_object(run.run_id, channel, text) for channel, found in ends.items() for text in found)
            return
        shown = _Printer(view, run.run_id, several=sum(bool(found) for found in ends.values()) > 1 or follow)
        for channel, found in ends.items():
            shown.print(channel, found)
        if follow:
            _follow(log, run, files, channels, shown)


def file_of(log: Any, run_id: int, channel: str) -> Path | None:
    """The file that has what a run printed on a channel, where it is here."""
    folder = log.runs.files(run_id)
    path = None if folder is None else folder / "logs" / f"{channel}.log"
    return path if path is not None and path.is_file() else None


def _follow(log: Any, run: Any, files: dict[str, Growing], channels: tuple[str, ...], shown: _Printer) -> None:
    while True:
        running = log.runs.get(run.run_id).status == "running"
        quiet = True
        for channel in channels:
            if channel not in files and (path := file_of(log, run.run_id, channel)):
                files[channel] = Growing(path)
            found = list(files[channel].new(final=not running)) if channel in files else []
            quiet = quiet and not found
            shown.print(channel, found)
        if not running:
            return
        if quiet:
            time.sleep(POLL_S)


def _object(run_id: int, channel: str, text: str) -> dict[str, object]:
    return {"run_id": run_id, "channel": channel, "text": text}


class _Printer:
    """Lines of two channels, each with a heading where it begins after the other."""

    def __init__(self, view: View, run_id: int, several: bool) -> None:
        self.view = view
        self.run_id = run_id
        self.several = several
        self.channel: str | None = None

    def print(self, channel: str, lines: list[str]) -> None:
        if not lines:
            return
        if self.view.is_json:
            for text in lines:
                click.echo(to_json(_object(self.run_id, channel, text)))
            return
        if self.several and channel != self.channel:
            click.echo(f"==> {channel} <==")
            self.channel = channel
        for text in lines:
            self.view.echo(self.view.text(text))


class Growing:
    """A file that grows, read by whole lines; bytes that are not UTF-8 are shown escaped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self.rest = ""

    def end(self, lines: int, *, whole: bool) -> list[str]:
        """The last lines there are now (``whole``: without one that is not complete yet); what comes later is new."""
        size = self.path.stat().st_size
        self.offset = max(0, size - max(CHUNK_BYTES, lines * 400))
        skipped = self.offset > 0
        found = list(self.new(final=not whole))
        return list(deque(found[1:] if skipped else found, maxlen=lines))

    def new(self, *, final: bool) -> Iterator[str]:
        """Lines that were completed since; ``final``: and what is left without a line break."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while chunk := file.read(CHUNK_BYTES):
                self.offset += len(chunk)
                found, self.rest = split(self.rest + self.decode(chunk))
                yield from found
        if final and self.rest:
            yield self.rest.rstrip("\r")
            self.rest = ""


def _lines(text: str) -> list[str]:
    found, rest = split(text)
    return [*found, rest] if rest else found


def split(text: str) -> tuple[list[str], str]:
    """Whole lines, and the rest. A carriage return ends a line too: a progress bar is many short ones."""
    *found, rest = re.split(r"\r\n|\n|\r(?!\n|\Z)", text)
    return found, rest
