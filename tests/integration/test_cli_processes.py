"""The command line as a real process: start-up, exit statuses, pipes, signals, completion, the demo."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

import eventlog
from tests.helpers import eventually

EVENTLOG = [sys.executable, "-m", "eventlog"]
HEAVY = {"msgspec", "sqlite3", "rich", "sqlite_utils", "asyncio", "platformdirs", "eventlog.log", "eventlog.app"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTLOG_")}
    return kept | {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "share"),
        "EVENTLOG_URL": str(tmp_path / "log.db"),
        "EVENTLOG_TZ": "UTC",
    }


def run(environment: dict[str, str], *words: str, status: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*EVENTLOG, *words], env=environment, capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done


def loaded(environment: dict[str, str], *words: str) -> set[str]:
    """The modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "eventlog", *words],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


# starting


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("runs", "--help"), ("completion", "bash")], ids=" ".join
)
def test_help_imports_next_to_nothing(environment: dict[str, str], words: tuple[str, ...]) -> None:
    assert loaded(environment, *words) & HEAVY == set()


def test_plain_output_imports_nothing_to_draw_with(environment: dict[str, str]) -> None:
    run(environment, "db", "init")
    assert loaded(environment, "runs", "list") & {"rich", "sqlite_utils", "eventlog.cli.demo"} == set()
    modules = loaded(environment, "log", "head", "--json")
    assert {name for name in modules if name.startswith("eventlog.cli.")} & {
        "eventlog.cli.runs",
        "eventlog.cli.db",
    } == set()


def test_recording_imports_nothing_to_print_with(environment: dict[str, str]) -> None:
    run(environment, "db", "init")
    assert loaded(environment, "run", "--", "true") & {"rich", "sqlite_utils", "eventlog.cli.view"} == set()


def test_help_is_quick(environment: dict[str, str]) -> None:
    """150 ms are promised; processor time is counted, so that a busy machine does not matter."""

    def best(*words: str) -> float:
        found = []
        for _ in range(5):
            process = subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            found.append(used.ru_utime + used.ru_stime)
        return min(found)

    assert best("-m", "eventlog", "--help") < max(0.150, 6 * best("-c", "pass"))


def test_without_a_log_named_it_is_this_user_s(environment: dict[str, str], tmp_path: Path) -> None:
    del environment["EVENTLOG_URL"]
    run(environment, "projects", "add", "x")
    (place,) = tmp_path.rglob("log.db")
    assert place.stat().st_mode & 0o777 == 0o600
    assert json.loads(run(environment, "projects", "list", "--json").stdout)[0]["project_id"] == "x"


def test_db_stands_before_the_subcommand_and_wins(environment: dict[str, str], tmp_path: Path) -> None:
    run(environment, "--db", f"sqlite:///{tmp_path}/other.db", "projects", "add", "x")
    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "log.db").exists()
    run(environment, "projects", "add", "x", "--db", "y", status=2)


# ending


