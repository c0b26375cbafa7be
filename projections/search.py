"""`search_documents`: what can be searched, a row per event: messages, calls of tools and their results, commands,
notes, summaries. The text is in the record at this position; of one text 32,000 bytes are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from eventlog.events.agents import (
    BlobPart,
    MessageAdded,
    ReasoningPart,
    SummaryAdded,
    TextPart,
    ToolCallFinished,
    ToolCallStarted,
)
from eventlog.events.jobs import JobEnqueued
from eventlog.events.projects import ProjectAdded, ProjectUpdated
from eventlog.events.runs import RunNoted, RunStarted, RunUpdated
from eventlog.projection import Journal, Record, SearchableRow, Words

LONG = 1000
"""Characters: so long a text of ASCII without a space is data, which nobody looks for."""
MAX_LEAVES = 10_000
SHELL = "shell"
"""The kind of jobs that are a command."""


class SearchDocument(SearchableRow, frozen=True):
    """Something with a text. ``kind`` is message, tool_call, tool_result, command, note or summary.

    ``role`` is a message's; ``name`` that of a tool, of a job's kind, or of who speaks.
    """

    position: int
    stream: str
    kind: str
    role: str | None
    name: str | None
    occurred_at: int


def leaves(value: Any) -> Iterator[str]:
    """The texts in a JSON value, in order; not those that say of what type something is, and no data in base 64."""
    pending = [value]
    for _ in range(MAX_LEAVES):
        if not pending:
            return
        value = pending.pop()
        if isinstance(value, str):
            if len(value) < LONG or not _is_data(value):
                yield value
        elif isinstance(value, dict):
            pending += [inner for key, inner in reversed(value.items()) if key != "type"]
        elif isinstance(value, list):
            pending += reversed(value)


def _is_data(text: str) -> bool:
    start = text[:LONG]
    return start.isascii() and " " not in start and "\n" not in start


def text_of_json(raw: Raw | UnsetType) -> str:
    """The texts in a JSON value, a line each."""
    if raw is UNSET:
        return ""
    try:
        return "\n".join(leaves(msgspec.json.decode(raw)))
    except (msgspec.DecodeError, RecursionError):
        # Nested too deeply, or text that is none: what stands there can be searched as it is.
        return bytes(raw).decode("utf-8", "replace")


def _message(event: MessageAdded) -> str:
    texts = []
    for part in event.parts:
        kind = type(part)
        if kind is TextPart or kind is ReasoningPart:
            texts.append(part.text)  # type: ignore[union-attr]
        elif kind is BlobPart:
            texts.append(part.head)  # type: ignore[union-attr]
    return texts[0] if len(texts) == 1 else "\n".join(texts)


def _arguments(event: ToolCallStarted) -> str:
    text = text_of_json(event.arguments)
    return text if event.blob is None or text else event.blob.head


def _result(event: ToolCallFinished) -> str:
    text = text_of_json(event.result)
    return text if event.blob is None or text else event.blob.head


def _updated_run(event: RunUpdated) -> str:
    return event.note if isinstance(event.note, str) else ""


def _updated_project(event: ProjectUpdated) -> str:
    return event.note if isinstance(event.note, str) else ""


def _job(event: JobEnqueued) -> str:
    if event.kind != SHELL:
        return ""
    return " ".join(leaves([event.args.get("command"), event.args.get("argv")]))


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(text for text in texts if text)


_TEXTS: dict[type[Any], tuple[str, Callable[[Any], str]]] = {
    MessageAdded: ("message", _message),
    ToolCallStarted: ("tool_call", _arguments),
    ToolCallFinished: ("tool_result", _result),
    SummaryAdded: ("summary", lambda event: event.text),
    RunStarted: ("command", lambda event: _lines((event.command, event.note))),
    RunNoted: ("note", lambda event: event.note),
    RunUpdated: ("note", _updated_run),
    JobEnqueued: ("command", _job),
    ProjectAdded: ("note", lambda event: event.note),
    ProjectUpdated: ("note", _updated_project),
}
"""Of each event what kind of text it has, and the text."""


def text_of(event: Any) -> str:
    """What of an event can be searched; empty where there is nothing."""
    entry = _TEXTS.get(type(event))
    return "" if entry is None else entry[1](event)


def document(event: Any, record: Record) -> SearchDocument | None:
    """The row of an event, where it has a text."""
    kind, text_in = _TEXTS[type(event)]
    text = text_in(event)
    if not text:
        return None
    name = event.kind if type(event) is JobEnqueued else getattr(event, "name", None)
    role = event.role if type(event) is MessageAdded else None
    return SearchDocument(record.position, record.stream, kind, role, name, record.occurred_at, text=text)


projections = (
    Journal(
        "search_documents",
        version=1,
        row=SearchDocument,
        types=tuple(_TEXTS),
        make=document,
        words=Words(facets=("stream", "kind", "role", "name"), time="occurred_at"),
    ),
)
