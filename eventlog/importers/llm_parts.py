"""What is in a message of ``llm``: texts put together from fragments, attachments, calls of tools and their results."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw

from eventlog.codec import to_json
from eventlog.events import Event
from eventlog.events.agents import (
    AnyPart,
    BlobPart,
    RawPart,
    ReasoningPart,
    ToolCallFinished,
    ToolCallPart,
    ToolCallResponsePart,
    ToolCallStarted,
    UriPart,
)
from eventlog.importers.cells import json_or, text
from eventlog.importers.foreign import Foreign, Row
from eventlog.importers.intake import Intake

AGENT = "llm"


class Parts:
    """Reads the parts of messages and of calls of both forms."""

    def __init__(self, database: Foreign, intake: Intake) -> None:
        self._intake = intake
        self._read_bytes = 0
        by = database.by
        self._parts = by("parts", "message_hash")
        self._fragments = by("fragments", "id") if "fragments" in database else lambda value: []
        self._attachments = by("attachments", "id")
        self._prompt_attachments = by("prompt_attachments", "response_id")
        self._prompt_fragments = by("prompt_fragments", "response_id")
        self._system_fragments = by("system_fragments", "response_id")
        self._tool_calls = by("tool_calls", "response_id")
        self._tool_results = by("tool_results", "response_id")
        self._result_attachments = by("tool_results_attachments", "tool_result_id")
        self._tools = by("tools", "id")
        self.response_tools = by("tool_responses", "response_id")
        self.turn_tools = by("turn_tools", "turn_id")
        self.turn_fragments = by("turn_fragments", "turn_id")

    def read_bytes(self) -> int:
        """How many bytes of content were read since this was asked last."""
        size, self._read_bytes = self._read_bytes, 0
        return size

    # the newer form

    def of_message(self, digest: str, actions: list[Event]) -> list[AnyPart]:
        """The parts of a message; what tools were called with, or answered, goes to ``actions``."""
        rows = sorted(self._parts(digest), key=lambda row: row.values["position"] or 0)
        made: list[AnyPart] = []
        for row in rows:
            self._read_bytes += row.size
            values = row.values
            payload = json_or(values["payload"], {})
            if not isinstance(payload, dict):
                payload = {"payload": payload}
            try:
                made += self._part(values, payload, digest, actions)
            except (KeyError, TypeError, ValueError, AttributeError):
                made.append(self._unknown(values, payload))
        return made

    def _part(
        self, values: dict[str, Any], payload: dict[str, Any], digest: str, actions: list[Event]
    ) -> list[AnyPart]:
        kind = values["type"]
        said = self._said(values, payload)
        call = text(payload.get("tool_call_id")) or f"{digest}#{values['position']}"
        name = text(values["tool_name"]) or text(payload.get("name")) or "?"
        if kind == "text" and said is not None:
            return [self._intake.text(said)]
        if kind == "reasoning" and said is not None:
            return [self._thought(said)]
        if kind == "tool_call":
            actions.append(self._asked(call, name, payload.get("arguments"), digest))
            return [ToolCallPart(id=call, name=name)]
        if kind == "tool_result":
            attached = [one.get("id") for one in payload.get("attachments") or [] if isinstance(one, dict)]
            actions.append(self._answered(call, name, payload.get("output"), text(payload.get("exception"))))
            return [ToolCallResponsePart(id=call), *(part for one in attached for part in self._attachment(one))]
        if kind == "attachment" and isinstance(payload.get("attachment"), dict):
            return self._attachment(payload["attachment"].get("id"))
        return [self._unknown(values, payload)]

    def _unknown(self, values: dict[str, Any], payload: dict[str, Any]) -> AnyPart:
        data = self._intake.raw({"type": str(values["type"]), "text": text(values["text"]), **payload})
        return data if isinstance(data, BlobPart) else RawPart(data=data)

    def _said(self, values: dict[str, Any], payload: dict[str, Any]) -> str | None:
        if isinstance(values["text"], str):
            return values["text"]
        if isinstance(payload.get("text"), str):
            return str(payload["text"])
        pieces = payload.get("text_ref")
        if not isinstance(pieces, list):
            return None
        return "".join(
            str(piece["literal"]) if "literal" in piece else self._fragment(piece.get("fragment")) for piece in pieces
        )

    # fragments, tools, attachments

    def _fragment(self, number: Any) -> str:
        found = self._fragments(number)
        if not found:
            return ""
        self._read_bytes += found[0].size
        return found[0].values["content"] or ""

    def fragment_named(self, number: Any) -> dict[str, Any]:
        """Which fragment that is, and where it came from; not what is in it."""
        found = self._fragments(number)
        return {"hash": found[0].values["hash"], "source": found[0].values["source"]} if found else {"id": number}

    def tool(self, number: Any) -> dict[str, Any]:
        """A tool that a model was offered."""
        found = self._tools(number)
        if not found:
            return {"id": number}
        values = found[0].values
        schema = json_or(values["input_schema"])
        return {"name": values["name"], "description": values["description"], "input_schema": schema}

    def _attachment(self, digest: Any) -> list[AnyPart]:
        found = self._attachments(digest)
        if not found:
            return [RawPart(data=Raw(to_json({"attachment": digest})))]
        self._read_bytes += found[0].size
        values = found[0].values
        kind = text(values["type"])
        if found[0].too_big:
            return [RawPart(data=Raw(to_json({"attachment": digest, "type": kind, "problem": "too long to be read"})))]
        if isinstance(values["content"], str):
            return [self._intake.blob(values["content"].encode(), of="attachment", mime_type=kind)]
        if isinstance(values["content"], bytes) and values["content"]:
            return [self._intake.blob(values["content"], of="attachment", mime_type=kind)]
        place = text(values["url"]) or text(values["path"])
        return [UriPart(uri=self._intake.masker.text(place or f"sha256:{digest}"), mime_type=kind)]

    # tools

    def _thought(self, said: str) -> AnyPart:
        part = self._intake.text(said, of="reasoning")
        return part if isinstance(part, BlobPart) else ReasoningPart(text=part.text)  # type: ignore[union-attr]

    def _asked(self, call: str, name: str, arguments: Any, message: str) -> ToolCallStarted:
        data = None if arguments is None else self._intake.raw(arguments)
        return ToolCallStarted(
            tool_call_id=call,
            name=name,
            arguments=data if isinstance(data, Raw) else UNSET,
            blob=data if isinstance(data, BlobPart) else None,
            message_id=message,
            agent=AGENT,
        )

    def _answered(self, call: str, name: str, output: Any, exception: str | None) -> ToolCallFinished:
        data = None if output is None else self._intake.raw(output)
        return ToolCallFinished(
            tool_call_id=call,
            name=name,
            outcome="error" if exception else "ok",
            result=data if isinstance(data, Raw) else UNSET,
            blob=data if isinstance(data, BlobPart) else None,
            error_type=None if exception is None else self._intake.masker.text(exception)[:500],
        )

    # the older form

    def old_system(self, row: Row) -> list[AnyPart]:
        """What the system was told: the fragments, then the text."""
        return self._old_text(self._system_fragments(row.values["id"]), row.values["system"])

    def old_prompt(self, row: Row) -> list[AnyPart]:
        """What was asked: the fragments, the text, the attachments."""
        response = row.values["id"]
        made = self._old_text(self._prompt_fragments(response), row.values["prompt"])
        for one in sorted(self._prompt_attachments(response), key=_order):
            made += self._attachment(one.values["attachment_id"])
        return made

    def _old_text(self, fragments: list[Row], said: Any) -> list[AnyPart]:
        texts = [self._fragment(one.values["fragment_id"]) for one in sorted(fragments, key=_order)]
        texts += [said] if isinstance(said, str) else []
        return [self._intake.text(one) for one in texts if one]

    def old_answer(self, row: Row, actions: list[Event]) -> list[AnyPart]:
        """What was answered: what was thought, the text, the calls of tools."""
        values = row.values
        made: list[AnyPart] = []
        if thought := text(values.get("reasoning")):
            made.append(self._thought(thought))
        if said := text(values["response"]):
            made.append(self._intake.text(said))
        for one in self._tool_calls(values["id"]):
            call = text(one.values["tool_call_id"]) or f"{values['id']}#{one.number}"
            name = text(one.values["name"]) or "?"
            made.append(ToolCallPart(id=call, name=name))
            actions.append(self._asked(call, name, json_or(one.values["arguments"]), f"{values['id']}:response"))
        return made

    def old_results(self, response: str, actions: list[Event]) -> list[AnyPart]:
        """What the tools answered that the model was given."""
        made: list[AnyPart] = []
        for one in self._tool_results(response):
            self._read_bytes += one.size
            call = text(one.values["tool_call_id"]) or f"{response}#{one.number}"
            made.append(ToolCallResponsePart(id=call))
            exception = text(one.values.get("exception"))
            actions.append(self._answered(call, text(one.values["name"]) or "?", one.values["output"], exception))
            for attached in self._result_attachments(one.values["id"]):
                made += self._attachment(attached.values["attachment_id"])
        return made

    def old_fragments(self, response: str) -> list[dict[str, Any]]:
        """Which fragments a call was given."""
        kinds = (("prompt", self._prompt_fragments), ("system", self._system_fragments))
        return [
            {**self.fragment_named(one.values["fragment_id"]), "kind": kind}
            for kind, rows in kinds
            for one in sorted(rows(response), key=_order)
        ]


def _order(row: Row) -> int:
    order = row.values.get("order")
    return order if isinstance(order, int) else 0
