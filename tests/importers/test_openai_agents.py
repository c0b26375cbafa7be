"""Files of the OpenAI Agents SDK: items into messages and tools, branches into forks, usage into calls."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from eventlog.events.agents import LlmCallCompleted, MessageAdded, ToolCallFinished, ToolCallStarted
from eventlog.importers.openai_agents import OpenAIAgents
from eventlog.importers.run import Report, import_paths
from tests.fixtures import transcripts
from tests.projections.reference import check_every_way

SECRET = "ghp_" + "a1B2" * 9
SCHEMA = """
CREATE TABLE agent_sessions (session_id TEXT PRIMARY KEY, created_at TIMESTAMP, updated_at TIMESTAMP);
CREATE TABLE agent_messages (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL,
    message_data TEXT NOT NULL, created_at TIMESTAMP DEFAULT '2026-01-02 03:04:05');
"""
ADVANCED = """
CREATE TABLE message_structure (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL,
    message_id INTEGER NOT NULL, branch_id TEXT NOT NULL DEFAULT 'main', message_type TEXT NOT NULL,
    sequence_number INTEGER NOT NULL, user_turn_number INTEGER, branch_turn_number INTEGER, tool_name TEXT);
CREATE TABLE turn_usage (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL,
    branch_id TEXT NOT NULL DEFAULT 'main', user_turn_number INTEGER NOT NULL, requests INTEGER DEFAULT 0,
    input_tokens INTEGER DEFAULT 0, output_tokens INTEGER DEFAULT 0, total_tokens INTEGER DEFAULT 0,
    input_tokens_details JSON, output_tokens_details JSON, created_at TIMESTAMP DEFAULT '2026-01-02 03:04:05');
