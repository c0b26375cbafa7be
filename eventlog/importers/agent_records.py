"""What the records of a coding agent's JSON lines say, whichever names they say it under.

No document gives their fields, so those of OpenAI's and Anthropic's messages and the usual words for a call of a tool
are known here, in snake_case and camelCase. Nothing here knows a log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from eventlog.codec import from_json, to_json
from eventlog.events.agents import Outcome, Role, Usage
from eventlog.exporters.session_form import moment
from eventlog.importers.places import count, mapping

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "ai": "assistant", "model": "assistant", "agent": "assistant", "tool": "tool", "function": "tool",
}  # fmt: skip
_OUTCOMES: dict[str, Outcome] = {
    **dict.fromkeys(("ok", "success", "succeeded", "completed", "complete", "done", "finished"), "ok"),
    **dict.fromkeys(("error", "failed", "failure", "fail", "timeout", "timed_out", "exception"), "error"),
    **dict.fromkeys(("cancelled", "canceled", "interrupted", "aborted", "denied", "rejected"), "cancelled"),
}
TIMES = ("timestamp", "created_at", "occurred_at", "time", "ts", "date", "datetime", "started_at", "executed_at")
_IDS = ("message_id", "id", "uuid")
_CALL_IDS = ("tool_call_id", "call_id", "tool_use_id")
_NAMES = ("tool_name", "tool", "name", "function")
_ARGUMENTS = ("arguments", "args", "input", "tool_input", "params", "parameters")
_RESULTS = ("result", "output", "response", "content")
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


class ToolUse(NamedTuple):
    """A call of a tool. ``id`` is what its program calls it, None where it does not; ``same``: of what it asks."""

    id: str | None
    name: str
    arguments: Any
    same: str


class ToolEnd(NamedTuple):
    """How a call of a tool ended."""

    outcome: Outcome
    result: Any
    exit_code: int | None
    duration_us: int | None
    error_type: str | None


class Fields:
    """A record by the snake_case of its names; what was asked for is used, and the rest is left."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._value = value
        self._names = {_snake(name): name for name in value}
        self._used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def first(self, names: Iterable[str], kind: type | tuple[type, ...] = object) -> Any:
        """The first of these that is there and of a kind, None where none is; it counts as used."""
        for name in names:
            own = self._names.get(name)
            if own is None:
                continue
            value = self._value[own]
            if (
                value is not None
                and isinstance(value, kind)
                and not (isinstance(value, bool) and kind is not object and kind is not bool)
            ):
                self._used.add(own)
                return value
        return None

    def id(self, names: Iterable[str]) -> str | None:
        """An id: text, or a number as text."""
        found = self.first(names, (str, int))
        return str(found)[:200] if found not in (None, "") else None

    def at(self) -> int | None:
        """When it happened, µs since the epoch; a time that is none counts as not used."""
        for name in TIMES:
            own = self._names.get(name)
            if own is not None and (at := moment(self._value[own])) is not None:
                self._used.add(own)
                return at
        return None

    def use(self, *names: str) -> None:
        """Say that these are told of elsewhere."""
        self._used.update(self._names[name] for name in names if name in self._names)

    @property
    def rest(self) -> dict[str, Any]:
        """What was not used and is not null."""
        return {name: item for name, item in self._value.items() if name not in self._used and item is not None}


@lru_cache(4096)
def _snake(name: str) -> str:
    return _CAPITAL.sub(r"_\1", name).lower()


def identity(*said: Any) -> str:
    """What tells content from other content: 16 hex digits."""
    return sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:16]


def message_id(fields: Fields) -> str | None:
    """What its program calls a message."""
    return fields.id(_IDS)


def tool_uses(fields: Fields) -> list[ToolUse]:
    """The calls of tools that a message asks for beside its content."""
    listed = fields.first(("tool_calls",), list) or []
    one = fields.first(("function_call",), dict)
    return [found for given in (*listed, *([one] if one else [])) if (found := tool_use(given)) is not None]


def tool_use(given: Any) -> ToolUse | None:
    """A call of a tool in any of the usual forms; None for what is none."""
    if not isinstance(given, dict):
        return None
    inner = given.get("function")
    fields = Fields(inner if isinstance(inner, dict) else given)
    name = fields.first(_NAMES, str)
    if not name:
        return None
    call_id = Fields(given).id(("id", *_CALL_IDS))
    arguments = as_value(fields.first(_ARGUMENTS))
    return ToolUse(call_id, name[:500], arguments, identity(name, arguments))


