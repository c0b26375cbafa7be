"""A worker's side of a child process: it sends jobs, reads what is printed, and notices how the process ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from eventlog.errors import InvalidInput
from eventlog.events.runs import RunFinished
from eventlog.recorder.job import JOB_VARIABLE
from eventlog.recorder.recording import PARENT_VARIABLE
from eventlog.worker.attempt import Attempt, WorkerLog
from eventlog.worker.ending import TICK_MS, Ending, signal_name, told, wait_descriptor
from eventlog.worker.handlers import JobFunction
from eventlog.worker.messages import Progressed, Stopping, ToChild, Told, Work, decode_answer, encode
from eventlog.worker.outcome import Crashed, Failed, Outcome, Snoozed, Stopped, Succeeded
from eventlog.worker.streams import AttemptRun, Pipes
from eventlog.worker.watchdog import Watchdog

# What is imported here is found there.
_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from eventlog.worker.slot import main; main(int(sys.argv[1]))"


def check_reachable(function: JobFunction) -> None:
    """Raise InvalidInput for a handler that another process cannot import."""
    if "<" in function.function.__qualname__:
        raise InvalidInput(
            f"{function.reference} is defined inside a function or is a lambda: a child process cannot import it; "
            "move it to the top of its module, or work with threads"
        )


class Child:
    """One child process at a time, started when it is needed and again after it died."""

    def __init__(self, log: WorkerLog, watchdog: Watchdog, kill_after_s: float) -> None:
        self._log = log
        self._watchdog = watchdog
        self._kill_after_s = kill_after_s
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._pipes: Pipes | None = None
        self._ended: int | None = None

    @property
    def pid(self) -> int | None:
        """The child's process, while there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the child, unless it is there."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), *(part or os.getcwd() for part in sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        assert process.stdout is not None and process.stderr is not None  # noqa: S101
        self._watchdog.watch(process.pid)
        self._process = process
        self._connection = Connection(ours.detach())
        self._pipes = Pipes([os.dup(process.stdout.fileno()), os.dup(process.stderr.fileno())])
        process.stdout.close()
        process.stderr.close()
        self._ended = wait_descriptor(process.pid)

    def run(self, attempt: Attempt, function: JobFunction, run: AttemptRun) -> Outcome:
        """Do an attempt in the child, and record it."""
        environment = {JOB_VARIABLE: attempt.job.job_id}
        if run.as_parent is not None:
            environment[PARENT_VARIABLE] = run.as_parent
        data_dir = self._log.data_dir
        work = Work(
            job=attempt.job,
            reference=function.reference,
            environment=environment,
            main=_main_program(),
            log=(self._log.store.address, None if data_dir is None else str(data_dir)),
        )
        began = time.perf_counter_ns()
        self.start()
        # A child that ended since shows as one that gives no answer.
        self._send(work)
        outcome = self._wait(attempt, run)
        wall_us = (time.perf_counter_ns() - began) // 1000
        run.end(_finished(outcome, attempt, wall_us))
        return outcome

    def _send(self, message: ToChild) -> None:
        assert self._connection is not None  # noqa: S101
        with contextlib.suppress(OSError):
            self._connection.send_bytes(encode(message))

    def _wait(self, attempt: Attempt, run: AttemptRun) -> Outcome:
        process, connection, pipes = self._process, self._connection, self._pipes
        assert process is not None and connection is not None and pipes is not None  # noqa: S101
        ending = Ending(attempt, process.pid, self._kill_after_s, lambda: self._send(Told()))
        talk = connection.fileno()
        stopping = False
        listening = True
        while True:
            poll = select.poll()
            descriptors = [*pipes.descriptors, *([talk] if listening else []), *([self._ended] if self._ended else [])]
            for descriptor in descriptors:
                poll.register(descriptor, select.POLLIN)
            ready = [descriptor for descriptor, _ in poll.poll(TICK_MS if self._ended else TICK_MS // 4)]
            for descriptor in ready:
                if descriptor not in (talk, self._ended):
                    pipes.read(descriptor, run)
            if talk in ready:
                try:
                    message = decode_answer(connection.recv_bytes())
                except (EOFError, OSError):
                    listening = False
                else:
                    if isinstance(message, Progressed):
                        self._progressed(attempt, message)
                        continue
                    pipes.drain(run)
                    return self._answered(attempt, message, ending)
            elif process.poll() is not None:
                pipes.drain(run)
                return self._died(attempt, process, ending)
            if attempt.context.stopping.is_set() and not stopping:
                stopping = True
                self._send(Stopping())
            ending.step()

    def _progressed(self, attempt: Attempt, message: Progressed) -> None:
        with contextlib.suppress(Exception):
            attempt.context.progress(message.done, message.total, message.message)

    def _answered(self, attempt: Attempt, outcome: Outcome, ending: Ending) -> Outcome:
        if ending.signalled:
            # It unwound from an interrupt at any place: the next job gets a new process.
            self.close()
            return told(attempt)
        return outcome

    def _died(self, attempt: Attempt, process: subprocess.Popen[bytes], ending: Ending) -> Outcome:
        pid, status = process.pid, process.returncode
        self.close()
        if ending.signalled:
            return told(attempt)
        how = f"was ended by {signal_name(-status)}" if status < 0 else f"ended with exit status {status}"
        return Crashed(f"process {pid} {how} in the middle of the job")

    def close(self) -> None:
        """End the child: an idle one by closing its socket, one that is at work by killing it."""
        process, self._process = self._process, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._watchdog.forget(process.pid)
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None
        if self._ended is not None:
            os.close(self._ended)
            self._ended = None


def _main_program() -> tuple[str | None, str | None]:
    main: Any = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    path = getattr(main, "__file__", None)
    return (None if spec is None else spec.name), (None if path is None else os.path.abspath(path))


def _finished(outcome: Outcome, attempt: Attempt, wall_us: int) -> RunFinished:
    match outcome:
        case Succeeded():
            return RunFinished(status="success", wall_us=wall_us)
        case Snoozed():
            return RunFinished(status="success", reason="snoozed", wall_us=wall_us)
        case Failed():
            return RunFinished(
                status="killed" if attempt.why == "timeout" else "fail",
                reason=outcome.message[:2000] or outcome.error_type,
                error_type=outcome.error_type,
                wall_us=wall_us,
            )
        case Crashed():
            return RunFinished(status="killed", reason=outcome.evidence, wall_us=wall_us)
        case Stopped():
            return RunFinished(status="killed", reason=attempt.why or "stopped", wall_us=wall_us)
