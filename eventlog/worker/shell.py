"""Jobs of kind ``shell``: a command, recorded as a run."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import Any

import msgspec

from eventlog.errors import InvalidInput
from eventlog.events.runs import RunFinished
from eventlog.recorder.job import JOB_VARIABLE
from eventlog.recorder.measure import own_peak_bytes, peak_of_child
from eventlog.recorder.recording import PARENT_VARIABLE
from eventlog.worker.attempt import Attempt
from eventlog.worker.ending import TICK_MS, Ending, signal_name, told, wait_descriptor
from eventlog.worker.outcome import Failed, Outcome, Succeeded
from eventlog.worker.streams import AttemptRun, Pipes
from eventlog.worker.watchdog import Watchdog


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of a job of kind ``shell``: ``argv``, or a ``command`` for ``/bin/sh``; where, and with what."""

    argv: tuple[str, ...] = ()
    command: str = ""
    cwd: str | None = None
    env: dict[str, str] = {}

    @property
    def words(self) -> list[str]:
        """What is executed."""
        return list(self.argv) or ["/bin/sh", "-c", self.command]


def command_of(args: dict[str, Any]) -> Command:
    """A shell job's command. Raises InvalidInput."""
    try:
        command = msgspec.convert(args, Command)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"a shell job's arguments: {error}") from error
    if bool(command.argv) == bool(command.command):
        raise InvalidInput('a shell job has either {"argv": ["make", "test"]} or {"command": "make test"}')
    texts = (*command.argv, command.command, command.cwd or "", *command.env, *command.env.values())
    if any("\0" in text for text in texts) or any("=" in name or not name for name in command.env):
        raise InvalidInput("a shell job's arguments hold a NUL character, or a variable's name that is none")
    return command


def run_shell(attempt: Attempt, command: Command, run: AttemptRun, watchdog: Watchdog, kill_after_s: float) -> Outcome:
    """Run the command to its end, and record it."""
    environment = {**os.environ, **command.env, JOB_VARIABLE: attempt.job.job_id}
    environment.pop(PARENT_VARIABLE, None)
    if run.as_parent is not None:
        environment[PARENT_VARIABLE] = run.as_parent
    began = time.perf_counter_ns()
    try:
        process = subprocess.Popen(
            command.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=command.cwd,
            env=environment,
            process_group=0,
        )
    except (OSError, ValueError) as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        why = f"{command.words[0]}: {getattr(error, 'strerror', None) or error}"
        run.end(RunFinished(status="fail", exit_code=code, reason=why, wall_us=0))
        return Failed("CommandNotStarted", why)
    watchdog.watch(process.pid)
    own_peak = own_peak_bytes()
    ending = Ending(attempt, process.pid, kill_after_s)
    try:
        status, usage = _wait(process, run, ending)
    finally:
        watchdog.forget(process.pid)
    used = {
        "wall_us": (time.perf_counter_ns() - began) // 1000,
        "cpu_user_us": round(usage.ru_utime * 1e6),
        "cpu_system_us": round(usage.ru_stime * 1e6),
        "peak_memory_bytes": peak_of_child(usage.ru_maxrss, own_peak),
    }
    return _ended(attempt, run, status, ending, used)


def _wait(process: subprocess.Popen[bytes], run: AttemptRun, ending: Ending) -> tuple[int, Any]:
    assert process.stdout is not None and process.stderr is not None  # noqa: S101
    pipes = Pipes([os.dup(process.stdout.fileno()), os.dup(process.stderr.fileno())])
    process.stdout.close()
    process.stderr.close()
    ended = wait_descriptor(process.pid)
    try:
        while True:
            poll = select.poll()
            for descriptor in (*pipes.descriptors, *(() if ended is None else (ended,))):
                poll.register(descriptor, select.POLLIN)
            for descriptor, _ in poll.poll(TICK_MS if ended is not None else TICK_MS // 4):
                if descriptor != ended:
                    pipes.read(descriptor, run)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                pipes.drain(run)
                return process.returncode, usage
            ending.step()
    finally:
        pipes.close()
        if ended is not None:
            os.close(ended)


def _ended(attempt: Attempt, run: AttemptRun, status: int, ending: Ending, used: dict[str, Any]) -> Outcome:
    number = -status if status < 0 else None
    why = None if number is None else signal_name(number)
    if ending.signalled:
        run.end(
            RunFinished(
                status="killed", exit_code=None if number else status, signal=number, reason=f"{attempt.why}", **used
            )
        )
        return told(attempt)
    if status == 0:
        run.end(RunFinished(status="success", exit_code=0, **used))
        return Succeeded({"exit_code": 0, "run_id": run.run_id})
    tail = run.tail("stderr")
    last = next((line.strip() for line in reversed(tail.splitlines()) if line.strip()), "")
    what = f"ended by {why}" if number is not None else f"exit status {status}"
    run.end(
        RunFinished(
            status="fail" if number is None else "killed",
            exit_code=status if number is None else None,
            signal=number,
            reason=why,
            **used,
        )
    )
    return Failed("Signal" if number else "ExitStatus", f"{what}: {last}" if last else what, tail)
