"""``eventlog sessions``, ``workspaces`` and ``tables``: from the first message to files."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path

import pytest

import eventlog
from eventlog.exporters import tables
from tests.integration.test_cli_commands import Cli

SECRET = "ghp_" + "a1B2" * 9


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A session with a fork, a rewind, hostile text and a secret."""
    with eventlog.open(tmp_path / "log.db") as log:
        workspace = log.workspaces.register(tmp_path, name="=cmd()")
        log.sessions.create(session_id="abc-1", workspace_id=workspace.workspace_id, title="-1 \x1b[2J", agent="coder")
        log.sessions.add_message("abc-1", "user", f"mend it with {SECRET}", message_id="m1")
        log.sessions.start_tool_call("abc-1", "bash", {"command": "x" * 4000}, tool_call_id="t")
        log.sessions.finish_tool_call(
            "abc-1", "t", "error", "\x1b]0;evil\x07```\nbad", exit_code=2, duration_us=3_000_000
        )
        log.sessions.add_message("abc-1", "assistant", "done", message_id="m2")
        log.sessions.record_llm_call("abc-1", {"input": 10, "output": 5}, model="opus", message_id="m2")
        log.sessions.fork("abc-1", "m1", new_session_id="abd-2")
        log.sessions.create_instance("abc-1", instance_id="i", task="part")
    return Cli(tmp_path / "log.db")


def test_a_conversation_is_shown_safely_and_without_secrets(cli: Cli) -> None:
    shown = cli("sessions", "show", "abc").stdout
    assert "[error, exit 2, 3.00 s]" in shown and "opus · 10 in, 5 out" in shown and "more characters" in shown
    assert SECRET not in shown and "\x1b" not in shown and "evil" not in shown
    assert "x" * 4000 in cli("sessions", "show", "abc-1", "--full").stdout
    found = cli.json("sessions", "show", "abc-1")
    assert [one["message"]["message_id"] for one in found["thread"]] == ["m1", "m2"]
    assert found["instances"][0]["task"] == "part" and SECRET not in json.dumps(found)
    assert "(1 message before these)" in cli("sessions", "show", "abc-1", "-n", 1).stdout
    assert "several sessions" in cli("sessions", "show", "ab", status=1).stderr
    assert "no session" in cli("sessions", "show", "zzz", status=1).stderr
    assert cli.json("sessions", "show", "last")["session_id"] == "abd-2"


def test_every_command_that_tells_something_does(cli: Cli) -> None:
    made = cli.json("sessions", "create", "Title", "--id", "n", "--workspace", cli.db.parent, "--kind", "task")
    assert (made["kind"], made["cwd"], made["title"]) == ("task", str(cli.db.parent), "Title")
    cli("sessions", "message", "n", "one", "--id", "a", "--at", "2026-11-21T09:30:00Z")
    cli("sessions", "message", "n", "--role", "assistant", "--id", "b", stdin="two\n")
    assert cli.json("sessions", "rewind", "n", "a")["head_message_id"] == "a"
    assert cli.json("sessions", "message", "n", "three", "--parent", "b")["parent_id"] == "b"
    assert cli("sessions", "rewind", "n", status=2)
    assert cli.json("sessions", "status", "n", "done", "--reason", "enough")["status_reason"] == "enough"
    assert cli.json("sessions", "rename", "n", "Other")["title"] == "Other"
    assert cli.json("sessions", "fork", "n", "a", "--id", "f")["parent_message_id"] == "a"
    cli("sessions", "archive", "n", "f")
    assert [one["session_id"] for one in cli.json("sessions", "list")] == ["abd-2", "abc-1"]
    assert {one["session_id"] for one in cli.json("sessions", "list", "--archived")} == {"n", "f"}
    assert cli.json("sessions", "restore", "f")[0]["archived"] is False
    version = eventlog.open(cli.db, mode="r").head().position
    assert cli("sessions", "delete", "n", status=2)
    cli("sessions", "delete", "n", "--yes")
    assert len(cli.json("sessions", "list", "--all")) == 3
    assert len(cli.json("sessions", "list", "--all", "--as-of", version)) == 4
    assert [one["parts"][0]["text"] for one in cli.json("sessions", "messages", "n")] == ["one", "two", "three"]
    assert cli.json("sessions", "list", "--parent", "abc-1")[0]["session_id"] == "abd-2"


