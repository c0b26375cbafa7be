"""`eventlog run` when the log cannot be written: the command runs all the same, and nothing is lost."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

import eventlog
from tests.integration.run_command_support import only_run, run, runs, start, wait_for


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path / "log" / "log.db"


def signals_are_held_back(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (blocked,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")]
    return bool(int(blocked, 16) & 1 << signal.SIGINT - 1)


def spool_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("spool/*.jsonl"))


def damage(db: Path) -> None:
    """A file that is no log any more: the lock beside it is left."""
    db.parent.mkdir()
    db.write_bytes(b"this is a diary, not a database" * 100)
    Path(f"{db}.lock").touch()


def test_a_log_that_is_damaged(db: Path, tmp_path: Path) -> None:
    damage(db)
    done = run(db, "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.returncode, done.stdout) == (5, b"out\n")
    assert done.stderr.startswith(b"err\n")
    told = done.stderr.splitlines()[1:]
    assert len(told) == 1
    assert b"not in the log (NotALog" in told[0]
    (waiting,) = spool_files(tmp_path)
    assert str(waiting).encode() in told[0]
    assert waiting.stat().st_mode & 0o777 == 0o600
    assert waiting.parent.stat().st_mode & 0o777 == 0o700
    db.unlink()
    assert run(db, "true").stderr == b""
    latest, imported = sorted(runs(db), key=lambda one: one.command != "true")
    assert latest.command == "true"
    assert (imported.status, imported.exit_code) == ("fail", 5)
    assert imported.started_at < latest.started_at
    with eventlog.open(db, mode="r") as log:
        assert [said.text for said in log.runs.output(imported.run_id)] == ["out\n", "err\n"]
    assert spool_files(tmp_path) == []


@pytest.mark.parametrize("what", ["text", "folder"])
def test_what_is_no_log_is_told_and_nothing_waits_for_it(db: Path, tmp_path: Path, what: str) -> None:
    db.parent.mkdir()
    db.mkdir() if what == "folder" else db.write_bytes(b"this is a diary" * 300)
    done = run(db, "sh", "-c", "echo out; exit 5")
    assert (done.returncode, done.stdout) == (5, b"out\n")
    (told,) = done.stderr.decode().splitlines()
    assert told.startswith(f"eventlog: the run was not recorded (NotALog: {db} is ")
    assert told.endswith("name another place for the log")
    assert [path for path in tmp_path.rglob("*") if path not in (db, db.parent)] == []


def test_events_wait_beside_an_empty_file_until_it_is_removed(db: Path, tmp_path: Path) -> None:
    db.parent.mkdir()
    db.touch()
    assert b"remove it" in run(db, "sh", "-c", "exit 5").stderr
    db.unlink()
    assert run(db, "true").returncode == 0
    assert sorted(one.command for one in runs(db)) == ["sh -c 'exit 5'", "true"]


def test_events_wait_while_a_file_of_settings_is_broken(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[database\n")
    environment = {**os.environ, "EVENTLOG_CONFIG": str(tmp_path / "config.toml"), "XDG_STATE_HOME": str(tmp_path)}
    for name in ("EVENTLOG_URL", "DATABASE_URL"):
        environment.pop(name, None)
    words = [sys.executable, "-m", "eventlog", "run", "--", "sh", "-c", "exit 5"]
    done = subprocess.run(words, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 5
    assert b"they wait in" in done.stderr
    assert len(spool_files(tmp_path)) == 1


def test_a_reader_that_resets_its_connection_is_no_fault(db: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    with ours:
        done = run(db, "sh", "-c", "echo lost", stdout=ours.fileno())
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_folder_that_cannot_be_made(tmp_path: Path, db: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "log.db"
    done = run(target, "sh", "-c", "echo fine")
    assert (done.returncode, done.stdout) == (0, b"fine\n")
    assert b"not in the log" in done.stderr
    (waiting,) = spool_files(tmp_path)
    assert waiting.is_relative_to(tmp_path / "state")
    (tmp_path / "file").unlink()
    assert run(target, "true").returncode == 0
    assert sorted(one.command for one in runs(target)) == ["sh -c 'echo fine'", "true"]


@pytest.mark.parametrize("name", ["log.db", "my log.jsonl"])
def test_what_is_said_of_events_that_wait_names_the_log(tmp_path: Path, db: Path, name: str) -> None:
    """Whoever does as told brings them into the log that they are for, from any folder."""
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / name
    told = run(target, "true").stderr.decode()
    command = told.rpartition("or by `")[2].rstrip("`\n")
    assert command == f"eventlog --db {shlex.quote(str(target))} runs recover"
    (tmp_path / "file").unlink()
    eventlog.open(target).close()
    subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd="/", check=True, timeout=60)
    assert only_run(target).command == "true"


def test_what_is_said_of_events_that_wait_names_no_log_that_is_found_without(
    tmp_path: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EVENTLOG_URL", str(tmp_path / "file" / "log.db"))
    command = [sys.executable, "-m", "eventlog", "run", "--", "true"]
    told = subprocess.run(command, capture_output=True, check=True, timeout=60).stderr
    assert told.endswith(b", or by `eventlog runs recover`\n")


def test_nowhere_to_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    done = run(tmp_path / "file" / "log.db", "sh", "-c", "echo fine; exit 9")
    assert (done.returncode, done.stdout) == (9, b"fine\n")
    assert b"could not be recorded" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_kind_of_log(db: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; import eventlog; from eventlog.recorder.command import run_command;"
         "sys.exit(run_command(['echo', 'x'], opener=eventlog.open, log_target='mongodb://nowhere/x'))"],
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"x\n")
    assert b"the run was not recorded (InvalidInput: mongodb://" in done.stderr
    assert spool_files(tmp_path) == []


def test_the_log_is_busy_while_the_command_ends(db: Path, tmp_path: Path) -> None:
    """Another process holds the writer lock: what happens meanwhile waits in the spool, once."""
    run(db, "true")
    ready, go = tmp_path / "ready", tmp_path / "go"
    process = start(db, "sh", "-c", f"touch {ready}; while ! test -e {go}; do sleep 0.05; done; echo done")
    wait_for(ready)
    with open(f"{db}.lock", "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        go.touch()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"done\n")
    assert b"LogBusy" in err
    assert [one.status for one in runs(db)] == ["running", "success"]
    run(db, "true")
    assert [one.status for one in runs(db)] == ["success", "success", "success"]
    assert spool_files(tmp_path) == []


def test_the_disk_is_full_for_files(db: Path, tmp_path: Path) -> None:
    """A file-size limit of the recorder stops its log file, not the command."""
    run(db, "true")
    script = (
        "import resource,sys; resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY));"
        "import eventlog; from eventlog.recorder.command import run_command;"
        "sys.exit(run_command(sys.argv[2:], opener=eventlog.open, log_target=sys.argv[1]))"
    )
    producer = "import os; [os.write(1, b'x' * 9999 + b'\\n') for _ in range(100)]"
    done = subprocess.run(
        [sys.executable, "-c", script, str(db), sys.executable, "-c", producer], capture_output=True, timeout=60
    )
    assert (done.returncode, len(done.stdout)) == (0, 1_000_000)
    assert b"File too large" in done.stderr or b"not in the log" in done.stderr
    latest = runs(db)[0]
    assert latest.status in ("success", "running")
    run(db, "true")
    assert [one.status for one in runs(db)][1] == "success"


def test_an_interrupt_while_the_log_is_opened(db: Path, tmp_path: Path) -> None:
    """The command is not started any more, the exit status says so, and so does the log."""
    run(db, "true")
    mark = tmp_path / "mark"
    with open(f"{db}.lock", "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start(db, "touch", str(mark))
        while not signals_are_held_back(process.pid):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        fcntl.flock(lock, fcntl.LOCK_UN)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not mark.exists()
    assert (runs(db)[0].status, runs(db)[0].signal) == ("killed", signal.SIGINT)


def test_a_spool_is_imported_once_by_many(db: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    damage(db)
    for number in range(3):
        run(db, "sh", "-c", f"exit {number}")
    db.unlink()
    others = [start(db, "true") for _ in range(4)]
    for other in others:
        other.communicate(timeout=60)
    recorded = runs(db)
    assert len(recorded) == 7
    assert sorted(one.exit_code for one in recorded) == [0, 0, 0, 0, 0, 1, 2]
    assert spool_files(tmp_path) == []


def test_a_killed_recorder_with_a_spool(db: Path, tmp_path: Path) -> None:
    """Torn in the middle of a line: what is whole is imported, and the run is lost."""
    damage(db)
    ready = tmp_path / "ready"
    process = start(db, "sh", "-c", f"touch {ready}; exec sleep 60")
    wait_for(ready)
    (waiting,) = spool_files(tmp_path)
    process.kill()
    process.communicate(timeout=30)
    with waiting.open("ab") as file:
        file.write(b'{"key":"torn","stream":"run-@')
    db.unlink()
    run(db, "true")
    assert sorted(one.status for one in runs(db)) == ["lost", "success"]
    assert spool_files(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a small file system of its own")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("cannot mount a small file system")
    try:
        db = disk / "log.db"
        run(db, "true")
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4096)
        done = run(db, "sh", "-c", "echo still here; exit 6")
        assert (done.returncode, done.stdout) == (6, b"still here\n")
        assert b"not in the log" in done.stderr
        (waiting,) = spool_files(tmp_path)
        assert waiting.is_relative_to(tmp_path / "state")
        ballast.unlink()
        assert run(db, "true").stderr == b""
        assert sorted(one.exit_code for one in runs(db)) == [0, 0, 6]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def full() -> Iterator[BinaryIO]:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "wb", buffering=0) as file:
        yield file


def test_output_that_cannot_be_written_is_told_recorded_and_no_success(db: Path, full: BinaryIO) -> None:
    why = "stdout could not be written: No space left on device"
    done = run(db, "sh", "-c", "echo err >&2; echo out", stdout=full)
    assert (done.returncode, done.stderr.decode()) == (1, f"err\neventlog: the command's {why}\n")
    recorded = only_run(db)
    assert (recorded.status, recorded.exit_code, recorded.reason) == ("fail", 0, why)
    assert (db.parent / "result/1/logs/stdout.log").read_bytes() == b"out\n"


def test_a_commands_own_end_stands_where_its_output_cannot_be_written(db: Path, full: BinaryIO) -> None:
    why = "stdout could not be written: No space left on device"
    assert run(db, "sh", "-c", "echo out; exit 7", stdout=full).returncode == 7
    done = run(db, "yes", stdout=full)
    assert (done.returncode, done.stderr.decode()) == (128 + signal.SIGPIPE, f"eventlog: the command's {why}\n")
    yes, sh = runs(db)
    assert (sh.status, sh.exit_code, sh.reason) == ("fail", 7, why)
    assert (yes.status, yes.signal, yes.reason) == ("killed", signal.SIGPIPE, f"SIGPIPE; {why}")


def test_both_streams_on_a_full_disk_still_end_with_1(db: Path, full: BinaryIO) -> None:
    assert run(db, "sh", "-c", "echo x", stdout=full, stderr=full).returncode == 1
    assert only_run(db).reason == "stdout and stderr could not be written: No space left on device"


def test_only_one_run_is_recorded_for_one_command(db: Path) -> None:
    run(db, "true")
    assert only_run(db).run_id == 1
