"""A coding agent's JSON lines: what is said in several files is there once, and counts once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from eventlog.app import Log
from eventlog.events.agents import MessageAdded, RecordKept, SummaryAdded, TextPart, ToolCallFinished
from eventlog.importers.agent_records import Fields, tool_end, usage_of
from eventlog.importers.formats import format_of
from eventlog.importers.run import Options, Report, import_paths
from tests.importers.support import TOOLS, rows
from tests.importers.test_tasks_db import ROW, UUID, Database
from tests.projections.reference import check_every_way

pytestmark = pytest.mark.alike
ASKED = [{"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}]
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You fix issues.", "timestamp": "2026-01-02T03:04:00Z"},
    {"role": "user", "content": "Fix #42", "timestamp": "2026-01-02T03:04:05+00:00", "tokens": 3},
    {"role": "assistant", "content": "I look.", "tool_calls": ASKED, "timestamp": 1767323050, "model": "gpt-4.1",
     "usage": {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 60},
               "completion_tokens_details": {"reasoning_tokens": 5}}},
    {"role": "tool", "tool_call_id": "call_1", "content": "a.py\nb.py", "timestamp": 1767323051000},
    {"role": "user", "content": "go on", "timestamp": "2026-01-02T03:05:00Z"},
    {"role": "user", "content": "go on", "timestamp": "2026-01-02T03:06:00Z"},
]  # fmt: skip
TOOL = {"tool": "bash", "args": {"command": "ls"}, "result": "a.py\nb.py", "status": "success", "durationMs": 1500,
        "timestamp": "2026-01-02T03:04:10Z"}  # fmt: skip
SUMMARY = {"summary": "An issue is being fixed.", "originalTokens": 5000, "summaryTokens": 50, "covers": 3,
           "timestamp": "2026-01-02T03:07:00Z"}  # fmt: skip


def bring(log: Log, path: Path, **options: Any) -> Report:
    return import_paths(log, log.projections, format_of("agent-jsonl"), [path], data_dir=log.data_dir, **options)


def write(path: Path, records: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def folder(tmp_path: Path, name: str = UUID) -> Path:
    """A task's folder with all four files; the present context has a message of its own."""
    place = tmp_path / "contexts" / "running" / name
    write(place / "messages.jsonl", MESSAGES)
    bare = [
        {key: one[key] for key in ("role", "content", "tool_calls", "tool_call_id") if key in one} for one in MESSAGES
    ]
    write(place / "current.jsonl", [bare[0], {"role": "assistant", "content": "So far: …"}, *bare[2:5]])
    write(place / "tools.jsonl", [TOOL])
    write(place / "summaries.jsonl", [SUMMARY])
    return place


def messages(log: Log, stream: str) -> list[MessageAdded]:
    return [record.event for record in log.read_stream(stream) if isinstance(record.event, MessageAdded)]


def said(message: MessageAdded) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def counts(log: Log) -> tuple[int, int, int, int]:
    task = log.tasks.get(UUID)
    return task.llm_call_count, task.tool_call_count, task.total_tokens, task.compression_count


@pytest.mark.feature("S4-5")
def test_four_files_make_one_task(log: Log, tmp_path: Path) -> None:
    log.tasks.create({**ROW, "llm_call_count": 0, "tool_call_count": 0, "total_tokens": 0})
    report = bring(log, folder(tmp_path))
    assert (report.total.understood_records, report.total.duplicate_records, report.partial) == (9, 4, False)
    found = messages(log, f"task-{UUID}")
    assert [(one.role, said(one)) for one in found] == [
        ("system", "You fix issues."), ("user", "Fix #42"), ("assistant", "I look."), ("tool", ""),
        ("user", "go on"), ("user", "go on"), ("assistant", "So far: …"),
    ]  # fmt: skip
    ids = [one.message_id for one in found]
    assert len(set(ids)) == 7
    assert [one.parent_id for one in found[:6]] == [None, *ids[:5]]
    assert json.loads(bytes(found[1].source)) == {"tokens": 3}  # type: ignore[arg-type]
    (call,) = rows(log, TOOLS)
    assert (call.name, call.outcome, call.duration_us, call.result_bytes) == ("bash", "ok", 1_500_000, 12)
    assert call.started_at == 1_767_323_050_000_000
    parts = [part.id for one in found for part in one.parts if not isinstance(part, TextPart)]  # type: ignore[union-attr]
    assert parts == [call.tool_call_id] * 2
    (used,) = log.projections.rows("llm_calls")
    assert (used["model"], used["input"], used["cache_read"], used["output"], used["reasoning"]) == (
        "gpt-4.1", 40, 60, 15, 5,
    )  # fmt: skip
    (compacted,) = log.projections.rows("compactions")
    assert (compacted["tokens_before"], compacted["tokens_after"]) == (5000, 50)
    events = [record.event for record in log.tasks.history(UUID)]
    assert [one.text for one in events if isinstance(one, SummaryAdded)] == ["An issue is being fixed."]
    assert counts(log) == (1, 1, 120, 1)
    check_every_way(log)


