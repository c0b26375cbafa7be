"""What opencode's messages and parts say, as events (``packages/opencode/src/session/message-v2.ts``)."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import UNSET, Raw

from eventlog.codec import to_json
from eventlog.events.agents import (
    AnyPart,
    BlobPart,
    ContextCompacted,
    LlmCallCompleted,
    LlmCallFailed,
    Outcome,
    RawPart,
    ReasoningPart,
    ToolCallFinished,
    ToolCallPart,
    ToolCallResponsePart,
    ToolCallStarted,
    UriPart,
    Usage,
)
from eventlog.importers.calls import Call
from eventlog.importers.claude import micro_usd
from eventlog.importers.intake import Intake, Wanted, key_of
from eventlog.importers.opencode_store import Found
from eventlog.importers.places import count, mapping, text

AGENT = "opencode"
_FINISH = {"tool-calls": "tool_call", "content-filter": "content_filter"}
_SILENT = ("step-start", "step-finish", "compaction")
"""Parts that are no part of what was said."""
_REPEATED = ("id", "sessionID", "messageID")


class Context(NamedTuple):
    """What a message stands in."""

    stream: str
    workspace: str | None
    intake: Intake
    tools: dict[str, str]
    """Ids of the calls of tools in this session, and the part that has each."""


def us(given: Any) -> int | None:
    """µs of a time in ms; None for what is none."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < 2**43:
        return None
    return int(given * 1000)


def parts_of(found: list[Found], context: Context) -> list[AnyPart]:
    """The parts of what was said; one that is not as it should be is there as it is."""
    made: list[AnyPart] = []
    for one in found:
        if one.value is not None and one.value.get("type") not in _SILENT:
            try:
                made += _part(one, one.value, context)
            except (KeyError, TypeError):
                made.append(_raw(one.value, context.intake))
    return made


def _part(one: Found, part: dict[str, Any], context: Context) -> list[AnyPart]:
    intake, kind = context.intake, part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return [intake.text(part["text"])] if part["text"] else []
    if kind == "reasoning" and isinstance(part.get("text"), str):
        told = intake.text(part["text"], of="reasoning")
        return [told if isinstance(told, BlobPart) else ReasoningPart(text=told.text)]  # type: ignore[union-attr]
    if kind == "file" and isinstance(part.get("url"), str) and not part["url"].startswith("data:"):
        return [UriPart(uri=intake.masker.text(part["url"]), mime_type=text(part.get("mime")))]
    if kind == "subtask" and isinstance(part.get("prompt"), str):
        return [intake.text(part["prompt"]), _raw(part, intake, "prompt")]
    if kind == "tool":
        call = _call_id(one, part, context)
        asked: AnyPart = ToolCallPart(id=call, name=str(part["tool"]))
        answered = mapping(part["state"]).get("status") in ("completed", "error")
        return [asked, ToolCallResponsePart(id=call)] if answered else [asked]
    return [_raw(part, intake)]


def _raw(part: dict[str, Any], intake: Intake, *without: str) -> AnyPart:
    rest = {name: item for name, item in part.items() if name not in (*_REPEATED, *without)}
    data = intake.raw(rest)
    return data if isinstance(data, BlobPart) else RawPart(data=data)


def _call_id(one: Found, part: dict[str, Any], context: Context) -> str:
    """The id of a call; some models number theirs in each answer anew, and then it is that of the part."""
    given = part["callID"]
    if not isinstance(given, str) or not given:
        raise TypeError("the id of a call is no text")
    return given if context.tools.setdefault(given, one.id) == one.id else one.id


def tools_of(found: list[Found], message_id: str, at: int | None, context: Context) -> list[Wanted]:
    """The calls of tools, and their answers as far as they are there."""
    wanted: list[Wanted] = []
    for one in found:
        part = one.value
        if part is None or part.get("type") != "tool":
            continue
        try:
            state, call = mapping(part["state"]), _call_id(one, part, context)
        except (KeyError, TypeError):
            continue
        time = mapping(state.get("time"))
        start, end = us(time.get("start")), us(time.get("end"))
        arguments = context.intake.raw(state["input"]) if "input" in state else None
        started = ToolCallStarted(
            tool_call_id=call,
            name=str(part.get("tool")),
            arguments=arguments if isinstance(arguments, Raw) else UNSET,
            blob=arguments if isinstance(arguments, BlobPart) else None,
            message_id=message_id,
            workspace_id=context.workspace,
            agent=AGENT,
        )
        if state.get("status") != "pending":
            # What is still being written has no arguments yet.
            asked = key_of("opencode", "asked", one.id)
            wanted.append(Wanted(context.stream, [started], asked, at if start is None else start))
        if state.get("status") in ("completed", "error"):
            finished = _finished(call, str(part.get("tool")), state, start, end, context.intake)
            answered = key_of("opencode", "answered", one.id)
            wanted.append(Wanted(context.stream, [finished], answered, at if end is None else end))
    return wanted


