"""A long fold in several processes, each with its share of the streams, all into the same tables.

One stream decides each row of an entity and of a journal, so no two shares touch the same row; what rollups gain are
integers, which add up in any order. The children are no judges: whatever goes wrong in one, everything made so far is
to be dropped, and a fold in one process tells what failed, and where.
"""

from __future__ import annotations

import selectors
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from eventlog.children import can_start, cores, start
from eventlog.codec import to_json
from eventlog.log import EventLog
from eventlog.projection.discovery import installed
from eventlog.projection.kinds import Group

MIN_EVENTS = 100_000
"""A fold of fewer events takes less time than starting processes is worth."""
MAX_PARTS = 4
"""Writing is done by one at a time, and is a quarter of the work."""


class Task(msgspec.Struct, frozen=True):
    """What a child is told: the log, the suffix of the tables, the groups by their roots, up to where, which share."""

    url: str
    suffix: str
    groups: tuple[str, ...]
    to: int
    part: tuple[int, int] = (0, 1)


def parts_for(log: EventLog, groups: Sequence[Group], events: int) -> int:
    """In how many processes these events are to be folded; 1 where more would not pay, or could not do the same."""
    if events < MIN_EVENTS or log.store.address is None or not log.codec.is_plain(_types(groups)) or not can_start():
        return 1
    known = set(map(id, installed()))
    if any(id(member) not in known for group in groups for member in group.members):
        return 1
    return min(cores(), MAX_PARTS)


def _types(groups: Sequence[Group]) -> list[type]:
    return [cls for group in groups for cls in group.root.types]


def fold(task: Task, parts: int, progress: Callable[[int], None] | None) -> bool:
    """Fold up to ``task.to`` into empty tables; False: something failed, and what they hold is to be dropped.

    When it returns, or raises, no child is left.
    """
    children: list[subprocess.Popen[bytes]] = []
    try:
        with suppress(OSError, ValueError):
            for number in range(parts):
                children.append(_start())
                _tell(children[-1], msgspec.structs.replace(task, part=(number, parts)))
            return _follow(children, task.to, progress)
        return False
    finally:
        for child in children:
            child.kill()
        for child in children:
            with child:
                pass


def _start() -> subprocess.Popen[bytes]:
    return start("eventlog.projection.part")


def _tell(child: subprocess.Popen[bytes], task: Task) -> None:
    # Its stdin stays open: when it closes, the parent is gone.
    assert child.stdin is not None  # noqa: S101
    child.stdin.write(to_json(task) + b"\n")


def _follow(children: Sequence[subprocess.Popen[bytes]], to: int, progress: Callable[[int], None] | None) -> bool:
    """Read the positions that the children print, and tell the least of them; whether all came to the last one."""
    done = dict.fromkeys(children, 0)
    told = 0
    with selectors.DefaultSelector() as selector:
        for child in children:
            assert child.stdout is not None  # noqa: S101
            selector.register(child.stdout, selectors.EVENT_READ, child)
        while selector.get_map():
            for key, _ in selector.select():
                child = key.data
                if line := child.stdout.readline():
                    done[child] = int(line)
                    continue
                selector.unregister(child.stdout)
                if child.wait() or done[child] != to:
                    return False
            if progress is not None and min(done.values()) > told:
                told = min(done.values())
                progress(told)
    return True
