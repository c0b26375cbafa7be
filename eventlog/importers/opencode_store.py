"""Where opencode keeps sessions: a database since 2026, a tree of JSON files before it; here both say the same."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from json import JSONDecoder
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from eventlog.importers.foreign import Foreign, Row
from eventlog.importers.pieces import MAX_LINE_BYTES, clean, read_plain
from eventlog.importers.places import count, mapping

TABLES = {
    "session": ("id", "parent_id", "directory", "title", "version", "time_created", "time_updated"),
    "message": ("id", "session_id", "time_created", "time_updated", "data"),
    "part": ("id", "message_id", "data"),
    "todo": ("session_id", "content", "status", "priority", "position"),
}
"""As the program makes them (``packages/opencode/src/session/session.sql.ts``)."""
OPTIONAL = ("todo",)
_KINDS = ("session", "message", "part", "todo")
_decode = msgspec.json.Decoder().decode
_slow = JSONDecoder()


class Found(NamedTuple):
    """A record: where it is, how long, its id and what it says; ``value`` None: it cannot be read, for a reason."""

    offset: int
    size: int
    id: str
    value: dict[str, Any] | None
    reason: str = ""
    sha256: str = ""
    updated: int = 0
    """When it was written last, ms since the epoch."""


class Store(Protocol):
    """What is in a database or a tree."""

    def sessions(self) -> Iterator[Found]:
        """The sessions, with the names of fields that the database has; in any order."""

    def messages(self, session_id: str) -> Iterator[Found]:
        """The messages of a session in their order."""

    def parts(self, message_id: str, session_id: str) -> list[Found]:
        """The parts of a message in their order."""

    def todos(self, session_id: str) -> Found | None:
        """What is to be done in a session: ``value`` has a list ``todos``."""


class Database:
    """``opencode.db``, or one of another channel."""

    def __init__(self, database: Foreign) -> None:
        self._database = database

    def sessions(self) -> Iterator[Found]:
        """See `Store`."""
        for row in self._database.rows("session"):
            values = dict(row.values)
            values.pop("summary_diffs", None)
            for name in ("revert", "model"):
                if isinstance(values.get(name), str):
                    values[name] = _value(values[name])[0]
            problem = "" if _is_name(values.get("id")) else "session: its id cannot be one"
            yield Found(
                _offset("session", row), row.size, str(values.get("id")), values if not problem else None, problem
            )

    def messages(self, session_id: str) -> Iterator[Found]:
        """See `Store`."""
        for row in self._database.matching("message", "session_id", session_id):
            yield _found("message", row)

    def parts(self, message_id: str, session_id: str) -> list[Found]:
        """See `Store`."""
        found = [_found("part", row) for row in self._database.matching("part", "message_id", message_id)]
        return sorted(found, key=lambda one: one.id)

    def todos(self, session_id: str) -> Found | None:
        """See `Store`."""
        if "todo" not in self._database:
            return None
        rows = list(self._database.matching("todo", "session_id", session_id))
        if not rows:
            return None
        names = ("content", "status", "priority", "position")
        todos = [{name: row.values[name] for name in names} for row in rows]
        return Found(_offset("todo", rows[0]), sum(row.size for row in rows), session_id, {"todos": todos})


def _is_name(given: Any) -> bool:
    return isinstance(given, str) and 0 < len(given) <= 200 and given.isprintable()


def _offset(table: str, row: Row) -> int:
    return (row.number << 2 | _KINDS.index(table)) & (2**62 - 1)


def _found(table: str, row: Row) -> Found:
    given, at = row.values["data"], _offset(table, row)
    name, updated = row.values["id"], count(row.values.get("time_updated")) or 0
    if row.too_big:
        return Found(at, row.size, str(name), None, f"{table}: a value of {row.too_big[0]} is too long to be read")
    value, reason = _value(given)
    if not isinstance(name, str):
        value, reason = None, "no id"
    digest = "" if value is not None else sha256(repr(given).encode("utf-8", "replace")).hexdigest()
    return Found(at, row.size, str(name), value, reason and f"{table}: {reason}", digest, updated)


def _value(given: Any) -> tuple[dict[str, Any] | None, str]:
    """The object in a cell or a file, or why there is none."""
    if isinstance(given, bytes):
        given = given.decode("utf-8", "surrogateescape")
    if not isinstance(given, str):
        return None, "not a JSON object"
    try:
        value = _decode(given)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        try:
            value = clean(_slow.decode(given))
        except (ValueError, RecursionError):
            return None, "not valid JSON"
    return (value, "") if isinstance(value, dict) else (None, "not a JSON object")


class Tree:
    """``storage/{session,message,part,todo}``; in the oldest ones all of them are below ``session``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        old = path / "session"
        self._old = (old / "message").is_dir() and not (path / "message").is_dir()
        self._messages = old / "message" if self._old else path / "message"
        self._number = 0

    def sessions(self) -> Iterator[Found]:
        """Those that have a file, and those of which there are only messages."""
        known = set()
        for file in sorted((self._path / "session").glob("info/*.json" if self._old else "*/*.json")):
            one = self._read(file)
            known.add(one.id)
            if not _is_name(one.id):
                yield one._replace(value=None, reason="the name of the file cannot be an id")
            elif one.value is not None:
                yield one._replace(value=_as_row({**one.value, "id": one.id}))
            else:
                yield one
        for folder in sorted(self._messages.glob("*")):
            if folder.is_dir() and folder.name not in known:
                first = next((one.value for one in self.messages(folder.name) if one.value is not None), {})
                given = first.get("sessionID")
                named = given if isinstance(given, str) and _is_name(given) else folder.name
                if named in known or not _is_name(named):
                    continue
                time = mapping(first.get("time"))
                told = {"id": named, "folder": folder.name, "time_created": time.get("created")}
                yield Found(0, 0, named, {**told, "directory": mapping(first.get("path")).get("cwd")})

    def messages(self, session_id: str) -> Iterator[Found]:
        """See `Store`; ``session_id`` is the name of the folder."""
        for file in sorted((self._messages / session_id).glob("*.json")):
            yield self._read(file)

    def parts(self, message_id: str, session_id: str) -> list[Found]:
        """See `Store`."""
        base = self._path / "session" / "part" / session_id if self._old else self._path / "part"
        return [self._read(file) for file in sorted((base / message_id).glob("*.json"))]

    def todos(self, session_id: str) -> Found | None:
        """See `Store`."""
        file = self._path / "todo" / f"{session_id}.json"
        try:
            data = read_plain(file)
            todos = _decode(data)
        except (OSError, msgspec.DecodeError):
            return None
        return (
            Found(_place(file), len(data), session_id, {"todos": todos}) if isinstance(todos, list) and todos else None
        )

    def _read(self, file: Path) -> Found:
        place, name = _place(file), file.stem
        try:
            stat = file.lstat()
            if stat.st_size > MAX_LINE_BYTES:
                return Found(place, stat.st_size, name, None, f"the file is longer than {MAX_LINE_BYTES:,} bytes")
            data = read_plain(file)
        except OSError as error:
            return Found(place, 0, name, None, f"cannot be read: {error.strerror}")
        value, reason = _value(data)
        digest = "" if value is not None else sha256(data).hexdigest()
        return Found(place, len(data), name, value, reason, digest, stat.st_mtime_ns // 1_000_000)


def _place(file: Path) -> int:
    """A number for a file of a tree: of its folder's and its own name, so it is the same wherever the tree is."""
    return int.from_bytes(sha256(f"{file.parent.name}/{file.name}".encode("utf-8", "replace")).digest()[:6])


def _as_row(value: dict[str, Any]) -> dict[str, Any]:
    """A session of a file with the names of the database."""
    time = mapping(value.get("time"))
    return {
        "id": value["id"],
        "project_id": value.get("projectID"),
        "parent_id": value.get("parentID"),
        "slug": value.get("slug"),
        "directory": value.get("directory"),
        "title": value.get("title"),
        "version": value.get("version"),
        "revert": value.get("revert"),
        **{f"time_{name}": time.get(name) for name in ("created", "updated", "compacting", "archived")},
    }
