"""Handlers that the tests of the worker import, in child processes too."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from eventlog.worker import Cancelled, DoNotRetry, JobContext, RetryAt, Snooze, job


@job("add")
def add(a: int, b: int = 0) -> int:
    return a + b


@job("add.async")
async def add_async(a: int, b: int = 0) -> int:
    await asyncio.sleep(0.01)
    return a + b


@job("fail", max_retries=0)
def fail(message: str = "no") -> None:
    print("about to fail")
    raise ValueError(message)


class Nasty(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


@job("raise", max_retries=0)
def raise_(what: str) -> Any:
    match what:
        case "exit":
            sys.exit(7)
        case "interrupt":
            raise KeyboardInterrupt
        case "huge":
            raise ValueError("x" * 10_000_000)
        case "surrogate":
            raise ValueError("caf\udce9 \ud800")
        case "nasty":
            raise Nasty
        case "recursion":
            return raise_(what)
        case "result":
            return object()
        case "nan":
            return {"a": [float("nan")]}
        case "final":
            raise DoNotRetry("never")
        case _:
            raise AssertionError(what)


@job("fatal", non_retryable=KeyError)
def fatal() -> None:
    raise KeyError("gone")


@job("later")
def later(path: str, delay_s: float) -> str:
    if Path(path).exists():
        return "done"
    Path(path).touch()
    raise Snooze(delay_s=delay_s)


@job("again", max_retries=3)
def again(path: str, delay_s: float) -> str:
    if Path(path).exists():
        return "done"
    Path(path).touch()
    raise RetryAt(message="not yet", delay_s=delay_s)


@job("sleep")
def sleep(seconds: float, path: str | None = None) -> str:
    """Deaf: it hears nothing of cancellation."""
    if path is not None:
        Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)
    return "slept"


@job("sleep.async")
async def sleep_async(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@job("heed")
def heed(context: JobContext, seconds: float = 30, path: str | None = None) -> str:
    """Heeds cancellation, and writes what it saw."""
    ended = context.cancelled.wait(seconds)
    if path is not None:
        Path(path).write_text(f"cancelled={ended} stopping={context.stopping.is_set()}")
    if ended:
        raise Cancelled
    return "waited"


@job("stopping")
def stopping(context: JobContext) -> None:
    context.progress(1)
    if context.stopping.wait(20):
        context.snooze(delay_s=0)


@job("progress")
def progress(context: JobContext, steps: int = 5) -> None:
    for step in range(1, steps + 1):
        context.progress(step, steps, f"step {step}")


@job("context")
def context_of(context: JobContext) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.environ['EVENTLOG_JOB_ID'])"],
        env=context.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    with context.run("inner") as run:
        run.note("hello")
    return {"job_id": context.job.job_id, "child": done.stdout.strip(), "pid": os.getpid(),
            "main": threading.current_thread() is threading.main_thread()}  # fmt: skip


@job("print")
def print_(text: str) -> int:
    print(text)
    print(f"{text} too", file=sys.stderr)
    return os.getpid()


@job("die", max_crashes=1)
def die(how: str) -> None:
    print("last words")
    match how:
        case "segfault":
            faulthandler._sigsegv()  # type: ignore[attr-defined]
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


@job("touch")
def touch(path: str, seconds: float = 0.0) -> None:
    """Leaves a line for each attempt that began."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
