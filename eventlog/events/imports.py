"""What happens when the past is brought in. Stream: ``import-<source_id>``, a stream for each file or database.

These events are the importer's own memory: how far it is in a source, what it made of it, what it could not read.
"""

from __future__ import annotations

from msgspec import UNSET, Raw, UnsetType

from eventlog.events.base import Event, Int64


class SourceOpened(Event, frozen=True, kw_only=True, tag="import.source_opened"):
    """A file or database is imported for the first time. ``kind`` is the importer's name."""

    kind: str
    path: str


class SourceAdvanced(Event, frozen=True, kw_only=True, tag="import.source_advanced"):
    """A part of a source is in the log now: what stands with this event in one transaction, and up to ``offset``.

    The numbers are of this part alone. ``fingerprint`` is a hash of the source's first 4 KiB and of the last 4 KiB
    before ``offset``, by which another file under the same name is known; ``state`` is what the importer has to know to
    go on.
    """

    offset: Int64
    records: Int64 = 0
    understood_records: Int64 = 0
    understood_bytes: Int64 = 0
    raw_records: Int64 = 0
    raw_bytes: Int64 = 0
    duplicate_records: Int64 = 0
    duplicate_bytes: Int64 = 0
    quarantined_records: Int64 = 0
    quarantined_bytes: Int64 = 0
    blank_bytes: Int64 = 0
    events: Int64 = 0
    secrets: Int64 = 0
    size_bytes: Int64 = 0
    mtime_us: Int64 = 0
    fingerprint: str = ""
    state: Raw | UnsetType = UNSET


class SourceRestarted(Event, frozen=True, kw_only=True, tag="import.source_restarted"):
    """The source is not what it was (it shrank, or begins otherwise): it is read again from its start."""

    reason: str


class RecordQuarantined(Event, frozen=True, kw_only=True, tag="import.record_quarantined"):
    """A part of a source that cannot be read: where it is, how long, and why; not what is in it."""

    offset: Int64
    length_bytes: Int64
    reason: str
    sha256: str = ""
    line: Int64 | None = None


class QuarantineResolved(Event, frozen=True, kw_only=True, tag="import.quarantine_resolved"):
    """What was quarantined at an offset could be read later, or is not there any more."""

    offset: Int64
    outcome: str
    length_bytes: Int64 = 0


IMPORT_EVENTS: tuple[type[Event], ...] = (
    SourceOpened,
    SourceAdvanced,
    SourceRestarted,
    RecordQuarantined,
    QuarantineResolved,
)
ImportEvent = SourceOpened | SourceAdvanced | SourceRestarted | RecordQuarantined | QuarantineResolved