"""


def imported(log: Log, path: Path) -> Report:
    return import_paths(log, log.projections, OpenAIAgents(), [path], data_dir=path.parent)


def of(log: Log, kind: type) -> list[Any]:
    return [record.event for record in log.read() if isinstance(record.event, kind)]


class Database:
    def __init__(self, path: Path, schema: str = SCHEMA) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(schema)

    def run(self, sql: str, *values: Any) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            cursor = connection.execute(sql, values)
            connection.commit()
            return cursor.lastrowid or 0

    def item(self, session: str, item: Any, *branches: str) -> int:
        data = item if isinstance(item, str) else json.dumps(item)
        number = self.run("INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)", session, data)
        for branch in branches:
            self.place(session, number, branch)
        return number

    def place(self, session: str, number: int, branch: str) -> None:
        sql = (
            "INSERT INTO message_structure (session_id, message_id, branch_id, message_type, sequence_number) "
            "VALUES (?, ?, ?, 'user', 0)"
        )
        self.run(sql, session, number, branch)


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    return Path(shutil.copytree(transcripts() / "openai-agents-generated", tmp_path / "generated"))


def test_files_of_the_sdk(tmp_path: Path, generated: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, generated)
        assert [source.status for source in report.sources] == ["imported", "imported"]
        sessions = {one.session_id: one for one in log.sessions.list()}
        assert set(sessions) == {"conv_1", "adv_1", "adv_1:alt"}
        fork = sessions["adv_1:alt"]
        assert (fork.link, fork.parent_session_id, fork.parent_message_id) == ("fork", "adv_1", "adv_1:2")
        assert {name: one.message_count for name, one in sessions.items()} == {"conv_1": 6, "adv_1": 4, "adv_1:alt": 2}
        asked, answered = of(log, ToolCallStarted), of(log, ToolCallFinished)
        assert [(one.tool_call_id, one.name, bytes(one.arguments)) for one in asked] == [
            ("call_1", "ls", b'{"path":"."}')
        ]
        assert [(one.tool_call_id, bytes(one.result)) for one in answered] == [("call_1", b'"a.py\\nb.py"')]
        head = log.head()
        assert {source.status for source in imported(log, generated).sources} == {"unchanged"}
        assert log.head() == head
        check_every_way(log)


def test_branches_count_what_they_share_once(tmp_path: Path) -> None:
    database = Database(tmp_path / "agents.db", SCHEMA + ADVANCED)
    database.run("INSERT INTO agent_sessions VALUES ('s', '2026-01-01 00:00:00', NULL)")
    first = database.item("s", {"role": "user", "content": "a"}, "main")
    second = database.item("s", {"role": "assistant", "content": "b"}, "main")
    for number in (first, second):
        database.place("s", number, "left")
    third = database.item("s", {"role": "user", "content": "left"}, "left")
    for number in (first, second, third):
        database.place("s", number, "deep")
    database.item("s", {"role": "user", "content": "deep"}, "deep")
    database.item("s", {"role": "user", "content": "c"}, "main")
    details = '{"cached_tokens": 30}', '{"reasoning_tokens": 4}'
    sql = (
        "INSERT INTO turn_usage (session_id, branch_id, user_turn_number, requests, input_tokens, output_tokens, "
        "input_tokens_details, output_tokens_details) VALUES ('s', ?, ?, 2, ?, 10, ?, ?)"
    )
    database.run(sql, "main", 1, 100, *details)
    database.run(sql, "left", 1, 50, "broken", None)
    with eventlog.open(tmp_path / "log.db") as log:
        assert not imported(log, database.path).partial
        told = {
            one.session_id: (one.parent_session_id, one.parent_message_id, one.message_count)
            for one in log.sessions.list()
        }
        assert told == {"s": (None, None, 3), "s:left": ("s", "s:2", 1), "s:deep": ("s:left", "s:3", 1)}
        parents = {event.message_id: event.parent_id for event in of(log, MessageAdded)}
        assert parents == {"s:1": None, "s:2": "s:1", "s:3": "s:2", "s:4": "s:3", "s:5": "s:2"}
        usages = [call.usage for call in of(log, LlmCallCompleted)]
        assert [(one.input, one.cache_read, one.output, one.reasoning) for one in usages] == [
            (70, 30, 6, 4),
            (50, 0, 10, 0),
        ]
        assert log.sessions.get("s").created_at == 1_767_225_600_000_000
        head = log.head()
        database.item("s", {"role": "user", "content": "d"}, "main")
        database.run("UPDATE turn_usage SET output_tokens = 20 WHERE branch_id = 'main'")
        imported(log, database.path)
        added = [record.type for record in log.read(after=head.position)]
        assert added == ["message.added", "llm.call_amended", "import.source_advanced"]
        assert log.projections.verify() == []


def test_items_of_every_type_and_such_as_nobody_knows(tmp_path: Path) -> None:
    database = Database(tmp_path / "agents.db")
    blocks = [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": "https://example.com/a.png"}]
    database.item("s", {"role": "user", "content": blocks})
    summary = [{"type": "summary_text", "text": "thinking"}]
    database.item("s", {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "xyz"})
    database.item("s", {"type": "function_call", "call_id": "c", "name": "f", "arguments": f'{{"token": "{SECRET}"}}'})
    database.item("s", {"type": "function_call_output", "call_id": "c", "output": "x" * 100_000})
    text = [{"type": "output_text", "text": "done", "annotations": []}]
    database.item("s", {"type": "message", "id": "m", "role": "assistant", "content": text, "status": "completed"})
    database.item("s", {"type": "web_search_call", "id": "ws", "status": "completed"})
    database.item("s", {"role": "developer", "content": "\ud800 half"})
    database.item("s", "[1, 2")
    database.item("s", "[" * 400 + "]" * 400)
    database.item("s", "7")
    database.run("INSERT INTO agent_messages (session_id, message_data) VALUES (x'00', x'ff')")
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, database.path)
        assert (report.total.understood_records, report.total.raw_records, report.total.secrets) == (7, 4, 1)
        said = of(log, MessageAdded)
        roles = [event.role for event in said]
        assert roles == ["user", "assistant", "assistant", "tool", "assistant", "assistant", "system"]
        assert [type(part).__name__ for part in said[0].parts] == ["TextPart", "RawPart"]
        assert said[1].parts[0].text == "thinking"
        assert json.loads(bytes(said[1].source)) == {"encrypted_content": "xyz"}
        assert bytes(of(log, ToolCallStarted)[0].arguments) == b'{"token":"[redacted]"}'
        assert of(log, ToolCallFinished)[0].blob.size_bytes == 100_002
        assert said[6].parts[0].text == "\\ud800 half"
        head = log.head()
        database.run("UPDATE agent_sessions SET updated_at = 'now'")
        with closing(sqlite3.connect(database.path)) as connection:
            connection.execute("VACUUM")
        imported(log, database.path)
        assert log.head() == head
        assert log.projections.verify() == []


def test_one_session_in_two_files(tmp_path: Path) -> None:
    one, two = Database(tmp_path / "one.db"), Database(tmp_path / "two.db")
    one.item("default", {"role": "user", "content": "one"})
    two.item("default", {"role": "user", "content": "two"})
    with eventlog.open(tmp_path / "log.sqlite") as log:
        imported(log, one.path)
        imported(log, two.path)
        assert [event.parts[0].text for event in of(log, MessageAdded)] == ["one", "two"]
        assert len(log.sessions.list()) == 1


def test_a_session_is_called_what_a_path_can_have(tmp_path: Path) -> None:
    database = Database(tmp_path / "agents.db")
    for name in ("user/7", "..", "user 7"):
        database.item(name, {"role": "user", "content": name})
    with eventlog.open(tmp_path / "log.db") as log:
        assert imported(log, database.path).total.understood_records == 3
        found = [one.session_id for one in log.sessions.list()]
        assert len(found) == 3 and "user 7" in found
        assert not [one for one in found if "/" in one or one == ".."]
