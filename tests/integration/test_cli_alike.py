"""Commands that answer the same question say the same, and each says what it did, in JSON too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import eventlog
from eventlog.cli.root import cli as root
from eventlog.errors import InvalidEvent, InvalidInput
from eventlog.events.runs import RunOutputCaptured
from eventlog.projection.machine import LAZY_STEP
from eventlog.recorder.artifacts import ArtifactStore
from tests.helpers import notes
from tests.integration.test_cli_commands import Cli

WORDS = "search_documents"
"""A projection that waits until it is asked, or until much has come together."""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A log with nothing in it."""
    eventlog.open(tmp_path / "log.db").close()
    return Cli(tmp_path / "log.db")


def _say(cli: Cli, count: int) -> None:
    with eventlog.open(cli.db) as log:
        for number in range(count):
            log.sessions.add_message("s", "user", f"needle {number}")


# projections


def _lags(cli: Cli) -> tuple[object, object]:
    (asked,) = cli.json("projections", "status", WORDS)
    return cli.json("db", "status")["projection_lag"][WORDS], asked["lag"]


def test_what_waits_to_be_asked_lags_nowhere_until_a_step_of_it_waits(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        log.sessions.create(session_id="s")
    _say(cli, 3)
    assert _lags(cli) == (0, 0)
    assert {one["mode"] for one in cli.json("projections", "status")} == {"inline", "when asked"}
    with eventlog.open(cli.db, projections="deferred") as log:  # it brings nothing along
        for number in range(LAZY_STEP):
            log.sessions.add_message("s", "user", f"more {number}")
        head = log.head().position
    assert _lags(cli) == (head, head)


def test_what_wants_none_of_the_newest_events_is_at_the_head_like_the_others(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        log.append("note-1", notes(2))
    assert {(one["position"], one["lag"]) for one in cli.json("projections", "status")} == {(2, 0)}
    said = cli("projections", "resume").stdout
    assert said.startswith("live at version 2: ") and len(said.splitlines()) == 1


# what was done


def test_what_takes_something_away_says_in_json_what_it_was(cli: Cli, tmp_path: Path) -> None:
    with eventlog.open(cli.db) as log:
        for number in (1, 2):
            log.runs.start(f"command {number}")
        log.projects.add("p")
        log.sessions.create(session_id="s")
        log.executions.start("problem", "python", id="e")
        log.tasks.create(uuid="t", task_source="github", owner="o", repo="r", task_type="issue", task_id="1")
        workspace = log.workspaces.register(tmp_path).workspace_id
    cli("contests", "save", "c", "--name", "C")
    cli("problems", "save", "q", "--name", "Q")
    cli("containers", "create", "image", "--id", "box")
    cli("settings", "set", "colour", '"red"')
    cli("jobs", "schedule", "set", "nightly", "--cron", "0 4 * * *", "--", "true")
    for words, told in (
        ("runs delete 2 1 2", {"run_ids": [2, 1]}),
        ("projects delete p", {"project_id": "p"}),
        ("sessions delete s", {"session_id": "s"}),
        ("executions delete e", {"id": "e"}),
        ("tasks delete t", {"uuid": "t"}),
        (f"workspaces delete {tmp_path}", {"workspace_id": workspace}),
        ("contests delete c", {"contest_id": "c"}),
        ("problems delete q", {"problem_id": "q"}),
        ("containers delete box", {"container_id": "box"}),
    ):
        assert cli.json(*words.split(), "--yes") == told | {"done": "deleted"}
    assert cli.json("settings", "unset", "colour", "--yes") == {"name": "colour", "done": "unset"}
    assert cli.json("jobs", "schedule", "remove", "nightly") == {"schedule": "nightly", "done": "removed"}


def test_a_schedule_is_paused_and_resumed_like_a_queue(cli: Cli) -> None:
    cli("jobs", "schedule", "set", "nightly", "--cron", "0 4 * * *", "--", "true")
    for words, paused in (("pause", True), ("resume", False), ("pause", True), ("pause --off", False)):
        assert cli.json("jobs", "schedule", *words.split(), "nightly")["paused"] is paused
    assert cli("jobs", "schedule", "resume", "nightly").stdout == "schedule nightly resumed\n"


def test_tables_that_are_moved_tell_where_they_are_in_json(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        log.append("note-1", notes(2))
    (held,) = cli.json("projections", "rollback", "projects", "--to", 1)
    assert (held["name"], held["state"], held["position"]) == ("projects", "pinned", 1)
    (made,) = cli.json("projections", "rebuild", "projects")
    assert (made["state"], made["position"]) == ("pinned", 1)
    assert cli("projections", "rollback", "projects", "--to", "now", "--utc").stdout.endswith("goes on\n")


# what is meant


def test_a_word_that_is_no_command_is_answered_with_those_like_it(cli: Cli) -> None:
    assert "No such command 'lst'. Did you mean `cli runs list`?" in cli("runs", "lst", status=2).stderr
    assert "Did you mean `cli search`?" in cli("sessions", "search", "x", status=2).stderr
    assert "Did you mean `cli projections` or " in cli("projection", status=2).stderr
    assert cli("runs", "qqqq", status=2).stderr.endswith("No such command 'qqqq'.\n")
    assert "No such option" in cli("runs", "--nope", status=2).stderr


@pytest.mark.parametrize("words", ["", "runs", "runs list", "jobs schedule set", "import", "import claude"])
def test_h_is_help_everywhere(cli: Cli, words: str) -> None:
    said = cli(*words.split(), "-h").stdout
    assert said.startswith("Usage: ") and "-h, --help" in said


def test_a_source_of_an_import_is_meant_by_its_path_or_as_the_last_bad_one(cli: Cli, tmp_path: Path) -> None:
    assert "everything could be read" in cli("import", "quarantine", "last", status=1).stderr
    for name in ("bad.jsonl", "good.jsonl"):
        good = '{"type":"summary","summary":"s","leafUuid":"u"}\n'
        (tmp_path / name).write_text(("{torn\n" if name == "bad.jsonl" else "") + good)
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000))
        cli("import", "claude", tmp_path / name, status=3 if name == "bad.jsonl" else 0)
    (bad,) = cli.json("import", "list", "--text", "bad.jsonl")
    expected = cli.json("import", "quarantine", bad["source_id"])
    assert len(expected) == 1
    assert cli.json("import", "quarantine", tmp_path / "bad.jsonl") == expected
    assert cli.json("import", "quarantine", "last") == expected
    assert cli.json("import", "quarantine", tmp_path / "good.jsonl") == []
    assert "there is no source 'none'" in cli("import", "quarantine", "none", status=1).stderr


def test_projects_that_runs_alone_name_are_told_beside_the_others(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        log.projects.add("added")
        log.projects.add("deleted")
        log.projects.delete("deleted")
        for project in ("added", "deleted", "named", "named", None):
            log.runs.start("x", project_id=project)
    listed = cli("projects", "list")
    assert listed.stdout.splitlines()[1].startswith("added ")
    assert sorted(listed.stderr.splitlines()) == [
        "1 run of a project that is not there: deleted", "2 runs of a project that is not there: named"
    ]  # fmt: skip
    assert [one["project_id"] for one in cli.json("projects", "list", "-n", 1)] == ["added"]


# what is wrong


def test_a_version_that_is_none_is_told_as_such_and_not_as_a_time_alone(cli: Cli) -> None:
    for words in ("projections rollback --to abc", "runs list --as-of -1", f"runs list --as-of {'9' * 5000}"):
        assert "a version is a number like 42" in cli(*words.split(), status=2).stderr


def test_a_zone_that_is_none_is_told_with_who_named_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Invalid value for '--tz'" in cli("runs", "list", "--tz", "bogus", status=2).stderr
    monkeypatch.setenv("EVENTLOG_TZ", "bogus")
    assert "Invalid value for EVENTLOG_TZ" in cli("runs", "list", status=2).stderr


def test_what_is_no_event_and_no_class_of_events_is_told_as_what_it_is(tmp_path: Path) -> None:
    with eventlog.open(":memory:") as log, pytest.raises(InvalidEvent, match="not dict"):
        log.append("cart-1", {"sku": "a"})  # type: ignore[arg-type]
    for wrong in ("x", int):
        with pytest.raises(InvalidEvent, match="a class of events is a subclass"):
            eventlog.open(":memory:", events=[wrong])  # type: ignore[list-item]


def test_a_path_that_is_no_text_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/x\xff.db")
    with pytest.raises(InvalidInput, match="not valid UTF-8"):
        eventlog.open(name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told_with_the_name_that_was_given(cli: Cli, tmp_path: Path) -> None:
    with eventlog.open(cli.db) as log:
        log.sessions.create(session_id="s")
    target = tmp_path / "none" / "x.md"
    said = cli("sessions", "export", "s", "-o", target, status=1).stderr
    assert said == f"error: No such file or directory: {target}\n"


# what a run printed


def test_what_a_lost_run_printed_is_shown_from_its_file(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        run = log.runs.start("x")
        assert log.data_dir is not None and log.log_id is not None
        folder = ArtifactStore(log.data_dir, log.log_id).create(run.run_id, {"log_id": log.log_id})
        (folder / "logs" / "stdout.log").write_text("".join(f"line {number}\n" for number in range(100)))
    said = cli("runs", "show").stdout
    assert "stdout, 790 B, the end of it:\nline 80\n" in said and said.endswith("line 99\n")
    assert "line" not in cli("runs", "show", "--as-of", "now").stdout


def test_of_a_progress_bar_the_last_lines_are_shown(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        run = log.runs.start("x")
        bar = "".join(f"{number} %\r" for number in range(300)) + "done\n"
        log.append(f"run-{run.run_id}", RunOutputCaptured(channel="stderr", size_bytes=9999, tail=bar))
    assert cli("runs", "show").stdout.partition("the end of it:\n")[2].split("\n")[-3:] == ["299 %", "done", ""]
    assert cli("runs", "show").stdout.count(" %\n") == 19


def test_what_is_binary_is_no_line_of_escapes(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        run = log.runs.start("x")
        log.append(f"run-{run.run_id}", RunOutputCaptured(channel="stdout", size_bytes=9999, tail="a\0" * 2000))
    said = cli("runs", "show").stdout
    assert "stdout, 9.8 KiB, binary: `eventlog runs tail 1` shows it" in said and "x00" not in said
    assert len(cli.json("runs", "show")["outputs"][0]["tail"]) == 4000


def test_parameters_are_shown_as_json_has_them(cli: Cli) -> None:
    for number in (1, 2):
        with eventlog.open(cli.db) as log:
            log.runs.start("x", parameters={"fast": number == 1, "seed": None, "lr": 0.5, "name": "a b"})
    assert "fast=true  seed=null  lr=0.5  name=a b\n" in cli("runs", "show", "1").stdout
    (line,) = [one for one in cli("runs", "compare", "1", "2").stdout.splitlines() if "fast" in one]
    assert line.split() == ["parameter", "fast", "true", "false"]


def test_no_spreadsheet_is_promised_by_a_file_s_name(cli: Cli, tmp_path: Path) -> None:
    assert "a spreadsheet opens CSV" in cli("tables", "export", "runs", "-o", tmp_path / "x.xlsx", status=2).stderr
    assert not (tmp_path / "x.xlsx").exists()
    cli("tables", "export", "runs", "-o", tmp_path / "x.xlsx", "--format", "csv")
    asked = cli("tables", "export", "runs", "-o", tmp_path / "x.xlsx", status=2).stderr
    assert "a spreadsheet opens CSV" in asked and "Replace" not in asked


def test_one_is_no_plural(cli: Cli, tmp_path: Path) -> None:
    cli("log", "append", "a-1", "a.b")
    assert "the chain holds: 1 record, " in cli("log", "verify").stdout
    assert cli("log", "check").stdout.endswith("\n1 record, all decode\n")
    assert cli("log", "export", tmp_path / "x").stderr.startswith("1 record written")
    cli("jobs", "enqueue", "--kind", "shell", "--", "true")
    said = cli("jobs", "work", "--until-empty").stdout
    assert "kinds shell, 1 thread\n" in said and said.endswith("worker stopped after 1 attempt\n")


# completion


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("projections explain run", "run_statistics"),
        ("projections rebuild run", "runs"),
        ("tables export sess", "sessions"),
        ("runs show la", "last"),
        ("sessions export la", "last"),
        ("jobs explain la", "last"),
    ],
)
def test_the_shell_completes_tables_and_last(words: str, completed: str) -> None:
    *before, incomplete = words.split()
    assert completed in [
        one.value for one in ShellComplete(root, {}, "eventlog", "X").get_completions(before, incomplete)
    ]
