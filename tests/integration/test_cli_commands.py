from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

import eventlog
from eventlog.cli.root import cli
from eventlog.importers.formats import FORMATS
from projections.projects import Project
from projections.runs import Run
from tests.importers.samples import PLAIN, SAMPLES
from tests.projections import things

DAY_US = 86_400_000_000
START = 1_795_000_000_000_000


class Cli:
    """Calls the command line on one log."""

    def __init__(self, db: Path) -> None:
        self.db = db

    def __call__(self, *words: object, status: int = 0, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, ["--db", str(self.db), *map(str, words)], input=stdin)
        assert result.exit_code == status, (words, result.exit_code, result.stdout, result.stderr)
        return result

    def json(self, *words: object, status: int = 0) -> Any:
        return json.loads(self(*words, "--json", status=status).stdout)


@pytest.fixture
def empty(tmp_path: Path) -> Cli:
    eventlog.open(tmp_path / "log.db").close()
    return Cli(tmp_path / "log.db")


@pytest.fixture
def runs(tmp_path: Path) -> Cli:
    """Six runs: a success, a failure, a killed one, one that goes on, and two of another program."""
    with eventlog.open(tmp_path / "log.db") as log:
        log.projects.add("alpha", path="/srv/alpha", note="first")
        log.projects.add("beta")
        for number, (command, project) in enumerate(
            [("train.py 1", "alpha"), ("train.py 2", "alpha"), ("train.py 3", None), ("train.py 4", "beta")]
            + [("clean.sh", None)] * 2
        ):
            log.runs.start(
                command,
                program=command.split()[0],
                project_id=project,
                tags={"kind": "even" if number % 2 else "odd"},
                parameters={"lr": number / 10},
                started_at=START + number * DAY_US,
            )
        log.runs.finish_success(1, exit_code=0, wall_us=1_000_000, ended_at=START + 1)
        log.runs.finish_fail(2, "no data", exit_code=3, wall_us=2_000_000, ended_at=START + 2)
        log.runs.finish_killed(3, signal=9, wall_us=3_000_000, ended_at=START + 3)
        log.runs.finish_success(5, exit_code=0, wall_us=5_000_000, ended_at=START + 5)
        log.runs.metric(1, "loss", 0.5, step=1)
        log.runs.metric(1, "loss", float("nan"), step=2)
        log.runs.message(1, "half way", level="WARNING", logger="train")
    return Cli(tmp_path / "log.db")


# runs


def test_a_list_is_an_array_of_the_struct_s_fields(runs: Cli) -> None:
    found = runs.json("runs", "list")
    assert [run["run_id"] for run in found] == [6, 5, 4, 3, 2, 1]
    assert set(found[0]) == set(Run.__struct_fields__)
    assert [run["status"] for run in found] == ["running", "success", "running", "killed", "fail", "success"]
    assert found[4]["exit_code"] == 3
    assert found[3]["signal"] == 9
    assert found[5]["command"] == "train.py 1"
    assert found[5]["started_at"] == START
    with eventlog.open(runs.db, mode="r") as log:
        assert msgspec.convert(found, list[Run]) == log.runs.list()


@pytest.mark.feature("S2-4")
@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("--status", "fail"), [2]),
        (("--status", "fail", "--status", "killed"), [3, 2]),
        (("--project", "alpha"), [2, 1]),
        (("--program", "clean.sh"), [6, 5]),
        (("--tag", "kind=even"), [6, 4, 2]),
        (("--text", "train.py"), [4, 3, 2, 1]),
        (("--limit", "2"), [6, 5]),
        (("--limit", "2", "--offset", "1"), [5, 4]),
        (("--before", "3"), [2, 1]),
        (("--since", "1h"), [6, 5, 4, 3, 2, 1]),
        (("--until", "1h"), []),
        (("--since", "2100-01-01"), []),
    ],
)
def test_filters(runs: Cli, options: tuple[str, ...], numbers: list[int]) -> None:
    assert [run["run_id"] for run in runs.json("runs", "list", *options)] == numbers


