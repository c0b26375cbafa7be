"""Migrations as files: ``NNNN_name.up.sql`` and ``.down.sql``, the same numbers for every database."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

_PLACES = (Path(__file__).parent.parent / "migrations", Path(__file__).parent.parent.parent / "migrations")


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    up: str
    down: str


class SchemaStatus(NamedTuple):
    """Where a log's schema is: the version it has, the version this program has, and what is not as it should be."""

    version: int
    latest: int
    pending: list[str]
    problems: list[str]


@cache
def migrations(database: str) -> tuple[Migration, ...]:
    """Every migration for a database, in order."""
    folder = next(place / database for place in _PLACES if (place / database).is_dir())
    steps = []
    for up in sorted(folder.glob("*.up.sql")):
        number, _, name = up.name.removesuffix(".up.sql").partition("_")
        down = up.with_name(up.name.replace(".up.", ".down."))
        steps.append(Migration(int(number), name, up.read_text(), down.read_text()))
    return tuple(steps)


def latest(database: str) -> int:
    """The number of the last migration that this program knows for a database."""
    return migrations(database)[-1].number
