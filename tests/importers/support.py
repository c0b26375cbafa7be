"""What tests of importers share: transcripts made by hand, and what a log has of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from eventlog.app import Log
from eventlog.store.base import Filter
from projections.llm_calls import projections as _calls
from projections.messages import projections as _messages
from projections.tool_calls import projections as _tools

CALLS, USAGE = _calls
MESSAGES = _messages[0]
TOOLS = _tools[0]
SESSION = "11111111-1111-4111-8111-111111111111"


class Totals(NamedTuple):
    """Calls and tokens of everything in a log, in the order of the known totals."""

    calls: int
    input: int
    output: int
    cache_write: int
    cache_read: int


def totals(log: Log) -> Totals:
    """What every call adds up to."""
    log.projections.ensure(CALLS.name)
    measures = ("calls", "input", "output", "reasoning", "cache_write_5m", "cache_write_1h", "cache_read")
    with log.reader() as reader:
        rows = reader.totals(USAGE.table, (), measures, [Filter("period", "=", "day")])
    calls, given, output, reasoning, short, long, read = (number or 0 for number in rows[0])
    return Totals(calls, given, output + reasoning, short + long, read)


def rows(log: Log, projection: Any, order: Iterable[str] = ()) -> list[Any]:
    """A table's rows."""
    log.projections.ensure(projection.name)
    with log.reader() as reader:
        return reader.select(projection.table, order=tuple(order) or projection.table.key)


def said(number: int, text: str, *, session: str = SESSION, parent: int | None = None, **more: Any) -> dict[str, Any]:
    """A record of a prompt."""
    return {
        "type": "user",
        "uuid": uuid(number),
        "parentUuid": None if parent is None else uuid(parent),
        "sessionId": session,
        "timestamp": f"2025-09-07T10:{number // 60 % 60:02}:{number % 60:02}.000Z",
        "isSidechain": False,
        "cwd": "/path/to/demo",
        "version": "1.0.108",
        "gitBranch": "main",
        "message": {"role": "user", "content": text},
        **more,
    }


def answered(number: int, text: str, *, tokens: int = 10, call: str = "", **more: Any) -> dict[str, Any]:
    """A record of an answer; ``call`` is the model's id of it."""
    record = said(number, text, **more)
    record["type"] = "assistant"
    record["requestId"] = f"req_{call or number}"
    record["message"] = {
        "id": f"msg_{call or number}",
        "role": "assistant",
        "model": "claude-sonnet-4-20250514",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": tokens},
    }
    return record


def uuid(number: int) -> str:
    """The id of a record."""
    return f"00000000-0000-4000-8000-{number:012}"


def lines(records: Iterable[dict[str, Any]]) -> bytes:
    """Records as a file has them."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def write(path: Path, content: bytes, *, age_s: float = 3600) -> Path:
    """A file that nobody has written to for a while."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path
