"""`imports`: how far each source is in the log and what became of it. `import_quarantine`: what could not be read."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from eventlog.events.imports import (
    QuarantineResolved,
    RecordQuarantined,
    SourceAdvanced,
    SourceOpened,
    SourceRestarted,
)
from eventlog.projection import Entity, Record, Row

COUNTED = (
    "records",
    "understood_records",
    "understood_bytes",
    "raw_records",
    "raw_bytes",
    "duplicate_records",
    "duplicate_bytes",
    "quarantined_records",
    "quarantined_bytes",
    "blank_bytes",
)


class ImportSource(Row, frozen=True):
    """A file or database. Each byte up to ``offset`` is understood, kept raw, a duplicate, quarantined or blank.

    ``events`` and ``secrets`` are of every import together, the other counts since it was read from its start last.
    """

    source_id: str
    kind: str
    path: str
    offset: int = 0
    size_bytes: int = 0
    mtime_us: int = 0
    records: int = 0
    understood_records: int = 0
    understood_bytes: int = 0
    raw_records: int = 0
    raw_bytes: int = 0
    duplicate_records: int = 0
    duplicate_bytes: int = 0
    quarantined_records: int = 0
    quarantined_bytes: int = 0
    blank_bytes: int = 0
    events: int = 0
    secrets: int = 0
    restarts: int = 0
    fingerprint: str = ""
    state: Any | None = None
    first_at: int = 0
    last_at: int = 0


class Quarantined(Row, frozen=True):
    """A part that could not be read; ``stream`` is that of the source. ``outcome`` is None while it is so."""

    stream: str
    offset: int
    length_bytes: int
    line: int | None
    reason: str
    sha256: str
    outcome: str | None
    quarantined_at: int
    resolved_at: int | None


def evolve(row: ImportSource | None, event: Any, record: Record) -> ImportSource | None:
    """A source after one more event."""
    now = record.recorded_at
    match event:
        case SourceOpened():
            if row is not None:
                return row
            return ImportSource(record.stream[7:], event.kind, event.path, first_at=now, last_at=now)
        case SourceAdvanced() if row is not None:
            sums = {name: getattr(row, name) + getattr(event, name) for name in (*COUNTED, "events", "secrets")}
            return replace(
                row,
                offset=event.offset,
                size_bytes=event.size_bytes,
                mtime_us=event.mtime_us,
                fingerprint=event.fingerprint,
                state=None if event.state is UNSET else msgspec.json.decode(event.state),
                last_at=now,
                **sums,
            )
        case SourceRestarted() if row is not None:
            none = dict.fromkeys(COUNTED, 0)
            return replace(row, offset=0, restarts=row.restarts + 1, state=None, last_at=now, **none)
        case QuarantineResolved() if row is not None:
            return _resolved(row, event, now)
    return row


def _resolved(row: ImportSource, event: QuarantineResolved, now: int) -> ImportSource:
    # What it turned out to be, the import that read it says by itself.
    return replace(
        row,
        records=row.records - 1,
        quarantined_records=row.quarantined_records - 1,
        quarantined_bytes=row.quarantined_bytes - event.length_bytes,
        last_at=now,
    )


def evolve_quarantined(row: Quarantined | None, event: Any, record: Record) -> Quarantined | None:
    """A part that cannot be read, after one more event; found again after a restart it is what was found last."""
    now = record.recorded_at
    match event:
        case RecordQuarantined():
            return Quarantined(
                record.stream,
                event.offset,
                event.length_bytes,
                event.line,
                event.reason,
                event.sha256,
                None,
                now,
                None,
            )
        case QuarantineResolved() if row is not None:
            return replace(row, outcome=event.outcome, resolved_at=now)
    return row


projections = (
    Entity(
        "imports",
        version=1,
        row=ImportSource,
        category="import",
        types=(SourceOpened, SourceAdvanced, SourceRestarted, QuarantineResolved),
        evolve=evolve,
        indexes=(("path",),),
    ),
    Entity(
        "import_quarantine",
        version=1,
        row=Quarantined,
        part="offset",
        types=(RecordQuarantined, QuarantineResolved),
        evolve=evolve_quarantined,
    ),
)
