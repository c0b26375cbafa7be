"""Helpers for the tests of `eventlog run`: recorders as real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import eventlog

RUNNER = (
    "import sys; import eventlog; from eventlog.recorder.command import run_command;"
    "sys.exit(run_command(sys.argv[2:], opener=eventlog.open, log_target=sys.argv[1], artifacts=True))"
)


def start(db: Path, *command: str, **options: Any) -> subprocess.Popen[bytes]:
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", RUNNER, str(db), *command], **(streams | options))


def run(db: Path, *command: str, stdin: bytes | None = None, **options: Any) -> subprocess.CompletedProcess[bytes]:
    if stdin is not None:
        options["stdin"] = subprocess.PIPE
    process = start(db, *command, **options)
    try:
        out, err = process.communicate(stdin, timeout=60)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def runs(db: Path) -> list[Any]:
    with eventlog.open(db, mode="r") as log:
        return log.runs.list(limit=None)


def only_run(db: Path) -> Any:
    (run,) = runs(db)
    return run


def wait_for(path: Path, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)
