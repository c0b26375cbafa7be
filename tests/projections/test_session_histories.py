"""For any history of sessions the tables at every version are the same, whichever way they were reached."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

import eventlog
from eventlog.app import Log
from eventlog.events.agents import (
    BlobPart,
    ContextCompacted,
    LlmCallAmended,
    LlmCallCompleted,
    LlmCallFailed,
    LlmCallRetracted,
    MessageAdded,
    SummaryAdded,
    TextPart,
    ToolCallFinished,
    ToolCallPart,
    ToolCallStarted,
    Usage,
)
from eventlog.events.sessions import (
    InstanceCreated,
    InstanceRemoved,
    InstanceStatusChanged,
    SessionArchived,
    SessionCreated,
    SessionDeleted,
    SessionLinked,
    SessionRestored,
    SessionRewound,
    SessionStatusChanged,
    SessionUpdated,
    WorkspaceDeleted,
    WorkspaceMoved,
    WorkspaceRegistered,
)
from tests.projections.reference import Tables, check_diff, check_every_way
from tests.projections.test_histories import CHUNKS, NUMBERS, SLOW, SMALL, TIMES, WORDS, write

IDS = st.sampled_from(["a", "b"])
MESSAGES = st.sampled_from(["m1", "m2", "m3"])
SESSIONS = st.sampled_from(["s", "t"])
MAYBE = st.just(UNSET)
USAGE = st.builds(Usage, input=st.sampled_from([0, 5, 130_000, 300_000]), output=st.integers(0, 2))
PARTS = st.sampled_from(
    [(), (TextPart(text="é\0"),), (BlobPart(sha256="00", size_bytes=7), ToolCallPart(id="a", name="x"))]
)
CREATED = st.builds(
    SessionCreated,
    workspace_id=st.none() | IDS,
    link=st.sampled_from([None, "fork", "resume"]),
    parent_session_id=st.none() | SESSIONS,
    parent_message_id=st.none() | MESSAGES,
    metadata=SMALL,
)
SAID = st.builds(
    MessageAdded,
    message_id=MESSAGES,
    role=st.sampled_from(["user", "assistant"]),
    parent_id=st.none() | MESSAGES,
    sidechain=st.booleans(),
    parts=PARTS,
)
CALLS = st.one_of(
    st.builds(LlmCallCompleted, call_id=IDS, usage=USAGE, response_model=st.none() | WORDS, agent=st.none() | IDS),
    st.builds(LlmCallFailed, call_id=IDS, error_type=WORDS),
    st.builds(
        LlmCallAmended, call_id=IDS, usage=USAGE, replaced=USAGE, reported_cost_micro_usd=st.sampled_from([None, 3])
    ),
    st.builds(LlmCallRetracted, call_id=IDS, reason=WORDS, replaced=USAGE),
    st.builds(ToolCallStarted, tool_call_id=IDS, name=WORDS, arguments=st.just(Raw(b"[1]")), agent=st.none() | IDS),
    st.builds(
        ToolCallFinished,
        tool_call_id=IDS,
        outcome=st.sampled_from(["ok", "error", "unknown"]),
        result=MAYBE | st.just(Raw(b'"x"')),
        duration_us=NUMBERS,
    ),
)
OTHERS = st.one_of(
    st.builds(SessionUpdated, title=MAYBE | st.none() | WORDS, metadata=MAYBE | SMALL),
    st.builds(SessionStatusChanged, status=WORDS, reason=st.none() | WORDS),
    st.builds(
        SessionLinked, link=st.just("resume"), parent_session_id=SESSIONS, parent_message_id=st.none() | MESSAGES
    ),
    st.builds(SessionRewound, message_id=st.none() | MESSAGES),
    st.builds(SessionArchived),
    st.builds(SessionRestored),
    st.builds(SessionDeleted),
    st.builds(ContextCompacted, tokens_before=NUMBERS),
    st.builds(SummaryAdded, text=WORDS),
)
INSTANCES = st.one_of(
    st.builds(InstanceCreated, instance_id=IDS, task=WORDS, metadata=SMALL),
    st.builds(InstanceStatusChanged, instance_id=IDS, status=WORDS, output=st.none() | WORDS),
    st.builds(InstanceRemoved, instance_id=IDS),
)
WORKSPACES = st.one_of(
    st.builds(WorkspaceRegistered, path=WORDS, path_sha256=WORDS, name=st.none() | WORDS),
    st.builds(WorkspaceMoved, path=WORDS, path_sha256=WORDS),
    st.builds(WorkspaceDeleted),
)
# What an agent does stands in the stream of a task, too.
ON_SESSIONS = st.tuples(
    st.sampled_from(["session-s", "session-s", "session-t", "task-s"]),
    st.one_of(CREATED, SAID, SAID, CALLS, CALLS, OTHERS, INSTANCES),
    TIMES,
)
ON_WORKSPACES = st.tuples(st.just("workspace-w"), WORKSPACES, TIMES)
HISTORIES = st.lists(
    st.lists(st.one_of(ON_SESSIONS, ON_SESSIONS, ON_WORKSPACES), min_size=1, max_size=4), min_size=1, max_size=8
)


@settings(SLOW, max_examples=5)
@given(HISTORIES, CHUNKS, st.data())
def test_any_history_of_sessions_gives_the_same_tables_every_way(
    history: Any, chunks: list[int], data: st.DataObject
) -> None:
    """Events in any order, of sessions that were never begun, with circles of parents and calls that nobody started."""
    check_history_of_sessions(history, chunks, data)


def check_history_of_sessions(history: Any, chunks: list[int], data: st.DataObject) -> None:
    with eventlog.open(":memory:") as log:
        write(log, history)
        states = check_every_way(log, chunks=chunks)
        version = st.integers(0, len(states) - 1)
        for _ in range(3):
            check_diff(log, states, data.draw(version), data.draw(version))
        check_threads(log, states[-1])


def check_threads(log: Log, state: Tables) -> None:
    """However wrong a history is, a thread ends, has no message twice, and each follows the one before it."""
    rows = {row["session_id"]: row for row in state["sessions"]}
    assert log.sessions.count() == len(rows) == len(log.sessions.list(limit=None))
    for session_id, row in rows.items():
        thread = log.sessions.thread(session_id)
        ids = [one.message_id for one in thread]
        assert len(ids) == len(set(ids))
        assert all(after.parent_id == before.message_id for before, after in pairwise(thread))
        known = {one["message_id"] for one in state["messages"]}
        if row["head_message_id"] in known:
            assert ids[-1] == row["head_message_id"]
        assert [one.message for one in log.sessions.conversation(session_id)] == thread
