"""Which records of a Codex rollout are those of the thread it was forked from.

The file of a fork, and that of a subagent which was given the conversation, begins with its parent's records, written
again with the time of the fork. They are the parent's, and count there. A record is a replay:

- where its turn is one of the parent's: the parent has a turn of that id, or the id (a UUIDv7, which has its time in
  it) is older than the thread's;
- where the parent has a record that says the very same, before a turn of the thread's own began;
- where it counts tokens in the first second of the file, in which no model has answered yet.

Replays come first. They end with the first turn that is not the parent's, or where no turn has an id, with the first
record that comes more than a second after the one before it. Where the parent is nowhere to be found, what was said is
kept with the fork, and only the tokens are left to the parent.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from eventlog.codec import to_json
from eventlog.importers.pieces import pieces

BURST_US = 1_000_000
_KEPT_PARENTS = 8
_IDENTITY_RECORDS = 20
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
TURN_STARTS = ("task_started", "turn_started")


class Parent(NamedTuple):
    """What tells a parent's records: ids of its turns, and hashes of what its records say with their own ids."""

    turns: frozenset[str]
    records: dict[bytes, str]


def opened(value: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind of a line and what it says; those of 2025 have no wrapper. ValueError where it is none of a rollout."""
    kind, payload = value.get("type"), value.get("payload")
    if isinstance(kind, str) and isinstance(payload, dict):
        return kind, payload
    if "record_type" in value:
        return "record_type", value
    if kind is None and isinstance(value.get("id"), str) and "timestamp" in value:
        return "session_meta", value
    if isinstance(kind, str) and payload is None:
        return "response_item", value
    raise ValueError("not a line of a rollout")


class Names:
    """Ids of records, made of what they say and when: the same in a copy of the file, and in one written anew.

    Of equal ones at the same time the second is told by its number.
    """

    def __init__(self, thread: str, stamp: str | None, seen: dict[str, int]) -> None:
        self.thread, self.stamp, self.seen = thread, stamp, seen

    def of(self, value: dict[str, Any], offset: int) -> str:
        """The id of the next record of the file."""
        digest = sha256(to_json(value)).hexdigest()
        stamp = value.get("timestamp")
        if not isinstance(stamp, str):
            number = offset
        else:
            if stamp != self.stamp:
                self.stamp, self.seen = stamp, {}
            number = self.seen.get(digest[:12], 0)
            self.seen[digest[:12]] = number + 1
        return sha256(f"{self.thread}\x1f{digest}\x1f{number}".encode("utf-8", "replace")).hexdigest()[:24]


class Lineage:
    """Where the files of threads are, and what their parents say. One for an import."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._parents: OrderedDict[Path, Parent] = OrderedDict()

    def add(self, path: Path) -> None:
        """A file that may be a parent's; of an active one and an archived one the active."""
        if (thread := uuid_of(path)) and not (thread in self._files and "archived_sessions" in path.parts):
            self._files[thread] = path

    def parent(self, thread: str, child: Path) -> Parent | None:
        """What the records of a thread are, told by its file; None where there is none."""
        path = self._files.get(thread) or _nearby(thread, child)
        if path is None or not path.is_file():
            return None
        if path not in self._parents:
            try:
                self._parents[path] = _read(path, thread)
            except OSError:
                return None
            if len(self._parents) > _KEPT_PARENTS:
                self._parents.popitem(last=False)
        self._parents.move_to_end(path)
        return self._parents[path]


def uuid_of(path: Path) -> str | None:
    """The id in a file's name."""
    found = _UUID.findall(path.name)
    return found[-1].lower() if found else None


def identity(path: Path) -> str:
    """The id of a file's thread: its first ``session_meta`` has it, else its name."""
    with path.open("rb") as file:
        for number, piece in enumerate(pieces(file, 0, path.stat().st_size)):
            if number >= _IDENTITY_RECORDS:
                break
            if piece.value is None:
                continue
            try:
                kind, payload = opened(piece.value)
            except ValueError:
                continue
            given = payload.get("id")
            if kind == "session_meta" and isinstance(given, str) and 0 < len(given) <= 200 and given.isprintable():
                return given
    return uuid_of(path) or f"{path.parent.name}.{path.stem}"


def payload_digest(kind: str, payload: dict[str, Any]) -> bytes:
    """A hash of what a record says, whenever it said so."""
    return sha256(kind.encode() + to_json(payload)).digest()[:12]


def turn_of(kind: str, payload: dict[str, Any]) -> str | None:
    """The turn that begins with a record."""
    if kind == "turn_context" or (kind == "event_msg" and payload.get("type") in TURN_STARTS):
        turn = payload.get("turn_id")
        return turn if isinstance(turn, str) and turn else None
    return None


def is_parents(turn: str, thread: str, parent: Parent | None) -> bool | None:
    """Whether a turn is of a thread's parent; None: there is no telling."""
    if parent is not None and turn in parent.turns:
        return True
    turned, began = _made_at(turn), _made_at(thread)
    if turned is not None and began is not None:
        return turned < began
    return None if parent is None else False


def _made_at(given: str) -> int | None:
    """The time in a UUIDv7, ms since the epoch."""
    if not _UUID.fullmatch(given) or given[14] != "7":
        return None
    return int(given[:8] + given[9:13], 16)


def _nearby(thread: str, child: Path) -> Path | None:
    """A thread's file in the tree of another's."""
    if not _UUID.fullmatch(thread):
        return None
    roots = [one for one in child.parents if one.name in ("sessions", "archived_sessions")][:1]
    around = [root.parent / name for root in roots for name in ("sessions", "archived_sessions")]
    for folder in around or [child.parent]:
        found = sorted(folder.rglob(f"*{thread}*.jsonl")) if folder.is_dir() else []
        if found:
            return found[0]
    return None


def _read(path: Path, thread: str) -> Parent:
    names = Names(thread, None, {})
    turns: set[str] = set()
    records: dict[bytes, str] = {}
    with path.open("rb") as file:
        for piece in pieces(file, 0, path.stat().st_size):
            if piece.value is None:
                continue
            try:
                kind, payload = opened(piece.value)
            except ValueError:
                continue
            name = names.of(piece.value, piece.offset)
            if kind != "session_meta":
                records.setdefault(payload_digest(kind, payload), name)
            if turn := turn_of(kind, payload):
                turns.add(turn)
    return Parent(frozenset(turns), records)