def test_parts_of_a_session_are_listed(cli: Cli) -> None:
    assert cli.json("sessions", "tools", "abc-1", "--outcome", "error")[0]["name"] == "bash"
    assert cli.json("sessions", "tools", "abc-1", "--outcome", "none") == []
    assert cli.json("sessions", "llm-calls", "abc-1")[0]["output"] == 5
    assert cli.json("sessions", "instances", "abc-1", "--status", "busy") == []
    for name in ("tools", "llm-calls", "instances", "messages"):
        text = cli("sessions", name, "abc-1").stdout
        assert SECRET not in text and "\x1b" not in text


def test_workspaces_are_registered_moved_and_deleted(cli: Cli, tmp_path: Path) -> None:
    made = cli.json("workspaces", "register", tmp_path / "w", "--name", "w", "--repository", "https://example.org/w")
    assert cli.json("workspaces", "show", tmp_path)["session_count"] == 2
    assert cli.json("workspaces", "move", made["workspace_id"], tmp_path / "v")["path"] == str(tmp_path / "v")
    assert len(cli.json("workspaces", "list")) == 2
    cli("workspaces", "delete", tmp_path / "v", "--yes")
    assert cli("workspaces", "show", made["workspace_id"], status=1)


def test_a_session_is_exported_whole_and_private(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "abc.md"
    cli("sessions", "export", "abc-1", "-o", target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    text = target.read_text()
    assert "## assistant" in text and "````\n```\nbad\n````" in text
    assert SECRET not in text and "\x1b" not in text and "evil" not in text
    assert cli("sessions", "export", "abc-1", "-o", target, status=2)  # it is there
    found = json.loads(cli("sessions", "export", "abc-1", "--format", "json").stdout)
    assert found["thread"] == ["m1", "m2"] and len(found["messages"]) == 2 and len(found["llm_calls"]) == 1
    lines = [json.loads(line) for line in cli("sessions", "export", "abc", "--format", "jsonl").stdout.splitlines()]
    assert [one["kind"] for one in lines] == [
        "session", "thread", "message", "message", "instance", "tool_call", "llm_call",
    ]  # fmt: skip


def test_a_table_is_exported_in_pages_at_one_moment(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE", 2)
    with eventlog.open(cli.db) as log:
        for number in range(5):
            log.sessions.start_tool_call(("abc-1", "abd-2")[number % 2], "bash", tool_call_id=str(number))
        version = log.head().position
        expected = log.projections.rows("tool_calls")
        log.sessions.start_tool_call("abd-2", "late")
    read = cli("tables", "export", "tool_calls", "--format", "jsonl", "--as-of", version).stdout
    assert [json.loads(line) for line in read.splitlines()] == expected
    assert len(json.loads(cli("tables", "export", "tool_calls", "--format", "json").stdout)) == 7
    assert json.loads(cli("tables", "export", "runs", "--format", "json").stdout) == []
    rows = list(csv.DictReader(io.StringIO(cli("tables", "export", "workspaces").stdout)))
    assert rows[0]["name"] == "'=cmd()"
    exact = cli("tables", "export", "workspaces", "--exact").stdout
    assert next(csv.DictReader(io.StringIO(exact)))["name"] == "=cmd()"
    with eventlog.open(cli.db) as log:
        log.projections.rollback(1, ["sessions"])
    assert cli("tables", "export", "sessions", "--format", "jsonl").stdout == ""
    assert "no projection is called" in cli("tables", "export", "nothing", status=1).stderr


def test_a_table_becomes_parquet(cli: Cli, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "calls.parquet"
    cli("tables", "export", "llm_calls", "--format", "parquet", "-o", target)
    with eventlog.open(cli.db) as log:
        assert parquet.read_table(target).to_pylist() == log.projections.rows("llm_calls")
    cli("tables", "export", "sessions", "--format", "parquet", "-o", target, "--yes")
    assert parquet.read_table(target).column("metadata").to_pylist() == ["{}", "{}"]
