"""Codex's rollouts: each thing said once, each call counted once, whatever a fork repeats."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from eventlog.app import Log
from eventlog.events.agents import LlmCallCompleted, MessageAdded, ReasoningPart, ToolCallFinished
from eventlog.events.sessions import SessionRewound
from eventlog.importers import intake
from eventlog.importers.formats import format_of
from eventlog.importers.run import Report, import_paths
from projections.imports import projections as import_tables
from projections.llm_calls import LlmCall
from projections.llm_calls import projections as call_tables
from projections.sessions import Session
from projections.sessions import projections as session_tables
from projections.tool_calls import ToolCall
from projections.tool_calls import projections as tool_tables
from tests.fixtures import transcripts
from tests.projections.reference import check_every_way

pytestmark = pytest.mark.alike
THREAD = "019a0000-0000-7000-8000-000000000001"
CHILD = "019a1000-0000-7000-8000-000000000002"
TURN = "019a0000-0001-7000-8000-00000000000{}"
NEW_TURN = "019a1000-0001-7000-8000-000000000009"


def line(at: str, kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": f"2026-03-01T{at}Z", "type": kind, "payload": payload}


def item(at: str, kind: str, **payload: Any) -> dict[str, Any]:
    return line(at, "response_item", type=kind, **payload)


def event(at: str, kind: str, **payload: Any) -> dict[str, Any]:
    return line(at, "event_msg", type=kind, **payload)


def said(at: str, role: str, text: str) -> dict[str, Any]:
    return item(
        at,
        "message",
        role=role,
        content=[{"type": "output_text" if role == "assistant" else "input_text", "text": text}],
    )


def usage(*parts: int) -> dict[str, int]:
    names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")
    return {**dict(zip(names, parts, strict=True)), "total_tokens": parts[0] + parts[2]}


def tokens(at: str, last: dict[str, int] | None, total: dict[str, int] | None, **info: Any) -> dict[str, Any]:
    given = {"last_token_usage": last, "total_token_usage": total, "model_context_window": 258400, **info}
    return event(at, "token_count", info={name: one for name, one in given.items() if one is not None})


def meta(at: str, thread: str = THREAD, **more: Any) -> dict[str, Any]:
    git = {"commit_hash": "c0ffee", "branch": "main", "repository_url": "git@example.org:a/b.git"}
    given = {"id": thread, "timestamp": f"2026-03-01T{at}Z", "cwd": "/work/shop", "originator": "codex_cli_rs"}
    return line(
        at,
        "session_meta",
        **{**given, "cli_version": "0.101.0", "source": "cli", "model_provider": "openai", "git": git, **more},
    )


def context(at: str, turn: str | None = None, **more: Any) -> dict[str, Any]:
    given = {"turn_id": turn, "cwd": "/work/shop", "model": "gpt-5.2-codex", "effort": "high", **more}
    return line(at, "turn_context", **{name: one for name, one in given.items() if one is not None})


CONVERSATION = [
    meta("10:00:00.000"),
    event("10:00:01.000", "task_started", turn_id=TURN.format(1), model_context_window=258400),
    said("10:00:01.010", "developer", "Be brief."),
    said("10:00:01.020", "user", "<environment_context><cwd>/work/shop</cwd></environment_context>"),
    context("10:00:01.030", TURN.format(1)),
    said("10:00:01.040", "user", "Run the tests"),
    event("10:00:01.041", "user_message", message="Run the tests", images=[]),
    event("10:00:04.000", "agent_reasoning", text="**Looking**"),
    item(
        "10:00:04.001", "reasoning", summary=[{"type": "summary_text", "text": "**Looking**"}], encrypted_content="gAAA"
    ),
    item("10:00:04.002", "function_call", name="exec_command", arguments='{"cmd":"pytest"}', call_id="call_1"),
    tokens("10:00:04.100", usage(1000, 600, 100, 40), usage(1000, 600, 100, 40)),
    item(
        "10:00:09.000",
        "function_call_output",
        call_id="call_1",
        output="Chunk ID: a1\nWall time: 4.5 seconds\nProcess exited with code 2\nOutput:\n1 failed",
    ),
    event("10:00:12.000", "agent_message", message="One test fails."),
    said("10:00:12.001", "assistant", "One test fails."),
    tokens("10:00:12.002", usage(1200, 1000, 50, 0), usage(2200, 1600, 150, 40)),
    tokens("10:00:12.003", usage(1200, 1000, 50, 0), usage(2200, 1600, 150, 40)),
    event("10:00:12.010", "task_complete", turn_id=TURN.format(1), last_agent_message="One test fails."),
    event("10:01:00.000", "task_started", turn_id=TURN.format(2)),
    context("10:01:00.010", TURN.format(2)),
    said("10:01:00.020", "user", "Fix it"),
    event("10:01:00.021", "user_message", message="Fix it"),
    said("10:01:03.000", "assistant", "Done."),
    tokens("10:01:03.001", usage(1500, 1200, 30, 10), usage(3700, 2800, 180, 50)),
    event("10:01:03.002", "agent_message", message="Done."),
    event("10:01:03.003", "task_complete", turn_id=TURN.format(2)),
]


def written(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in lines))
    os.utime(path, (1_772_000_000, 1_772_000_000))
    return path


def rollout(folder: Path, thread: str, lines: Iterable[dict[str, Any]]) -> Path:
    return written(folder / f"sessions/2026/03/01/rollout-2026-03-01T10-00-00-{thread}.jsonl", lines)


def bring(log: Log, *paths: Path, **options: Any) -> Report:
    return import_paths(log, log.projections, format_of("codex"), paths, data_dir=log.data_dir, **options)


def rows(log: Log, table: Any) -> list[Any]:
    log.projections.ensure(table.name)
    with log.reader() as reader:
        return list(reader.select(table.table))


def calls(log: Log) -> list[LlmCall]:
    return sorted((row for row in rows(log, call_tables[0])), key=lambda row: row.position)


def lanes(log: Log) -> list[tuple[int, ...]]:
    return [(one.input, one.cache_read, one.output, one.reasoning) for one in calls(log)]


def sessions(log: Log) -> dict[str, Session]:
    return {row.session_id: row for row in rows(log, session_tables[0])}


def tools(log: Log) -> dict[str, ToolCall]:
    return {row.tool_call_id: row for row in rows(log, tool_tables[0])}


def spoken(log: Log, thread: str = THREAD) -> list[tuple[str, str | None, str]]:
    found = []
    for record in log.read_stream(f"session-{thread}"):
        if isinstance(record.event, MessageAdded):
            told = " ".join(getattr(part, "text", None) or getattr(part, "id", "") for part in record.event.parts)
            found.append((record.event.role, record.event.origin, told))
    return found


def test_a_conversation_is_told_once_and_its_calls_are_counted_once(log: Log, tmp_path: Path) -> None:
    rollout(tmp_path, THREAD, CONVERSATION)
    report = bring(log, tmp_path)
    counts = report.total
    assert (counts.records, counts.understood_records, counts.quarantined_records) == (len(CONVERSATION),) * 2 + (0,)
    assert spoken(log) == [
        ("system", "runtime", "Be brief."),
        ("user", "runtime", "<environment_context><cwd>/work/shop</cwd></environment_context>"),
        ("user", "human", "Run the tests"),
        ("assistant", None, "**Looking**"),
        ("assistant", None, "call_1"),
        ("tool", "tool", "call_1"),
        ("assistant", None, "One test fails."),
        ("user", "human", "Fix it"),
        ("assistant", None, "Done."),
    ]
    assert lanes(log) == [(400, 600, 60, 40), (200, 1000, 50, 0), (300, 1200, 20, 10)]
    assert {(one.model, one.provider, one.quality, one.context_length) for one in calls(log)} == {
        ("gpt-5.2-codex", "openai", "exact", 258400)
    }
    session = sessions(log)[THREAD]
    assert (session.agent, session.agent_version, session.git_branch, session.git_commit, session.kind) == (
        "codex", "0.101.0", "main", "c0ffee", "cli",
    )  # fmt: skip
    assert (session.cwd, session.status, session.metadata["effort"]) == ("/work/shop", "awaiting_user", "high")
    tool = tools(log)["call_1"]
    assert (tool.name, tool.outcome, tool.exit_code, tool.duration_us) == ("exec_command", "error", 2, 4_500_000)
    thought = next(
        part
        for record in log.read_stream(f"session-{THREAD}")
        if isinstance(record.event, MessageAdded)
        for part in record.event.parts
        if isinstance(part, ReasoningPart)
    )
    assert thought.signature == "gAAA"
    head = log.head()
    assert bring(log, tmp_path).total.events == 0 and log.head() == head
    check_every_way(log)


def test_wherever_a_file_is_cut_the_same_is_told(log: Log, tmp_path: Path) -> None:
    """A rollout that grows by a line between imports says what one that is read at once says."""
    path = tmp_path / "sessions" / f"rollout-{THREAD}.jsonl"
    for end in range(1, len(CONVERSATION) + 1):
        written(path, CONVERSATION[:end])
        bring(log, path)
    grown = spoken(log)
    assert len(grown) == 9 and lanes(log) == [(400, 600, 60, 40), (200, 1000, 50, 0), (300, 1200, 20, 10)]
    # An account of it that is written anew, and cut elsewhere, is the same.
    head = log.head().position
    written(path, CONVERSATION[:3] + CONVERSATION[4:])
    bring(log, path)
    told = [record for record in log.read(after=head) if record.stream.startswith("session-")]
    assert told == [] and spoken(log) == grown
    assert rows(log, import_tables[0])[0].restarts == 1


def test_a_batch_that_ends_anywhere_says_the_same(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BATCH_APPENDS", 1)
    bring(log, rollout(tmp_path, THREAD, CONVERSATION))
    assert len(spoken(log)) == 9 and len(calls(log)) == 3


FORK = [
    meta("11:00:00.000", CHILD, forked_from_id=THREAD),
    *({**one, "timestamp": "2026-03-01T11:00:00.050Z"} for one in CONVERSATION[:17]),
    event("11:00:05.000", "task_started", turn_id=NEW_TURN),
    context("11:00:05.010", NEW_TURN),
    said("11:00:05.020", "user", "Run the tests"),
    tokens("11:00:09.000", usage(1300, 1000, 20, 0), usage(3500, 2600, 170, 40)),
]


@pytest.mark.parametrize("first", ["parent", "child"])
def test_what_a_fork_repeats_is_its_parents(log: Log, tmp_path: Path, first: str) -> None:
    parent = rollout(tmp_path, THREAD, CONVERSATION)
    child = rollout(tmp_path, CHILD, FORK)
    for path in (parent, child) if first == "parent" else (child, parent):
        bring(log, path)
    assert len(spoken(log)) == 9
    assert spoken(log, CHILD) == [("user", "human", "Run the tests")]
    assert sorted(lanes(log)) == sorted(
        [(400, 600, 60, 40), (200, 1000, 50, 0), (300, 1200, 20, 10), (300, 1000, 20, 0)]
    )
    session = sessions(log)[CHILD]
    assert (session.link, session.parent_session_id, session.llm_call_count) == ("fork", THREAD, 1)
    shared = next(
        record.event
        for record in log.read_stream(f"session-{THREAD}")
        if isinstance(record.event, MessageAdded) and record.event.message_id == session.parent_message_id
    )
    assert shared.parts[0].text == "One test fails."  # type: ignore[union-attr]
    own = [record.event for record in log.read_stream(f"session-{CHILD}") if isinstance(record.event, MessageAdded)]
    assert own[0].parent_id == session.parent_message_id


def test_without_its_parent_a_fork_keeps_what_was_said_and_counts_none_of_it(log: Log, tmp_path: Path) -> None:
    bring(log, rollout(tmp_path, CHILD, FORK))
    assert len(spoken(log, CHILD)) == 8 and lanes(log) == [(300, 1000, 20, 0)]
    bring(log, rollout(tmp_path, THREAD, CONVERSATION))
    assert len(calls(log)) == 4


def test_a_subagents_burst_without_ids_of_turns_counts_at_its_parent(log: Log, tmp_path: Path) -> None:
    spawned = {"subagent": {"thread_spawn": {"parent_thread_id": "other", "depth": 1, "agent_nickname": "Euclid"}}}
    lines = [
        meta("11:00:00.000", CHILD, source=spawned),
        context("11:00:00.010"),
        tokens("11:00:00.020", usage(1000, 0, 10, 0), usage(1000, 0, 10, 0)),
        tokens("11:00:00.030", usage(2000, 0, 10, 0), usage(3000, 0, 20, 0)),
        said("11:00:00.200", "user", "Look at the cart"),
        tokens("11:00:03.000", usage(100, 0, 5, 0), usage(3100, 0, 25, 0)),
        tokens("11:00:06.000", usage(100, 0, 5, 0), usage(3200, 0, 30, 0)),
    ]
    bring(log, rollout(tmp_path, CHILD, lines))
    assert lanes(log) == [(100, 0, 5, 0)] * 2
    session = sessions(log)[CHILD]
    assert (session.link, session.parent_session_id, session.metadata["agent_nickname"]) == (
        "subagent",
        "other",
        "Euclid",
    )
    assert spoken(log, CHILD) == [("user", "human", "Look at the cart")]


def test_a_second_session_meta_is_the_parent(log: Log, tmp_path: Path) -> None:
    lines = [meta("11:00:00.000", CHILD), meta("11:00:00.001", THREAD), *FORK[1:]]
    bring(log, rollout(tmp_path, THREAD, CONVERSATION), rollout(tmp_path, CHILD, lines))
    assert (sessions(log)[CHILD].parent_session_id, len(sessions(log)), len(calls(log))) == (THREAD, 2, 4)


def test_counters_that_begin_anew_and_rows_that_say_nothing(log: Log, tmp_path: Path) -> None:
    lines = [
        meta("10:00:00.000"),
        tokens("10:00:10.000", None, usage(1000, 100, 50, 0)),
        tokens("10:00:20.000", None, usage(1800, 300, 80, 20)),
        tokens("10:00:30.000", None, usage(200, 0, 10, 0)),
        tokens(
            "10:00:40.000",
            {**usage(0, 0, 0, 0), "total_tokens": 258400},
            {**usage(200, 0, 10, 0), "total_tokens": 258400},
        ),
        event("10:00:50.000", "token_count", info=None, rate_limits={"primary": {"used_percent": 3.0}}),
        tokens("10:01:00.000", usage(30, 50, 5, 0), usage(230, 50, 15, 0)),
    ]
    bring(log, rollout(tmp_path, THREAD, lines))
    assert lanes(log) == [(900, 100, 50, 0), (600, 200, 10, 20), (200, 0, 10, 0), (0, 30, 5, 0)]
    assert {(one.model, one.quality) for one in calls(log)} == {(None, "estimated")}


def test_turns_are_rolled_back_and_the_context_is_compacted(log: Log, tmp_path: Path) -> None:
    lines = [
        *CONVERSATION,
        event("10:02:00.000", "thread_rolled_back", num_turns=1),
        said("10:02:10.000", "user", "Leave it"),
        line("10:02:20.000", "compacted", message="They ran tests.", replacement_history=[]),
        event("10:02:20.001", "context_compacted"),
        event("10:02:30.000", "turn_aborted", reason="interrupted"),
        line("10:02:40.000", "brand_new_thing", some="thing"),
    ]
    report = bring(log, rollout(tmp_path, THREAD, lines))
    assert report.total.raw_records == 1
    events = [record.event for record in log.read_stream(f"session-{THREAD}")]
    messages = {one.message_id: one for one in events if isinstance(one, MessageAdded)}
    rewound = next(one for one in events if isinstance(one, SessionRewound))
    assert messages[rewound.message_id or ""].parts[0].text == "One test fails."  # type: ignore[union-attr]
    last = list(messages.values())[-1]
    assert (last.parts[0].text, last.parent_id) == ("Leave it", rewound.message_id)  # type: ignore[union-attr]
    session = sessions(log)[THREAD]
    assert (session.compression_count, session.message_count, session.status) == (1, 10, "awaiting_user")


def test_what_tools_answer(log: Log, tmp_path: Path) -> None:
    asked = [
        ("exec_1", "shell"),
        ("patch", "apply_patch"),
        ("mcp", "files__read"),
        ("plan", "update_plan"),
        ("no", "shell"),
    ]
    lines = [meta("10:00:00.000")]
    lines += [
        item("10:00:01.000", "function_call", name=name, arguments="{not json", call_id=call) for call, name in asked
    ]
    lines += [
        item(
            "10:00:02.000",
            "function_call_output",
            call_id="exec_1",
            output=json.dumps({"output": "x", "metadata": {"exit_code": 0, "duration_seconds": 0.25}}),
        ),
        event("10:00:02.100", "patch_apply_end", call_id="patch", success=False, stdout="", stderr="no such file"),
        item("10:00:02.200", "custom_tool_call_output", call_id="patch", output="failed"),
        event(
            "10:00:02.300",
            "mcp_tool_call_end",
            call_id="mcp",
            duration={"secs": 1, "nanos": 500000000},
            result={"Ok": {"content": [], "is_error": True}},
        ),
        item("10:00:02.400", "function_call_output", call_id="mcp", output={"content": "e", "success": None}),
        item("10:00:02.500", "function_call_output", call_id="plan", output="Plan updated"),
        item("10:00:02.600", "function_call_output", call_id="no", output="exec command rejected by user"),
        item("10:00:03.000", "web_search_call", id="ws_1", status="completed", action={"type": "search", "query": "x"}),
        item(
            "10:00:03.100",
            "local_shell_call",
            call_id="sh",
            status="completed",
            action={"type": "exec", "command": ["ls"]},
        ),
    ]
    bring(log, rollout(tmp_path, THREAD, lines))
    told = {call: (one.outcome, one.exit_code, one.duration_us) for call, one in tools(log).items()}
    assert told == {
        "exec_1": ("ok", 0, 250_000),
        "patch": ("error", None, 1_200_000),
        "mcp": ("error", None, 1_500_000),
        "plan": ("unknown", None, 1_500_000),
        "no": ("cancelled", None, 1_600_000),
        "ws_1": ("ok", None, 0),
        "sh": (None, None, None),
    }
    answers = [record.event for record in log.read(types=(ToolCallFinished,))]
    assert len(answers) == 6


def test_a_file_from_before_lines_had_wrappers(log: Log, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"id": THREAD, "timestamp": "2025-06-01T10:00:00.000Z", "instructions": "Be kind.", "git": {"branch": "old"}},
        {"record_type": "state"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ok"}]},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "c1"},
        {"type": "function_call_output", "call_id": "c1", "output": '{"output":"a","metadata":{"exit_code":1}}'},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ok"}]},
    ]
    bring(log, written(tmp_path / "rollout-old.jsonl", lines))
    assert [one[2] for one in spoken(log)] == ["Be kind.", "ok", "c1", "c1", "ok"]
    assert (sessions(log)[THREAD].git_branch, tools(log)["c1"].exit_code) == ("old", 1)
    assert {record.occurred_at for record in log.read_stream(f"session-{THREAD}")} == {1_748_772_000_000_000}


def test_an_archived_copy_adds_nothing(log: Log, tmp_path: Path) -> None:
    bring(log, rollout(tmp_path, THREAD, CONVERSATION))
    copy = written(tmp_path / f"archived_sessions/rollout-2026-03-01T10-00-00-{THREAD}.jsonl", CONVERSATION)
    report = bring(log, copy)
    # What is only a second account of something has no key of its own to be known by.
    assert report.total.events == 2 and report.total.duplicate_records >= 15
    assert (len(spoken(log)), len(calls(log))) == (9, 3)


def test_what_is_damaged_is_told_of_and_the_rest_is_there(log: Log, tmp_path: Path) -> None:
    path = rollout(tmp_path, THREAD, CONVERSATION[:6])
    good = path.read_bytes()
    bad = [
        b'{"timestamp":"x","type":"event',
        b"\0" * 20,
        b'{"type":7,"payload":[]}',
        b'{"type":"response_item","payload":{"type":"function_call_output","call_id":4}}',
    ]
    secret = json.dumps(said("10:09:00.000", "user", "key sk-proj-" + "a1B2" * 12)).encode()
    path.write_bytes(good + b"\n".join(bad) + b"\n" + secret + b'\xff\n{"cut": "of')
    os.utime(path, (1_772_000_000, 1_772_000_000))
    report = bring(log, path)
    counts = report.total
    assert report.partial and counts.quarantined_records == 4 and counts.raw_records == 2
    row = rows(log, import_tables[0])[0]
    whole = sum(getattr(row, f"{one}_bytes") for one in ("understood", "raw", "duplicate", "quarantined", "blank"))
    assert whole == path.stat().st_size
    assert counts.secrets == 1 and "a1B2a1B2" not in "".join(one[2] for one in spoken(log))
    assert list(log.projections.verify()) == []
    head = log.head()
    bring(log, path)
    assert log.head() == head


def test_the_golden_totals(log: Log) -> None:
    folder = transcripts()
    bring(log, folder / "ccusage" / "codex")
    totals = [one.input + one.cache_read + one.output + one.reasoning for one in calls(log)]
    assert totals == [1200, 3000]
    assert [one.model for one in calls(log)] == ["gpt-5.2-codex", "gpt-5.3-codex"]
    bring(log, folder / "claude-code-log" / "newer" / "codex")
    tool = tools(log)["call-spawn-001"]
    assert (tool.name, tool.child_session_id) == ("spawn_agent", "33333333-3333-4333-8333-333333333333")


def test_a_call_without_totals_is_told_from_its_like(log: Log, tmp_path: Path) -> None:
    """Equal calls of one turn, where only the last usage is given."""
    row = usage(10, 0, 1, 0)
    lines = [meta("10:00:00.000"), context("10:00:01.000", TURN.format(1))]
    lines += [tokens("10:00:02.000", row, None), tokens("10:00:02.000", row, None)]
    bring(log, rollout(tmp_path, THREAD, lines))
    assert len(list(log.read(types=(LlmCallCompleted,)))) == 2