def test_a_list_for_people(runs: Cli) -> None:
    lines = runs("runs", "list", "--utc").stdout.splitlines()
    assert lines[0].split() == ["run", "status", "exit", "started", "took", "project", "command"]
    assert lines[4].split() == ["3", "killed", "SIGKILL", "2026-11-20", "11:06:40", "3.00", "s", "train.py", "3"]
    assert len(lines) == 7


def test_nothing_to_list(empty: Cli) -> None:
    result = empty("runs", "list")
    assert (result.stdout, result.stderr) == ("", "no runs\n")
    assert empty.json("runs", "list") == []
    assert "there are no runs yet" in empty("runs", "show", status=1).stderr


def test_show(runs: Cli) -> None:
    text = runs("runs", "show", 1, "--utc").stdout
    assert "success" in text
    assert "lr=0.0" in text
    assert "half way" in text
    found = runs.json("runs", "show", "run-1")
    assert set(Run.__struct_fields__) | {"metrics", "outputs", "artifacts", "messages"} == set(found)
    assert [(metric["value"], metric["non_finite"]) for metric in found["metrics"]] == [(0.5, None), (None, "nan")]
    assert found["messages"][0]["message"] == "half way"
    assert runs.json("runs", "show", "last")["run_id"] == 6
    assert runs("runs", "show", 99, status=1).stderr == "error: there is no run 99\n"


def test_compare(runs: Cli) -> None:
    rows = {row["field"]: row["values"] for row in runs.json("runs", "compare", 1, 2)}
    assert rows["status"] == {"1": "success", "2": "fail"}
    assert "program" not in rows
    assert rows["parameter lr"] == {"1": 0.0, "2": 0.1}
    text = runs("runs", "compare", 1, 2, "--utc").stdout
    assert "1.00 s" in text
    assert "2.00 s" in text
    runs("runs", "compare", 1, status=2)
    runs("runs", "compare", 1, 99, status=1)


@pytest.mark.feature("S2-5")
def test_update(runs: Cli) -> None:
    found = runs.json("runs", "update", 2, "--status", "success", "--note", "fine", "--no-project", "--tag", "a=b=c")
    assert (found["status"], found["note"], found["project_id"]) == ("success", "fine", None)
    assert found["tags"] == {"kind": "even", "a": "b=c"}
    runs("runs", "update", 2, "--untag", "a", "--untag", "kind")
    assert runs.json("runs", "show", 2)["tags"] == {}
    runs("runs", "update", 2, status=2)
    runs("runs", "update", 2, "--status", "done", status=2)
    runs("runs", "update", 2, "--project", "x", "--no-project", status=2)
    runs("runs", "update", 99, "--note", "x", status=1)


def test_an_update_is_all_or_nothing(runs: Cli) -> None:
    before = runs.json("log", "head")
    runs("runs", "update", 99, "--note", "x", "--tag", "a=b", status=1)
    assert runs.json("log", "head") == before


@pytest.mark.feature("S2-5")
def test_delete_asks(runs: Cli) -> None:
    before = runs.json("log", "head")
    assert "--yes" in runs("runs", "delete", 1, status=2).stderr
    assert runs.json("log", "head") == before
    runs("runs", "delete", 1, 3, "--reason", "mistake", "--yes")
    assert [run["run_id"] for run in runs.json("runs", "list")] == [6, 5, 4, 2]
    runs("runs", "delete", 1, "--yes", status=1)
    runs("runs", "delete", "last", "--yes", status=2)
    assert len(runs.json("runs", "list", "--as-of", before["position"])) == 6


def test_delete_is_all_or_nothing(runs: Cli) -> None:
    runs("runs", "delete", 1, 99, "--yes", status=1)
    assert len(runs.json("runs", "list")) == 6


def test_recover_finds_nothing_where_nothing_is_proven(runs: Cli) -> None:
    assert runs.json("runs", "recover", "--dry-run") == []
    assert runs("runs", "recover").stderr == "no lost runs\n"


# projects


