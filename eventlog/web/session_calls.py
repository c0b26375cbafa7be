"""What the agents of sessions call: tools and language models."""

from __future__ import annotations

from typing import Any

import msgspec

from eventlog.app import Log, Past
from eventlog.events.agents import Usage
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from eventlog.web.sessions import SESSION, next_page
from eventlog.wire_sessions import (
    FailedLlmCall,
    Lanes,
    LlmCallChange,
    NewLlmCall,
    NewToolCall,
    Retraction,
    ToolCallEnd,
)
from projections.llm_calls import LlmCall
from projections.tool_calls import ToolCall


class ToolCallsQuery(Query, frozen=True, kw_only=True):
    """Which calls of tools, in order; the outcome ``none``: those without an answer."""

    outcome: str | None = None
    name: str | None = None
    limit: Rows = 50
    offset: Offset = 0


class LlmCallsQuery(Query, frozen=True, kw_only=True):
    """Which calls of language models, in order; ``status`` is completed, failed or retracted."""

    status: str | None = None
    limit: Rows = 50
    offset: Offset = 0


def list_tool_calls(ask: Log | Past, session_id: str, query: ToolCallsQuery) -> list[ToolCall]:
    """The calls of tools of a session, in order. What they were called with is in the thread."""
    return ask.sessions.tool_calls(session_id, **msgspec.structs.asdict(query))


def get_tool_call(ask: Log | Past, session_id: str, tool_call_id: str) -> ToolCall:
    """A call of a tool."""
    return ask.sessions.tool_call(session_id, tool_call_id)


def start_tool_call(log: Log, session_id: str, body: NewToolCall) -> ToolCall:
    """Say that a tool is called. 409 where the session has a call of this id."""
    return log.sessions.start_tool_call(session_id, **_fields(body))


def finish_tool_call(log: Log, session_id: str, tool_call_id: str, body: ToolCallEnd) -> ToolCall:
    """Say how a call ended. 404 for one that was not started, 409 for one that has ended."""
    return log.sessions.finish_tool_call(session_id, tool_call_id, **_fields(body))


def list_llm_calls(ask: Log | Past, session_id: str, query: LlmCallsQuery) -> list[LlmCall]:
    """The calls of language models of a session, in order."""
    return ask.sessions.llm_calls(session_id, **msgspec.structs.asdict(query))


def get_llm_call(ask: Log | Past, session_id: str, call_id: str) -> LlmCall:
    """A call of a language model."""
    return ask.sessions.llm_call(session_id, call_id)


def record_llm_call(log: Log, session_id: str, body: NewLlmCall) -> LlmCall:
    """Say that a language model answered, and what it used."""
    return log.sessions.record_llm_call(session_id, **_fields(body))


def fail_llm_call(log: Log, session_id: str, body: FailedLlmCall) -> LlmCall:
    """Say that no answer came."""
    return log.sessions.fail_llm_call(session_id, **_fields(body))


def amend_llm_call(log: Log, session_id: str, call_id: str, body: LlmCallChange) -> LlmCall:
    """Say what a call used, now that more is known."""
    return log.sessions.amend_llm_call(session_id, call_id, **_fields(body))


def retract_llm_call(log: Log, session_id: str, call_id: str, body: Retraction) -> LlmCall:
    """Say that a call was a copy of another: it counts no more."""
    return log.sessions.retract_llm_call(session_id, call_id, body.reason)


def _fields(body: msgspec.Struct) -> dict[str, Any]:
    found = {name: getattr(body, name) for name in body.__struct_fields__}
    if isinstance(lanes := found.get("usage"), Lanes):
        found["usage"] = Usage(**msgspec.structs.asdict(lanes))
    return found


TOOL_CALL = f"{SESSION}/tool-calls/{{tool_call_id:path}}"
LLM_CALL = f"{SESSION}/llm-calls/{{call_id:path}}"
OPERATIONS = (
    Operation("GET", f"{SESSION}/tool-calls", list_tool_calls, follows=next_page),
    Operation("POST", f"{SESSION}/tool-calls", start_tool_call, status=201),
    Operation("GET", TOOL_CALL, get_tool_call),
    Operation("POST", f"{TOOL_CALL}/finish", finish_tool_call),
    Operation("GET", f"{SESSION}/llm-calls", list_llm_calls, follows=next_page),
    Operation("POST", f"{SESSION}/llm-calls", record_llm_call, status=201),
    Operation("POST", f"{SESSION}/llm-calls/failed", fail_llm_call, status=201),
    Operation("GET", LLM_CALL, get_llm_call),
    Operation("PATCH", LLM_CALL, amend_llm_call),
    Operation("POST", f"{LLM_CALL}/retract", retract_llm_call),
)
