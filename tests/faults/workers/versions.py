"""Programs of different versions: one does not know an event, two have a projection in different versions."""

from __future__ import annotations

from under_fire import Ticked, open_log

import eventlog
from eventlog.errors import ProjectionError
from eventlog.events.runs import RunStarted
from eventlog.projection import Entity, Record, Row
from workers.writers import say


def old_program(path: str) -> None:
    """A program that does not know the tests' event type."""
    with eventlog.open(path) as log:
        event = next(log.read(types=["fire.ticked"])).event
        assert isinstance(event, eventlog.UnknownEvent)
        say(f"unknown {event.tag}")
        log.runs.append_start(RunStarted(command="old"), key="old")
        assert log.verify().ok
        assert list(log.projections.verify()) == []
        log.projections.rebuild()
        assert list(log.projections.verify()) == []


class Tally(Row, frozen=True):
    """How many ticks a stream has had; version 2 of the code counts each twice."""

    stream: str
    ticks: int


def tally(version: int) -> Entity[Tally]:
    """The projection as a program of that version has it."""

    def evolve(row: Tally | None, event: Ticked, record: Record) -> Tally:
        return Tally(record.stream.removeprefix("fire-"), (row.ticks if row else 0) + version)

    return Entity("tallies", version=version, row=Tally, category="fire", types=(Ticked,), evolve=evolve)


def program_with_projection_version(path: str, version: str) -> None:
    """Open, append, try to rebuild; say the state, own and stored version, and whether the rebuild was refused."""
    with open_log(path, extra_projections=[tally(int(version))]) as log:
        before = next(status for status in log.projections.status() if status.name == "tallies")
        log.append("fire-versions", [Ticked(), Ticked()])
        rebuilt = "rebuilt"
        try:
            log.projections.rebuild(["tallies"])
        except ProjectionError:
            rebuilt = "refused"
        after = next(status for status in log.projections.status() if status.name == "tallies")
        assert (after.state, after.stored_version) == (before.state, before.stored_version)
        if before.state == "live":
            assert list(log.projections.verify()) == []
            ticks = {row["stream"]: row["ticks"] for row in log.projections.rows("tallies")}
            assert ticks["versions"] == int(version) * sum(1 for _ in log.read_stream("fire-versions"))
        say(f"{before.state} {before.version} {before.stored_version} {rebuilt}")
