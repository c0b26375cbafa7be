"""What commands say beside their answer, so that nobody takes a part for the whole or a guess for a fact."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

import eventlog
from eventlog.errors import InvalidEvent
from eventlog.events.agents import LlmCallCompleted, Usage
from eventlog.projection.discovery import installed
from tests.integration.test_cli_commands import Cli
from tests.projections import things


def growing_by_five(event: object, record: object) -> None:
    if isinstance(event, things.ThingGrew) and event.by == 5:
        raise ValueError("not by five, please")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Two sessions with messages and a call of a model each."""
    with eventlog.open(tmp_path / "log.db") as log:
        workspace = log.workspaces.register(tmp_path).workspace_id
        for name in ("abc-1", "bcd-2"):
            log.sessions.create(session_id=name, workspace_id=workspace, title=f"Title of {name}")
            log.sessions.add_message(name, "user", "a needle", message_id=f"{name}-m")
            call = LlmCallCompleted(
                call_id=name, usage=Usage(input=1_000_000), response_model="gpt-5", workspace_id=workspace
            )
            log.append(f"session-{name}", call)
    return Cli(tmp_path / "log.db")


def test_prices_set_tells_what_is_kept_and_the_comparison_why(cli: Cli) -> None:
    said = cli("prices", "set", "gpt-5", "--input", 2, "--output", 20, "--reason", "a contract").stdout
    assert "input $2.00, output $20.00, cache read $0.125 (kept), cache write 5m $2.00 (as input)" in said
    cli("prices", "set", "other", "--input", 2, "--output", 20, "--reason", "no call is of it")
    told = cli("stats", "cost", "--compare", 0, 9).stdout
    assert "gpt-5, input $2.00, output $20.00, cache read $0.125, always: a contract" in told and "other" not in told
    assert "2 events of calls between: llm.call_completed 2" in told
    events = cli.json("stats", "cost", "--compare", 0, 9)["events"]
    assert [(one["model"], one["reason"]) for one in events] == [("gpt-5", "")] * 2 + [("gpt-5", "a contract")]


def test_a_copy_has_all_its_tables_at_the_head(cli: Cli, tmp_path: Path) -> None:
    for target in ("b.db", "b.db", "c.db"):
        source = cli.db if target == "b.db" else tmp_path / "b.db"
        said = cli("db", "copy", source, tmp_path / target).stdout
        assert "differences  0" in said and "behind" not in said


def test_a_list_that_is_not_all_says_so_and_json_stays_json(cli: Cli) -> None:
    for words in (("sessions", "list"), ("search", "needle")):
        assert "there are more: --limit" in cli(*words, "-n", 1).stderr
        assert cli(*words, "-n", 2).stderr == ""
        assert len(cli.json(*words, "-n", 1)) == 1
        assert cli(*words, "-n", 1, "--json").stderr == ""


def test_answers_of_tables_that_are_held_say_of_when_they_are(cli: Cli) -> None:
    assert "held" not in cli("sessions", "list").stderr
    cli("projections", "rollback", "sessions", "--to", 2)
    done = cli("sessions", "list", "--json")
    assert "the tables are held at version 2 (`eventlog projections resume`" in done.stderr
    assert [one["session_id"] for one in json.loads(done.stdout)] == ["abc-1"]
    assert "held" not in cli("prices", "list").stderr and "held" not in cli("sessions", "list", "--as-of", 3).stderr


