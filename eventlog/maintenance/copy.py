"""One log into another, whatever the two databases: the same records, and so the same head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from eventlog.errors import Conflict
from eventlog.log import EventLog
from eventlog.projection.manager import ProjectionStatus
from eventlog.store.base import Head, Progress, Selection

BATCH = 5000


class Copied(NamedTuple):
    """How a copy went: records that were there already, records added, and the head that both logs have now."""

    present: int
    added: int
    position: int
    hash: str


def copy(source: EventLog, target: EventLog, progress: Progress | None = None) -> Copied:
    """Append to ``target`` what ``source`` has more; it may grow meanwhile, and what it gained is copied too.

    Each batch is a transaction, so a copy that was interrupted goes on where it was. Raises Conflict when ``target``
    is not the beginning of ``source``; nothing is written then.
    """
    present = target.head()
    _check_prefix(source, target, present)
    position = present.position
    while (end := source.head().position) > position:
        target.import_records(source.read(position, end), _counted(progress, position, end), BATCH)
        position = end
    head = target.head()
    if head[:2] != _head_at(source, head.position)[:2]:
        raise Conflict(
            f"the heads differ after the copy at position {head.position}; run `eventlog log verify` on both"
        )
    return Copied(present.position, head.position - present.position, head.position, head.hash.hex())


def _counted(progress: Progress | None, before: int, end: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _total, _what: progress(before + done, end, "copying")


def _check_prefix(source: EventLog, target: EventLog, head: Head) -> None:
    """Equal hashes at a position mean equal records up to it."""
    if _head_at(source, head.position)[:2] == head[:2]:
        return
    same, different = 0, head.position
    while same + 1 < different:
        middle = (same + different) // 2
        if _head_at(source, middle)[:2] == _head_at(target, middle)[:2]:
            same = middle
        else:
            different = middle
    where = (
        f"they differ from position {different} on" if different <= source.head().position else "it is the longer one"
    )
    raise Conflict(
        f"{target.store.url} is not the beginning of {source.store.url}: {where}. Copy into an empty log; "
        "nothing was written",
        position=different,
    )


def _head_at(log: EventLog, position: int) -> Head:
    with log.reader() as reader:
        rows = reader.records(position - 1, position, Selection()) if position else []
    return Head(rows[0][0], rows[0][13], rows[0][6]) if rows else Head(0, bytes(32))


def behind(projections: Iterable[ProjectionStatus]) -> dict[str, str]:
    """The tables that are not what the whole log says, and why not: rolled back before, failed, made by other code."""
    told = {}
    for one in projections:
        if one.state == "failed":
            told[one.name] = f"failed at position {one.error_position}: {one.error}"
        elif one.state == "live" and one.lag:
            told[one.name] = f"stopped at position {one.position}"
        elif one.state != "live":
            told[one.name] = one.state if one.position is None else f"{one.state} at position {one.position}"
    return told
