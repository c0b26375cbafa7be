"""`log.sessions`: what an agent calls, which is tools and language models."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from eventlog.errors import Conflict, IllegalTransition, InvalidInput, NotFound
from eventlog.events.agents import (
    BlobPart,
    LlmCallAmended,
    LlmCallCompleted,
    LlmCallFailed,
    LlmCallRetracted,
    Outcome,
    Quality,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)
from eventlog.ids import uuid7
from eventlog.log import When
from eventlog.repositories.session_base import (
    LLM_CALLS,
    TOOL_CALLS,
    Desk,
    SessionBase,
    as_raw,
    at_least_zero,
    checked_id,
    stream_of,
)
from eventlog.store.base import Filter
from projections.llm_calls import LANES, LlmCall
from projections.tool_calls import ToolCall

NO_ANSWER = "none"
"""The outcome by which calls are asked for that have none yet."""


class SessionCalls(SessionBase):
    """Calls of tools and of language models: commands and queries."""

    def start_tool_call(
        self,
        session_id: str,
        name: str,
        arguments: Any = UNSET,
        *,
        tool_call_id: str | None = None,
        category: str | None = None,
        message_id: str | None = None,
        occurred_at: When = None,
    ) -> ToolCall:
        """A tool is called. ``arguments`` is anything that JSON can hold; ``message_id`` the message that called it.

        Raises NotFound for the session, Conflict where it has a call of this id.
        """
        call_id = checked_id("tool call", uuid7() if tool_call_id is None else tool_call_id)
        raw = UNSET if arguments is UNSET else as_raw("arguments", arguments)

        def work(desk: Desk) -> None:
            if tool_call_id is not None and desk.row(TOOL_CALLS, call_id) is not None:
                raise Conflict(
                    f"session {session_id} has a tool call {call_id!r} already",
                    session_id=session_id,
                    tool_call_id=call_id,
                )
            desk.append(
                ToolCallStarted(
                    tool_call_id=call_id,
                    name=name,
                    arguments=raw,
                    category=category,
                    message_id=message_id,
                    workspace_id=desk.session.workspace_id,
                    agent=desk.session.agent,
                ),
                occurred_at,
            )

        self._decide(session_id, work, "tool_calls")
        return self.tool_call(session_id, call_id)

    def finish_tool_call(
        self,
        session_id: str,
        tool_call_id: str,
        outcome: Outcome = "ok",
        result: Any = UNSET,
        *,
        details: Any = UNSET,
        blob: BlobPart | None = None,
        exit_code: int | None = None,
        duration_us: int | None = None,
        error_type: str | None = None,
        child_session_id: str | None = None,
        occurred_at: When = None,
    ) -> ToolCall:
        """A tool answered, or will not (``cancelled``, ``unknown``). What is too big for ``result`` is in a ``blob``.

        Without ``duration_us`` it took from its start until now. Raises NotFound for a call that was not started,
        IllegalTransition for one that has ended.
        """
        at_least_zero(duration_us=duration_us)
        made = ToolCallFinished(
            tool_call_id=tool_call_id,
            outcome=outcome,
            result=UNSET if result is UNSET else as_raw("result", result),
            details=UNSET if details is UNSET else as_raw("details", details),
            blob=blob,
            exit_code=exit_code,
            duration_us=duration_us,
            error_type=error_type,
            child_session_id=child_session_id,
        )

        def work(desk: Desk) -> None:
            call: ToolCall | None = desk.row(TOOL_CALLS, tool_call_id)
            if call is None:
                raise _no_call("tool call", session_id, tool_call_id)
            if call.outcome is not None:
                raise IllegalTransition(
                    f"tool call {tool_call_id} has ended already ({call.outcome})",
                    tool_call_id=tool_call_id,
                    outcome=call.outcome,
                )
            desk.append(made, occurred_at)

        self._decide(session_id, work, "tool_calls")
        return self.tool_call(session_id, tool_call_id)

    def record_llm_call(
        self,
        session_id: str,
        usage: Usage | Mapping[str, int] | None = None,
        *,
        call_id: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        request_model: str | None = None,
        message_id: str | None = None,
        response_id: str | None = None,
        request_id: str | None = None,
        operation: str = "chat",
        quality: Quality = "exact",
        finish_reasons: Iterable[str] = (),
        duration_us: int | None = None,
        context_length: int | None = None,
        cost_micro_usd: int | None = None,
        raw_usage: Any = UNSET,
        sidechain: bool = False,
        occurred_at: When = None,
    ) -> LlmCall:
        """A language model answered. ``usage`` is in lanes that share no token (`Usage`, or a mapping of its fields);
        ``cost_micro_usd`` is what somebody said that it cost, in millionths of a US dollar.

        Raises NotFound for the session, Conflict where it has a call of this id that was answered, InvalidInput.
        """
        lanes = as_usage(usage)
        new_id = checked_id("call", uuid7() if call_id is None else call_id)
        at_least_zero(duration_us=duration_us, context_length=context_length, cost_micro_usd=cost_micro_usd)
        raw = UNSET if raw_usage is UNSET else as_raw("raw_usage", raw_usage)

        def work(desk: Desk) -> None:
            there: LlmCall | None = None if call_id is None else desk.row(LLM_CALLS, new_id)
            if there is not None and there.status != "failed":
                raise Conflict(
                    f"session {session_id} has a call {new_id!r} already ({there.status}); amend_llm_call changes it",
                    session_id=session_id,
                    call_id=new_id,
                )
            desk.append(
                LlmCallCompleted(
                    call_id=new_id,
                    usage=lanes,
                    quality=quality,
                    provider=desk.session.provider if provider is None else provider,
                    request_model=request_model,
                    response_model=model,
                    operation=operation,
                    message_id=message_id,
                    response_id=response_id,
                    request_id=request_id,
                    finish_reasons=tuple(finish_reasons),
                    duration_us=duration_us,
                    context_length=context_length,
                    reported_cost_micro_usd=cost_micro_usd,
                    raw_usage=raw,
                    sidechain=sidechain,
                    workspace_id=desk.session.workspace_id,
                    agent=desk.session.agent,
                ),
                occurred_at,
            )

        self._decide(session_id, work, "llm_calls")
        return self.llm_call(session_id, new_id)

    def fail_llm_call(
        self,
        session_id: str,
        error_type: str,
        message: str = "",
        *,
        call_id: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        duration_us: int | None = None,
        occurred_at: When = None,
    ) -> LlmCall:
        """No answer came. A later `record_llm_call` of this id is the answer after all. Raises NotFound, Conflict."""
        new_id = checked_id("call", uuid7() if call_id is None else call_id)
        at_least_zero(duration_us=duration_us)

        def work(desk: Desk) -> None:
            if call_id is not None and desk.row(LLM_CALLS, new_id) is not None:
                raise Conflict(
                    f"session {session_id} has a call {new_id!r} already", session_id=session_id, call_id=new_id
                )
            desk.append(
                LlmCallFailed(
                    call_id=new_id,
                    error_type=error_type,
                    message=message,
                    provider=desk.session.provider if provider is None else provider,
                    request_model=model,
                    duration_us=duration_us,
                    workspace_id=desk.session.workspace_id,
                    agent=desk.session.agent,
                ),
                occurred_at,
            )

        self._decide(session_id, work, "llm_calls")
        return self.llm_call(session_id, new_id)

    def amend_llm_call(
        self,
        session_id: str,
        call_id: str,
        usage: Usage | Mapping[str, int],
        *,
        quality: Quality = "exact",
        finish_reasons: Iterable[str] = (),
        cost_micro_usd: int | None = None,
        raw_usage: Any = UNSET,
        occurred_at: When = None,
    ) -> LlmCall:
        """More is known of a completed call: this is its usage. Raises NotFound, IllegalTransition, InvalidInput."""
        lanes = as_usage(usage)
        at_least_zero(cost_micro_usd=cost_micro_usd)
        raw = UNSET if raw_usage is UNSET else as_raw("raw_usage", raw_usage)

        def work(desk: Desk) -> None:
            call = _completed(desk, call_id)
            desk.append(
                LlmCallAmended(
                    call_id=call_id,
                    usage=lanes,
                    replaced=_usage_of(call),
                    quality=quality,
                    finish_reasons=tuple(finish_reasons),
                    reported_cost_micro_usd=cost_micro_usd,
                    raw_usage=raw,
                ),
                occurred_at,
            )

        self._decide(session_id, work, "llm_calls")
        return self.llm_call(session_id, call_id)

    def retract_llm_call(self, session_id: str, call_id: str, reason: str) -> LlmCall:
        """It was a copy of another call: it counts no more. Raises NotFound, IllegalTransition."""

        def work(desk: Desk) -> None:
            call = _completed(desk, call_id)
            desk.append(LlmCallRetracted(call_id=call_id, reason=reason, replaced=_usage_of(call)))

        self._decide(session_id, work, "llm_calls")
        return self.llm_call(session_id, call_id)

    # queries

    def tool_calls(
        self,
        session_id: str,
        *,
        outcome: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> builtins.list[ToolCall]:
        """The calls of tools of a session, in order; ``outcome="none"``: those without an answer."""
        where = [Filter("stream", "=", stream_of(session_id))]
        if outcome is not None:
            where.append(Filter("outcome", "=", None if outcome == NO_ANSWER else outcome))
        where += [] if name is None else [Filter("name", "=", name)]
        table = self._fresh(TOOL_CALLS)
        with self._source.reader() as reader:
            return reader.select(table, where, order=("position",), limit=limit, offset=offset)

    def tool_call(self, session_id: str, tool_call_id: str) -> ToolCall:
        """A call of a tool. Raises NotFound."""
        return self._one(TOOL_CALLS, "tool call", session_id, tool_call_id)  # type: ignore[no-any-return]

    def llm_calls(
        self, session_id: str, *, status: str | None = None, limit: int | None = None, offset: int = 0
    ) -> builtins.list[LlmCall]:
        """The calls of language models of a session, in order; ``status`` is completed, failed or retracted."""
        where = [Filter("stream", "=", stream_of(session_id))]
        where += [] if status is None else [Filter("status", "=", status)]
        table = self._fresh(LLM_CALLS)
        with self._source.reader() as reader:
            return reader.select(table, where, order=("position",), limit=limit, offset=offset)

    def llm_call(self, session_id: str, call_id: str) -> LlmCall:
        """A call of a language model. Raises NotFound."""
        return self._one(LLM_CALLS, "call", session_id, call_id)  # type: ignore[no-any-return]

    def _one(self, root: Any, what: str, session_id: str, part: str) -> Any:
        table = self._fresh(root)
        key = (stream_of(session_id), part)
        with self._source.reader() as reader:
            if (row := reader.load(table, [key]).get(key)) is None:
                raise _no_call(what, session_id, part)
        return row


def as_usage(given: Usage | Mapping[str, int] | None) -> Usage:
    """Tokens in lanes. Raises InvalidInput for a lane that there is not, and for numbers below 0."""
    if given is None:
        return Usage()
    if isinstance(given, Usage):
        usage = given
    else:
        if unknown := sorted(set(given) - set(LANES)):
            raise InvalidInput(f"tokens are counted in the lanes {', '.join(LANES)}, not in {unknown[0]!r}")
        usage = Usage(**given)
    at_least_zero(**msgspec.structs.asdict(usage))
    return usage


def _usage_of(call: LlmCall) -> Usage:
    return Usage(**{name: getattr(call, name) for name in LANES})


def _completed(desk: Desk, call_id: str) -> LlmCall:
    call: LlmCall | None = desk.row(LLM_CALLS, call_id)
    if call is None:
        raise _no_call("call", desk.session.session_id, call_id)
    if call.status != "completed":
        raise IllegalTransition(f"call {call_id} is {call.status}", call_id=call_id, status=call.status)
    return call


def _no_call(what: str, session_id: str, part: str) -> NotFound:
    return NotFound(
        f"session {str(session_id)[:80]!r} has no {what} {str(part)[:80]!r}", session_id=session_id, id=part
    )
