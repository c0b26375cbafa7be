"""What can happen to a mirror: a folder of JSON files that older programs read while the log is the truth.

Stream: ``mirror-<id>``, the id being the first 16 hex digits of a hash of the folder's path. That a file was written is
no event; the log says what ought to be in it.
"""

from __future__ import annotations

from typing import Literal

from eventlog.events.base import Event, Int64


class MirrorEnabled(Event, frozen=True, kw_only=True, tag="mirror.enabled"):
    """From here on each change of a session is written to its file in a folder, too."""

    path: str
    spelling: Literal["camelCase", "snake_case"] = "camelCase"


class MirrorSynced(Event, frozen=True, kw_only=True, tag="mirror.synced"):
    """The files were brought in line with the log up to ``position``. ``records`` of sessions were appended
    since it was enabled, or since this was told last.
    """

    position: Int64
    records: Int64 = 0
    written_files: Int64 = 0
    removed_files: Int64 = 0


class MirrorChecked(Event, frozen=True, kw_only=True, tag="mirror.checked"):
    """Every session was compared with its file, as the log was at ``position``.

    ``missing`` sessions had no file, ``extra`` files no session, ``different`` ones do not say the same; ``paths`` are
    the first of them. ``digest`` is the SHA-256 of all sessions in their canonical form, in the order of their ids.
    """

    position: Int64
    records: Int64 = 0
    sessions: Int64 = 0
    files: Int64 = 0
    missing: Int64 = 0
    extra: Int64 = 0
    different: Int64 = 0
    digest: str = ""
    paths: tuple[str, ...] = ()


class MirrorFailed(Event, frozen=True, kw_only=True, tag="mirror.failed"):
    """A file could not be written or removed; the log has what it should hold. ``failures``: how often since the last
    of these events.
    """

    error: str
    session_id: str | None = None
    failures: Int64 = 1


class MirrorCutOver(Event, frozen=True, kw_only=True, tag="mirror.cut_over"):
    """Nobody reads the files any more: they are not written from here on. So many checks were clean before."""

    clean_checks: Int64
    required_checks: Int64


class MirrorDisabled(Event, frozen=True, kw_only=True, tag="mirror.disabled"):
    """The files are not written from here on; they stay as they are."""


MIRROR_EVENTS: tuple[type[Event], ...] = (
    MirrorEnabled,
    MirrorSynced,
    MirrorChecked,
    MirrorFailed,
    MirrorCutOver,
    MirrorDisabled,
)
MirrorEvent = MirrorEnabled | MirrorSynced | MirrorChecked | MirrorFailed | MirrorCutOver | MirrorDisabled
