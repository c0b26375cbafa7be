"""The JSON form of a session as older programs keep it, one object a session: its names, its times, and when two agree.

Programs spell the same names in camelCase and in snake_case, and have more than one name for the same thing. Whatever
a program says besides is kept as it is. Times are ISO 8601 (without a zone: UTC) or numbers since the epoch: seconds,
milliseconds or microseconds, told apart by their size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from eventlog.clock import from_datetime
from eventlog.codec import to_json

Spelling = Literal["camelCase", "snake_case"]
RESERVED = "sessionJson"
"""Under this name in metadata: what of a session's file has no place in the log's own fields."""


class Names(NamedTuple):
    """What a kind of object is made of: its names with the others that are in use, and which of them are times."""

    known: dict[str, tuple[str, ...]]
    times: frozenset[str]


SESSION = Names(
    {
        "id": ("id", "sessionId", "session_id"),
        "type": ("type", "sessionType", "session_type"),
        "status": ("status",),
        "title": ("title",),
        "task": ("task",),
        "workspacePath": ("workspacePath", "workspace_path"),
        "workspaceHash": ("workspaceHash", "workspace_hash"),
        "createdAt": ("createdAt", "created_at"),
        "updatedAt": ("updatedAt", "updated_at"),
        "completedAt": ("completedAt", "completed_at"),
        "instances": ("instances", "worktreeInstances", "worktree_instances"),
        "chatMessages": ("chatMessages", "chat_messages", "chatHistory", "chat_history", "messages"),
    },
    frozenset(("createdAt", "updatedAt", "completedAt")),
)
INSTANCE = Names(
    {
        "id": ("id", "instanceId", "instance_id"),
        "agentName": ("agentName", "agent_name", "agent"),
        "task": ("task",),
        "status": ("status",),
        "worktreePath": ("worktreePath", "worktree_path"),
        "branch": ("branch",),
        "baseCommit": ("baseCommit", "base_commit"),
        "startTime": ("startTime", "start_time"),
        "endTime": ("endTime", "end_time"),
        "output": ("output",),
    },
    frozenset(("startTime", "endTime")),
)
MESSAGE = Names(
    {
        "id": ("id", "messageId", "message_id"),
        "role": ("role",),
        "content": ("content",),
        "timestamp": ("timestamp", "createdAt", "created_at"),
    },
    frozenset(("timestamp",)),
)
_CAPITAL = re.compile("[A-Z]")
_LIMITS = ((10**11, 1_000_000), (10**14, 1_000), (2**53, 1))


def split(value: Mapping[str, Any], names: Names) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an object says under names that are known, spelt in camelCase, and the rest. What is null is not said."""
    known: dict[str, Any] = {}
    used: set[str] = set()
    for name, spellings in names.known.items():
        for spelling in spellings:
            if (item := value.get(spelling)) is not None and (name not in known or known[name] == item):
                known[name] = item
                used.add(spelling)
    return known, {name: item for name, item in value.items() if item is not None and name not in used}


_SIGNS = frozenset(("instances", "chatMessages", "workspacePath", "workspaceHash", "task", "title"))


def is_session(value: Mapping[str, Any]) -> bool:
    """Whether an object is a session: it says what only sessions say, or has a status and a time."""
    known, _ = split(value, SESSION)
    return bool(_SIGNS & known.keys() or ("status" in known and SESSION.times & known.keys()))


def moment(value: Any) -> int | None:
    """A time as µs since the epoch, UTC; None for what is none."""
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"\d{9,17}(\.\d+)?", text):
            value = float(text) if "." in text else int(text)
        else:
            try:
                when = datetime.fromisoformat(text)
                return _in_range(from_datetime(when if when.tzinfo else when.replace(tzinfo=UTC)))
            except (ValueError, OverflowError):
                return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        return None
    factor = next(factor for limit, factor in _LIMITS if value < limit)
    return _in_range(round(value * factor))


def _in_range(at: int) -> int | None:
    return at if 0 <= at < 2**53 else None


def iso(at: int) -> str:
    """A time in ISO 8601, to the millisecond where that says it all."""
    when = datetime.fromtimestamp(at // 1_000_000, UTC).replace(microsecond=at % 1_000_000)
    return when.isoformat(timespec="microseconds" if at % 1000 else "milliseconds").replace("+00:00", "Z")


def spelt(value: Mapping[str, Any], names: Names, spelling: Spelling) -> dict[str, Any]:
    """An object with its known names in a spelling."""
    if spelling == "camelCase":
        return dict(value)
    return {_snake(name) if name in names.known else name: item for name, item in value.items()}


def _snake(name: str) -> str:
    return _CAPITAL.sub(lambda found: f"_{found[0].lower()}", name)


def canonical(value: Mapping[str, Any]) -> dict[str, Any]:
    """A session as it is compared: names in camelCase, times in µs, nothing that is null or an empty list.

    ``updatedAt`` is not before what the session tells of; a title without a task is the task.
    """
    known, rest = split(value, SESSION)
    if "title" in known and known.get("task", known["title"]) == known["title"]:
        known["task"] = known.pop("title")
    _times(known, SESSION)
    for name, names in (("instances", INSTANCE), ("chatMessages", MESSAGE)):
        if isinstance(items := known.get(name), list):
            known[name] = [canonical_part(item, names) if isinstance(item, dict) else item for item in items]
            if not items:
                del known[name]
    if (latest := latest_of(known)) is not None and "updatedAt" in known:
        known["updatedAt"] = latest
    return {**rest, **known}


def canonical_part(value: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """An instance or a message as it is compared."""
    known, rest = split(value, names)
    _times(known, names)
    return {**rest, **known}


def latest_of(known: Mapping[str, Any]) -> int | None:
    """The latest of the times of a session and its messages; None where it has none."""
    messages = known.get("chatMessages")
    said = [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    times = [moment(known.get(name)) for name in SESSION.times]
    times += [moment(split(one, MESSAGE)[0].get("timestamp")) for one in said]
    return max((at for at in times if at is not None), default=None)


def _times(known: dict[str, Any], names: Names) -> None:
    for name in names.times & known.keys():
        if (at := moment(known[name])) is not None:
            known[name] = at


def digest(value: Any) -> str:
    """The SHA-256, in hex, of a value whatever the order of its keys."""
    return sha256(to_json(_ordered(value))).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def differences(expected: Any, found: Any, limit: int = 20) -> list[str]:
    """Where two canonical values differ, as paths like ``chatMessages[3].content``; never what is there."""
    made: list[str] = []
    _compare("", expected, found, made, limit)
    return made


def _compare(path: str, expected: Any, found: Any, made: list[str], limit: int) -> None:
    if len(made) >= limit:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted({*expected, *found}):
            below = f"{path}.{name[:80]}" if path else name[:80]
            _pair(below, name in expected, name in found, expected.get(name), found.get(name), made, limit)
    elif isinstance(expected, list) and isinstance(found, list):
        for place in range(max(len(expected), len(found))):
            here, there = place < len(expected), place < len(found)
            one, other = expected[place] if here else None, found[place] if there else None
            _pair(f"{path}[{place}]", here, there, one, other, made, limit)
    elif type(expected) is not type(found) or expected != found:
        made.append(path or "the whole")


def _pair(path: str, here: bool, there: bool, one: Any, other: Any, made: list[str], limit: int) -> None:
    if here and there:
        _compare(path, one, other, made, limit)
    elif len(made) < limit:
        made.append(f"{path} (missing)" if here else f"{path} (extra)")
