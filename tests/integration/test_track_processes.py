"""Tracked runs and processes: fork, spawn, a kill, threads, and what is told when the program ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.recorder.recording import PARENT_VARIABLE
from tests.integration.run_command_support import wait_for


def program(source: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", source, *(str(one) for one in arguments)],
        capture_output=True, text=True, timeout=60, **options,
    )  # fmt: skip


def track_one(db: str, name: str) -> None:
    with eventlog.open(db) as log, log.runs.track(name):
        pass


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_know_their_parent(tmp_path: Path, method: str) -> None:
    db = str(tmp_path / "log.db")
    with eventlog.open(db) as log:
        with log.runs.track("parent"):
            child = multiprocessing.get_context(method).Process(target=track_one, args=(db, "child"))
            child.start()
            child.join(60)
            assert child.exitcode == 0
        assert [(r.command, r.status, r.parent_run_id) for r in log.runs.list()] == [
            ("child", "success", 1), ("parent", "success", None)
        ]  # fmt: skip


def test_a_parent_of_another_log_is_not_ours(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "a.db") as a, eventlog.open(tmp_path / "b.db") as b:
        with a.runs.track("outer"), b.runs.track("inner"):
            assert os.environ[PARENT_VARIABLE] == f"{b.log_id}:1"
        assert b.runs.get(1).parent_run_id is None
        # Two logs in one folder: each finds its own files.
        assert a.runs.files(1) == tmp_path / "result/1"
        assert b.runs.files(1) == tmp_path / f"result/1-{b.log_id[:8]}"


def test_a_forked_child_that_leaves_the_block_does_not_end_the_run(tmp_path: Path) -> None:
    source = """
import os, sys, time, eventlog
log = eventlog.open(sys.argv[1])
with log.runs.track("parent") as run:
    pid = os.fork()
    run.metric("who", 1 if pid else 0)
    if pid:
        os.waitpid(pid, 0)
        assert log.runs.get(1).status == "running", log.runs.get(1)
if not pid:
    os._exit(0)
"""
    done = program(source, tmp_path / "log.db")
    assert (done.returncode, done.stderr) == (0, "")
    with eventlog.open(tmp_path / "log.db") as log:
        assert log.runs.get(1).status == "success"
        assert sorted(m.value for m in log.runs.metrics(1)) == [0, 1]
        assert sum(record.type == "run.finished" for record in log.runs.history(1)) == 1


def test_a_killed_program_is_lost_and_a_late_word_brings_it_back(tmp_path: Path) -> None:
    source = """
import sys, time, pathlib, eventlog
log = eventlog.open(sys.argv[1])
with log.runs.track("victim"):
    pathlib.Path(sys.argv[2]).touch()
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", source, tmp_path / "log.db", tmp_path / "ready"])
    wait_for(tmp_path / "ready")
    with eventlog.open(tmp_path / "log.db") as log:
        assert log.runs.recover() == []
        process.kill()
        deadline = time.monotonic() + 10
        while not (found := log.runs.recover(dry_run=True)) and time.monotonic() < deadline:
            time.sleep(0.01)  # not reaped yet: a zombie counts as gone
        assert [run.run_id for run, _ in found] == [1]
        process.wait()
        with log.runs.track("next"):
            pass
        row = log.runs.get(1)
        assert row.status == "lost"
        assert f"process {process.pid}" in row.reason
        log.runs.finish_success(1)
        assert log.runs.get(1).status == "success"


def test_an_interrupted_program(tmp_path: Path) -> None:
    source = """
import sys, time, pathlib, eventlog
with eventlog.open(sys.argv[1]) as log, log.runs.track("x"):
    pathlib.Path(sys.argv[2]).touch()
    time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", source, tmp_path / "log.db", tmp_path / "ready"], stderr=subprocess.DEVNULL
    )
    wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    with eventlog.open(tmp_path / "log.db") as log:
        assert (log.runs.get(1).status, log.runs.get(1).error_type) == ("killed", "KeyboardInterrupt")


def test_the_loss_is_told_at_exit_and_imported_by_the_next(tmp_path: Path) -> None:
    source = """
import sys, eventlog
from eventlog.errors import DiskFull
log = eventlog.open(sys.argv[1])
def full(*_, **__): raise DiskFull()
log.append = log.append_many = log.runs.append_start = full
with log.runs.track("outer") as run:
    run.metric("a", 1.5)
    assert run.run_id is None and run.dir is None
    run.save_output("x", b"y")
    with log.runs.track("inner"):
        raise SystemExit(4)
"""
    done = program(source, tmp_path / "log.db")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "5 events not in the log (DiskFull" in done.stderr
    with eventlog.open(tmp_path / "log.db") as log:
        with log.runs.track("next"):
            pass
        rows = {row.command: row for row in log.runs.list()}
        assert {name: row.status for name, row in rows.items()} == {"outer": "fail", "inner": "fail", "next": "success"}
        assert rows["inner"].parent_run_id == rows["outer"].run_id
        assert rows["outer"].exit_code == 4
        assert log.runs.metrics(rows["outer"].run_id)[0].value == 1.5
        assert log.verify().ok


def test_many_threads(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:

        def work(number: int) -> None:
            with log.runs.track(f"t{number}", artifacts=False) as run:
                for step in range(5):
                    run.metric("n", number, step=step)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = log.runs.list(limit=None)
        assert sorted(row.run_id for row in rows) == list(range(1, 17))
        assert {row.status for row in rows} == {"success"}
        for row in rows:
            assert [m.value for m in log.runs.metrics(row.run_id)] == [float(row.command[1:])] * 5
    assert PARENT_VARIABLE not in os.environ
