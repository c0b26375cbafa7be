"""``eventlog executions``, ``contests``, ``problems``, ``settings``, ``containers``, and ``stats executions``."""

from __future__ import annotations

from pathlib import Path

import pytest

from projections.containers import Container
from projections.contests import Contest, ContestProblem
from projections.executions import Execution
from projections.settings import Setting
from tests.integration.test_cli_commands import Cli


@pytest.fixture
def run(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "log.db")


@pytest.mark.feature("S0-1")
def test_executions_from_start_to_end(run: Cli, tmp_path: Path) -> None:
    first = run("executions", "start", "A", "rust", "--contest", "abc300", "--command", "./a").stdout.strip()
    assert run.json("executions", "show", first)["status"] == "running"
    (tmp_path / "out").write_bytes(b"41\n\xff\n")
    done = run.json(
        "executions", "finish", first, "wrong_answer", "--exit-code", 1, "--stdout", tmp_path / "out", "--took", "250ms"
    )
    assert (done["stdout"], done["duration_us"], done["exit_code"]) == ("41\n\\xff\n", 250_000, 1)
    piped = Cli(run.db)
    second = run.json("executions", "start", "A", "rust", "--id", "e2")["id"]
    piped("executions", "finish", second, "accepted", "--stdout", "-", stdin="42\n")
    assert "42" in run("executions", "show", "e2").stdout
    assert "accepted" in run("executions", "list").stdout
    found = run.json("executions", "list", "--problem", "A", "--status", "wrong_answer", "--contest", "abc300")
    assert [one["id"] for one in found] == [first]
    assert set(found[0]) == set(Execution.__struct_fields__)
    assert [one["id"] for one in run.json("executions", "list", "--as-of", 1)] == [first]
    assert run.json("executions", "show", first, "--as-of", 1)["status"] == "running"
    assert run.json("stats", "executions", "--by", "status", "--problem", "A")[1]["bucket"] == "wrong_answer"
    assert "50.0%" in run("stats", "executions").stdout
    assert "has ended already" in run("executions", "finish", first, "accepted", status=1).stderr
    assert "--took" in run("executions", "finish", first, "accepted", "--took", "soon", status=2).stderr
    assert "no/such" in run("executions", "finish", first, "accepted", "--stdout", "no/such", status=1).stderr
    run("executions", "delete", first, "--reason", "mistake", "--yes")
    assert "there is no execution" in run("executions", "show", first, status=1).stderr


@pytest.mark.feature("S0-2")
def test_contests_and_problems_are_saved_changed_and_deleted(run: Cli) -> None:
    run("contests", "save", "abc300", "--platform", "atcoder", "--starts", "2023-04-29T21:00+09:00", "--url", "u")
    run("contests", "save", "abc300", "--name", "ABC 300", "--url", "")
    (contest,) = run.json("contests", "list", "--platform", "atcoder", "--text", "abc")
    assert set(contest) == set(Contest.__struct_fields__)
    assert (contest["name"], contest["starts_at"], contest["url"]) == ("ABC 300", 1_682_769_600_000_000, None)
    assert run.json("contests", "show", "abc300", "--as-of", 1)["name"] == "abc300"
    assert "ABC 300" in run("contests", "list").stdout
    assert "atcoder" in run("contests", "show", "abc300").stdout
    run("problems", "save", "abc300_a", "--contest", "abc300", "--time-limit", "2s", "--memory-limit", "1024m")
    (problem,) = run.json("problems", "list", "--contest", "abc300", "--name", "abc300_a")
    assert set(problem) == set(ContestProblem.__struct_fields__)
    assert problem["time_limit_us"] == 2_000_000
    shown = run("problems", "show", "abc300_a").stdout + run("problems", "list").stdout
    assert "abc300" in shown and "2.00 s" in shown
    assert "at least 1" in run("problems", "save", "abc300_a", "--time-limit", "0s", status=1).stderr
    run("problems", "delete", "abc300_a", "-y")
    run("contests", "delete", "abc300", "-y")
    assert run.json("contests", "list") == run.json("problems", "list") == []
    assert len(run.json("contests", "list", "--as-of", 2)) == 1


@pytest.mark.feature("S0-3")
def test_settings_are_set_read_and_remembered(run: Cli) -> None:
    assert "version 1" in run("settings", "set", "editor", '{"tab": 4}').stdout
    assert run("settings", "get", "editor").stdout == '{"tab": 4}\n'
    assert run.json("settings", "set", "editor", '{"tab": 4}', "--json-value", "--by", "anna")["value"] == {"tab": 4}
    assert run("settings", "get", "editor").stdout == '{"tab":4}\n'
    run("settings", "unset", "editor", "-y")
    assert "settings set" in run("settings", "get", "editor", status=1).stderr
    assert [(one["version"], one["value"], one["unset"]) for one in run.json("settings", "history", "editor")] == [
        (1, '{"tab": 4}', False), (2, {"tab": 4}, False), (3, None, True),
    ]  # fmt: skip
    assert "(unset)" in run("settings", "history", "editor").stdout
    assert run.json("settings", "get", "editor", "--as-of", 2)["by"] == "anna"
    (setting,) = run.json("settings", "list", "--prefix", "ed", "--as-of", 1)
    assert set(setting) == set(Setting.__struct_fields__)
    assert "no settings" in run("settings", "list").stderr
    assert "environment" in run("settings", "set", "judge_password", "x", status=1).stderr
    assert "no JSON" in run("settings", "set", "editor", "{", "--json-value", status=2).stderr


@pytest.mark.feature("S0-4")
def test_containers_are_followed_to_their_end(run: Cli) -> None:
    assert run("containers", "create", "rust:1.70", "--id", "c1", "--name", "judge", "--label", "a=b").stdout == "c1\n"
    run("containers", "start", "c1")
    assert run.json("containers", "stop", "c1", "--exit-code", 137, "--reason", "memory")["status"] == "stopped"
    assert "removed" in run("containers", "remove", "c1").stdout
    (one,) = run.json("containers", "list", "--status", "removed", "--image", "rust:1.70", "--name", "judge")
    assert set(one) == set(Container.__struct_fields__)
    assert run.json("containers", "show", "c1", "--as-of", 2)["status"] == "running"
    assert "memory" in run("containers", "show", "c1").stdout
    assert "judge" in run("containers", "list").stdout
    assert "cannot become" in run("containers", "start", "c1", status=1).stderr
    run("containers", "delete", "c1", "-y")
    assert run.json("containers", "list") == []
