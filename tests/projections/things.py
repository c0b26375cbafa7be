"""Projections of the tests' own: an entity with a rollup, and a journal; a test says where their code fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from eventlog import Event
from eventlog.app import Log
from eventlog.projection import Entity, Journal, Projection, Record, Rollup, Row
from eventlog.projection.manager import ProjectionStatus


class ThingMade(Event, frozen=True, kw_only=True, tag="thing.made"):
    size: int = 0
    color: str = ""


class ThingGrew(Event, frozen=True, kw_only=True, tag="thing.grew"):
    by: int = 1


class ThingGone(Event, frozen=True, kw_only=True, tag="thing.gone"):
    pass


class Thing(Row, frozen=True):
    thing_id: int
    size: int
    color: str
    steps: int


class Growth(Row, frozen=True):
    position: int
    stream: str
    by: int


class Colour(Row, frozen=True):
    color: str
    things: int
    size: int


THING_EVENTS = (ThingMade, ThingGrew, ThingGone)
Hook = Callable[[Any, Record], Any]


def nothing(event: Any, record: Record) -> None:
    """A hook that leaves the row as it is."""


def entity(hook: Hook = nothing, *, version: int = 1, name: str = "things", **options: Any) -> Entity[Thing]:
    """The things; ``hook(event, record)`` may raise, or give a row in place of the right one."""

    def evolve(row: Thing | None, event: Any, record: Record) -> Thing | None:
        replaced = hook(event, record)
        if replaced is not None:
            return replaced  # type: ignore[no-any-return]
        match event:
            case ThingMade():
                return Thing(int(record.stream.partition("-")[2]), event.size, event.color, 1)
            case ThingGrew() if row is not None:
                return replace(row, size=row.size + event.by, steps=row.steps + 1)
            case ThingGone():
                return None
        return row

    return Entity(name, version=version, row=Thing, category="thing", types=THING_EVENTS, evolve=evolve, **options)


def journal(hook: Hook = nothing, *, version: int = 1) -> Journal[Growth]:
    """A row for each growth."""

    def make(event: ThingGrew, record: Record) -> Growth | None:
        return hook(event, record) or Growth(record.position, record.stream, event.by)

    return Journal("growths", version=version, row=Growth, types=(ThingGrew,), make=make)


def rollup(hook: Callable[[Thing], Any] = lambda thing: None, *, version: int = 1) -> Rollup:
    """Things and their sizes by colour."""

    def contribute(thing: Thing) -> Iterable[Any]:
        return hook(thing) or [((thing.color,), (1, thing.size))]

    return Rollup(
        "colours", version=version, row=Colour, source="things", measures=("things", "size"), contribute=contribute
    )


def everything() -> tuple[Projection, ...]:
    """All three, in working order."""
    return entity(), journal(), rollup()


def fill(log: Log, count: int = 12, start: int = 0) -> None:
    """A life of things: one event each append."""
    for number in range(start, start + count):
        stream = f"thing-{number % 4}"
        match number // 4 % 3:
            case 0:
                log.append(stream, ThingMade(size=number, color=("red", "blue")[number % 2]), durability="process")
            case 1:
                log.append(stream, ThingGrew(by=number), durability="process")
            case _:
                log.append(stream, ThingGone() if number % 2 else ThingGrew(by=1), durability="process")


def status(log: Log, name: str) -> ProjectionStatus:
    """How one projection stands."""
    return next(one for one in log.projections.status() if one.name == name)


def rows(log: Log, *names: str) -> dict[str, list[dict[str, Any]]]:
    """Whole tables."""
    return {name: log.projections.rows(name) for name in names or log.projections.names()}