@pytest.mark.feature("S2-3")
def test_projects(empty: Cli) -> None:
    empty("projects", "add", "alpha", "--path", "/srv", "--note", "n")
    assert "already" in empty("projects", "add", "alpha", status=1).stderr
    assert set(empty.json("projects", "list")[0]) == set(Project.__struct_fields__)
    empty("projects", "update", "alpha", "--no-path")
    found = empty.json("projects", "show", "alpha")
    assert (found["path"], found["note"]) == (None, "n")
    before = empty.json("log", "head")["position"]
    empty("projects", "delete", "alpha", status=2)
    empty("projects", "delete", "alpha", "--yes")
    assert empty.json("projects", "list") == []
    assert empty.json("projects", "show", "alpha", "--as-of", before)["note"] == "n"
    for words in (("show",), ("update", "--note", "x"), ("delete", "--yes")):
        empty("projects", words[0], "alpha", *words[1:], status=1)
    empty("projects", "update", "alpha", status=2)


# statistics


def test_statistics(runs: Cli) -> None:
    (everything,) = runs.json("stats", "runs")
    assert (everything["runs"], everything["success"], everything["fail"], everything["killed"]) == (6, 2, 1, 1)
    assert everything["success_rate"] == 0.5
    assert everything["p50_us"] == pytest.approx(2_500_000, rel=0.25)
    by_program = {row["bucket"]: row["runs"] for row in runs.json("stats", "runs", "--by", "program")}
    assert by_program == {"train.py": 4, "clean.sh": 2}
    assert len(runs.json("stats", "runs", "--by", "day", "--utc")) == 6
    assert runs.json("stats", "runs", "--project", "alpha")[0]["runs"] == 2
    assert runs.json("stats", "runs", "--since", "2026-11-21T00:00Z", "--until", "2026-11-23T00:00Z")[0]["runs"] == 2
    assert runs.json("stats", "runs", "--as-of", 0) == []


def test_statistics_for_people_have_a_plot(runs: Cli) -> None:
    lines = runs("stats", "runs", "--by", "day", "--utc").stdout.splitlines()
    assert lines[0].split()[:3] == ["day", "runs", "success"]
    assert any("runs per day, 2026-11-18 00:00 to 2026-11-23 00:00" in line for line in lines)
    assert any("▄" in line or "█" in line for line in lines)


# the log


def test_head(runs: Cli) -> None:
    with eventlog.open(runs.db, mode="r") as log:
        head = log.head()
        first = next(log.read(limit=1))
    assert runs.json("log", "head") == {"position": head.position, "hash": head.hash.hex()}
    assert runs.json("log", "head", "--as-of", 1) == {"position": 1, "hash": first.hash.hex()}
    assert runs.json("log", "head", "--as-of", 0) == {"position": 0, "hash": "00" * 32}
    assert "versions are 0 to" in runs("log", "head", "--as-of", 10_000, status=1).stderr


