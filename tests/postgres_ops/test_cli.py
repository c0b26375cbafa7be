"""Every command against PostgreSQL, and what is said when the server, the database or the login is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import eventlog
from eventlog.cli.root import cli
from tests.helpers import ROOT, notes
from tests.postgres_ops.support import execute, fresh_name, fresh_schema, run, run_json, url, with_password


@pytest.fixture(scope="module")
def full() -> Iterator[str]:
    """A log with runs, a project, notes, messages and metrics."""
    with fresh_schema() as target:
        with eventlog.open(target) as log:
            log.projects.add("p", note="first")
            for number in range(3):
                log.runs.start(f"job {number}", project_id="p", program="job", tags={"kind": "x"})
            log.runs.finish_success(1, exit_code=0)
            log.runs.finish_fail(2, "no data", exit_code=3)
            log.runs.metric(1, "loss", 0.5)
            log.runs.message(1, "half way", level="WARNING", logger="train")
            log.append("note-1", notes(3))
        yield target


READS = """
runs list | runs list --text JOB --tag kind=x --status fail | runs list --as-of 4 | runs show 2 | runs compare 1 2
runs tail 1 | runs recover --dry-run | projects list | projects show p | projects show p --as-of 2
stats runs | stats runs --by day | stats runs --by program --as-of 6
log read | log read --category run --backwards --limit 2 | log tail | log head | log head --as-of 3 | log verify
log check | log export | log export --format cloudevents
projections list | projections status | projections diff 2 6 | projections explain runs 2 | projections verify
db status | db check | db migrate --dry-run | db roles --dry-run | config show
"""


@pytest.mark.parametrize("command", [part.strip() for line in READS.split("\n") for part in line.split("|") if part])
def test_reading_commands(full: str, command: str) -> None:
    words = tuple(command.split())
    result = run(full, *words)
    assert result.stdout.strip() or command in ("runs tail 1", "runs recover --dry-run")
    if words[:2] != ("log", "export"):
        assert run_json(full, *words) is not None


def test_commands_that_write(tmp_path: Path) -> None:
    with fresh_schema() as place:
        first = run_json(place, "db", "init")
        assert first["position"] == 0
        run(place, "projects", "add", "p", "--note", "n")
        run(place, "projects", "update", "p", "--note", "m")
        done = run_json(place, "log", "append", "a-1", "a.b", '{"n": 1}', "--expect", "none", "--key", "k")
        assert (done["first"], done["duplicate"]) == (3, False)
        assert run_json(place, "log", "append", "a-1", "a.b", '{"n": 1}', "--key", "k")["duplicate"]
        assert (
            "wrong expected version" in run(place, "log", "append", "a-1", "a.b", "--expect", "none", status=1).stderr
        )
        with eventlog.open(place) as log:
            log.runs.start("x")
        run(place, "runs", "update", "1", "--note", "corrected", "--tag", "a=b")
        version = run_json(place, "log", "head")["position"]
        run(place, "runs", "delete", "1", "--yes")
        assert run_json(place, "runs", "list") == []
        run(place, "projections", "rollback", "--to", version)
        assert [found["note"] for found in run_json(place, "runs", "list")] == ["corrected"]
        assert "resume" in run(place, "runs", "update", "1", "--note", "x", status=1).stderr
        run(place, "projections", "resume")
        run(place, "projections", "rebuild")
        assert run_json(place, "runs", "list") == []
        run(place, "projects", "delete", "p", "--yes")
        run(place, "log", "export", tmp_path / "events.jsonl")
        with fresh_schema() as other:
            done = run_json(other, "log", "import", tmp_path / "events.jsonl")
            assert done["hash"] == run_json(place, "log", "head")["hash"]
            assert run_json(other, "log", "import", tmp_path / "events.jsonl")["added"] == 0
        assert run_json(place, "db", "init")["position"] == run_json(place, "log", "head")["position"]  # again
        assert "--yes" in run(place, "db", "rollback", "--to", 1, status=2).stderr
        assert run_json(place, "db", "rollback", "--to", 1, "--yes")["version"] == 1
        assert run_json(place, "db", "migrate", "--dry-run")["pending"] == ["0002_projections", "0003_liveness"]
        assert run_json(place, "db", "migrate")["pending"] == []
        assert run_json(place, "db", "check")["ok"]


def process(place: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of ours as a process of its own."""
    paths = os.pathsep.join([str(ROOT), *(path for path in sys.path if path)])
    return subprocess.run(
        [sys.executable, "-P", "-m", "eventlog", "--db", place, *words],
        env={**os.environ, "PYTHONPATH": paths, "EVENTLOG_DATA_DIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_command_is_recorded_and_its_files_are_in_the_data_directory(tmp_path: Path) -> None:
    with fresh_schema() as place:
        run(place, "db", "init")
        done = process(place, "run", "--note", "first", "--", sys.executable, "-c", "print(6 * 7)", folder=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
        (found,) = run_json(place, "runs", "list")
        assert (found["status"], found["note"], found["exit_code"]) == ("success", "first", 0)
        assert (tmp_path / "result" / "1" / "logs" / "stdout.log").read_text() == "42\n"


def test_a_recorded_command_runs_though_the_server_is_gone(tmp_path: Path) -> None:
    place = f"postgresql://nobody:sword%40fish@/none?host={tmp_path}"
    done = process(place, "run", "--", sys.executable, "-c", "print(6 * 7)", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "42\n")
    assert done.stderr
    assert "fish" not in done.stderr


# what is wrong, and no password in it

SHOWN = ("sword@", "sword%", "fish")


def say(target: str, *words: object) -> tuple[int, str]:
    """The exit status of a command of ours, and everything it printed, with the traceback where it fails."""
    result = CliRunner().invoke(cli, ["--db", target, "--debug", *map(str, words)])
    return result.exit_code, result.stdout + result.stderr


def wrong_places(folder: Path) -> dict[str, tuple[str, str]]:
    server = url()
    return {
        "no server": (f"postgresql://postgres@/postgres?host={folder}", "cannot be reached"),
        "nothing at the port": ("postgresql://postgres@127.0.0.1:1/postgres?connect_timeout=2", "cannot be reached"),
        "wrong database": (url(database="no_such_database"), "no_such_database"),
        "wrong user": (url(user="no_such_user"), "no_such_user"),
        "wrong schema": (f"{server}&options=-csearch_path%3Dno_such_schema", "names no schema that exists"),
        "wrong option": (f"{server}&options=-cno_such_setting%3D1", "no_such_setting"),
        "wrong certificate": ("postgresql://postgres@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/none", "/none"),
    }


WRONG = (
    *("no server", "nothing at the port", "wrong database", "wrong user", "wrong schema"),
    *("wrong option", "wrong certificate"),
)


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_in_a_sentence_without_the_password(what: str, tmp_path: Path) -> None:
    target, said = wrong_places(tmp_path)[what]
    (tmp_path / "saved").write_text("x")
    for words in (
        ("runs", "list"),
        ("db", "init"),
        ("db", "status"),
        ("db", "migrate"),
        ("db", "copy", target, target),
    ):
        status, text = say(with_password(target), *words)
        last = text.strip().splitlines()[-1]
        assert status == 1, words
        assert last.startswith("error: "), words
        assert "bug" not in last
        assert said in text
        assert not [word for word in SHOWN if word in text], (words, text)
    result = run(with_password(target), "runs", "list", status=1)
    assert len(result.stderr.splitlines()) == 1


def test_the_password_is_in_no_output_of_any_command(tmp_path: Path) -> None:
    with fresh_schema() as bare, fresh_schema() as other:
        place = with_password(bare)
        outputs = [say(place, "db", "init"), say(place, "projects", "add", "p")]
        commands: tuple[tuple[str, ...], ...] = (
            *(("db", "init", "--json"), ("db", "status"), ("db", "status", "--json"), ("config", "show")),
            *(("config", "show", "--json"), ("db", "check"), ("db", "optimize"), ("db", "roles", "--dry-run")),
            *(("db", "backup", str(tmp_path / "saved")), ("db", "restore", str(tmp_path / "saved"))),
            *(("db", "copy", place, with_password(other)), ("db", "copy", place, str(tmp_path / "x.db"))),
            *(
                ("db", "copy", "postgresql://u:sword%40fish@h:x/d", place),
                ("log", "append", "a-1", "run.started", "{}"),
            ),
            *(("db", "rollback", "--to", "9", "--yes"), ("runs", "show", "7"), ("projections", "explain", "runs", "x")),
        )
        outputs += [say(place, *words) for words in commands]
        execute(bare, "DROP TABLE log_head")
        outputs += [say(place, "projects", "add", "q"), say(place, "db", "check")]
    texts = [text for _, text in outputs]
    assert any("***" in text for text in texts)
    assert [text for text in texts if any(word in text for word in SHOWN)] == []
    assert sum(status != 0 for status, _ in outputs) >= 5


def test_a_password_is_not_in_what_a_process_prints_when_it_fails(tmp_path: Path) -> None:
    target = with_password(wrong_places(tmp_path)["no server"][0])
    done = process(target, "runs", "list", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "***" in done.stderr
    assert not [word for word in SHOWN if word in done.stderr + done.stdout]


def test_a_login_with_a_password_that_is_wrong_is_told_so() -> None:
    """On a server that asks for one; the test's own trusts everybody."""
    name = fresh_name("careful")
    execute(url(), f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
    try:
        status, text = say(url(user=name, password="sword@fish"), "runs", "list")
    finally:
        execute(url(), f"DROP ROLE {name}")
    assert status == 1
    assert not [word for word in SHOWN if word in text]


def test_a_database_that_cannot_hold_text_of_every_kind_is_refused() -> None:
    for encoding in ("SQL_ASCII", "LATIN1"):
        name = fresh_name("narrow")
        execute(url(), f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
        try:
            assert f"its encoding is {encoding}, not UTF8" in run(url(database=name), "db", "init", status=1).stderr
        finally:
            execute(url(), f"DROP DATABASE {name}")


def test_text_is_what_it_is_whatever_encoding_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh_schema() as place:
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
        run(place, "projects", "add", "p", "--note", "日本 é")
        monkeypatch.delenv("PGCLIENTENCODING")
        assert run_json(place, "projects", "show", "p")["note"] == "日本 é"


def test_a_server_that_takes_no_writes_is_read_and_says_what_it_cannot_do() -> None:
    with fresh_schema() as place:
        with eventlog.open(place) as log:
            log.runs.start("x")
        standby = f"{place}%20-cdefault_transaction_read_only%3Don"
        found: Any = run_json(standby, "runs", "list")
        assert [one["run_id"] for one in found] == [1]
        assert run_json(standby, "log", "verify")["ok"]
        run(standby, "db", "status")
        for words in (("runs", "list", "--as-of", "0"), ("projections", "verify"), ("projections", "rebuild")):
            assert "in a read-only transaction" in run(standby, *words, status=1).stderr
