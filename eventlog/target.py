"""What the place of a log means: a path, a URL, what variables and files say, or this user's own."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from eventlog.config import Target, in_force, user_data_folder
from eventlog.errors import InvalidInput
from eventlog.place import Place

__all__ = ["Target", "check_output", "data_folder", "parse_target"]


def parse_target(target: Target = None) -> Place:
    """Where the log is that a target means; None: as `eventlog.config` finds it. Raises InvalidInput."""
    return in_force(target).place


def data_folder(given: str | os.PathLike[str] | None, place: Place) -> Path | None:
    """The folder that holds ``result/``: the one given, ``$EVENTLOG_DATA_DIR``, or the log's own.

    A PostgreSQL log has none of its own, so it is this user's; a log in memory has none at all, and one behind a
    server none that is known here.
    """
    chosen = given or os.environ.get("EVENTLOG_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if place.path is not None:
        return place.path.parent
    return None if place.server is None else user_data_folder()


def check_output(target: Path, place: Place) -> None:
    """Raises InvalidInput where writing to ``target`` would take a log away: under any name, the file that holds the
    log of ``place`` or one that stands beside it, or a database that others have open, or whose -wal has what the file
    itself has not yet.
    """
    log = place.path
    for own in () if log is None else (log, *(Path(f"{log}{end}") for end in ("-wal", "-shm", ".lock", ".token"))):
        if _same(target, own):
            raise InvalidInput(
                f"{target} is a file of the log in use, {log}: write to another one; nothing was written",
                path=str(target),
            )
    with suppress(FileNotFoundError):
        if os.stat(f"{target}-wal").st_size:
            raise InvalidInput(
                f"{target} is a database in use, or was not closed: what is in {target}-wal would be lost. Write to "
                "another file; nothing was written",
                path=str(target),
            )
        if _is_open(target):
            raise InvalidInput(
                f"{target} is a database in use: write to another file; nothing was written", path=str(target)
            )


def _is_open(database: Path) -> bool:
    """Whether a connection to a database in WAL mode is open: beside it no other can lock it for itself alone."""
    import sqlite3
    from contextlib import closing
    from urllib.parse import quote

    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    except sqlite3.DatabaseError:  # no database
        return False
    return False


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except FileNotFoundError:
        return os.path.realpath(one) == os.path.realpath(other)
