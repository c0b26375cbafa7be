"""What commands say beside their answer, so that nobody takes a part for the whole or a guess for a fact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import eventlog
from eventlog.events.agents import LlmCallCompleted, Usage
from tests.integration.test_cli_commands import Cli


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
