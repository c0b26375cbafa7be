"""What a Codex thread says, as parts of messages and calls of tools. What is here knows nothing of what came before."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from msgspec import UNSET, Raw

from eventlog.events import Event
from eventlog.events.agents import (
    AnyPart,
    BlobPart,
    Origin,
    RawPart,
    ReasoningPart,
    Role,
    ToolCallFinished,
    ToolCallPart,
    ToolCallResponsePart,
    ToolCallStarted,
    UriPart,
)
from eventlog.importers.codex_usage import Ended, ended
from eventlog.importers.intake import INLINE_BYTES, Intake
from eventlog.importers.places import mapping, text

AGENT = "codex"
_INJECTED = (
    "<environment_context>", "<user_instructions>", "# AGENTS.md instructions", "<permissions instructions>",
    "<turn_aborted>", "<user_shell_command>", "<skill>", "<subagent_notification>", "<collaboration_mode>",
    "<personality_spec>", "<apps_instructions>", "<INSTRUCTIONS>", "<model_switch>", "<hook_prompt",
)  # fmt: skip
"""How what Codex itself says in the name of the user begins."""
CALLS = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "local_shell_call": "action",
    "tool_search_call": "arguments",
    "web_search_call": "action",
    "image_generation_call": "revised_prompt",
}
"""Items that call a tool, and where they have what with."""
ANSWERS = ("function_call_output", "custom_tool_call_output", "tool_search_output", "mcp_tool_call_output")
_WHOLE = ("web_search_call", "image_generation_call")
"""These are the call and its answer in one."""


class Said(NamedTuple):
    """A message: who said it, its parts, and the texts by which another account of it is known."""

    role: Role
    origin: Origin | None
    parts: tuple[AnyPart, ...]
    texts: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    """What is done with it."""
    thought: bool = False


def message(payload: dict[str, Any], intake: Intake) -> Said:
    """An item of type ``message``."""
    given = payload.get("content")
    blocks = [{"type": "input_text", "text": given}] if isinstance(given, str) else given
    blocks = blocks if isinstance(blocks, list) else []
    texts = [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
    whole = "".join(texts)
    role = payload.get("role")
    parts = tuple(_part(block, intake) for block in blocks)
    if role == "assistant":
        return Said("assistant", None, parts, (whole,))
    if role == "user":
        return Said("user", "runtime" if whole.lstrip().startswith(_INJECTED) else "human", parts, (whole,))
    return Said("system", "runtime", parts, (whole,))


def _part(block: Any, intake: Intake) -> AnyPart:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind in ("input_text", "output_text", "text") and isinstance(block.get("text"), str):
        return intake.text(block["text"])
    if kind == "input_image" and isinstance(block.get("image_url"), str):
        return image(block["image_url"], intake)
    return raw_part(block, intake)


def image(url: str, intake: Intake) -> AnyPart:
    """A picture: by its address, or as it stands where the address is the picture."""
    if url.startswith("data:"):
        return raw_part({"type": "input_image", "image_url": url}, intake)
    return UriPart(uri=intake.masker.text(url))


def raw_part(value: Any, intake: Intake) -> AnyPart:
    """What has no type here, as it is."""
    data = intake.raw(value)
    return data if isinstance(data, BlobPart) else RawPart(data=data)


def event_message(payload: dict[str, Any], intake: Intake) -> Said | None:
    """What an event says that is a second account of an item; None: it is no such event."""
    kind = payload.get("type")
    if kind == "user_message" and isinstance(payload.get("message"), str):
        told = payload["message"]
        pictures = payload.get("images")
        urls = [one for one in pictures if isinstance(one, str)] if isinstance(pictures, list) else []
        parts = (*((intake.text(told),) if told else ()), *(image(url, intake) for url in urls))
        injected = told.lstrip().startswith(_INJECTED) or payload.get("kind") in (
            "environment_context",
            "user_instructions",
        )
        return Said("user", "runtime" if injected else "human", parts, (told,))
    if kind == "agent_message" and isinstance(payload.get("message"), str):
        return Said("assistant", None, (intake.text(payload["message"]),), (payload["message"],))
    if kind in ("agent_reasoning", "agent_reasoning_raw_content") and isinstance(payload.get("text"), str):
        return Said("assistant", None, (_thought(payload["text"], None, intake),), (payload["text"],), thought=True)
    return None


def reasoning(payload: dict[str, Any], intake: Intake) -> Said:
    """An item of type ``reasoning``; what is encrypted in it is what its provider wants back."""
    texts = [*_texts(payload.get("summary")), *_texts(payload.get("content"))]
    signature = text(payload.get("encrypted_content"))
    return Said("assistant", None, (_thought("\n\n".join(texts), signature, intake),), tuple(texts), thought=True)


def _texts(blocks: Any) -> list[str]:
    blocks = blocks if isinstance(blocks, list) else []
    return [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]


def _thought(told: str, signature: str | None, intake: Intake) -> AnyPart:
    part = intake.text(told, of="reasoning")
    if isinstance(part, BlobPart):
        return part
    if signature is not None and len(signature) > INLINE_BYTES:
        return raw_part({"type": "reasoning", "text": told, "encrypted_content": signature}, intake)
    return ReasoningPart(text=part.text, signature=signature)  # type: ignore[union-attr]


def asked(payload: dict[str, Any], name: str, workspace: str | None, intake: Intake) -> Said:
    """An item that calls a tool; ``name`` is its own id."""
    kind = str(payload["type"])
    call_id = text(payload.get("call_id")) or text(payload.get("id")) or name
    tool = text(payload.get("name")) or kind.removesuffix("_call")
    given = _decoded(payload.get(CALLS[kind]))
    arguments = None if given is None else intake.raw(given)
    started = ToolCallStarted(
        tool_call_id=call_id,
        name=tool,
        arguments=arguments if isinstance(arguments, Raw) else UNSET,
        blob=arguments if isinstance(arguments, BlobPart) else None,
        category=text(payload.get("namespace")),
        message_id=name,
        workspace_id=workspace,
        agent=AGENT,
    )
    events: tuple[Event, ...] = (started,)
    if kind in _WHOLE:
        status = payload.get("status")
        outcome = Ended("ok" if status == "completed" else "error" if status == "failed" else "unknown")
        events = (started, _finished(call_id, payload.get("result"), outcome, intake))
    return Said("assistant", None, (ToolCallPart(id=call_id, name=tool),), (), events)


def answered(payload: dict[str, Any], known: Ended | None, intake: Intake) -> Said:
    """An item that answers a call; ``known``: what Codex reported of how it ended. KeyError without a call's id."""
    call_id = payload["call_id"]
    if not isinstance(call_id, str):
        raise TypeError("the id of a call is no text")
    output = payload.get("output", payload.get("tools"))
    end = ended(output, _decoded(output))
    if known is not None:
        outcome = end.outcome if known.outcome == "unknown" else known.outcome
        end = Ended(
            outcome,
            end.exit_code if known.exit_code is None else known.exit_code,
            end.duration_us if known.duration_us is None else known.duration_us,
            end.child or known.child,
        )
    if end.outcome == "unknown" and payload.get("status") == "completed":
        end = end._replace(outcome="ok")
    part = ToolCallResponsePart(id=call_id)
    return Said("tool", "tool", (part,), (), (_finished(call_id, output, end, intake),))