def call_id(fields: Fields) -> str | None:
    """The call that a record of a tool is about."""
    return fields.id(_CALL_IDS)


def record_of_tool(fields: Fields) -> tuple[ToolUse | None, ToolEnd | None]:
    """What a record of ``tools.jsonl`` says: a call, how one ended, or both."""
    named = fields.first(_NAMES, (str, dict))
    own = fields.id((*_CALL_IDS, "id"))
    use: ToolUse | None = None
    if isinstance(named, dict):
        use = tool_use({"function": named, "id": own})
    elif named:
        arguments = as_value(fields.first(_ARGUMENTS))
        use = ToolUse(own, named[:500], arguments, identity(named, arguments))
    end = tool_end(fields)
    if use is None and own is not None and end is not None:
        use = ToolUse(own, "", None, "")
    return use, end


def tool_end(fields: Fields) -> ToolEnd | None:
    """How a call ended; None where a record does not say that it did."""
    error = fields.first(("error", "error_message", "exception"))
    result = fields.first(_RESULTS)
    exit_code: int | None = fields.first(("exit_code", "returncode", "return_code"), int)
    duration = _duration(fields)
    outcome = _outcome(fields, error, result, exit_code)
    if outcome is None and error is None and result is None and exit_code is None and duration is None:
        return None
    kind = error[:200] if isinstance(error, str) and " " not in error.strip() and error else None
    told = result if error in (None, "", False) else error if result is None else {"result": result, "error": error}
    return ToolEnd(outcome or "unknown", told, exit_code, duration, fields.id(("error_type",)) or kind)


def _outcome(fields: Fields, error: Any, result: Any, exit_code: int | None) -> Outcome | None:
    said = fields.first(("success", "ok", "succeeded"), bool)
    if said is None and (failed := fields.first(("is_error", "failed"), bool)) is not None:
        said = not failed
    if said is not None:
        return "ok" if said else "error"
    word = fields.first(("status", "outcome", "state"), str)
    if word is not None and word.lower() in _OUTCOMES:
        return _OUTCOMES[word.lower()]
    if error not in (None, "", False):
        return "error"
    if exit_code is not None:
        return "error" if exit_code else "ok"
    return "ok" if "error" in fields and result is not None else "unknown" if word is not None else None


def _duration(fields: Fields) -> int | None:
    for names, factor in (
        (("duration_us", "elapsed_us"), 1),
        (("duration_ms", "elapsed_ms", "execution_time_ms", "latency_ms"), 1_000),
        (("duration_s", "duration", "duration_seconds", "elapsed", "execution_time"), 1_000_000),
    ):
        given: float | None = fields.first(names, (int, float))
        if given is not None and 0 <= given < 2**53 / factor:
            return round(given * factor)
    return None


def as_value(given: Any) -> Any:
    """Arguments: text that is a JSON object or list is what it says."""
    if isinstance(given, str) and given.strip()[:1] in ("{", "["):
        try:
            return from_json(given)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return given
    return given


def usage_of(fields: Fields) -> tuple[Usage, bytes] | None:
    """The tokens of an answer in lanes that share none, and what was said of them; None where that says too little.

    ``prompt_tokens`` has the cached ones and ``completion_tokens`` the reasoning; ``input_tokens`` beside
    ``cache_read_input_tokens`` has neither.
    """
    given = fields.first(("usage", "token_usage"), dict)
    if given is None:
        return None
    of = Fields(given)
    sent = count(of.first(("prompt_tokens", "input_tokens"), int))
    got = count(of.first(("completion_tokens", "output_tokens"), int))
    if sent is None and got is None:
        return None
    written = count(of.first(("cache_creation_input_tokens",), int)) or 0
    if "cache_read_input_tokens" in of or written:
        read = count(of.first(("cache_read_input_tokens",), int)) or 0
        return Usage(input=sent or 0, cache_read=read, cache_write_5m=written, output=got or 0), to_json(given)
    detail = mapping(of.first(("prompt_tokens_details", "input_tokens_details"), dict))
    cached = min(sent or 0, count(detail.get("cached_tokens")) or count(of.first(("cached_tokens",), int)) or 0)
    more = mapping(of.first(("completion_tokens_details", "output_tokens_details"), dict))
    thought = min(got or 0, count(more.get("reasoning_tokens")) or 0)
    return (
        Usage(input=(sent or 0) - cached, cache_read=cached, output=(got or 0) - thought, reasoning=thought),
        to_json(given),
    )
