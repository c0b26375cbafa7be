"""opencode's sessions: the database and the files before it say the same, and say it once."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventlog.app import Log
from eventlog.events.agents import MessageAdded, SummaryAdded
from eventlog.events.sessions import SessionRewound
from eventlog.importers.formats import format_of
from eventlog.importers.run import Report, import_paths
from projections.imports import projections as import_tables
from projections.llm_calls import projections as call_tables
from projections.sessions import Session
from projections.sessions import projections as session_tables
from projections.tool_calls import ToolCall
from projections.tool_calls import projections as tool_tables
from tests.fixtures import transcripts
from tests.importers.opencode_schema import T0, Made, spent, step, text, tool
from tests.projections.reference import check_every_way

pytestmark = pytest.mark.alike


def bring(log: Log, *paths: Path, **options: Any) -> Report:
    return import_paths(log, log.projections, format_of("opencode"), paths, data_dir=log.data_dir, **options)


def rows(log: Log, table: Any) -> list[Any]:
    log.projections.ensure(table.name)
    with log.reader() as reader:
        return list(reader.select(table.table))


def lanes(log: Log) -> dict[str, tuple[int, ...]]:
    return {
        one.call_id: (one.input, one.output, one.reasoning, one.cache_read, one.cache_write_5m)
        for one in rows(log, call_tables[0])
        if one.status == "completed"
    }


def sessions(log: Log) -> dict[str, Session]:
    return {row.session_id: row for row in rows(log, session_tables[0])}


def tools(log: Log) -> dict[str, ToolCall]:
    return {row.tool_call_id: row for row in rows(log, tool_tables[0])}


def spoken(log: Log, session: str = "ses_1") -> list[tuple[str, str | None, str]]:
    found = []
    for record in log.read_stream(f"session-{session}"):
        if isinstance(record.event, MessageAdded):
            told = " ".join(getattr(part, "text", None) or getattr(part, "id", "") for part in record.event.parts)
            found.append((record.event.role, record.event.origin, told.strip()))
    return found


def conversation() -> Made:
    made = Made()
    made.session("ses_1", model={"id": "claude-sonnet-4-5", "providerID": "anthropic"})
    made.say("ses_1", "msg_01", 10, text("Run the tests"))
    made.answer(
        "ses_1",
        "msg_02",
        1000,
        {"type": "step-start", "snapshot": "abc"},
        {"type": "reasoning", "text": "Which ones?", "time": {"start": T0, "end": T0}},
        tool(
            "call_a",
            "bash",
            "completed",
            1200,
            output="1 failed",
            title="make test",
            metadata={"exit": 2, "output": "1 failed"},
        ),
        tool("call_b", "invalid", "completed", 1300, output="no such tool", title="Invalid", metadata={}),
        tool("call_c", "read", "error", 1400, error="File not found"),
        tool("call_d", "edit", "error", 1450, error="Tool execution aborted"),
        step(100, 20, 5, 1000, 300, cost=0.01, reason="tool-calls"),
        step(50, 10, 0, 1400, 0, cost=0.0025),
        tokens=spent(50, 10, 0, 1400, 0),
    )
    made.answer("ses_1", "msg_03", 3000, text("One fails."), tokens=spent(7, 3, 0, 1500, 0), cost=0, finish="stop")
    made.todos = [("ses_1", "Fix the cart")]
    return made


def test_a_database_is_told_as_it_is(log: Log, tmp_path: Path) -> None:
    made = conversation()
    made.session("ses_2", 1500, parent_id="ses_1", title="Look (@explore)")
    made.say("ses_2", "msg_21", 1510, text("Look at the cart"))
    made.answer("ses_2", "msg_22", 1600, text("Seen."), tokens=spent(11, 4), cost=0.5)
    made.answer(
        "ses_1", "msg_04", 4000, tool("call_t", "task", "completed", 4000, output="x", metadata={"sessionId": "ses_2"})
    )
    report = bring(log, made.database(tmp_path / "opencode.db"))
    assert (report.partial, report.total.raw_records, report.total.quarantined_records) == (False, 1, 0)
    assert spoken(log)[:3] == [
        ("user", "human", "Run the tests"),
        ("assistant", None, "Which ones? call_a call_a call_b call_b call_c call_c call_d call_d"),
        ("assistant", None, "One fails."),
    ]
    assert spoken(log, "ses_2")[0] == ("user", "assistant", "Look at the cart")
    assert lanes(log) == {
        "msg_02": (100, 20, 5, 1000, 300),
        "msg_02:1": (50, 10, 0, 1400, 0),
        "msg_03": (7, 3, 0, 1500, 0),
        "msg_22": (11, 4, 0, 0, 0),
    }
    calls = {one.call_id: one for one in rows(log, call_tables[0])}
    assert [calls[one].reported_cost_micro_usd for one in sorted(calls)] == [10_000, 2_500, None, 500_000]
    assert (calls["msg_02"].finish_reason, calls["msg_03"].finish_reason) == ("tool_call", "stop")
    assert (calls["msg_03"].provider, calls["msg_03"].model, calls["msg_03"].duration_us) == (
        "anthropic",
        "claude-sonnet-4-5",
        1_000_000,
    )
    told = {name: (one.outcome, one.exit_code, one.duration_us) for name, one in tools(log).items()}
    assert told == {
        "call_a": ("error", 2, 500_000),
        "call_b": ("error", None, 500_000),
        "call_c": ("error", None, 500_000),
        "call_d": ("cancelled", None, 500_000),
        "call_t": ("ok", None, 500_000),
    }
    assert tools(log)["call_t"].child_session_id == "ses_2"
    one, two = sessions(log)["ses_1"], sessions(log)["ses_2"]
    assert (one.agent, one.title, one.cwd, one.created_at, one.head_message_id) == (
        "opencode", "Cart", "/work/shop", T0 * 1000, "msg_04",
    )  # fmt: skip
    assert (two.link, two.parent_session_id, two.workspace_id) == ("subagent", "ses_1", one.workspace_id)
    head = log.head()
    os.utime(tmp_path / "opencode.db")
    assert bring(log, tmp_path).total.events == 0 and log.head() == head
    check_every_way(log)


def test_files_and_a_database_are_one(log: Log, tmp_path: Path) -> None:
    """A migration that left a session behind: what only the files have is not lost, and nothing is told twice."""
    made = conversation()
    made.session("ses_9", 50, title="Left behind")
    made.say("ses_9", "msg_91", 60, text("Only here"))
    made.tree(tmp_path / "storage")
    del made.sessions["ses_9"], made.messages["msg_91"], made.parts["prt_msg_91_0"]
    made.answer("ses_1", "msg_05", 9000, text("Later."), tokens=spent(1, 1))
    made.database(tmp_path / "opencode-dev.db")
    bring(log, tmp_path)
    assert [one[2] for one in spoken(log)][-2:] == ["One fails.", "Later."] and len(spoken(log)) == 4
    assert spoken(log, "ses_9") == [("user", "human", "Only here")]
    assert len(lanes(log)) == 4 and len(sessions(log)) == 2


def test_an_answer_is_taken_when_it_is_whole(log: Log, tmp_path: Path) -> None:
    made, path = conversation(), tmp_path / "opencode.db"
    now = int(time.time() * 1000) - T0
    made.answer("ses_1", "msg_04", now, text("Wor"), time={"created": T0 + now})
    bring(log, made.database(path))
    assert len(spoken(log)) == 3
    made.answer("ses_1", "msg_04", now, text("Working."), tokens=spent(9, 9))
    bring(log, made.database(path))
    assert spoken(log)[-1][2] == "Working." and lanes(log)["msg_04"][:2] == (9, 9)
    # An account that turns out to be fuller amends the call; a tool answers later than its message was read.
    made.answer("ses_1", "msg_04", now, text("Working."), tool("call_z", "bash", "running", 5), tokens=spent(9, 30))
    bring(log, made.database(path))
    assert tools(log)["call_z"].outcome is None
    made.answer(
        "ses_1",
        "msg_04",
        now,
        text("Working."),
        tool("call_z", "bash", "completed", 5, output="y"),
        tokens=spent(9, 30),
    )
    bring(log, made.database(path))
    assert lanes(log)["msg_04"][:2] == (9, 30) and tools(log)["call_z"].outcome == "ok"
    assert len(spoken(log)) == 4


def test_an_answer_that_nobody_finished_is_there_too(log: Log, tmp_path: Path) -> None:
    made = conversation()
    made.answer(
        "ses_1",
        "msg_04",
        5000,
        text("I was"),
        tool("call_p", "bash", "pending"),
        time={"created": T0 + 5000},
        tokens=spent(3, 1),
    )
    error = {"name": "APIError", "data": {"message": "overloaded", "isRetryable": True}}
    made.answer("ses_1", "msg_05", 6000, error=error)
    bring(log, made.database(tmp_path / "opencode.db"))
    calls = {one.call_id: one for one in rows(log, call_tables[0])}
    assert (calls["msg_04"].quality, calls["msg_05:failed"].error_type) == ("partial", "APIError")
    assert "call_p" not in tools(log)


def test_a_copy_of_a_session_counts_at_its_original(log: Log, tmp_path: Path) -> None:
    made = conversation()
    made.session("ses_3", 60_000, title="Cart (fork #1)")
    for name in ("msg_01", "msg_02"):
        made.messages[f"{name}f"] = ("ses_3", made.messages[name][1])
        for part, (message, data) in list(made.parts.items()):
            if message == name:
                made.parts[f"{part}f"] = (f"{name}f", data)
    made.say("ses_3", "msg_31", 61_000, text("Otherwise"))
    bring(log, made.database(tmp_path / "opencode.db"))
    assert spoken(log, "ses_3") == [("user", "human", "Otherwise")]
    session = sessions(log)["ses_3"]
    assert (session.link, session.parent_session_id, session.parent_message_id) == ("fork", "ses_1", "msg_02")
    assert len(lanes(log)) == 3


def test_what_is_compacted_reverted_and_asked_of_others(log: Log, tmp_path: Path) -> None:
    made = conversation()
    made.say("ses_1", "msg_04", 5000, {"type": "compaction", "auto": True})
    made.answer("ses_1", "msg_05", 6000, text("They ran tests."), summary=True, tokens=spent(500, 50))
    subtask = {"type": "subtask", "prompt": "Look around", "description": "d", "agent": "explore"}
    made.say("ses_1", "msg_06", 7000, subtask, {"type": "file", "mime": "text/plain", "url": "file:///a.txt"})
    made.say("ses_1", "msg_07", 8000, text("Called", synthetic=True))
    made.sessions["ses_1"]["revert"] = {"messageID": "msg_07"}
    made.sessions["ses_1"]["time_archived"] = T0 + 9000
    bring(log, made.database(tmp_path / "opencode.db"))
    session = sessions(log)["ses_1"]
    assert (session.compression_count, session.archived, session.head_message_id) == (1, True, "msg_06")
    events = [record.event for record in log.read_stream("session-ses_1")]
    assert [one.text for one in events if isinstance(one, SummaryAdded)] == ["They ran tests."]
    assert [one.message_id for one in events if isinstance(one, SessionRewound)] == ["msg_06"]
    assert [one[2] for one in spoken(log)][-2:] == ["Look around", "Called"] and spoken(log)[-1][1] == "runtime"


def test_models_that_number_their_calls_anew_each_time(log: Log, tmp_path: Path) -> None:
    made = Made()
    made.session("ses_1")
    for number in range(2):
        done = tool("functions.bash:0", "bash", "completed", number, output=str(number), metadata={"exit": number})
        made.answer("ses_1", f"msg_{number}", 100 * number, done, tokens=spent(1, 1))
    bring(log, made.database(tmp_path / "opencode.db"))
    assert {name: one.exit_code for name, one in tools(log).items()} == {"functions.bash:0": 0, "prt_msg_1_0": 1}


def test_a_secret_in_a_todo_is_masked_whatever_was_said_before(log: Log, tmp_path: Path) -> None:
    made, secret = conversation(), "ghp_" + "a1B2" * 9
    made.todos = [("ses_1", f"revoke {secret}")]
    assert bring(log, made.database(tmp_path / "opencode.db")).total.secrets == 1
    assert secret not in str([record.data for record in log.read()])


def test_what_is_damaged_is_told_of_and_the_rest_is_there(log: Log, tmp_path: Path) -> None:
    made, path = conversation(), tmp_path / "opencode.db"
    made.say("ses_1", "msg_04", 5000, text("my key is sk-proj-" + "a1B2" * 12))
    made.answer("ses_1", "msg_05", 6000, {"type": "tool", "callID": 7}, {"type": "brand-new", "x": 1})
    made.database(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO message VALUES ('msg_06', 'ses_1', 1, 1, '{\"role\": \"user')")
        connection.execute("INSERT INTO message VALUES ('msg_07', 'ses_1', 1, 1, '[1]')")
        connection.execute("INSERT INTO message VALUES ('msg_08', 'ses_1', 1, 1, x'ff00fe')")
        connection.execute("UPDATE part SET data = '{' WHERE id = 'prt_msg_01_0'")
        connection.commit()
    report = bring(log, path)
    assert report.partial and report.total.quarantined_records == 4 and report.total.raw_records == 1
    assert report.total.secrets == 1 and "a1B2a1B2" not in str(spoken(log))
    reasons = {row.reason for row in rows(log, import_tables[1])}
    assert reasons == {"message: not valid JSON", "message: not a JSON object", "part: not valid JSON"}
    head = log.head()
    os.utime(path)
    bring(log, path)
    assert log.head() == head
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM message WHERE id IN ('msg_07', 'msg_08')")
        connection.execute(
            "UPDATE message SET data = ? WHERE id = 'msg_06'", ('{"role": "user", "time": {"created": 5}}',)
        )
        connection.commit()
    bring(log, path)
    assert [row.outcome for row in rows(log, import_tables[1])].count(None) == 1
    assert list(log.projections.verify()) == []


def test_a_crafted_database_is_refused(log: Log, tmp_path: Path) -> None:
    path = conversation().database(tmp_path / "opencode.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE message RENAME TO kept")
        connection.execute("CREATE VIEW message AS SELECT * FROM kept")
        connection.commit()
    (source,) = bring(log, path).sources
    assert source.status == "failed" and "not a plain table" in str(source.problem)
    assert not sessions(log)


def test_damaged_files_of_a_tree(log: Log, tmp_path: Path) -> None:
    storage = conversation().tree(tmp_path / "storage")
    (storage / "message" / "ses_1" / "msg_09.json").write_bytes(b'{"role": "us')
    (storage / "session" / "p1" / "ses_8.json").write_bytes(b"\0\0")
    (storage / "message" / "ses_1" / "msg_08.json").write_bytes(
        b'{"role": "user", "time": {"created": 1}, "x": "\xff"}'
    )
    report = bring(log, tmp_path)
    assert report.total.quarantined_records == 2 and len(spoken(log)) == 4


def test_the_tree_of_somebody_else(log: Log) -> None:
    bring(log, transcripts() / "tokscale" / "opencode")
    assert lanes(log) == {"msg_test001": (1000, 500, 0, 200, 100)}
    call = rows(log, call_tables[0])[0]
    assert (call.model, call.occurred_at) == ("claude-3-5-sonnet-20241022", 1_733_011_260_000_000)
    assert list(sessions(log)) == ["ses_test001"]
