"""``eventlog sessions show``: a conversation as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from eventlog.cli.as_json import struct_fields, to_json
from eventlog.cli.options import as_of_option, asked, complete_last, view_options
from eventlog.cli.sessions import resolve
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted, show_duration, show_size
from eventlog.cli.view import View

FIRST_LINES, FIRST_CHARACTERS = 12, 1_500
"""So much of what a tool was given, or gave, is shown without --full."""


@click.command()
@click.argument("session", metavar="[SESSION]", default="last", shell_complete=complete_last)
@click.option("--limit", "-n", type=click.IntRange(1), help="Only this many messages, the last ones.")
@click.option("--all", "everything", is_flag=True, help="After it the messages beside it: other branches and agents.")
@click.option("--full", is_flag=True, help="All that tools were called with and answered, and what models thought.")
@as_of_option
@view_options
@pass_state
def show(
    state: State, view: View, as_of: str | None, session: str, limit: int | None, everything: bool, full: bool
) -> None:
    """Show the conversation of SESSION (default: the last one): who said what, tools with outcome and time, tokens.

    JSON: the session's fields; thread (each with message and parts), instances, compactions, summaries; with --all
    also aside, in which messages are as in thread.
    """
    import msgspec

    from eventlog.redaction.shown import shown

    with asked(state, as_of, view) as source:
        found = shown(source.sessions.get(resolve(source, session)))
        thread = shown(source.sessions.conversation(found.session_id))
        parts = {
            name: shown(getattr(source.sessions, name)(found.session_id))
            for name in ("instances", "compactions", "summaries")
        }
        on_it = {one.message.position for one in thread}
        said = source.sessions.said(found.session_id) if everything else []
        aside = shown([one for one in said if one.message.position not in on_it])
        calls = [] if view.is_json else source.sessions.llm_calls(found.session_id)
    last = thread if limit is None else thread[-limit:]
    if view.is_json:
        beside = {"aside": msgspec.to_builtins(aside)} if everything else {}
        view.item(struct_fields(found) | {"thread": msgspec.to_builtins(last)} | parts | beside)
        return
    view.item(found, _fields(found, view, calls))
    own = {one.message.position for one in thread if one.message.stream == f"session-{found.session_id}"}
    if len(last) < len(thread):
        view.say(f"\n({counted(len(thread) - len(last), 'message')} before these)")
    tokens = _by_message(calls)
    for one in last:
        tell_message(view, one, tokens.get(one.message.message_id, ()), full)
    for summary in parts["summaries"]:
        view.say(f"\nsummary\n{_indented(summary.text)}")
    if aside:
        view.say("\nbeside the conversation:")
        for one in aside:
            tell_message(view, one, tokens.get(one.message.message_id, ()), full, with_id=True)
    elif left := found.message_count - len(own):
        view.say(f"\n({counted(left, 'message')} of this session beside the conversation: --all shows them too)")


def _fields(session: Any, view: View, calls: Sequence[Any]) -> Iterator[tuple[str, str]]:
    yield "session", session.session_id
    yield "title", session.title or ""
    yield "status", session.status + (f" ({session.status_reason})" if session.status_reason else "")
    yield "archived", "yes" if session.archived else ""
    yield "kind", session.kind
    yield "workspace", session.workspace_id or ""
    yield "agent", " ".join(text for text in (session.agent, session.agent_version) if text)
    yield "model", " ".join(text for text in (session.provider, session.model) if text)
    yield "directory", session.cwd or ""
    yield "git", " on ".join(text for text in ((session.git_commit or "")[:12], session.git_branch) if text)
    yield "comes from", _origin(session)
    yield "created", view.time(session.created_at)
    yield "updated", view.time(session.updated_at)
    yield "tools", str(session.tool_call_count or "")
    yield "compacted", str(session.compression_count or "")
    yield "tokens", _tokens_of(calls)
    yield "metadata", view.value("metadata", session.metadata)


def _origin(session: Any) -> str:
    if session.parent_session_id is None:
        return ""
    after = f", after message {session.parent_message_id}" if session.parent_message_id else ""
    return f"{session.link or 'child'} of {session.parent_session_id}{after}"


def _by_message(calls: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for call in calls:
        if call.message_id is not None and call.status == "completed":
            found.setdefault(call.message_id, []).append(call)
    return found


def _tokens_of(calls: Sequence[Any]) -> str:
    """``1,234 in (900 cached), 56 out``, or nothing."""
    done = [call for call in calls if call.status == "completed"]
    cached = sum(call.cache_read for call in done)
    given = cached + sum(call.input + call.cache_write_5m + call.cache_write_1h for call in done)
    made = sum(call.output + call.reasoning for call in done)
    if not given and not made:
        return ""
    return f"{given:,} in{f' ({cached:,} cached)' if cached else ''}, {made:,} out"


def tell_message(view: View, said: Any, calls: Sequence[Any], full: bool, *, with_id: bool = False) -> None:
    """A message with its parts, under a line that says whose it is and when it was said."""
    message = said.message
    author = message.role if message.origin in (None, message.role, "human") else f"{message.role} ({message.origin})"
    id_ = (message.message_id,) if with_id else ()
    model = (calls[0].model or "") if calls else ""
    about = (*id_, author, view.time(message.occurred_at)[:19], model, _tokens_of(calls))
    view.say("\n" + " · ".join(text for text in about if text))
    for piece in said.parts:
        if text := piece_text(piece, full=full):
            view.say(_indented(text))


def piece_text(piece: Any, *, full: bool) -> str:
    """A part of a message as text; what is long is cut, unless it is wanted in ``full``."""
    cut = str if full else _cut
    match piece.type:
        case "text":
            return str(piece.text or "")
        case "reasoning":
            return f"(thought) {cut(piece.text or '')}" if piece.text else ""
        case "tool_call":
            call = f"→ {piece.name} {cut(_json(piece.arguments))}".rstrip() + _ended(piece)
            return f"{call}\n{_indented(cut(answer))}" if (answer := _answer(piece)) else call
        case "tool_call_response":
            return f"← {piece.name or piece.tool_call_id}{_ended(piece)}\n{_indented(cut(_answer(piece)))}".rstrip()
        case "blob":
            return _blob(piece)
        case "uri":
            return f"[{piece.mime_type or 'link'}] {piece.uri}"
    return f"[{piece.type}] {cut(_json(piece.data))}"


def first_words(said: Any) -> str:
    """The beginning of what a message says, for a list."""
    texts = (piece_text(piece, full=False) for piece in said.parts)
    return " ".join(text for text in texts if text)[:400]


def _answer(piece: Any) -> str:
    if piece.sha256 is not None:
        return _blob(piece)
    return "" if piece.result is None else _json(piece.result)


def _blob(piece: Any) -> str:
    about = f"[{piece.mime_type or 'blob'}, {show_size(piece.size_bytes)}, sha256 {piece.sha256}]"
    return f"{about}\n{piece.text}" if piece.text else about


def _ended(piece: Any) -> str:
    if piece.outcome is None:
        return ""
    exit_code = f", exit {piece.exit_code}" if piece.exit_code is not None else ""
    error = f", {piece.error_type}" if piece.error_type else ""
    took = f", {show_duration(piece.duration_us)}" if piece.duration_us is not None else ""
    return f"  [{piece.outcome}{exit_code}{error}{took}]"


def _json(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else to_json(value)


def _cut(text: str) -> str:
    lines = text.splitlines()
    shown = "\n".join(lines[:FIRST_LINES])[:FIRST_CHARACTERS]
    left = len(text) - len(shown)
    return shown if left <= 1 else f"{shown} … ({left:,} more characters)"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