def _finished(
    call: str, tool: str, state: dict[str, Any], start: int | None, end: int | None, intake: Intake
) -> ToolCallFinished:
    metadata = dict(mapping(state.get("metadata")))
    output = state.get("output", state.get("error"))
    if output is not None and metadata.get("output") == output:
        metadata.pop("output")
    code = metadata.get("exit")
    exit_code = code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**62 else None
    result = None if output is None else intake.raw(output)
    about = {name: item for name, item in (("title", state.get("title")), ("metadata", metadata)) if item}
    attached = state.get("attachments")
    details = intake.raw({**about, **({"attachments": attached} if attached else {})}) if about or attached else UNSET
    return ToolCallFinished(
        tool_call_id=call,
        outcome=_outcome(tool, state, metadata, exit_code),
        result=result if isinstance(result, Raw) else UNSET,
        blob=result if isinstance(result, BlobPart) else None,
        details=Raw(to_json(details)) if isinstance(details, BlobPart) else details,
        exit_code=exit_code,
        duration_us=None if start is None or end is None or end < start else end - start,
        child_session_id=text(metadata.get("sessionId")) or text(metadata.get("sessionID")),
    )


def _outcome(tool: str, state: dict[str, Any], metadata: dict[str, Any], exit_code: int | None) -> Outcome:
    """``completed`` says only that the tool came to its end: not that there was such a tool, or that it was of use."""
    if state.get("status") == "error":
        aborted = metadata.get("interrupted") is True or "abort" in str(state.get("error"))[:60].lower()
        return "cancelled" if aborted else "error"
    return "error" if tool == "invalid" or exit_code else "ok"


def calls_of(name: str, message: dict[str, Any], found: list[Found], at: int | None, context: Context) -> list[Call]:
    """The calls of the model that an answer took: one for each step, and where no step is told, one.

    Their number is their key, so what a message says before its steps are known is the account of the first.
    """
    steps = [one.value for one in found if one.value is not None and one.value.get("type") == "step-finish"]
    time = mapping(message.get("time"))
    begun, done = us(time.get("created")), us(time.get("completed"))
    given: list[dict[str, Any]] = steps or [message]
    made = []
    for number, account in enumerate(given):
        tokens = mapping(account.get("tokens"))
        usage = usage_of(tokens)
        if not usage.total:
            continue
        last = number == len(given) - 1
        reason = text(account.get("reason")) or text(message.get("finish"))
        cost = micro_usd(account.get("cost"))
        alone = len(given) == 1 and begun is not None and done is not None and done >= begun
        event = LlmCallCompleted(
            call_id=f"{name}:{number}" if number else name,
            usage=usage,
            quality="exact" if steps or done is not None else "partial",
            provider=text(message.get("providerID")),
            request_model=text(message.get("modelID")),
            message_id=name,
            finish_reasons=(_FINISH.get(reason, reason),) if reason else (),
            duration_us=done - begun if alone and done is not None and begun is not None else None,
            # Subscriptions cost nothing a call: what one is worth is not told.
            reported_cost_micro_usd=cost or None,
            raw_usage=Raw(to_json({"tokens": tokens, "cost": account.get("cost")})),
            workspace_id=context.workspace,
            agent=AGENT,
        )
        when = done if last and done is not None else at
        made.append(Call(context.stream, event, key_of("opencode", "call", name, number), when))
    return made


def usage_of(tokens: dict[str, Any]) -> Usage:
    """The account of opencode, whose numbers share nothing."""
    cache = mapping(tokens.get("cache"))
    return Usage(
        input=count(tokens.get("input")) or 0,
        cache_read=count(cache.get("read")) or 0,
        cache_write_5m=count(cache.get("write")) or 0,
        output=count(tokens.get("output")) or 0,
        reasoning=count(tokens.get("reasoning")) or 0,
    )


def failure_of(name: str, message: dict[str, Any], context: Context) -> LlmCallFailed | None:
    """What went wrong in an answer that used no token."""
    error = mapping(message.get("error"))
    if not error or usage_of(mapping(message.get("tokens"))).total:
        return None
    told = text(mapping(error.get("data")).get("message")) or ""
    return LlmCallFailed(
        call_id=f"{name}:failed",
        error_type=(text(error.get("name")) or "unknown")[:200],
        message=context.intake.masker.text(told)[:2000],
        provider=text(message.get("providerID")),
        request_model=text(message.get("modelID")),
        workspace_id=context.workspace,
        agent=AGENT,
    )


def compactions_of(found: list[Found], before: str | None) -> list[tuple[str, ContextCompacted]]:
    """Where the conversation is shortened, by the ids of the parts that say so."""
    made = []
    for one in found:
        if one.value is not None and one.value.get("type") == "compaction":
            trigger = "overflow" if one.value.get("overflow") else "auto" if one.value.get("auto") else "manual"
            made.append((one.id, ContextCompacted(trigger=trigger, covers_to_message_id=before)))
    return made
