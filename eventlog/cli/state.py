"""What every command knows: which log, and how to open it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from eventlog.app import Log


class State:
    """The options that stand before the sub-command."""

    def __init__(self, db: str | None = None) -> None:
        self.db = db

    @property
    def place(self) -> str | None:
        """``db``, for a command that may make a log there.

        Raises LogMissing where its folder is not there: that is a slip of the pen more often than a wish.
        """
        from eventlog.config import user_data_folder
        from eventlog.errors import LogMissing
        from eventlog.target import parse_target

        if self.db is not None and (path := parse_target(self.db).path) is not None:
            folder = path.parent
            if not folder.is_dir() and folder != user_data_folder():
                raise LogMissing(f"there is no folder {folder}; make it, or give another --db. Nothing was written")
        return self.db

    def read(self) -> Log:
        """The log as it is, for questions about it. Raises LogMissing where there is none."""
        import eventlog

        return eventlog.open(self.db, mode="r", create=False)

    def query(self) -> Log:
        """The log, for questions about its tables: opened so that tables which an older program made are made anew.

        A log in JSON lines is written by one process at a time, and its tables are everybody's own: it is only read. So
        is one on a full disk.
        """
        from eventlog.errors import DiskFull
        from eventlog.target import parse_target

        if parse_target(self.db).kind == "jsonl":
            return self.read()
        try:
            return self.write(bar=True)
        except DiskFull:
            return self.read()

    def write(
        self, *, create: bool = False, projections: Literal["inline", "deferred", "off"] = "inline", bar: bool = False
    ) -> Log:
        """The log, for commands. ``create``: make it when there is none. ``bar``: show the work that opening needs."""
        import eventlog

        place = self.place if create else self.db
        if not bar:
            return eventlog.open(place, create=create, projections=projections)
        from eventlog.cli.progress import bar as progress_bar

        with progress_bar() as progress:
            return eventlog.open(place, create=create, projections=projections, progress=progress)


def together(log: Log) -> AbstractContextManager[object]:
    """All or nothing; through a server, which lends no transaction, one after the other."""
    return nullcontext() if log.store.kind == "http" else log.transaction()


pass_state = click.make_pass_decorator(State, ensure=True)