def test_imported_again_it_adds_nothing_and_a_tail_is_added(log: Log, tmp_path: Path) -> None:
    place = folder(tmp_path)
    bring(log, place)
    head = log.head()
    assert {one.status for one in bring(log, place).sources} == {"unchanged"}
    for name in ("messages.jsonl", "current.jsonl", "tools.jsonl", "summaries.jsonl"):
        (place / name).touch()
        bring(log, place / name)
    for file in place.iterdir():  # rewritten, as the agent does with what the model sees
        file.write_text(" \n" + file.read_text())
    bring(log, place)
    assert [record.type for record in log.read(head.position) if record.stream.startswith("task-")] == []
    with (place / "messages.jsonl").open("a") as file:
        file.write(json.dumps({"role": "user", "content": "go on"}) + "\n")
        file.write(json.dumps({"role": "assistant", "tool_calls": [{**ASKED[0], "id": "call_2"}]}) + "\n")
    with (place / "tools.jsonl").open("a") as file:
        file.write(json.dumps({**TOOL, "result": "c.py"}) + "\n")
    report = bring(log, place)
    assert report.total.understood_records == 3
    found = messages(log, f"task-{UUID}")
    assert len(found) == 9 and found[-1].parent_id == found[-2].message_id
    assert len(rows(log, TOOLS)) == 2 and all(call.outcome == "ok" for call in rows(log, TOOLS))
    assert log.projections.verify() == []


@pytest.mark.parametrize("database_first", [True, False])
def test_what_the_tasks_own_database_counted_counts_once(log: Log, tmp_path: Path, database_first: bool) -> None:
    place = folder(tmp_path)
    database = Database(tmp_path / "contexts" / "tasks.db")
    numbers = {"llm_call_count": 1, "tool_call_count": 1, "total_tokens": 120, "compression_count": 1}
    database.add(**numbers)

    def both() -> None:
        for name in ("tasks-db", "agent-jsonl") if database_first else ("agent-jsonl", "tasks-db"):
            import_paths(log, log.projections, format_of(name), [tmp_path], data_dir=log.data_dir)

    both()
    assert counts(log) == tuple(numbers.values())
    with (place / "tools.jsonl").open("a") as file:
        file.write(json.dumps({**TOOL, "id": "x"}) + "\n")
    database.change(tool_call_count=2)
    both()
    assert counts(log) == (1, 2, 120, 1)
    assert len(rows(log, TOOLS)) == 2
    database.close()
    assert log.projections.verify() == []


def test_a_folder_that_is_no_task_is_a_session(log: Log, tmp_path: Path) -> None:
    bring(log, folder(tmp_path, "vibe-7").parent.parent)
    session = log.sessions.get("vibe-7")
    assert (session.message_count, session.tool_call_count, session.compression_count) == (7, 1, 1)
    thread = log.sessions.thread("vibe-7")
    assert thread and thread[-1].message_id == session.head_message_id
    log.tasks.create(ROW, uuid="named")
    bring(log, folder(tmp_path, "named"))
    assert len(messages(log, "task-named")) == 7 and log.sessions.find("named") is None


