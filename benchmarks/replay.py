"""Replay: read every record in order and decode it into its Struct. Against: fetching the same columns, no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from benchmarks import raw
from benchmarks.harness import Figure, interleave, over
from benchmarks.logs import Bench, opened


def run(bench: Bench) -> Iterator[Figure]:
    """Bar 7, and what reading records without decoding them costs."""
    events = bench.size.log_events
    path = bench.mixed(events)
    table = raw.read_only(path)
    with opened(path) as log:

        def replay() -> None:
            for record in log.read():
                _ = record.event

        floor, ours, records = interleave(
            min(bench.size.rounds, 5),
            lambda: raw.fetch(table),
            replay,
            lambda: deque(log.read(), maxlen=0),
        )
    table.close()
    floor_rate = events / floor.median
    yield Figure(
        id="replay",
        what=f"replay {events:,} mixed events into Structs",
        unit="events/s",
        ours=events / ours.median,
        raw=floor_rate,
        against="fetch of the same columns",
        ratio=over(floor, ours),
        bar=0.45,
    )
    yield Figure(
        id="replay.records",
        what="read the records without decoding",
        unit="events/s",
        ours=events / records.median,
        raw=floor_rate,
        against="fetch of the same columns",
        ratio=over(floor, records),
    )
