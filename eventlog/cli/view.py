"""How answers are printed: a table for people, aligned plain text in a pipe, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

import click

from eventlog.cli.as_json import to_json
from eventlog.cli.sanitise import clean, clean_line, is_clean_line
from eventlog.cli.times import show_duration, show_size, show_time

STYLES = {
    "success": "green",
    "fail": "red",
    "killed": "magenta",
    "lost": "yellow",
    "running": "cyan",
    "processing": "cyan",
    "held": "yellow",
    "completed": "green",
    "succeeded": "green",
    "cancelled": "magenta",
    "expired": "yellow",
    "crashed": "red",
    "silent": "yellow",
    "gone": "yellow",
    "live": "green",
    "pinned": "yellow",
    "failed": "red",
    "stale": "yellow",
    "newer": "yellow",
    "added": "green",
    "removed": "red",
    "changed": "yellow",
}
GAP, LEAST, LEAST_WIDE = 2, 8, 16
PAGE = 1_000
"""Rows of a table that are measured and drawn together: a longer list starts to print before it ends."""


class Column(NamedTuple):
    """One column: its title, what a row has in it (already text), and how it gives way when the line is full.

    ``wide``: takes the space that is left, cut in a terminal. ``status``: coloured by its word. ``optional``: left out
    where no row has anything in it. ``spare``: left out where a terminal is too narrow.
    """

    title: str
    text: Callable[[Any], str]
    right: bool = False
    wide: bool = False
    status: bool = False
    optional: bool = False
    spare: bool = False


def word(value: object) -> str:
    """A value of JSON as a person reads it: text as it is, anything else as JSON has it."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | dict | list):
        return to_json(value)
    return str(value)


def assigned(values: Mapping[str, object]) -> str:
    """Names with their values, on one line."""
    return "  ".join(f"{name}={word(value)}" for name, value in values.items())


