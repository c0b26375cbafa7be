"""Sessions and workspaces: every operation and every guard, and the conversation across rewinds and forks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from eventlog import Append
from eventlog.app import Log
from eventlog.errors import (
    Conflict,
    IllegalTransition,
    InvalidInput,
    InvalidName,
    KeyReused,
    NotFound,
)
from eventlog.events.agents import BlobPart, MessageAdded, TextPart, ToolCallPart
from eventlog.events.sessions import SessionCreated
from tests.conftest import OpenLog
from tests.projections.reference import check_every_way

alike = pytest.mark.alike


def said(log: Log, session_id: str) -> list[str]:
    """What the conversation says, message by message."""
    return ["".join(piece.text or "" for piece in one.parts) for one in log.sessions.conversation(session_id)]


def full_session(log: Log) -> str:
    """A session with a bit of everything."""
    workspace = log.workspaces.register("/work/project", name="project")
    session = log.sessions.create(
        session_id="s-1", workspace_id=workspace.workspace_id, agent="coder", title="Mend it", provider="anthropic"
    )
    log.sessions.add_message("s-1", "user", "mend the test", message_id="m1", occurred_at=1_000_000)
    log.sessions.start_tool_call("s-1", "bash", {"command": "make test"}, tool_call_id="t1", occurred_at=1_500_000)
    log.sessions.add_message(
        "s-1",
        "assistant",
        parts=[TextPart(text="I look."), ToolCallPart(id="t1", name="bash")],
        message_id="m2",
        occurred_at=2_000_000,
    )
    log.sessions.finish_tool_call("s-1", "t1", "error", "1 failed", exit_code=2, occurred_at=2_500_000)
    log.sessions.add_message("s-1", "tool", parts=[{"type": "tool_call_response", "id": "t1"}], message_id="m3")
    log.sessions.record_llm_call(
        "s-1", {"input": 10, "cache_read": 90, "output": 5}, call_id="c1", model="opus", message_id="m2",
        cost_micro_usd=1_500,
    )  # fmt: skip
    return session.session_id


@pytest.mark.feature("S1-1", "S1-2")
def test_a_session_lives_from_creation_to_deletion(log: Log) -> None:
    """FEATURES S1: create, get, update, get all, delete session; add chat message; counts and totals."""
    full_session(log)
    session = log.sessions.get("s-1")
    workspace = log.workspaces.find_by_path("/work/project")
    assert workspace is not None
    assert workspace.workspace_id == hashlib.sha256(b"/work/project").hexdigest()[:16] == session.workspace_id
    assert workspace.path_sha256 == hashlib.sha256(b"/work/project").hexdigest()
    assert (session.kind, session.status, session.agent, session.head_message_id) == ("chat", "active", "coder", "m3")
    assert (session.message_count, session.tool_call_count, session.llm_call_count) == (3, 1, 1)
    assert (session.total_tokens, session.model) == (105, "opus")
    changed = log.sessions.update("s-1", title="Mended", metadata={"a": 1, "b": 2})
    assert (changed.title, changed.agent, changed.metadata) == ("Mended", "coder", {"a": 1, "b": 2})
    assert log.sessions.update("s-1", metadata={"a": None}).metadata == {"b": 2}
    assert log.sessions.set_status("s-1", "completed", "done").status_reason == "done"
    log.sessions.create(session_id="s-2", kind="competition")
    assert [one.session_id for one in log.sessions.list(limit=None)] == ["s-2", "s-1"]
    assert [one.session_id for one in log.sessions.list(status="completed", text="mend")] == ["s-1"]
    (call,) = log.sessions.tool_calls("s-1", outcome="error", name="bash")
    assert (call.exit_code, call.duration_us, call.workspace_id) == (2, 1_000_000, session.workspace_id)
    (answer,) = log.sessions.llm_calls("s-1")
    assert (answer.provider, answer.agent, answer.reported_cost_micro_usd) == ("anthropic", "coder", 1_500)
    log.sessions.delete("s-1", "mistake")
    assert log.sessions.find("s-1") is None
    for refused in (log.sessions.get, log.sessions.delete, log.sessions.archive, log.sessions.thread):
        with pytest.raises(NotFound, match="no session"):
            refused("s-1")
    assert len(log.sessions.messages("s-1")) == 3 and len(log.sessions.llm_calls("s-1")) == 1
    with pytest.raises(Conflict, match="or was"):
        log.sessions.create(session_id="s-1")
    check_every_way(log)


def test_what_tools_were_called_with_and_answered_is_filled_in(log: Log) -> None:
    full_session(log)
    asked, called, answered = log.sessions.conversation("s-1")
    assert [piece.text for piece in asked.parts] == ["mend the test"]
    assert called.parts[0].text == "I look."
    assert (called.parts[1].name, called.parts[1].arguments) == ("bash", {"command": "make test"})
    assert (called.parts[1].outcome, called.parts[1].exit_code, called.parts[1].result) == ("error", 2, None)
    assert (answered.parts[0].tool_call_id, answered.parts[0].result) == ("t1", "1 failed")
    assert log.sessions.content(called.message) == called.parts == log.sessions.message("s-1", "m2").parts
    log.sessions.start_tool_call("s-1", "read", [1], tool_call_id="t2")
    log.sessions.finish_tool_call(
        "s-1", "t2", blob=BlobPart(sha256="ab", size_bytes=70_000, head="so it begins", mime_type="text/plain")
    )
    last = log.sessions.conversation("s-1")[-1]
    assert last.message.message_id == "m3"  # nothing speaks of the call, so it stands where it was made
    piece = last.parts[-1]
    assert (piece.type, piece.arguments, piece.text, piece.sha256, piece.size_bytes) == (
        "tool_call", [1], "so it begins", "ab", 70_000,
    )  # fmt: skip


@pytest.mark.feature("S1-2")
def test_instances_have_a_status_and_go_away(log: Log) -> None:
    """FEATURES S1: instances of a session, update instance status."""
    log.sessions.create(session_id="s")
    made = log.sessions.create_instance("s", instance_id="i", task="part 1", worktree_path="/w/1", agent="a")
    assert (made.status, made.task, made.worktree_path) == ("idle", "part 1", "/w/1")
    log.sessions.create_instance("s", instance_id="j")
    changed = log.sessions.update_instance_status("s", "i", "failed", reason="no space", output="…")
    assert (changed.status, changed.status_reason, changed.output, changed.agent) == ("failed", "no space", "…", "a")
    assert [one.instance_id for one in log.sessions.instances("s")] == ["i", "j"]
    assert [one.instance_id for one in log.sessions.instances("s", status="idle")] == ["j"]
    with pytest.raises(Conflict):
        log.sessions.create_instance("s", instance_id="i")
    log.sessions.remove_instance("s", "i")
    for refused in (log.sessions.instance, log.sessions.remove_instance):
        with pytest.raises(NotFound, match="no instance 'i'"):
            refused("s", "i")
    with pytest.raises(NotFound, match="no instance"):
        log.sessions.update_instance_status("s", "nobody", "idle")
    check_every_way(log)


def test_a_rewind_goes_on_from_earlier_and_loses_nothing(log: Log) -> None:
    log.sessions.create(session_id="s")
    for number in range(4):
        log.sessions.add_message("s", "user", str(number), message_id=f"m{number}")
    assert log.sessions.rewind("s", "m1", "wrong way").head_message_id == "m1"
    assert said(log, "s") == ["0", "1"]
    log.sessions.add_message("s", "user", "other", message_id="n")
    assert said(log, "s") == ["0", "1", "other"]
    assert [one.message_id for one in log.sessions.messages("s")] == ["m0", "m1", "m2", "m3", "n"]
    assert [one.message_id for one in log.sessions.messages("s", limit=2, offset=1)] == ["m1", "m2"]
    assert log.sessions.rewind("s", None).head_message_id is None
    assert said(log, "s") == []
    log.sessions.add_message("s", "user", "anew")
    assert said(log, "s") == ["anew"]
    log.sessions.add_message("s", "assistant", "beside", sidechain=True, parent_id="m3")
    assert said(log, "s") == ["anew"]
    with pytest.raises(NotFound, match="no message 'nothing'"):
        log.sessions.rewind("s", "nothing")


def test_a_fork_shares_what_was_said_and_counts_it_once(log: Log) -> None:
    """FEATURES S1 and the issue: forked conversations count once."""
    full_session(log)
    fork = log.sessions.fork("s-1", "m2", new_session_id="f")
    assert (fork.link, fork.parent_session_id, fork.parent_message_id, fork.agent) == ("fork", "s-1", "m2", "coder")
    assert (fork.message_count, fork.total_tokens) == (0, 0)
    assert [one.message_id for one in log.sessions.thread("f")] == ["m1", "m2"]
    log.sessions.add_message("f", "user", "otherwise", message_id="f1")
    log.sessions.add_message("s-1", "user", "as before", message_id="m4")
    grandchild = log.sessions.fork("f")
    log.sessions.add_message(grandchild.session_id, "user", "further", message_id="g1")
    assert [one.message_id for one in log.sessions.thread(grandchild.session_id)] == ["m1", "m2", "f1", "g1"]
    assert [one.message_id for one in log.sessions.thread("s-1")] == ["m1", "m2", "m3", "m4"]
    assert log.sessions.rewind(grandchild.session_id, "m1").head_message_id == "m1"
    assert [one.session_id for one in log.sessions.list(parent_session_id="s-1")] == ["f"]
    for unknown in ("nothing", "g1"):
        with pytest.raises(NotFound, match="has no message"):
            log.sessions.fork("s-1", unknown)
    with pytest.raises(NotFound, match="has no message 'm4'"):
        log.sessions.add_message(log.sessions.create().session_id, "user", "x", parent_id="m4")
    log.sessions.delete("s-1")
    assert [one.message_id for one in log.sessions.thread("f")] == ["m1", "m2", "f1"]
    check_every_way(log)


REFUSALS: list[tuple[type[Exception], Callable[[Log], Any]]] = [
    (NotFound, lambda log: log.sessions.add_message("nobody", "user", "x")),
    (NotFound, lambda log: log.sessions.add_message("s-1", "user", "x", parent_id="nobody")),
    (NotFound, lambda log: log.sessions.fork("nobody")),
    (NotFound, lambda log: log.sessions.update("nobody", title="x")),
    (NotFound, lambda log: log.sessions.start_tool_call("nobody", "bash")),
    (NotFound, lambda log: log.sessions.finish_tool_call("s-1", "nobody")),
    (IllegalTransition, lambda log: log.sessions.finish_tool_call("s-1", "t1")),
    (Conflict, lambda log: log.sessions.start_tool_call("s-1", "bash", tool_call_id="t1")),
    (Conflict, lambda log: log.sessions.add_message("s-1", "user", "x", message_id="m1")),
    (Conflict, lambda log: log.sessions.record_llm_call("s-1", call_id="c1")),
    (Conflict, lambda log: log.sessions.fail_llm_call("s-1", "timeout", call_id="c1")),
    (NotFound, lambda log: log.sessions.amend_llm_call("s-1", "nobody", {})),
    (NotFound, lambda log: log.sessions.compact("s-1", covers_to_message_id="nobody")),
    (NotFound, lambda log: log.sessions.add_summary("s-1", "x", leaf_message_id="nobody")),
    (NotFound, lambda log: log.sessions.message("s-1", "nobody")),
    (NotFound, lambda log: log.sessions.history("nobody")),
    (IllegalTransition, lambda log: log.sessions.restore("s-1")),
    (InvalidInput, lambda log: log.sessions.record_llm_call("s-1", {"input": -1})),
    (InvalidInput, lambda log: log.sessions.record_llm_call("s-1", {"tokens": 1})),
    (InvalidInput, lambda log: log.sessions.record_llm_call("s-1", {"input": 1.5})),  # type: ignore[dict-item]
    (InvalidInput, lambda log: log.sessions.record_llm_call("s-1", cost_micro_usd=-1)),
    (InvalidInput, lambda log: log.sessions.compact("s-1", tokens_before=-1)),
    (InvalidInput, lambda log: log.sessions.add_message("s-1", "user")),
    (InvalidInput, lambda log: log.sessions.add_message("s-1", "user", "x", parts=[TextPart(text="x")])),
    (InvalidInput, lambda log: log.sessions.add_message("s-1", "user", parts=[{"type": "nothing"}])),
    (InvalidInput, lambda log: log.sessions.add_message("s-1", "boss", "x")),  # type: ignore[arg-type]
    (InvalidInput, lambda log: log.sessions.start_tool_call("s-1", "bash", {"x": float("nan")})),
    (InvalidInput, lambda log: log.sessions.update("s-1")),
    (InvalidInput, lambda log: log.sessions.link("s-1", "resume", "s-1")),
    (InvalidInput, lambda log: log.sessions.set_status("s-1", "")),
    (InvalidInput, lambda log: log.sessions.list(order="title")),  # type: ignore[arg-type]
    (InvalidName, lambda log: log.sessions.create(session_id="a/b")),
    (InvalidName, lambda log: log.sessions.create(session_id="")),
    (InvalidName, lambda log: log.sessions.add_message("s-1", "user", "x", message_id="a\n")),
    (NotFound, lambda log: log.workspaces.move("nobody", "/x")),
    (NotFound, lambda log: log.workspaces.delete("nobody")),
    (InvalidInput, lambda log: log.workspaces.register("")),
    (InvalidInput, lambda log: log.workspaces.register("/a\0b")),
]


@alike
def test_what_makes_no_sense_is_refused_and_appends_nothing(log: Log) -> None:
    full_session(log)
    head = log.head()
    for error, command in REFUSALS:
        with pytest.raises(error):
            command(log)
        assert log.head() == head


@alike
def test_a_key_makes_a_retry_safe(log: Log) -> None:
    first = log.sessions.create(title="x", key="k")
    assert log.sessions.create(title="x", key="k") == first
    with pytest.raises(KeyReused):
        log.sessions.create(title="y", key="k")
    one = log.sessions.add_message(first.session_id, "user", "hello", key="m")
    log.sessions.add_message(first.session_id, "user", "more")
    assert log.sessions.add_message(first.session_id, "user", "hello", key="m") == one
    with pytest.raises(KeyReused):
        log.sessions.add_message(first.session_id, "user", "bye", key="m")
    assert log.sessions.get(first.session_id).message_count == 2
    assert log.sessions.messages(first.session_id)[0] == one


@alike
def test_calls_of_models_are_amended_and_retracted(log: Log) -> None:
    session = log.sessions.create(agent="a").session_id
    log.sessions.fail_llm_call(session, "overloaded", call_id="c", model="opus")
    log.sessions.record_llm_call(session, {"input": 5}, call_id="c", request_model="opus")
    assert log.sessions.amend_llm_call(session, "c", {"input": 5, "output": 7}, cost_micro_usd=3).output == 7
    assert log.sessions.get(session).total_tokens == 12
    assert log.sessions.retract_llm_call(session, "c", "copy").status == "retracted"
    assert (log.sessions.get(session).total_tokens, log.sessions.get(session).llm_call_count) == (0, 0)
    with pytest.raises(IllegalTransition, match="retracted"):
        log.sessions.amend_llm_call(session, "c", {})
    assert [one.status for one in log.sessions.llm_calls(session)] == ["retracted"]
    check_every_way(log)


@alike
def test_compactions_summaries_and_links_are_told(log: Log) -> None:
    full_session(log)
    done = log.sessions.compact("s-1", trigger="auto", tokens_before=100, tokens_after=10, covers_to_message_id="m2")
    assert (done.tokens_before, done.covers_to_message_id) == (100, "m2")
    summary = log.sessions.add_summary("s-1", "A test was mended.", leaf_message_id="m3", model="haiku")
    assert log.sessions.summaries("s-1") == [summary] and summary.text == "A test was mended."
    assert log.sessions.get("s-1").compression_count == 1
    child = log.sessions.create(session_id="child")
    assert log.sessions.link("child", "subagent", "s-1", parent_tool_call_id="t1").parent_session_id == "s-1"
    with pytest.raises(InvalidInput, match="comes from it"):
        log.sessions.link("s-1", "resume", child.session_id)
    assert [one.type for one in log.sessions.history("child")] == ["session.created", "session.linked"]


@pytest.mark.feature("S1-3")
@alike
def test_sessions_are_found_by_all_that_is_asked_for(log: Log) -> None:
    """FEATURES S1: indexes by workspace, status, type and created."""
    for number in range(6):
        log.sessions.create(
            session_id=f"s{number}",
            workspace_id=f"w{number % 2}",
            kind=("chat", "task")[number // 3],
            agent=("a", "b")[number % 2],
            title=f"Title {number}",
            occurred_at=1_000_000 * (number + 1),
        )
    log.sessions.archive("s5")
    log.sessions.set_status("s0", "paused", occurred_at=20_000_000)

    def ids(**filters: Any) -> str:
        found = log.sessions.list(**filters)
        if not {"limit", "offset", "order"} & set(filters):
            assert log.sessions.count(**filters) == len(found)
        return " ".join(one.session_id for one in found)

    assert ids() == "s5 s4 s3 s2 s1 s0"
    assert ids(order="created_at", limit=2, offset=1) == "s1 s2"
    assert ids(order="-updated_at", limit=1) == "s5" or ids(order="-updated_at", limit=2) == "s5 s0"
    assert ids(workspace_id="w1") == "s5 s3 s1"
    assert ids(kind="task", agent="a") == "s4"
    assert ids(archived=True) == "s5" and ids(archived=False, kind="task") == "s4 s3"
    assert ids(status="paused") == "s0" and ids(status=["paused", "nothing"]) == "s0"
    assert ids(text="TITLE 3") == "s3"
    assert ids(prefix="s") == ids() and ids(prefix="s2") == "s2" and ids(prefix="S") == ""
    assert ids(since=3_000_000, until=5_000_000) == "s3 s2"


@alike
def test_a_thread_ends_whatever_its_parents_are(log: Log) -> None:
    """Histories that were imported: circles, parents that are nowhere, a head that never was, two of one id."""

    def write(session_id: str, *messages: tuple[str, str | None]) -> list[str]:
        log.append(f"session-{session_id}", SessionCreated())
        for message_id, parent in messages:
            log.append(f"session-{session_id}", MessageAdded(message_id=message_id, role="user", parent_id=parent))
        return [one.message_id for one in log.sessions.thread(session_id)]

    assert write("circle", ("a", "c"), ("b", "a"), ("c", "b")) == ["a", "b", "c"]
    assert write("self", ("x", "x")) == ["x"]
    assert write("orphan", ("o1", None), ("o2", "gone"), ("o3", "o2")) == ["o2", "o3"]
    assert write("twice", ("d", None), ("d", None), ("e", "d")) == ["d", "e"]
    assert write("elsewhere", ("z", "o3")) == ["o2", "o3", "z"]
    assert write("empty") == []
    log.append_many(
        [
            Append(
                stream="session-p", events=SessionCreated(link="fork", parent_session_id="q", parent_message_id="no")
            ),
            Append(
                stream="session-q", events=SessionCreated(link="fork", parent_session_id="p", parent_message_id="no")
            ),
        ]
    )
    assert log.sessions.thread("p") == []
    log.append("session-p", MessageAdded(message_id="p1", role="user", sidechain=True))
    log.append("session-p", MessageAdded(message_id="p0", role="user", sidechain=True, parent_id="p1"))
    assert log.sessions.thread("p") == []
    assert log.sessions.find("p") is not None


def test_the_past_answers_and_takes_no_commands(log: Log) -> None:
    full_session(log)
    version = log.head().position
    log.sessions.add_message("s-1", "user", "later")
    log.sessions.fork("s-1", new_session_id="f")
    with log.as_of(version) as past:
        assert [one.message.message_id for one in past.sessions.conversation("s-1")] == ["m1", "m2", "m3"]
        assert past.sessions.get("s-1").message_count == 3
        assert past.sessions.find("f") is None
        assert past.workspaces.find_by_path("/work/project") is not None
        with pytest.raises(Exception, match="past cannot be changed"):
            past.sessions.add_message("s-1", "user", "x")


@alike
def test_tables_that_are_not_inline_are_brought_along(open_log: OpenLog) -> None:
    log = open_log(projections="deferred")
    full_session(log)
    assert log.sessions.get("s-1").message_count == 3
    assert said(log, "s-1")[0] == "mend the test"
    with pytest.raises(Conflict):
        log.sessions.start_tool_call("s-1", "bash", tool_call_id="t1")


@pytest.mark.feature("S1-1")
@alike
def test_a_workspace_is_registered_once_moves_and_is_found_by_its_path(log: Log) -> None:
    first = log.workspaces.register("/work/../work/a/", name="a")
    head = log.head()
    assert log.workspaces.register("/work/a") == first and log.head() == head
    assert log.workspaces.register("/work/a", repository_url="https://example.org/a").name == "a"
    moved = log.workspaces.move(first.workspace_id, "/elsewhere/a")
    assert (moved.workspace_id, moved.path) == (first.workspace_id, "/elsewhere/a")
    assert log.workspaces.find_by_path("/work/a") is None
    assert log.workspaces.find_by_path("/elsewhere/a") == moved
    other = log.workspaces.register("/work/b")
    with pytest.raises(Conflict, match="already"):
        log.workspaces.move(other.workspace_id, "/elsewhere/a")
    assert [one.path for one in log.workspaces.list(text="work")] == ["/work/b"]
    log.workspaces.delete(other.workspace_id)
    assert [one.workspace_id for one in log.workspaces.list()] == [first.workspace_id]
    assert log.workspaces.register("/work/b").path == "/work/b"
    check_every_way(log)


@alike
@pytest.mark.parametrize("projections", ["inline", "deferred"])
def test_what_is_told_in_a_transaction_goes_together(open_log: OpenLog, projections: str) -> None:
    log = open_log(projections=projections)
    with log.transaction():
        log.sessions.create(session_id="s")
        first = log.sessions.add_message("s", "user", "one")
        assert log.sessions.add_message("s", "assistant", "two").parent_id == first.message_id
        log.sessions.start_tool_call("s", "bash", tool_call_id="t")
        log.sessions.finish_tool_call("s", "t", result={"lines": 3})
    assert said(log, "s") == ["one", "two"]
    with pytest.raises(NotFound), log.transaction():
        log.sessions.add_message("s", "user", "three")
        log.sessions.rewind("s", "nothing")
    assert log.sessions.get("s").message_count == 2


def test_numbers_that_would_end_the_sums_are_refused(log: Log) -> None:
    log.sessions.create(session_id="s")
    with pytest.raises(InvalidInput):
        log.sessions.record_llm_call("s", {"input": 2**62})
    with pytest.raises(InvalidInput):
        log.sessions.record_llm_call("s", {"output": 1}, cost_micro_usd=2**62)
    log.sessions.start_tool_call("s", "Bash", tool_call_id="t")
    with pytest.raises(InvalidInput):
        log.sessions.finish_tool_call("s", "t", duration_us=2**62)
    for _ in range(3):
        log.sessions.record_llm_call("s", {"input": 10**12}, cost_micro_usd=10**12)
    assert log.sessions.get("s").total_tokens == 3 * 10**12
    assert {one.state for one in log.projections.status()} == {"live"}
