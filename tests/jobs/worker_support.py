"""Workers in threads and in processes of their own, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eventlog.app import Log
from eventlog.worker import Worker
from projections.jobs import Job
from tests.helpers import ROOT, eventually, thread
from tests.jobs import handlers

PATHS = os.pathsep.join([*(path for path in sys.path if path), str(ROOT)])
"""The very code that runs here."""


def drain(log: Log, **options: Any) -> int:
    """Do everything that is ready, in this process."""
    options.setdefault("handlers", handlers)
    return Worker(log, **options).run(until_empty=True)


@contextmanager
def working(log: Log, **options: Any) -> Iterator[Worker]:
    """A worker in a thread beside the block; it stops at its end."""
    options = {"handlers": handlers, "grace_s": 5, "kill_after_s": 0.3, **options}
    worker = Worker(log, **options)
    with thread(worker.run):
        eventually(lambda: worker.worker_id)
        try:
            yield worker
        finally:
            worker.stop()


class Process:
    """``eventlog jobs work`` in a process of its own."""

    def __init__(self, target: str | None, *options: str, folder: Path, prelude: str = "") -> None:
        where = () if target is None else ("--db", target)
        program = f"{prelude}\nfrom eventlog.cli import main\nmain()"
        self.popen = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-c",
                program,
                *where,
                "jobs",
                "work",
                "-i",
                "tests.jobs.handlers",
                *options,
            ],
            env={**os.environ, "PYTHONPATH": PATHS},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()

    def ask(self, number: int = signal.SIGTERM) -> None:
        self.popen.send_signal(number)

    def end(self, timeout_s: float = 20) -> tuple[int, str]:
        """Wait for its end: exit status, and what it printed."""
        output, _ = self.popen.communicate(timeout=timeout_s)
        return self.popen.returncode, output


@contextmanager
def process(target: str | None, *options: str, folder: Path, prelude: str = "") -> Iterator[Process]:
    """The same, ended with the block."""
    one = Process(target, *options, folder=folder, prelude=prelude)
    try:
        yield one
    finally:
        with contextlib.suppress(ProcessLookupError):
            one.popen.kill()
        if not one.popen.stdout.closed:  # type: ignore[union-attr]
            one.popen.communicate()


def until_status(log: Log, job_id: str, *statuses: str, timeout_s: float = 20) -> Job:
    """Wait until a job is in one of these states."""
    eventually(lambda: log.jobs.get(job_id).status in statuses, timeout_s)
    return log.jobs.get(job_id)


def types_of(log: Log, job_id: str) -> list[str]:
    """What happened to a job, in order."""
    return [record.type.removeprefix("job.") for record in log.jobs.events(job_id)]


def is_alive(pid: int) -> bool:
    """Whether a process is there and not only waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
