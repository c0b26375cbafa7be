"""Records as CloudEvents 1.0 in their JSON format (https://github.com/cloudevents/spec, v1.0.2), one a line.

``source`` and ``id`` together name an event: the log's id, and the position. Extension attributes carry what
CloudEvents has no name for; their values are strings and 32-bit integers only, so µs and hashes are strings.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from eventlog.clock import iso
from eventlog.exporters.jsonl import one_line
from eventlog.store.base import Record
from eventlog.store.lines import escaped


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The attributes used here; an absent one is left out, as the format wants it."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    sequence: str
    """Position, padded so that it sorts as text."""
    partitionkey: str
    streamversion: int
    schemaversion: int
    recordedtime: str
    recordhash: str
    idempotencykey: str | None = None
    actor: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    recordmetadata: str | None = None
    data: msgspec.Raw


_encode = msgspec.json.Encoder().encode


def encoder(log_id: str | None) -> Callable[[Record], bytes]:
    """A function that makes a line of a record of the log with this id."""
    source = f"/eventlog/{log_id or 'empty'}"

    def cloud_event(record: Record) -> bytes:
        return escaped(
            _encode(
                CloudEvent(
                    specversion="1.0",
                    id=str(record.position),
                    source=source,
                    type=record.type,
                    subject=record.stream,
                    time=iso(record.occurred_at),
                    datacontenttype="application/json",
                    sequence=f"{record.position:020d}",
                    partitionkey=record.stream,
                    streamversion=record.version,
                    schemaversion=record.schema,
                    recordedtime=iso(record.recorded_at),
                    recordhash=record.hash.hex(),
                    idempotencykey=record.key,
                    actor=record.actor,
                    correlationid=record.correlation,
                    causationid=record.causation,
                    recordmetadata=record.metadata,
                    data=msgspec.Raw(one_line(record.data).encode()),
                )
            )
        )

    return cloud_event
