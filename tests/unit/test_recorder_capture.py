"""What is captured at the start of a run, and the proof that its process is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.recorder import capture, git
from eventlog.recorder.capture import is_gone, process_facts, program_name

GIT = [
    "git",
    "-c",
    "user.name=n",
    "-c",
    "user.email=e@example.org",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "init.defaultBranch=trunk",
]


class Run:
    def __init__(self, **changes: Any) -> None:
        for name, value in (process_facts() | changes).items():
            setattr(self, name, value)


def ended_pid() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_this_process_is_here() -> None:
    facts = process_facts()
    assert facts["pid"] == os.getpid()
    assert facts["host"] == os.uname().nodename
    assert facts["user"]
    assert facts["python_version"] == sys.version.split()[0]
    assert is_gone(Run()) is None


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_proof_and_no_proof() -> None:
    gone = ended_pid()
    assert is_gone(Run(pid=gone)) == f"process {gone} is no longer there"
    assert "another one now" in str(is_gone(Run(process_started_ticks=1)))
    assert "restarted since" in str(is_gone(Run(boot_id="0" * 36, machine_id=process_facts()["machine_id"])))
    unproven: list[dict[str, Any]] = [
        {"host": "elsewhere"}, {"host": None}, {"pid": None}, {"machine_id": "0" * 32}, {"pid_namespace": 1},
        {"pid_namespace": None}, {"boot_id": None}, {"boot_id": "0" * 36, "machine_id": None},
    ]  # fmt: skip
    for changes in unproven:
        assert is_gone(Run(**({"pid": gone} | changes))) is None, changes
    assert is_gone(Run(process_started_ticks=None)) is None


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_a_process_with_a_strange_name(tmp_path: Path) -> None:
    import shutil

    strange = tmp_path / "a) S 1 (b"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", strange)
    child = subprocess.Popen([strange, "60"])
    try:
        ticks = capture.started_ticks(child.pid)
        assert ticks == pytest.approx(int(float(Path("/proc/uptime").read_text().split()[0]) * 100), abs=300)
        assert is_gone(Run(pid=child.pid, process_started_ticks=ticks)) is None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert "waits to be reaped" in str(is_gone(Run(pid=child.pid, process_started_ticks=ticks)))
    finally:
        child.kill()
        child.wait()


def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = {"boot_id": None, "pid_namespace": None, "machine_id": None, "process_started_ticks": None}
    facts = process_facts() | bare
    monkeypatch.setattr(capture, "process_facts", lambda: facts)
    assert is_gone(Run(**bare)) is None
    gone = ended_pid()
    assert is_gone(Run(**bare, pid=gone)) == f"process {gone} is no longer there"
    assert is_gone(Run(**(bare | {"boot_id": "x"}), pid=gone)) is None


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/usr/bin/python3.11", "train.py"], "train.py"), (["python", "-m", "pkg.main", "x"], "pkg.main"),
        (["python", "-c", "pass"], "python"), (["./run.sh", "a"], "run.sh"), (["bash", "/x/y.sh"], "y.sh"), ([], ""),
    ],
)  # fmt: skip
def test_program_names(argv: list[str], name: str) -> None:
    assert program_name(argv) == name


def test_command_and_bytes_that_are_no_text() -> None:
    facts = capture.command_facts(["tool", "a b", os.fsdecode(b"\xff"), "--password", "x y"])
    assert facts["argv"] == ("tool", "a b", "\\xff", "--password", "[redacted]")
    assert facts["command"] == "tool 'a b' '\\xff' --password '[redacted]'"


def commit(folder: Path) -> str:
    (folder / "file").write_text("one\n")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*GIT, *arguments], cwd=folder, check=True)
    return subprocess.run(
        [*GIT, "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_git(tmp_path: Path) -> None:
    assert capture.git_facts(str(tmp_path)) == {} or git.git_state(str(tmp_path)) is not None
    folder = tmp_path / "repo"
    (folder / "deep").mkdir(parents=True)
    head = commit(folder)
    facts = capture.git_facts(str(folder / "deep"))
    assert facts == {"git_commit": head, "git_branch": "trunk", "git_dirty": False}
    (folder / "untracked").write_text("x")
    assert git.dirty(str(folder)) is False
    (folder / "file").write_text("two\n")
    assert git.dirty(str(folder)) is True
    subprocess.run([*GIT, "pack-refs", "--all"], cwd=folder, check=True)
    assert git.git_state(str(folder)) == git.GitState(str(folder), head, "trunk")
    subprocess.run([*GIT, "worktree", "add", "-q", "-b", "side/branch", "../tree"], cwd=folder, check=True)
    assert git.git_state(str(tmp_path / "tree")) == git.GitState(str(tmp_path / "tree"), head, "side/branch")
    subprocess.run([*GIT, "checkout", "-q", "--detach"], cwd=folder, check=True)
    assert git.git_state(str(folder)) == git.GitState(str(folder), head, None)


@pytest.mark.feature("S2-10")
def test_a_run_has_its_command_its_commit_and_its_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    with eventlog.open(":memory:") as log:
        with log.runs.track(note="first"):
            pass
        run = log.runs.get(1)
    assert (run.git_commit, run.git_branch, run.note) == (head, "trunk", "first")
    assert Path(sys.executable).name in run.command


def test_an_empty_repository(tmp_path: Path) -> None:
    subprocess.run([*GIT, "init", "-q"], cwd=tmp_path, check=True)
    assert git.git_state(str(tmp_path)) == git.GitState(str(tmp_path), None, "trunk")


@pytest.mark.parametrize("script", ["sleep 30", "exit 128", "yes", "kill -9 $$"])
def test_a_git_that_misbehaves_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    import time

    fake = tmp_path / "git"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    began = time.monotonic()
    assert git.dirty(str(tmp_path)) is (True if script == "yes" else None)
    assert time.monotonic() - began < 5


def test_no_git_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git.dirty(str(tmp_path)) is None
