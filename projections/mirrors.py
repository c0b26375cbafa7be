"""`mirrors`: a row per folder that sessions are written to, too. `mirror_checks`: a row per comparison with the log."""

from __future__ import annotations

from typing import Any, Literal

from msgspec.structs import replace

from eventlog.events.mirrors import (
    MirrorChecked,
    MirrorCutOver,
    MirrorDisabled,
    MirrorEnabled,
    MirrorFailed,
    MirrorSynced,
)
from eventlog.projection import Entity, Journal, Record, Row

State = Literal["enabled", "disabled", "cut over"]


class Mirror(Row, frozen=True):
    """A mirror. ``synced_position``: up to which the files are known to be right; ``clean_checks``: how many of the
    last checks in a row found nothing, with no failure since. ``records`` of sessions were appended since it was
    enabled, up to ``counted_position``; ``failures`` are of the same time.
    """

    mirror_id: str
    path: str
    spelling: str
    state: State
    enabled_at: int
    ended_at: int | None = None
    enabled_position: int = 0
    synced_position: int = 0
    written_files: int = 0
    removed_files: int = 0
    records: int = 0
    counted_position: int = 0
    failures: int = 0
    last_failure_at: int | None = None
    last_error: str | None = None
    checks: int = 0
    clean_checks: int = 0
    last_check_at: int | None = None
    missing: int = 0
    extra: int = 0
    different: int = 0


class MirrorCheck(Row, frozen=True):
    """A comparison of every session with its file; ``paths`` are the first that were not as they should be."""

    position: int
    stream: str
    checked_position: int
    sessions: int
    files: int
    missing: int
    extra: int
    different: int
    digest: str
    paths: list[str]
    checked_at: int


def evolve(row: Mirror | None, event: Any, record: Record) -> Mirror | None:
    """A mirror after one more event; one that is enabled again begins with a new comparison of everything."""
    now = record.recorded_at
    match event:
        case MirrorEnabled():
            fresh = row or Mirror(record.stream.partition("-")[2], event.path, event.spelling, "enabled", now)
            return replace(
                fresh,
                spelling=event.spelling,
                state="enabled",
                enabled_at=now,
                ended_at=None,
                enabled_position=record.position,
                synced_position=0,
                records=0,
                counted_position=record.position,
                failures=0,
                clean_checks=0,
            )
        case MirrorSynced() if row is not None:
            return replace(
                row,
                synced_position=event.position,
                records=row.records + event.records,
                counted_position=event.position,
                written_files=row.written_files + event.written_files,
                removed_files=row.removed_files + event.removed_files,
            )
        case MirrorFailed() if row is not None:
            return replace(
                row, failures=row.failures + event.failures, last_failure_at=now, last_error=event.error, clean_checks=0
            )
        case MirrorChecked() if row is not None:
            return _checked(row, event, now)
        case MirrorCutOver() if row is not None:
            return replace(row, state="cut over", ended_at=now)
        case MirrorDisabled() if row is not None:
            return replace(row, state="disabled", ended_at=now, clean_checks=0)
    return row


def _checked(row: Mirror, event: MirrorChecked, now: int) -> Mirror:
    clean = not (event.missing or event.extra or event.different)
    return replace(
        row,
        checks=row.checks + 1,
        clean_checks=row.clean_checks + 1 if clean else 0,
        synced_position=max(row.synced_position, event.position) if clean else row.synced_position,
        records=row.records + event.records,
        counted_position=event.position,
        last_check_at=now,
        missing=event.missing,
        extra=event.extra,
        different=event.different,
    )


def check(event: MirrorChecked, record: Record) -> MirrorCheck:
    """The row of a comparison."""
    return MirrorCheck(
        record.position,
        record.stream,
        event.position,
        event.sessions,
        event.files,
        event.missing,
        event.extra,
        event.different,
        event.digest,
        list(event.paths),
        record.recorded_at,
    )


projections = (
    Entity(
        "mirrors",
        version=1,
        row=Mirror,
        category="mirror",
        types=(MirrorEnabled, MirrorSynced, MirrorFailed, MirrorChecked, MirrorCutOver, MirrorDisabled),
        evolve=evolve,
    ),
    Journal(
        "mirror_checks",
        version=1,
        row=MirrorCheck,
        types=(MirrorChecked,),
        make=check,
        indexes=(("stream", "position"),),
    ),
)
