"""A progress bar on stderr, for people only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[int, int | None, str], None]
PATIENCE_S = 0.3
"""Work that is done sooner shows no bar, and does not pay for importing what draws it."""


@contextmanager
def bar() -> Iterator[Progress | None]:
    """A callable (done, total, label) that draws a bar once the work takes a while; None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    drawn = _Bar()
    try:
        yield drawn
    finally:
        drawn.stop()


class _Bar:
    def __init__(self) -> None:
        self.since = time.monotonic()
        self.display: Any = None
        self.tasks: dict[str, Any] = {}

    def __call__(self, done: int, total: int | None, label: str) -> None:
        if self.display is None:
            if time.monotonic() - self.since < PATIENCE_S:
                return
            self.display = _display()
            self.display.start()
        task = self.tasks.get(label)
        if task is None:
            from eventlog.cli.sanitise import clean_line

            task = self.tasks[label] = self.display.add_task(clean_line(label), total=total)
        self.display.update(task, completed=done, total=total)

    def stop(self) -> None:
        if self.display is not None:
            self.display.stop()


def _display() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