def test_read(runs: Cli) -> None:
    found = runs.json("log", "read")
    assert [record["position"] for record in found] == list(range(1, len(found) + 1))
    assert found[2]["data"]["command"] == "train.py 1"
    assert set(found[0]) == set(eventlog.Record.__struct_fields__) - {"codec"}
    assert [record["type"] for record in runs.json("log", "read", "--stream", "run-2")] == [
        "run.started",
        "run.finished",
    ]
    assert len(runs.json("log", "read", "--category", "project")) == 2
    assert len(runs.json("log", "read", "--type", "run.started", "--backwards", "--limit", 2)) == 2
    assert [record["position"] for record in runs.json("log", "read", "--after", 2, "--to", 4)] == [3, 4]
    assert len(runs.json("log", "read", "--as-of", 3)) == 3
    lines = runs("log", "read", "--jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == found
    assert [record["position"] for record in runs.json("log", "tail", "-n", 2)] == [len(found) - 1, len(found)]
    assert len(runs("log", "tail", "-n", 0).stdout) == 0


def test_append(empty: Cli) -> None:
    done = empty.json("log", "append", "note-1", "note.taken", '{"text": "hi"}', "--key", "k", "--actor", "me")
    assert done == {"first": 1, "last": 1, "version": 1, "duplicate": False}
    again = empty.json("log", "append", "note-1", "note.taken", '{"text": "hi"}', "--key", "k")
    assert again == {"first": 1, "last": 1, "version": 1, "duplicate": True}
    assert "already there" in empty("log", "append", "note-1", "note.taken", '{"text": "hi"}', "--key", "k").stdout
    empty("log", "append", "note-1", "note.taken", '{"text": "ho"}', "--key", "k", status=1)
    empty("log", "append", "note-1", "note.taken", "-", "--expect", "1", "--at", "2026-11-21T00:00Z", stdin='{"a": 1}')
    empty("log", "append", "note-1", "note.taken", "--expect", "1", status=1)
    empty("log", "append", "note-1", "note.taken", "--expect", "none", status=1)
    empty("log", "append", "note-2", "note.taken", "--expect", "exists", status=1)
    empty("log", "append", "note-2", "note.taken", "--metadata", '{"x": [1]}', "--correlation", "c", "--causation", "d")
    found = empty.json("log", "read")
    assert found[0]["actor"] == "me"
    assert (found[1]["data"], found[1]["occurred_at"]) == ({"a": 1}, 1_795_219_200_000_000)
    assert (found[2]["metadata"], found[2]["correlation"], found[2]["causation"]) == ({"x": [1]}, "c", "d")
    assert empty.json("log", "check")["unknown"] == {"note.taken": 3}


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("note-1", "note.taken", "{"), 2),
        (("note-1", "note.taken", "[1]"), 2),
        (("note-1", "note.taken", '{"a": NaN}'), 2),
        (("note-1", "note.taken", "[" * 100_000), 2),
        (("note-1", "note.taken", "{}", "--expect", "-1"), 2),
        (("note-1", "note.taken", "{}", "--expect", "x"), 2),
        (("note-1", "note.taken", "{}", "--at", "soon"), 2),
        (("note-1", "note.taken", "{}", "--metadata", "[]"), 2),
        (("note-1", "nodot", "{}"), 1),
        (("", "note.taken", "{}"), 1),
        (("a\nb", "note.taken", "{}"), 1),
        (("run-1", "run.started", "{}"), 1),
        (("run-1", "run.started", '{"command": 7}'), 1),
    ],
)
def test_what_is_refused_at_the_door(empty: Cli, words: tuple[str, ...], status: int) -> None:
    result = empty("log", "append", *words, status=status)
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert empty.json("log", "head")["position"] == 0


def test_an_event_of_ours_has_its_effect(empty: Cli) -> None:
    empty("log", "append", "run-1", "run.started", '{"command": "x", "from_the_future": 1}')
    assert empty.json("runs", "list")[0]["command"] == "x"
    assert empty.json("log", "read")[0]["data"] == {"command": "x", "from_the_future": 1}


def test_verify_and_check(runs: Cli) -> None:
    found = runs.json("log", "verify")
    assert found["ok"]
    assert found["hash"] == runs.json("log", "head")["hash"]
    assert runs("log", "verify").stdout.startswith("the chain holds")
    assert runs.json("log", "check")["problems"] == []