def test_tables_that_failed_are_never_passed_for_what_the_events_say(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    made = (*installed(), things.entity(growing_by_five), things.rollup())
    monkeypatch.setattr("eventlog.app.installed", lambda: made)
    with eventlog.open(cli.db) as log:
        log.projections.catch_up()
        things.fill(log, 12)
        stopped = log.projections.status()[-1].position
    told = f"failed at position {stopped + 1}"
    done = cli("projections", "verify", status=1)
    assert f"not checked: things, colours ({told})" in done.stderr and "what the events say" not in done.stdout
    assert "what the events say" in cli("projections", "verify", "sessions").stdout
    done = cli("db", "check", status=1)
    assert f"not checked: things, colours ({told})" in done.stdout and "sound" not in done.stdout
    found = cli.json("db", "check", status=1)
    assert (found["ok"], found["not_checked"]) == (False, dict.fromkeys(("things", "colours"), told))
    listed = {one["name"]: one["state"] for one in cli.json("projections", "list")}
    assert (listed["things"], listed["colours"], listed["sessions"]) == ("failed", "failed", "live")
    assert f"colours: stopped at version {stopped}" in cli("projections", "explain", "colours", "red").stderr


def test_answers_of_tables_that_failed_say_of_when_they_are(cli: Cli) -> None:
    with sqlite3.connect(cli.db) as connection:
        connection.execute(
            "UPDATE projections SET state = 'failed', error = 'x', error_position = 3, position = 2 "
            "WHERE name = 'sessions'"
        )
    connection.close()
    told = "sessions: stopped at version 2, because the projection failed (`eventlog projections status`"
    assert told in cli("sessions", "list").stderr
    assert "stopped" not in cli("prices", "list").stderr


def test_an_exported_table_that_is_held_says_of_when_it_is(cli: Cli, tmp_path: Path) -> None:
    cli("projections", "rollback", "sessions", "--to", 2)
    for words in ((), ("-o", tmp_path / "sessions.csv")):
        assert "the tables are held at version 2 (`eventlog projections resume`" in (
            cli("tables", "export", "sessions", *words).stderr
        )
        assert "held" not in cli("tables", "export", "sessions", "--as-of", 2, *words, "--yes").stderr
        assert "held" not in cli("tables", "export", "projects").stderr
    written = (tmp_path / "sessions.csv").read_text()
    assert "abc-1" in written and "bcd-2" not in written


def test_a_filter_takes_what_people_call_it_and_says_what_it_does_not_know(cli: Cli) -> None:
    folder = cli.db.parent
    assert cli.json("stats", "tokens", "-w", folder)[0]["calls"] == 2
    assert "workspace" in cli("stats", "cost", "-w", "/nowhere", status=1).stderr
    assert len(cli.json("search", "needle", "-w", folder)) == 2
    hits = cli.json("search", "needle", "--session", "abc")
    assert [(hit["session_title"], hit["message_id"]) for hit in hits] == [("Title of abc-1", "abc-1-m")]
    said = cli("search", "needle", "--session", "last").stdout
    assert "session-bcd-2 (Title of bcd-2)" in said and "id bcd-2-m" in said
    assert "no model is called 'sonnet'" in cli("stats", "tokens", "-m", "sonnet").stderr
    assert cli("stats", "tokens", "-m", "gpt-5", "--since", "2099-01-01").stderr == ""


def test_what_is_beside_a_conversation_is_told_and_can_be_read(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        log.sessions.add_message("abc-1", "user", "on the side\n" + "x" * 900, message_id="side", sidechain=True)
    assert "1 message of this session beside the conversation" in cli("sessions", "show", "abc").stdout
    whole = cli("sessions", "show", "abc", "--all").stdout
    assert "beside the conversation:\n\nside · user" in whole and "on the side" in whole
    assert [one["message"]["message_id"] for one in cli.json("sessions", "show", "abc", "--all")["aside"]] == ["side"]
    exported = cli("sessions", "export", "abc").stdout
    assert "on the side" not in exported and "beside this conversation: 1. `--all`" in exported
    exported = cli("sessions", "export", "abc", "--all").stdout
    assert "# Beside the conversation" in exported and "on the side" in exported
    assert "x" * 900 in cli("sessions", "messages", "abc", "--full").stdout


def test_a_table_is_written_as_its_file_is_called(cli: Cli, tmp_path: Path) -> None:
    cli("tables", "export", "sessions", "-o", tmp_path / "x.jsonl")
    assert [json.loads(line)["session_id"] for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    cli("tables", "export", "sessions", "-o", tmp_path / "y.jsonl", "--format", "csv")
    assert (tmp_path / "y.jsonl").read_text().startswith("session_id,")


def test_a_word_that_is_none_of_those_is_answered_with_them(cli: Cli) -> None:
    with eventlog.open(cli.db) as log, pytest.raises(InvalidEvent, match="is one of assistant, system, tool, user"):
        log.sessions.add_message("abc-1", "robot", "hello")


def test_tasks_and_executions_are_meant_by_a_beginning_or_as_the_last(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        for number in ("ab1", "ab2", "b"):
            log.executions.start("problem", "python", id=number)
            log.tasks.create(uuid=number, task_source="github", owner="o", repo="r", task_type="issue", task_id=number)
    for noun, field in (("executions", "id"), ("tasks", "uuid")):
        assert cli.json(noun, "show", "last")[field] == "b"
        assert cli.json(noun, "show", "ab2")[field] == "ab2"
        assert "ids begin with ab: ab1, ab2" in cli(noun, "show", "ab", status=1).stderr
        assert cli(noun, "show", "zz", status=1).stdout == ""


def test_many_tables_are_told_by_their_number_and_resumed_in_json(cli: Cli) -> None:
    said = cli("projections", "rollback", "--to", 2).stdout
    assert " tables" in said and "sessions" not in said
    assert {row["state"] for row in cli.json("projections", "resume")} == {"live"}
    cli("prices", "set", "m", "--input", 1, "--output", 1)
    assert cli.json("prices", "unset", "m") == {"model": "m", "effective": None}