def _finished(call_id: str, output: Any, end: Ended, intake: Intake) -> ToolCallFinished:
    result = None if output is None else intake.raw(output)
    return ToolCallFinished(
        tool_call_id=call_id,
        outcome=end.outcome,
        result=result if isinstance(result, Raw) else UNSET,
        blob=result if isinstance(result, BlobPart) else None,
        exit_code=end.exit_code,
        duration_us=end.duration_us,
        child_session_id=end.child,
    )


def _decoded(given: Any) -> Any:
    """What a text that is JSON says; anything else as it is."""
    if not isinstance(given, str) or given[:1] not in ("{", "["):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return given


def about(payload: dict[str, Any]) -> dict[str, Any]:
    """What the first record of a thread says besides."""
    source = payload.get("source")
    found = {
        "originator": payload.get("originator"),
        "source": source if isinstance(source, str) else None,
        "history_base": payload.get("history_base"),
        "history_mode": payload.get("history_mode"),
        "thread_source": payload.get("thread_source"),
    }
    for where in (payload, mapping(mapping(mapping(source).get("subagent")).get("thread_spawn"))):
        for name in ("agent_nickname", "agent_role", "agent_path", "depth"):
            if where.get(name) is not None:
                found[name] = where[name]
    return {name: item for name, item in found.items() if item is not None}