def test_exit_statuses(environment: dict[str, str]) -> None:
    run(environment, "db", "init")
    assert run(environment, "runs", "show", "1", status=1).stderr == "error: there is no run 1\n"
    assert "error: " in run(environment, "runs", "--nope", status=2).stderr
    assert "Commands:" in run(environment, status=2).stderr
    debugged = run(environment, "--debug", "runs", "show", "1", status=1).stderr
    assert "Traceback" in debugged
    assert debugged.endswith("error: there is no run 1\n")
    assert "Traceback" not in run(environment, "--debug", "runs", "show", "x", status=2).stderr


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.parametrize("module", ["typing", "eventlog.cli.root", "click", "eventlog.cli.runs", "msgspec"])
@pytest.mark.parametrize("command", [EVENTLOG, [str(Path(sys.executable).with_name("eventlog"))]], ids=["-m", "script"])
def test_ctrl_c_while_the_program_starts_says_nothing(
    environment: dict[str, str], tmp_path: Path, command: list[str], module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED_IMPORT)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [environment.get("PYTHONPATH")])])
    environment |= {"PYTHONPATH": paths, "INTERRUPT_AT": module}
    done = subprocess.run([*command, "runs", "list"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")


def test_a_reader_that_goes_away_is_no_error(environment: dict[str, str]) -> None:
    with eventlog.open(environment["EVENTLOG_URL"]) as log:
        log.append("x-1", [eventlog.UnknownEvent(tag="x.y", data={"n": n, "text": "x" * 200}) for n in range(3000)])
    for words in (("log", "read"), ("log", "read", "--json"), ("log", "export")):
        process = subprocess.Popen(
            [*EVENTLOG, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(30) == 141


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_is_no_error(environment: dict[str, str], closed: str) -> None:
    def closing(*words: str, status: int = 0) -> str:
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *EVENTLOG, *words]
        done = subprocess.run(shell, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, (words, done.stderr)
        return done.stderr

    assert closing("run", "--", "sh", "-c", "echo said; exit 4", status=4) == ""
    assert closing("run", "--", "no-such-command", status=127).count("\n") == ("2>" not in closed)
    assert closing("runs", "list") == ""
    assert closing("log", "read", "--json") == ""
    assert closing("runs", "show", "99", status=1).count("\n") == ("2>" not in closed)
    assert [run["exit_code"] for run in json.loads(run(environment, "runs", "list", "--json").stdout)] == [127, 4]


def test_output_that_cannot_be_written_is_told(environment: dict[str, str]) -> None:
    run(environment, "db", "init")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*EVENTLOG, "log", "head"], env=environment, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def started(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*EVENTLOG, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_tail_follows_and_is_interrupted(environment: dict[str, str]) -> None:
    with eventlog.open(environment["EVENTLOG_URL"]) as log:
        log.append("x-1", eventlog.UnknownEvent(tag="x.y", data={}))
        process = started(environment, "log", "tail", "-f", "--json")
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["position"] == 1
        log.append("x-1", eventlog.UnknownEvent(tag="x.y", data={"later": 1}))
        assert json.loads(process.stdout.readline())["data"] == {"later": 1}
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.strip() == ""


def test_projections_follow(environment: dict[str, str]) -> None:
    url = environment["EVENTLOG_URL"]
    with eventlog.open(url, projections="deferred") as log:
        process = started(environment, "projections", "follow")
        assert process.stderr is not None
        process.stderr.readline()
        log.append("run-1", eventlog.UnknownEvent(tag="run.started", data={"command": "x"}))
        deadline = time.monotonic() + 20
        while {row.name: row.position for row in log.projections.status()}["runs"] != 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_run_is_followed_to_its_end(environment: dict[str, str]) -> None:
    script = "import time\nfor n in range(4): print('line', n, flush=True); time.sleep(0.3)\nprint('end', end='')"
    recorded = started(environment, "run", "--", sys.executable, "-c", script)
    deadline = time.monotonic() + 30
    while subprocess.run([*EVENTLOG, "runs", "show"], env=environment, capture_output=True, timeout=60).returncode:
        assert time.monotonic() < deadline
    followed = run(environment, "runs", "tail", "-f", "-n", "100")
    recorded.communicate(timeout=30)
    assert "".join(followed.stdout.splitlines()[-5:]).endswith("line 0line 1line 2line 3end")


@pytest.mark.parametrize(
    ("answer", "status", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 1), (b"\n", 1, 1), (b"\x03", 130, 1)]
)
def test_a_person_is_asked(environment: dict[str, str], answer: bytes, status: int, left: int) -> None:
    run(environment, "projects", "add", "alpha")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*EVENTLOG, "projects", "delete", "alpha"],
        env=environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(follower)
    asked = b""
    while b"[y/N]" not in asked:
        asked += os.read(leader, 1000)
    assert b"Delete project 'alpha'?" in asked
    # Python does not notice a signal that comes between its last look and the read: nobody types that fast.
    eventually(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S")
    os.write(leader, answer)
    assert process.wait(30) == status
    os.close(leader)
    assert len(json.loads(run(environment, "projects", "list", "--json").stdout)) == left


# what passes through


def test_run_passes_everything_through(environment: dict[str, str]) -> None:
    script = "import sys; sys.stdout.write(sys.stdin.read()[::-1]); sys.stderr.write('err'); sys.exit(7)"
    words = ("run", "-p", "p", "-n", "note", "-t", "a=b", "--param", "lr=0.5", "--name", "prog")
    done = run(environment, *words, "--", sys.executable, "-c", script, status=7, input="abc")
    assert (done.stdout, done.stderr) == ("cba", "err")
    (found,) = json.loads(run(environment, "runs", "list", "--json").stdout)
    assert (found["status"], found["exit_code"], found["program"]) == ("fail", 7, "prog")
    assert (found["project_id"], found["note"], found["tags"]) == ("p", "note", {"a": "b"})
    assert found["parameters"] == {"lr": 0.5}
    assert run(environment, "runs", "tail", "--stdout").stdout == "cba\n"
    shown = run(environment, "runs", "show").stdout
    assert "cba" in shown
    assert "stdout.log" in shown


def test_run_needs_no_dashes_where_nothing_is_ambiguous(environment: dict[str, str]) -> None:
    run(environment, "run", "sh", "-c", "exit 4", status=4)
    run(environment, "run", status=2)
    run(environment, "run", "--tag", "x", "--", "true", status=2)


def test_a_command_runs_even_where_no_log_can_be(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(environment, "--db", str(tmp_path / "file" / "log.db"), "run", "--", "echo", "hi")
    assert done.stdout == "hi\n"
    assert done.stderr != ""


def test_a_command_runs_and_no_folder_is_made_for_a_log_whose_name_is_mistyped(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = run(environment, "--db", str(tmp_path / "typo" / "x.db"), "run", "--", "echo", "hi")
    assert done.stdout == "hi\n"
    assert f"LogMissing: there is no folder {tmp_path / 'typo'}; make it" in done.stderr
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("db", ["foo://x", "", " ", "postgresql:x", "http://h/runs/1"])
def test_a_command_is_not_started_where_no_place_for_a_log_is_named(
    environment: dict[str, str], tmp_path: Path, db: str
) -> None:
    done = run(environment, "--db", db, "run", "--", "touch", str(tmp_path / "mark"), status=2)
    assert "Invalid value for '--db': " in done.stderr
    assert list(tmp_path.iterdir()) == []


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(environment: dict[str, str], shell: str) -> None:
    script = run(environment, "completion", shell).stdout
    assert "_EVENTLOG_COMPLETE" in script
    run(environment, "completion", "tcsh", status=2)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("eventlog ru", {"plain,run", "plain,runs"}),
        ("eventlog runs up", {"plain,update"}),
        ("eventlog runs list --st", {"plain,--status"}),
        ("eventlog stats runs --by mo", {"plain,month"}),
    ],
)
def test_what_is_completed(environment: dict[str, str], line: str, offered: set[str]) -> None:
    words = {"_EVENTLOG_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    assert set(run(environment | words).stdout.split()) == offered


def test_completion_in_a_real_bash(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "eventlog").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m eventlog "$@"\n')
    (folder / "eventlog").chmod(0o755)
    script = (
        'eval "$(eventlog completion bash)"; COMP_WORDS=(eventlog projections roll); COMP_CWORD=2; '
        '_eventlog_completion eventlog; echo "${COMPREPLY[@]}"'
    )
    path = f"{folder}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=environment | {"PATH": path}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "rollback\n", done.stderr


# the demo


def test_demo(environment: dict[str, str], tmp_path: Path) -> None:
    place = tmp_path / "demo"
    began = time.monotonic()
    done = run(environment, "demo", "--dir", str(place))
    assert time.monotonic() - began < 20
    for shown in (
        "SIGKILL",
        "train.py",
        "fail → success",
        "projections rollback",
        "the tables are what the events say",
    ):
        assert shown in done.stdout
    assert not (tmp_path / "log.db").exists()
    found = json.loads(run(environment, "--db", str(place / "log.db"), "runs", "list", "--json").stdout)
    assert sorted(one["status"] for one in found) == ["killed", *["success"] * 6]
    run(environment, "demo", "--dir", str(place), status=2)


def test_demo_leaves_nothing_behind(environment: dict[str, str], tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    run(environment | {"TMPDIR": str(temporary), "EVENTLOG_DATA_DIR": str(tmp_path / "data")}, "demo")
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "data").exists()
    run(environment | {"TMPDIR": str(temporary)}, "demo", "--keep")
    assert len(list(temporary.iterdir())) == 1
