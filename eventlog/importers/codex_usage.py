"""What Codex says of tokens, as lanes that share none.

A ``token_count`` row has what the last call used and what the thread used in all; ``cached_input_tokens`` are among
``input_tokens``. ``reasoning_output_tokens`` are among ``output_tokens``, but for rows whose own ``total_tokens`` says
that they come on top. A row that has no more in all than the one before it tells the same call again.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from eventlog.events.agents import Outcome, Usage
from eventlog.importers.places import count, mapping, text

Totals = dict[str, int]
_PARTS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens", "cache_write_input_tokens")


class Spent(NamedTuple):
    """What a row says: the usage of a call (None: of none), and the totals of the thread after it."""

    usage: Usage | None
    totals: Totals | None


def spent(info: dict[str, Any], before: Totals | None) -> Spent:
    """What a row with this ``info`` adds to what the thread had used before."""
    given = info.get("total_token_usage")
    totals = _counted(given) if isinstance(given, dict) else None
    if totals is not None and totals == before:
        return Spent(None, before)
    last = info.get("last_token_usage")
    used = _counted(last) if isinstance(last, dict) else None
    said = mapping(last if used is not None else given).get("total_tokens")
    if used is None and totals is not None:
        used = _difference(totals, before)
        said = None if used is not totals else said
    after = before if totals is None else totals
    if used is None or not any(used.values()):
        return Spent(None, after)
    return Spent(_lanes(used, count(said)), after)


def _counted(given: dict[str, Any]) -> Totals:
    return {name: count(given.get(name)) or 0 for name in _PARTS}


def _difference(totals: Totals, before: Totals | None) -> Totals:
    """What came since; counters that went down were started anew, and all they have came since."""
    if before is None or any(totals[name] < before.get(name, 0) for name in _PARTS):
        return totals
    return {name: totals[name] - before.get(name, 0) for name in _PARTS}


def _lanes(used: Totals, said: int | None) -> Usage:
    whole, output, reasoning = used["input_tokens"], used["output_tokens"], used["reasoning_output_tokens"]
    cached = min(used["cached_input_tokens"], whole)
    written = min(used["cache_write_input_tokens"], whole - cached)
    on_top = reasoning > output or (reasoning > 0 and said == whole + output + reasoning)
    return Usage(
        input=whole - cached - written,
        cache_read=cached,
        cache_write_5m=written,
        output=output if on_top else output - reasoning,
        reasoning=reasoning,
    )


class Ended(NamedTuple):
    """How a call of a tool ended."""

    outcome: Outcome
    exit_code: int | None = None
    duration_us: int | None = None
    child: str | None = None


_EXIT = re.compile(r"(?:^|\n)(?:Process exited with code|Exit code:) (-?\d{1,10})")
_WALL = re.compile(r"(?:^|\n)Wall time: (\d{1,9}(?:\.\d{1,9})?) seconds?")
_CANCELLED = re.compile(r"(?:aborted|rejected|denied|cancelled|interrupted) by (?:the )?user", re.IGNORECASE)
_FAILED = (
    "execution error:",
    "failed to parse",
    "unsupported call",
    "unsupported custom tool call",
    "failed in sandbox",
)
_HEAD = 600
"""How much of an answer is looked at for how its program ended."""


def ended(output: Any, decoded: Any) -> Ended:
    """How a call ended by what its tool answered; ``decoded`` is the same where it is JSON in a text.

    ``unknown`` where it does not say: most tools answer with text alone.
    """
    about = mapping(decoded if isinstance(decoded, dict) else output)
    metadata = mapping(about.get("metadata"))
    code, seconds = metadata.get("exit_code"), metadata.get("duration_seconds")
    said = output if isinstance(output, str) else about.get("content", about.get("output"))
    head = said[:_HEAD] if isinstance(said, str) else ""
    if not _is_int(code) and (found := _EXIT.search(head)):
        code = int(found[1])
    if seconds is None and (found := _WALL.search(head)):
        seconds = float(found[1])
    child = text(about.get("agent_id")) or text(about.get("new_thread_id"))
    exit_code = code if _is_int(code) else None
    duration = int(seconds * 1_000_000) if isinstance(seconds, (int, float)) and 0 <= seconds < 10**9 else None
    return Ended(_outcome(about, head, exit_code), exit_code, duration, child)


def _outcome(about: dict[str, Any], head: str, exit_code: int | None) -> Outcome:
    if exit_code is not None:
        return "ok" if exit_code == 0 else "error"
    if _CANCELLED.search(head[:200]):
        return "cancelled"
    success = about.get("success")
    if isinstance(success, bool):
        return "ok" if success else "error"
    return "error" if head.lower().startswith(_FAILED) else "unknown"


def ended_event(payload: dict[str, Any]) -> Ended:
    """How a call ended by what Codex reports of it: ``exec_command_end`` and the others like it."""
    code = payload.get("exit_code")
    code = code if _is_int(code) else None
    outcome: Outcome = "unknown"
    result = mapping(payload.get("result"))
    if code is not None:
        outcome = "ok" if code == 0 else "error"
    elif isinstance(payload.get("success"), bool):
        outcome = "ok" if payload["success"] else "error"
    elif "Ok" in result or "Err" in result:
        failed = "Err" in result or mapping(result.get("Ok")).get("is_error") is True
        outcome = "error" if failed else "ok"
    child = text(payload.get("new_thread_id"))
    return Ended(outcome, code, _duration(payload.get("duration")), child)


def _duration(given: Any) -> int | None:
    """Rust's ``Duration`` as JSON has it: ``{"secs": 1, "nanos": 5}``."""
    seconds, nanos = count(mapping(given).get("secs")), count(mapping(given).get("nanos"))
    if seconds is None or seconds > 10**9:
        return None
    return seconds * 1_000_000 + (nanos or 0) // 1000


def _is_int(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and -(2**63) <= given < 2**63