def test_a_record_that_does_not_decode_is_told(runs: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed(eventlog.Event, frozen=True, kw_only=True, tag="run.killed_softly"):
        how: str

    runs("log", "append", "run-1", "run.killed_softly", '{"how": 7}')
    assert runs.json("log", "check")["ok"]
    open_ = eventlog.open
    monkeypatch.setattr(eventlog, "open", lambda *args, **kwargs: open_(*args, **kwargs, events=[Changed]))
    found = runs.json("log", "check", status=1)
    assert found["problems"][0]["type"] == "run.killed_softly"
    assert "1 problem" in runs("log", "check", status=1).stdout


# projections


def test_projections(runs: Cli) -> None:
    names = {row["name"] for row in runs.json("projections", "list")}
    assert {"runs", "projects", "run_statistics"} <= names
    assert {row["state"] for row in runs.json("projections", "status")} == {"live"}
    assert [row["name"] for row in runs.json("projections", "status", "runs")] == ["runs"]
    runs("projections", "status", "nope", status=1)
    assert runs("projections", "verify").stdout == "the tables are what the events say\n"
    assert runs.json("projections", "verify") == []
    assert "rebuilt at version" in runs("projections", "rebuild", "runs").stdout


def test_roll_back_and_resume(runs: Cli) -> None:
    head = runs.json("log", "head")["position"]
    before = runs.json("runs", "list", "--as-of", 9)
    now = runs.json("runs", "list")
    assert "held at version 9" in runs("projections", "rollback", "--to", 9).stdout
    assert runs.json("runs", "list") == before
    assert {row["state"] for row in runs.json("projections", "status")} == {"pinned"}
    assert "projections resume" in runs("projections", "status").stdout
    assert "projections resume" in runs("runs", "update", 1, "--note", "x", status=1).stderr
    assert f"live at version {head}" in runs("projections", "resume").stdout
    assert runs.json("runs", "list") == now
    runs("projections", "rollback", "--to", head + 1, status=1)
    runs("projections", "rollback", "--to", "soon", status=2)
    runs("projections", "rollback", status=2)


def test_roll_back_to_a_time(runs: Cli) -> None:
    runs("projections", "rollback", "--to", "2000-01-01", "--utc")
    assert runs.json("runs", "list") == []


def test_diff(runs: Cli) -> None:
    before = runs.json("log", "head")["position"]
    runs("runs", "update", 2, "--status", "success")
    (row,) = runs.json("projections", "diff", before, before + 1, "-p", "runs")
    assert (row["table"], row["key"], row["change"], row["positions"]) == ("runs", [2], "changed", [before + 1])
    assert (row["before"]["status"], row["after"]["status"]) == ("fail", "success")
    text = runs("projections", "diff", before, before + 1, "-p", "runs").stdout
    assert "status: fail → success" in text
    assert runs("projections", "diff", before, before).stderr == "no difference\n"
    assert "more than 1 rows" in runs("projections", "diff", 0, before, "--limit", 1).stderr
    assert len(runs.json("projections", "diff", 0, before, "-p", "runs")) == 6


def test_explain(runs: Cli) -> None:
    found = runs.json("projections", "explain", "runs", 2)
    assert [step["type"] for step in found["steps"]] == ["run.started", "run.finished"]
    assert found["steps"][1]["changes"]["status"] == ["running", "fail"]
    assert "running → fail" in runs("projections", "explain", "runs", 2).stdout
    assert "alpha" in runs("projections", "explain", "projects", "alpha").stdout
    runs("projections", "explain", "runs", 99, status=1)
    runs("projections", "explain", "runs", "x", status=1)
    runs("projections", "explain", "nope", 1, status=1)
    head = runs.json("log", "head")["position"]
    key = "/".join(str(part) for part in runs.json("projections", "diff", 0, head, "-p", "run_statistics")[0]["key"])
    assert "made of these rows" in runs("projections", "explain", "run_statistics", key).stdout


def test_a_spoilt_table_is_found_and_rebuilt(runs: Cli) -> None:
    import sqlite3

    connection = sqlite3.connect(runs.db)
    connection.execute("UPDATE runs SET status = 'success' WHERE run_id = 2")
    connection.commit()
    connection.close()
    (row,) = runs.json("projections", "verify", status=1)
    assert (row["stored"]["status"], row["expected"]["status"]) == ("success", "fail")
    assert "status: success → fail" in runs("projections", "verify", status=1).stdout
    assert "not what the events say" in runs("db", "check", status=1).stdout
    runs("projections", "rebuild")
    runs("projections", "verify")


# the database


@pytest.mark.feature("S1-7")
def test_database(runs: Cli, tmp_path: Path) -> None:
    status = runs.json("db", "status")
    assert status["position"] == runs.json("log", "head")["position"]
    assert "sqlite version" in runs("db", "status").stdout
    assert runs.json("db", "check") == {"ok": True, "problems": [], "not_checked": {}}
    assert set(runs.json("db", "optimize")) == {"before_bytes", "after_bytes"}
    assert runs.json("db", "migrate", "--dry-run")["pending"] == []
    assert runs.json("db", "migrate")["problems"] == []
    assert runs.json("db", "init")["position"] == status["position"]


@pytest.mark.feature("S0-8")
def test_schema_down_and_up_again(runs: Cli) -> None:
    before = runs.json("runs", "list")
    assert "--yes" in runs("db", "rollback", "--to", 1, status=2).stderr
    assert runs.json("db", "rollback", "--to", 1, "--yes")["pending"] == ["0002_projections", "0003_liveness"]
    assert runs.json("runs", "list") == before
    assert "export them first" in runs("db", "rollback", "--to", 0, "--yes", status=1).stderr
    runs("db", "rollback", "--to", 9, "--yes", status=1)


def test_backup_and_restore(runs: Cli, tmp_path: Path) -> None:
    head = runs.json("log", "head")
    copy = tmp_path / "copy.db"
    assert runs.json("db", "backup", copy) == head
    assert copy.stat().st_mode & 0o777 == 0o600
    assert Cli(copy).json("log", "head") == head
    runs("projects", "add", "later")
    runs("db", "backup", copy, status=2)
    assert Cli(copy).json("log", "head") == head
    runs("db", "backup", copy, "--yes")
    runs("projects", "add", "much-later")
    runs("db", "restore", copy, status=2)
    runs("db", "restore", copy, "--yes")
    assert runs.json("log", "head")["position"] == head["position"] + 1
    fresh = Cli(tmp_path / "sub" / "fresh.db")
    fresh("db", "restore", copy)
    assert fresh.json("log", "head") == runs.json("log", "head")
    runs("db", "restore", tmp_path / "missing.db", status=2)
    (tmp_path / "text.db").write_text("no database")
    Cli(tmp_path / "never.db")("db", "restore", tmp_path / "text.db", status=1)
    assert not (tmp_path / "never.db").exists()


def test_tables_of_another_program_are_told_and_not_passed_for_checked(empty: Cli) -> None:
    with eventlog.open(empty.db, extra_projections=(things.entity(), things.journal())) as log:
        things.fill(log, 8)
    with sqlite3.connect(empty.db) as connection:
        connection.execute("UPDATE things SET size = 999")
    connection.close()
    of_others = "growths, things (made by another program)"
    assert f"not checked: {of_others}" in empty("projections", "verify").stderr
    assert "not checked" not in empty("projections", "verify", "runs").stderr
    assert empty.json("projections", "verify") == []
    assert f"not checked: {of_others}" in empty("db", "check").stdout
    found = empty.json("db", "check")
    assert (found["ok"], sorted(found["not_checked"])) == (True, ["growths", "things"])
    for words in (("rollback", "--to", 1), ("resume",), ("rebuild",)):
        assert f"left alone: {of_others}" in empty("projections", *words).stderr
    assert "left alone" not in empty("projections", "rebuild", "runs").stderr


def test_a_table_of_another_program_is_named_as_one_when_it_is_asked(empty: Cli) -> None:
    with eventlog.open(empty.db, extra_projections=(things.entity(_stops),)) as log:
        things.fill(log, 8)
    for words in (
        *(("projections", "explain", "things", 1), ("projections", "verify", "things"), ("tables", "export", "things")),
        *(("projections", "rebuild", "things"), ("projections", "resume", "things")),
        *(("projections", "rollback", "things", "--to", 1), ("projections", "diff", 1, 2, "-p", "things")),
    ):
        told = empty(*words, status=1).stderr
        assert "'things' was made by another program" in told
        assert "install the package" in told
    assert "no projection is called 'thing'" in empty("projections", "rebuild", "thing", status=1).stderr
    told = empty("projections", "status", "things", status=1).stdout
    assert "things, failed at version 4, was made by another program" in told
    assert "eventlog projections resume" not in told


def _stops(event: Any, record: eventlog.Record) -> None:
    if record.position == 5:
        raise ValueError("five")


# what is not there


@pytest.mark.parametrize(
    "words", [("projects", "add", "p"), ("db", "init"), ("jobs", "work", "--until-empty"), ("log", "import", "-")]
)
@pytest.mark.parametrize("name", ["log.db", "log.jsonl"])
def test_a_log_is_made_only_in_a_folder_that_is_there(tmp_path: Path, name: str, words: tuple[str, ...]) -> None:
    typo = Cli(tmp_path / "no" / "such" / name)
    assert f"there is no folder {tmp_path / 'no' / 'such'}; make it" in typo(*words, status=1).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_log_of_this_user_s_own_is_made_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.delenv("EVENTLOG_URL", raising=False)
    assert CliRunner().invoke(cli, ["projects", "add", "p"]).exit_code == 0
    own = tmp_path / "share" / "eventlog" / "log.db"
    assert Cli(own).json("projects", "show", "p")["project_id"] == "p"


def test_a_demo_does_not_make_folders_above_its_own(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["demo", "--dir", str(tmp_path / "no" / "such")])
    assert (result.exit_code, "there is no folder" in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_import_that_adds_nothing_makes_no_log(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"colour": "red"}\n' * 3)
    empty = tmp_path / "empty"
    empty.mkdir()
    source = SAMPLES[name](tmp_path / "source", PLAIN)
    new = Cli(tmp_path / "new.db")
    assert "would be added" in new("import", name, "--dry-run", source).stdout
    new("import", name, empty, status=1)
    (tmp_path / "other.db").write_bytes(b"SQLite format 3\0" + bytes(4080))
    if name != "sessions-json":  # of which every file is read, and what it cannot read is noted in the log
        new("import", name, other, status=3)
        new("import", name, tmp_path / "other.db", status=3)
    assert not new.db.exists()
    new("import", name, source)
    assert new.json("log", "head")["position"] > 0


def test_what_is_no_export_makes_no_log(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0:root\n")
    new = Cli(tmp_path / "new.db")
    assert "line 1" in new("log", "import", tmp_path / "passwd", status=1).stderr
    assert not new.db.exists()


def test_reading_creates_nothing(tmp_path: Path) -> None:
    nothing = Cli(tmp_path / "nothing.db")
    for words in (
        *(("runs", "list"), ("runs", "show", 1), ("projects", "list"), ("stats", "runs"), ("log", "read")),
        *(("log", "head"), ("log", "verify"), ("log", "check"), ("log", "export"), ("projections", "list")),
        *(("projections", "verify"), ("db", "status"), ("db", "check"), ("db", "backup", tmp_path / "copy.db")),
        *(("runs", "update", 1, "--note", "x"), ("projections", "rebuild"), ("db", "migrate"), ("db", "optimize")),
    ):
        assert "db init" in nothing(*words, status=1).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"plain text, no database", b"SQLite format 3\x00" + b"\x00" * 5000])
def test_what_is_no_log_is_told_and_left_alone(content: bytes, tmp_path: Path) -> None:
    place = tmp_path / "other.db"
    place.write_bytes(content)
    for words in (("runs", "list"), ("projects", "add", "x"), ("db", "status"), ("db", "check"), ("log", "verify")):
        stderr = Cli(place)(*words, status=1).stderr
        assert len(stderr.splitlines()) == 1
        assert "bug" not in stderr
    assert place.read_bytes() == content


def test_a_log_without_tables_gets_them_when_asked(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db", projections="off") as log:
        log.append("run-1", eventlog.UnknownEvent(tag="run.started", data={"command": "x"}))
    assert {row["state"] for row in Cli(tmp_path / "log.db").json("projections", "status")} == {"new"}
    assert Cli(tmp_path / "log.db").json("runs", "list")[0]["command"] == "x"


@pytest.mark.feature("S2-9")
def test_times_are_shown_in_the_zone_asked_for(runs: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "2026-11-18 20:06:40.000+09:00" in runs("log", "read", "--stream", "run-1", "--jst").stdout
    assert "2026-11-18 12:06:40.000+01:00" in runs("log", "read", "--stream", "run-1", "--tz", "Europe/Berlin").stdout
    monkeypatch.setenv("EVENTLOG_TZ", "UTC")
    assert "2026-11-18 11:06:40.000Z" in runs("log", "read", "--stream", "run-1").stdout
    runs("log", "read", "--tz", "Nowhere", status=2)
    runs("log", "read", "--jst", "--utc", status=2)
    runs("log", "read", "--json", "--jsonl", status=2)
