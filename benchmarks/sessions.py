"""Sessions: one more message in a long conversation against an empty one, threads, rebuilds of all tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Raw

import eventlog
from benchmarks.harness import Figure, interleave, told
from benchmarks.logs import Bench
from eventlog import Append, Event
from eventlog.events.agents import (
    LlmCallCompleted,
    MessageAdded,
    TextPart,
    ToolCallFinished,
    ToolCallPart,
    ToolCallResponsePart,
    ToolCallStarted,
    Usage,
)
from eventlog.events.sessions import SessionCreated, SessionStatusChanged

LONG = 10_000
TEXT = "The test of receipts fails because the sum is rounded twice. " * 5
TURN = 6
"""Events of one turn: a question, an answer with its call of a model, a call of a tool with its end, its answer."""
TURNS = 50
A_SESSION = TURN * TURNS + 2


def run(bench: Bench) -> Iterator[Figure]:
    """Bars: p50 within 1.5 times of an empty session; 100,000 events a second."""
    yield from _append(bench)
    yield from _rebuild(bench)


def _append(bench: Bench) -> Iterator[Figure]:
    length = LONG if bench.size.name != "tiny" else LONG // 10
    with eventlog.open(bench.fresh("sessions")) as log:
        log.sessions.create(session_id="long")
        said = [
            MessageAdded(message_id=f"m{n}", role="user", parent_id=f"m{n - 1}" if n else None) for n in range(length)
        ]
        with told(f"making a session of {length:,} messages"):
            log.append("session-long", said, durability="process")
        log.sessions.create(session_id="empty")

        def add(session_id: str) -> None:
            log.sessions.add_message(session_id, "user", TEXT, durability="process")

        rounds = max(200, bench.size.process_singles // 2) if bench.size.name != "tiny" else 50
        here, there = interleave(rounds, lambda: add("empty"), lambda: add("long"))
        yield Figure(
            id="sessions.append",
            what=f"add_message to a session of {length:,} messages, over an empty one, p50, durability=process",
            unit="ms",
            ours=there.median * 1e3,
            raw=here.median * 1e3,
            against="an empty session",
            ratio=there.median / here.median,
            bar=1.5,
            sense="<=",
        )
        log.sessions.fork("long", new_session_id="fork")
        one, two = interleave(
            bench.size.queries, lambda: log.sessions.thread("long"), lambda: log.sessions.thread("fork")
        )
        for name, timing, what in (("thread", one, "its thread"), ("thread.fork", two, "the thread of a fork of it")):
            yield Figure(id=f"sessions.{name}", what=what, unit="ms", ours=timing.median * 1e3)


def _rebuild(bench: Bench) -> Iterator[Figure]:
    events = bench.size.log_events
    path = bench.fresh("session-events")
    with told(f"making a log of {events:,} session events"):
        made = fill(path, events)
    with eventlog.open(path, projections="deferred") as log:
        log.projections.rebuild()
        seconds, _ = interleave(min(3, bench.size.rounds), lambda: log.projections.rebuild(), lambda: None)
        yield Figure(
            id="sessions.rebuild",
            what=f"rebuild of all projections from {made:,} session events",
            unit="events/s",
            ours=made / seconds.median,
            bar=100_000,
            on_value=True,
        )


def fill(path: Path, events: int) -> int:
    """A log of sessions of some 300 events each; how many events there are."""
    position, start = 0, time.time_ns() // 1000 - events * 1000
    with eventlog.open(path, projections="off") as log:
        appends: list[Append] = []
        for number in range(max(1, events // A_SESSION)):
            appends += session(number, start + number * A_SESSION * 1000)
            if len(appends) > 5_000:
                position = log.append_many(appends, durability="process")[-1].last
                appends = []
        if appends:
            position = log.append_many(appends, durability="process")[-1].last
    return position


def session(number: int, at: int) -> Iterator[Append]:
    """The appends of a session, one a turn."""
    stream = f"session-{number:08}"
    agent, workspace = f"agent-{number % 3}", f"{number % 20:016x}"
    yield Append(
        stream=stream,
        events=SessionCreated(workspace_id=workspace, agent=agent, provider="anthropic", title=f"Session {number}"),
        occurred_at=at,
    )
    for turn in range(TURNS):
        yield Append(stream=stream, events=list(_turn(number, turn, workspace, agent)), occurred_at=at + turn * 6_000)
    yield Append(stream=stream, events=SessionStatusChanged(status="completed"), occurred_at=at + TURNS * 6_000)


def _turn(number: int, turn: int, workspace: str, agent: str) -> Iterator[Event]:
    call = f"t{turn}"
    before = f"r{number}-{turn - 1}" if turn else None
    asked, answered = f"q{number}-{turn}", f"a{number}-{turn}"
    yield MessageAdded(message_id=asked, role="user", parent_id=before, parts=(TextPart(text=TEXT),))
    yield MessageAdded(
        message_id=answered,
        role="assistant",
        parent_id=asked,
        parts=(TextPart(text=TEXT), ToolCallPart(id=call, name="bash")),
    )
    yield LlmCallCompleted(
        call_id=f"c{turn}",
        usage=Usage(input=100 + turn, cache_read=9_000, cache_write_5m=500, output=200),
        provider="anthropic",
        response_model=f"model-{turn % 3}",
        message_id=answered,
        finish_reasons=("tool_call",),
        workspace_id=workspace,
        agent=agent,
    )
    yield ToolCallStarted(
        tool_call_id=call,
        name=("bash", "read", "edit")[turn % 3],
        arguments=Raw(msgspec.json.encode({"command": "make test"})),
        message_id=answered,
        workspace_id=workspace,
        agent=agent,
    )
    yield ToolCallFinished(
        tool_call_id=call, outcome="ok", result=Raw(msgspec.json.encode(TEXT)), duration_us=1_000 * (turn + 1)
    )
    yield MessageAdded(
        message_id=f"r{number}-{turn}", role="tool", parent_id=answered, parts=(ToolCallResponsePart(id=call),)
    )
