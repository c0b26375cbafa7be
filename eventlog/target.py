"""What the place of a log means: a path, a URL, what variables and files say, or this user's own."""

from __future__ import annotations

import os
from pathlib import Path

from eventlog.config import Target, in_force, user_data_folder
from eventlog.place import Place

__all__ = ["Target", "data_folder", "parse_target"]


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