class View(NamedTuple):
    """What the shared options asked for."""

    form: Literal["text", "json", "jsonl"] = "text"
    raw: bool = False
    zone: tzinfo | None = None

    @property
    def is_json(self) -> bool:
        """Whether a program reads the answer."""
        return self.form != "text"

    def time(self, us: int | None) -> str:
        """A time in the zone asked for."""
        return show_time(us, self.zone)

    def value(self, name: str, value: object) -> str:
        """The value of a column as a person reads it; the end of the column's name says what it measures."""
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            if name.endswith("_at") or name == "bucket_start":
                return self.time(value)
            if name.endswith("_us"):
                return show_duration(value)
            if name.endswith("_bytes"):
                return show_size(value)
        if isinstance(value, dict):
            return assigned(value)
        if isinstance(value, list | tuple):
            return " ".join(word(entry) for entry in value)
        return word(value)

    def line(self, text: str) -> str:
        """Logged text, safe on one line."""
        return text if self.raw else clean_line(text)

    def text(self, text: str) -> str:
        """Logged text of several lines, safe."""
        return text if self.raw else clean(text)

    def echo(self, text: str) -> None:
        """Print; raw means raw in a pipe too, where click would take colours away."""
        click.echo(text, color=self.raw or None)

    def say(self, text: str = "") -> None:
        """A line for people: nothing when JSON was asked for."""
        if not self.is_json:
            self.echo(self.text(text))

    def hint(self, text: str) -> None:
        """A line beside what was asked, on stderr, JSON or not."""
        click.echo(clean_line(text), err=True)

    def done(self, text: str, done: str, **what: object) -> None:
        """What was done, as a line for people; JSON: an object with what it was done to, and the word for it."""
        if self.is_json:
            self.item({**what, "done": done})
        else:
            self.say(text)

    def rows(
        self, rows: Iterable[Any], columns: Sequence[Column], empty: str = "", *, limit: int | None = None
    ) -> None:
        """A list: JSON objects of the rows themselves, or a table of ``columns``.

        ``limit``: show no more than these; people are told when there is another, so ask for one more.
        """
        found = iter(rows)
        chosen = islice(found, limit)
        if self.is_json:
            self.objects(chosen)
            return
        self._table(chosen, columns, empty)
        if limit is not None and next(found, None) is not None:
            click.echo(f"{limit:,} shown; there are more: --limit, --offset", err=True)

    def _table(self, rows: Iterator[Any], columns: Sequence[Column], empty: str) -> None:
        pages = _pages(rows)
        first = next(pages, None)
        if first is None:
            if empty:
                click.echo(empty, err=True)
            return
        draw = self._rich_table if is_terminal() and not self.raw else self._plain_table
        columns = [column for column in columns if not column.optional or any(map(column.text, first))]
        widths = [0] * len(columns)
        for page in chain((first,), pages):
            draw(page, columns, widths, page is first)

    def objects(self, rows: Iterable[Any]) -> None:
        """A list as JSON: one array with one object a line, or one object a line."""
        write = sys.stdout.write  # click's echo flushes each line
        if self.form == "jsonl":
            for row in rows:
                write(to_json(row) + "\n")
            return
        opened = False
        for row in rows:
            write(("," if opened else "[") + "\n" + to_json(row))
            opened = True
        write("\n]\n" if opened else "[]\n")

    def item(self, item: object, fields: Iterable[tuple[str, str]] = ()) -> None:
        """One thing: its JSON object, or its ``fields`` one a line (those with nothing in them left out)."""
        if self.form == "json":
            click.echo(to_json(item, indent=is_terminal()))
            return
        if self.form == "jsonl":
            click.echo(to_json(item))
            return
        shown = [(label, text) for label, text in fields if text != ""]
        width = max((len(label) for label, _ in shown), default=0)
        for label, text in shown:
            lines = self.text(text).split("\n")
            self.echo(f"{label:<{width}}  " + ("\n" + " " * (width + 2)).join(lines))

    def _rich_table(self, page: list[Any], columns: Sequence[Column], widths: list[int], heading: bool) -> None:
        from rich.console import Console

        console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        console.print(self.drawn(page, columns, widths, console.width, heading))

    def drawn(
        self, page: list[Any], columns: Sequence[Column], widths: list[int], available: int, heading: bool = True
    ) -> Any:
        """A rich Table of rows. ``widths`` of the pages before go in, and those of all with this one come out."""
        from rich.table import Table
        from rich.text import Text

        lines = [[self.line(column.text(row)) for column in columns] for row in page]
        widths[:] = [
            max(width, cell_width(column.title), *(cell_width(line[n]) for line in lines))
            for n, (width, column) in enumerate(zip(widths, columns, strict=True))
        ]
        shown = _roomy(widths, columns, available)
        columns = [columns[n] for n in shown]
        lines = [[line[n] for n in shown] for line in lines]
        table = Table(box=None, show_header=heading, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for column, width in zip(columns, _fitted([widths[n] for n in shown], columns, available), strict=True):
            justify: Literal["left", "right"] = "right" if column.right else "left"
            table.add_column(column.title, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
        for line in lines:
            cells = zip(line, columns, strict=True)
            table.add_row(*(Text(cell, style=STYLES.get(cell, "") if column.status else "") for cell, column in cells))
        return table

    def _plain_table(self, page: list[Any], columns: Sequence[Column], widths: list[int], heading: bool) -> None:
        padded = []
        for n, column in enumerate(columns):
            texts = [column.text(row) for row in page]
            whole = "".join(texts)
            cells = texts if self.raw or is_clean_line(whole) else [clean_line(text) for text in texts]
            if heading:
                cells.insert(0, column.title)
            measure = len if whole.isascii() else cell_width
            widths[n] = max(widths[n], *map(measure, cells))
            padded.append([_pad(cell, widths[n] - measure(cell), column.right) for cell in cells])
        gap = " " * GAP
        self.echo("\n".join([gap.join(line).rstrip() for line in zip(*padded, strict=True)]))


def _roomy(widths: Sequence[int], columns: Sequence[Column], available: int) -> list[int]:
    """The columns to show: spare ones go, the last first, as long as the others have not the room they need."""
    shown = list(range(len(columns)))
    spare = [n for n in shown if columns[n].spare]
    while (
        spare and sum(LEAST_WIDE if columns[n].wide else widths[n] for n in shown) + GAP * (len(shown) - 1) > available
    ):
        shown.remove(spare.pop())
    return shown


def _fitted(widths: Sequence[int], columns: Sequence[Column], available: int) -> list[int]:
    """Widths that fit a terminal: the wide columns share what the others leave; then the longest give way."""
    fitted = list(widths)
    excess = sum(widths) + GAP * (len(widths) - 1) - available
    for least, giving in (
        (LEAST_WIDE, [n for n, column in enumerate(columns) if column.wide]),
        (LEAST, [n for n, column in enumerate(columns) if not column.wide and not column.right]),
    ):
        while excess > 0 and any(fitted[n] > least for n in giving):
            longest = max(giving, key=lambda n: fitted[n])
            fitted[longest] -= 1
            excess -= 1
    return fitted


def _pages(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while page := list(islice(rows, PAGE)):
        yield page


def _pad(cell: str, room: int, right: bool) -> str:
    return " " * room + cell if right else cell + " " * room


def cell_width(text: str) -> int:
    """Columns that ``text`` takes in a terminal: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def is_terminal() -> bool:
    """Whether a person reads what is printed."""
    return sys.stdout.isatty()