def test_messages_in_other_forms(log: Log, tmp_path: Path) -> None:
    place = tmp_path / UUID
    write(place / "messages.jsonl", [
        {"messageId": "m1", "role": "human", "createdAt": "2026-01-02T03:04:05Z",
         "content": [{"type": "text", "text": "Look"}, {"type": "image", "url": "x"}]},
        {"id": 2, "role": "ai", "reasoning_content": "hm", "content": [
            {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": True}]},
        {"message": {"role": "assistant", "content": "done"}, "timestamp": "2026-01-02T03:05:05Z", "turn": 4},
        {"role": "function", "name": "old", "content": "x"},
        {"role": "narrator", "content": "once"},
        {"event": "started"},
    ])  # fmt: skip
    report = bring(log, place)
    assert (report.total.understood_records, report.total.raw_records) == (5, 2)
    found = messages(log, f"task-{UUID}")
    assert [(one.message_id, one.role, [type(part).__name__ for part in one.parts]) for one in found[:3]] == [
        ("m1", "user", ["TextPart", "RawPart"]),
        ("2", "assistant", ["ReasoningPart", "ToolCallPart"]),
        (found[2].message_id, "user", ["ToolCallResponsePart"]),
    ]
    assert [(one.role, said(one)) for one in found[3:]] == [("assistant", "done"), ("tool", "x")]
    (call,) = rows(log, TOOLS)
    assert (call.tool_call_id, call.outcome, call.message_id) == ("t1", "error", "2")
    kept = [record.event for record in log.tasks.history(UUID) if isinstance(record.event, RecordKept)]
    assert [json.loads(bytes(one.data)) for one in kept] == [  # type: ignore[arg-type]
        {"role": "narrator", "content": "once"}, {"event": "started"},
    ]  # fmt: skip


def test_an_answer_that_a_message_tells_otherwise_is_kept_whole(log: Log, tmp_path: Path) -> None:
    place = tmp_path / UUID
    write(place / "tools.jsonl", [{"id": "call_1", "name": "bash", "arguments": {"command": "ls"}, "exitCode": 2}])
    write(place / "messages.jsonl", MESSAGES[2:4])
    bring(log, place)
    assert said(messages(log, f"task-{UUID}")[1]) == "a.py\nb.py"
    (call,) = rows(log, TOOLS)
    assert (call.outcome, call.exit_code) == ("error", 2)
    # The other way about: the message was imported before.
    other = tmp_path / "11111111-2222-4333-8444-555555555555"
    write(other / "messages.jsonl", MESSAGES[2:4])
    bring(log, other)
    write(other / "tools.jsonl", [{"id": "call_1", "name": "bash", "output": {"files": 2}, "success": True}])
    bring(log, other)
    events = [record.event for record in log.tasks.history(other.name)]
    assert len([one for one in events if isinstance(one, ToolCallFinished)]) == 1
    assert any(isinstance(one, RecordKept) and b'"files":2' in bytes(one.data) for one in events)  # type: ignore[arg-type]


def test_damage_is_told_and_the_rest_is_there(log: Log, tmp_path: Path) -> None:
    place = tmp_path / UUID
    good = [json.dumps(one).encode() for one in MESSAGES]
    data = b"\n".join([
        good[0], b"\xff\xfe broken", b"\0" * 40, good[1] + good[2], b"[1, 2]", b'{"role": 7, "content": "x"}',
        b'{"role": "user", "content": {"deep": [1]}}', b'{"role": "user", "content": "caf\xc3 \xe2\x80\xa8"}', b"",
        good[3], b'{"role": "user", "cont',
    ])  # fmt: skip
    place.mkdir()
    file = place / "messages.jsonl"
    file.write_bytes(data)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    report = bring(log, place)
    total = report.total
    assert (total.understood_records, total.raw_records, total.quarantined_records) == (6, 1, 4)
    parts = total.understood_bytes + total.raw_bytes + total.quarantined_bytes + total.blank_bytes
    assert report.partial and parts == len(data)
    assert [one.role for one in messages(log, f"task-{UUID}")] == [
        "system",
        "user",
        "assistant",
        "user",
        "user",
        "tool",
    ]
    file.write_bytes(data + b'ent": "whole now"}\n')
    assert bring(log, place).total.understood_records == 1
    assert said(messages(log, f"task-{UUID}")[-1]) == "whole now"
    assert log.projections.verify() == []


def test_secrets_are_masked(log: Log, tmp_path: Path) -> None:
    secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
    place = tmp_path / UUID
    write(place / "messages.jsonl", [{"role": "user", "content": f"use {secret}", "note": secret}])
    write(place / "tools.jsonl", [{"tool": "bash", "args": f"curl -H {secret}", "result": [secret], "error": secret}])
    write(place / "summaries.jsonl", [{"summary": f"with {secret}"}, {"password": "hunter2"}])
    report = bring(log, place)
    assert report.total.secrets >= 6
    assert not any(secret in record.data or "hunter2" in record.data for record in log.read())


def test_a_dry_run_adds_nothing(log: Log, tmp_path: Path) -> None:
    report = bring(log, folder(tmp_path), options=Options(dry_run=True))
    assert (report.total.understood_records, log.head().position) == (9, 0)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"result": "x"}, ("unknown", "x")),
        ({"result": "x", "error": None}, ("ok", "x")),
        ({"result": None, "error": "TimeoutError"}, ("error", "TimeoutError")),
        ({"output": "x", "isError": False}, ("ok", "x")),
        ({"status": "Cancelled"}, ("cancelled", None)),
        ({"status": "strange", "result": 1}, ("unknown", 1)),
        ({"success": False, "result": "x", "error": "y z"}, ("error", {"result": "x", "error": "y z"})),
    ],
)
def test_how_a_call_ended(record: dict[str, Any], expected: tuple[str, Any]) -> None:
    end = tool_end(Fields(record))
    assert end is not None and (end.outcome, end.result) == expected


def test_what_says_nothing_of_an_end_is_none() -> None:
    assert tool_end(Fields({"name": "bash", "arguments": {}})) is None
    assert usage_of(Fields({"usage": {"total_tokens": 3}})) is None
    found = usage_of(Fields({"usage": {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 2}}))
    assert found is not None and (found[0].input, found[0].cache_read, found[0].output) == (5, 7, 2)
