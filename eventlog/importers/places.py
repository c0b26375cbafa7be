"""What importers share: the workspace of a folder, and values as other programs write them."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

from eventlog.clock import from_datetime
from eventlog.events.sessions import WorkspaceRegistered
from eventlog.importers.intake import Intake, Wanted, key_of


def workspace(
    intake: Intake, cwd: str | None, at: int | None, before: list[Wanted], repository_url: str | None = None
) -> str | None:
    """The id of a folder's workspace; ``before`` gets what registers it, which is the same for every importer."""
    if not cwd:
        return None
    digest = sha256(cwd.encode("utf-8", "replace")).hexdigest()
    key = key_of("workspace", digest)
    if intake.first(key):
        event = WorkspaceRegistered(path=cwd, path_sha256=digest, repository_url=repository_url)
        before.append(Wanted(f"workspace-{digest[:16]}", [event], key, at))
    return digest[:16]


def count(given: Any) -> int | None:
    """A number of things; None for what is none."""
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**53 else None


def text(given: Any) -> str | None:
    """A text with something in it."""
    return given if isinstance(given, str) and given else None


def mapping(given: Any) -> dict[str, Any]:
    """An object; an empty one for what is none."""
    return given if isinstance(given, dict) else {}


def iso_time(given: Any) -> int | None:
    """µs since the epoch of an ISO time with a zone; None for what is none."""
    if not isinstance(given, str):
        return None
    try:
        when = datetime.fromisoformat(given)
    except ValueError:
        return None
    return None if when.tzinfo is None else max(0, from_datetime(when))
