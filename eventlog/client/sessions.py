"""Workspaces and sessions behind a server. What was said comes with its secrets masked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from eventlog.client.calls import Call, listed, offered
from eventlog.client.repositories import Remote
from eventlog.clock import from_datetime
from eventlog.repositories.session_calls import as_usage
from eventlog.repositories.session_content import Piece, Said
from eventlog.repositories.session_messages import SummaryText, as_parts
from eventlog.repositories.sessions import SessionsRepository
from eventlog.repositories.workspaces import WorkspacesRepository
from eventlog.wire_sessions import (
    FailedLlmCall,
    Fork,
    InstanceChange,
    Lanes,
    Link,
    LlmCallChange,
    NewCompaction,
    NewInstance,
    NewLlmCall,
    NewMessage,
    NewSession,
    NewSummary,
    NewToolCall,
    NewWorkspace,
    Retraction,
    Rewind,
    SessionChange,
    StatusChange,
    ToolCallEnd,
    WorkspaceMove,
)
from projections.llm_calls import LlmCall
from projections.messages import Compaction, Message
from projections.sessions import Instance, Session
from projections.tool_calls import ToolCall
from projections.workspaces import Workspace

WORKSPACE = "/api/workspaces/{workspace_id}"
SESSION = "/api/sessions/{session_id}"
INSTANCE = f"{SESSION}/instances/{{instance_id}}"
TOOL_CALL = f"{SESSION}/tool-calls/{{tool_call_id}}"
LLM_CALL = f"{SESSION}/llm-calls/{{call_id}}"


def _absolute(path: Any) -> str:
    text = os.fspath(path)
    return os.path.abspath(text) if isinstance(text, str) and text else text


def _when(when: Any) -> Any:
    return from_datetime(when) if isinstance(when, datetime) else when


def _parts(parts: Any) -> Any:
    return None if parts is None else list(as_parts(None, parts))


def _lanes(usage: Any) -> Lanes | None:
    return None if usage is None else Lanes(**msgspec.structs.asdict(as_usage(usage)))


def _rows(said: list[Said]) -> list[Message]:
    return [one.message for one in said]


def _mapping(given: Any) -> Any:
    return None if given is None else dict(given)


def _tuple(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


WHEN = {"occurred_at": _when}
CALLED = {**WHEN, "usage": _lanes, "finish_reasons": _tuple}


@offered(
    register=Call("POST", "/api/workspaces", Workspace, NewWorkspace, again=True, sends={"path": _absolute}),
    move=Call("POST", f"{WORKSPACE}/move", Workspace, WorkspaceMove, sends={"path": _absolute}),
    delete=Call("DELETE", WORKSPACE),
    list=Call("GET", "/api/workspaces", list[Workspace], pages=True),
)
class RemoteWorkspaces(Remote, WorkspacesRepository):
    """The folders in which agents work."""


@offered(
    create=Call("POST", "/api/sessions", Session, NewSession, sends={**WHEN, "metadata": _mapping}),
    fork=Call("POST", f"{SESSION}/fork", Session, Fork, sends=WHEN),
    update=Call("PATCH", SESSION, Session, SessionChange),
    set_status=Call("POST", f"{SESSION}/status", Session, StatusChange, sends=WHEN),
    archive=Call("POST", f"{SESSION}/archive", Session),
    restore=Call("POST", f"{SESSION}/restore", Session),
    link=Call("POST", f"{SESSION}/link", Session, Link),
    delete=Call("DELETE", SESSION),
    list=Call("GET", "/api/sessions", list[Session], pages=True, sends={"status": listed}),
    count=Call("GET", "/api/sessions/count", int, sends={"status": listed}),
    add_message=Call("POST", f"{SESSION}/messages", Message, NewMessage, sends={**WHEN, "parts": _parts}),
    rewind=Call("POST", f"{SESSION}/rewind", Session, Rewind),
    messages=Call("GET", f"{SESSION}/messages", list[Said], pages=True, gives=_rows),
    said=Call("GET", f"{SESSION}/messages", list[Said], pages=True),
    message=Call("GET", f"{SESSION}/messages/{{message_id}}", Said),
    thread=Call("GET", f"{SESSION}/thread", list[Said], gives=_rows),
    conversation=Call("GET", f"{SESSION}/thread", list[Said]),
    compact=Call("POST", f"{SESSION}/compactions", Compaction, NewCompaction, sends=WHEN),
    compactions=Call("GET", f"{SESSION}/compactions", list[Compaction]),
    add_summary=Call("POST", f"{SESSION}/summaries", SummaryText, NewSummary, sends=WHEN),
    summaries=Call("GET", f"{SESSION}/summaries", list[SummaryText]),
    create_instance=Call("POST", f"{SESSION}/instances", Instance, NewInstance, sends={"metadata": _mapping}),
    update_instance_status=Call("PATCH", INSTANCE, Instance, InstanceChange),
    remove_instance=Call("DELETE", INSTANCE),
    instances=Call("GET", f"{SESSION}/instances", list[Instance]),
    instance=Call("GET", INSTANCE, Instance),
    start_tool_call=Call("POST", f"{SESSION}/tool-calls", ToolCall, NewToolCall, sends=WHEN),
    finish_tool_call=Call("POST", f"{TOOL_CALL}/finish", ToolCall, ToolCallEnd, sends=WHEN),
    tool_calls=Call("GET", f"{SESSION}/tool-calls", list[ToolCall], pages=True),
    tool_call=Call("GET", TOOL_CALL, ToolCall),
    record_llm_call=Call("POST", f"{SESSION}/llm-calls", LlmCall, NewLlmCall, sends=CALLED),
    fail_llm_call=Call("POST", f"{SESSION}/llm-calls/failed", LlmCall, FailedLlmCall, sends=WHEN),
    amend_llm_call=Call("PATCH", LLM_CALL, LlmCall, LlmCallChange, sends=CALLED),
    retract_llm_call=Call("POST", f"{LLM_CALL}/retract", LlmCall, Retraction),
    llm_calls=Call("GET", f"{SESSION}/llm-calls", list[LlmCall], pages=True),
    llm_call=Call("GET", LLM_CALL, LlmCall),
)
class RemoteSessions(Remote, SessionsRepository):
    """Conversations with agents."""

    def content(self, message: Message) -> tuple[Piece, ...]:
        """See `SessionMessages.content`."""
        return self.message(message.stream.partition("-")[2], message.message_id).parts
