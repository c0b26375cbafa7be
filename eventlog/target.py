"""What the place of a log means: a path, a URL, the environment's, or this user's own."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qs, unquote

from eventlog.errors import InvalidInput

Target = str | os.PathLike[str] | None


def data_folder(given: str | os.PathLike[str] | None, place: Path | None) -> Path | None:
    """The folder that holds ``result/``: the one given, ``$EVENTLOG_DATA_DIR``, or the log's own."""
    chosen = given or os.environ.get("EVENTLOG_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return None if place is None else place.parent


def default_path() -> Path:
    """The log of this user, where nothing else is said."""
    from platformdirs import user_data_path

    return user_data_path("eventlog", appauthor=False) / "log.db"


def parse_target(target: Target = None) -> tuple[Path | None, dict[str, str]]:
    """The file a target means (None: memory), and the options behind its ``?``. Raises InvalidInput."""
    text = os.fspath(target) if target is not None else os.environ.get("EVENTLOG_URL") or None
    if text is None:
        return _real(str(default_path())), {}
    if not text or "\0" in text:
        raise InvalidInput("the log's place is empty, or holds a NUL character")
    if text in (":memory:", "sqlite://", "sqlite:///:memory:"):
        return None, {}
    if text.startswith("sqlite:///"):
        place, _, query = text.removeprefix("sqlite:///").partition("?")
        options = {name: values[-1] for name, values in parse_qs(query).items()}
        return _real(unquote(place)), options
    if scheme := re.match(r"([a-z][a-z0-9+.-]*)://", text):
        raise InvalidInput(f"this version opens files and sqlite:/// URLs, not {scheme[1]}://")
    return _real(text), {}


def _real(place: str) -> Path:
    # One name for one file, whatever link leads to it: the lock, the spool and the artifacts go by it.
    return Path(os.path.realpath(Path(place).expanduser()))
