"""Whatever was logged is shown harmlessly: in a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import eventlog
from eventlog.cli.root import cli
from eventlog.events.runs import RunOutputCaptured

ATTACKS = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m\x1bc\x1b]52;c;cm0gLXJmIC8=\x07\x1b]8;;https://evil.example\x1b\\"
    "link\x1b]8;;\x1b\\"
    "\x9b31m\x9d0;owned\x9c\x85\x00\x07\x08\x7frm -rf /\rls"
    "\u202edlrow\u202c\u2066x\u2069\u200e\u2028\u2029\ufeff\U000e0041"
    "[red]markup[/red] :smile: %s {0}"
)
CONTROL = re.compile(  # everything but line breaks and tabs
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
    r"|[\U000e0000-\U000e007f]"
)
STYLE = re.compile(r"\x1b\[[0-9;]*m")
PRINTED = (
    ("runs", "list"),
    ("runs", "show", "1"),
    ("runs", "compare", "1", "2"),
    ("runs", "tail", "1"),
    ("projects", "list"),
    ("projects", "show", "p"),
    ("stats", "runs", "--by", "program"),
    ("stats", "runs", "--by", "project"),
    ("log", "read"),
    ("log", "tail"),
    ("projections", "list"),
    ("projections", "status"),
    ("projections", "diff", "0", "8"),
    ("projections", "explain", "runs", "1"),
    ("db", "status"),
)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile") / "log.db"
    with eventlog.open(place) as log:
        log.projects.add("p", path=ATTACKS, note=ATTACKS)
        for _ in range(2):
            log.runs.start(
                ATTACKS,
                program=ATTACKS,
                project_id=ATTACKS,
                note=ATTACKS,
                tags={ATTACKS: ATTACKS},
                parameters={ATTACKS: ATTACKS},
                argv=(ATTACKS,),
                cwd=ATTACKS,
                git_commit=ATTACKS,
                git_branch=ATTACKS,
                host=ATTACKS,
                user=ATTACKS,
                python_version=ATTACKS,
                environment={ATTACKS: ATTACKS},
            )
        log.runs.metric(1, ATTACKS, 1.0)
        log.runs.message(1, ATTACKS, level=ATTACKS, logger=ATTACKS)
        log.append("run-1", RunOutputCaptured(channel="stdout", tail=ATTACKS + "\nmore\ttext\n", size_bytes=9))
        log.append(
            "note-1", eventlog.UnknownEvent(tag="note.taken", data={ATTACKS: ATTACKS}), metadata={ATTACKS: ATTACKS}
        )
        log.runs.finish_fail(1, ATTACKS, error_type=ATTACKS)
    return place


@pytest.mark.parametrize("words", PRINTED, ids=" ".join)
@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_in_a_pipe(db: Path, words: tuple[str, ...], form: str) -> None:
    options = [] if form == "text" else [f"--{form}"]
    result = CliRunner().invoke(cli, ["--db", str(db), *words, *options])
    assert result.exit_code == 0, result.stderr
    assert CONTROL.findall(result.stdout + result.stderr) == []
    assert result.stdout


def in_terminal(*words: str, columns: int = 100) -> tuple[int, str]:
    """Run the command in a terminal of its own; its exit status and everything that the terminal was sent."""
    leader, follower = pty.openpty()
    environment = dict(os.environ, COLUMNS=str(columns), TERM="xterm-256color", PYTHONIOENCODING="utf-8")
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "eventlog", *words], stdin=follower, stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    sent = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        sent += chunk
    os.close(leader)
    return process.wait(), sent.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "words",
    [
        words
        for words in PRINTED
        if words[:2] in {("runs", "list"), ("runs", "show"), ("log", "read"), ("projections", "diff")}
    ],
    ids=" ".join,
)
def test_in_a_terminal(db: Path, words: tuple[str, ...]) -> None:
    status, sent = in_terminal("--db", str(db), *words)
    assert status == 0
    assert CONTROL.findall(STYLE.sub("", sent)) == []
    assert "\x1b[31m\x1bc" not in sent


def test_a_terminal_is_not_overflowed(db: Path) -> None:
    _, sent = in_terminal("--db", str(db), "runs", "list", columns=60)
    assert max(len(STYLE.sub("", line)) for line in sent.splitlines()) <= 60


def test_raw_is_raw(db: Path) -> None:
    result = CliRunner().invoke(cli, ["--db", str(db), "runs", "show", "1", "--raw"])
    assert "\x1b]0;owned\x07" in result.stdout


def test_json_is_faithful(db: Path) -> None:
    result = CliRunner().invoke(cli, ["--db", str(db), "runs", "show", "1", "--json"])
    run = json.loads(result.stdout)
    assert run["command"] == run["program"] == run["note"] == ATTACKS
    assert run["tags"] == run["environment"] == {ATTACKS: ATTACKS}
    assert run["outputs"][0]["tail"] == ATTACKS + "\nmore\ttext\n"
    records = json.loads(CliRunner().invoke(cli, ["--db", str(db), "log", "read", "--json"]).stdout)
    assert next(record for record in records if record["type"] == "note.taken")["data"] == {ATTACKS: ATTACKS}


@pytest.mark.parametrize("form", ["jsonl", "cloudevents"])
def test_an_export_can_be_looked_at(db: Path, form: str) -> None:
    result = CliRunner().invoke(cli, ["--db", str(db), "log", "export", "--format", form])
    assert CONTROL.findall(result.stdout) == []
    assert all(json.loads(line) for line in result.stdout.splitlines())


def test_messages_are_clean_too(db: Path) -> None:
    for words in (
        ("projects", "show", ATTACKS),
        ("projects", "add", ATTACKS),
        ("projects", "delete", ATTACKS),
        ("runs", "show", ATTACKS),
        ("runs", "list", "--status", ATTACKS),
        ("log", "append", ATTACKS, ATTACKS, ATTACKS),
        ("projections", "explain", ATTACKS, ATTACKS),
        (ATTACKS,),
        ("db", "restore", ATTACKS.replace("/", "").replace("\x00", "")),
    ):
        result = CliRunner().invoke(cli, ["--db", str(db), *words])
        assert result.exit_code in (1, 2)
        assert CONTROL.findall(result.stdout + result.stderr) == []


def test_the_name_of_a_table_that_another_program_made_is_clean_too(db: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(db, tmp_path))
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO projections (name, kind, version, fingerprint, state, updated_at) "
        "VALUES (?, 'entity', 1, '', 'live', 0)",
        (ATTACKS,),
    )
    connection.commit()
    connection.close()
    for words in ("projections verify", "projections resume", "projections status", "db check", "db status --json"):
        result = CliRunner().invoke(cli, ["--db", str(path), *words.split()])
        assert result.exit_code == 0, result.stderr
        assert CONTROL.findall(result.stdout + result.stderr) == []
        assert "rm -rf" in result.stdout + result.stderr


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.long), "utf-8"])
@pytest.mark.parametrize("words", ["runs list --json", "runs list --jsonl", "runs show 1 --json", "log read --jsonl"])
def test_json_is_json_in_every_encoding(tmp_path: Path, words: str, encoding: str) -> None:
    command = "é 日本 \U0001f600"
    with eventlog.open(tmp_path / "log.db") as log:
        log.runs.start(command)
    done = subprocess.run(
        [sys.executable, "-m", "eventlog", "--db", str(tmp_path / "log.db"), *words.split()],
        env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    # A terminal library takes an encoding of ASCII for a mistake, and UTF-8 for what was meant.
    found = json.loads(done.stdout.decode("latin-1" if encoding == "latin-1" else "utf-8"))
    found = found[0] if isinstance(found, list) else found
    assert found.get("data", found)["command"] == command


def test_a_long_running_program_s_progress_bar_is_readable(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        log.runs.start("x")
        log.append("run-1", RunOutputCaptured(channel="stdout", tail="\x1b[2K10%\r\x1b[2K100%\ndone\n", size_bytes=9))
    result = CliRunner().invoke(cli, ["--db", str(tmp_path / "log.db"), "runs", "tail"])
    assert result.stdout == "10%\n100%\ndone\n"
