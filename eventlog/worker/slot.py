"""A worker's child process (`main`): it does one job after another.

Its stdout and stderr are pipes that the worker reads. When the worker is gone, it kills itself and what it started.
"""

from __future__ import annotations

import os
import queue
import runpy
import signal
import sys
import threading
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pkgutil import resolve_name
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from eventlog.errors import InvalidInput
from eventlog.recorder.recording import PARENT_VARIABLE
from eventlog.worker.context import JobContext
from eventlog.worker.handlers import JobFunction, by_kind, functions_of
from eventlog.worker.inline import run_here
from eventlog.worker.messages import Progressed, Stopping, Told, Work, decode_work, encode
from eventlog.worker.outcome import Failed, Outcome

if TYPE_CHECKING:
    from eventlog.recorder.tracked_run import TrackedRun

OPENER = "eventlog:open"
"""What opens logs stands above this package; a handler that records runs of its own gets it by name."""


class Terminated(BaseException):
    """SIGTERM: the attempt took too long, or the worker stops."""


class Slot:
    """The child's side of the socket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[tuple[Work, JobContext] | None] = queue.SimpleQueue()
        self._context: JobContext | None = None
        self._sending = threading.Lock()
        self._logs: dict[tuple[str | None, str | None], Any] = {}
        self._main: ModuleType | None = None

    def serve(self) -> None:
        """Until the worker closes the socket."""
        threading.Thread(target=self._listen, name="eventlog worker", daemon=True).start()
        while (received := self._inbox.get()) is not None:
            self._send(self._do(*received))

    def _listen(self) -> None:
        while True:
            try:
                message = decode_work(self._connection.recv_bytes())
            except (EOFError, OSError):
                break
            context = self._context
            if isinstance(message, Work):
                # Made here, so that what is said about it next finds it.
                self._context = self._context_of(message)
                self._inbox.put((message, self._context))
            elif context is not None:
                if isinstance(message, Told):
                    context.tell()
                elif isinstance(message, Stopping):
                    context.stopping.set()
        if self._context is not None:
            os.killpg(0, signal.SIGKILL)
        self._inbox.put(None)

    def _send(self, message: Progressed | Outcome) -> None:
        with self._sending:
            self._connection.send_bytes(encode(message))

    def _context_of(self, work: Work) -> JobContext:
        return JobContext(work.job, report=self._report, track=partial(self._track, work))

    def _do(self, work: Work, context: JobContext) -> Outcome:
        os.environ.pop(PARENT_VARIABLE, None)
        os.environ.update(work.environment)
        try:
            function = self._find(work)
        except BaseException as error:
            function = None
            outcome: Outcome = Failed("InvalidInput", f"{work.reference} cannot be imported: {error!r}"[:2000])
        if function is not None:
            outcome = run_here(function, context)
        self._context = None
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        return outcome

    def _report(self, done: int, total: int | None, message: str) -> None:
        self._send(Progressed(done, total, message.encode(errors="backslashreplace").decode()))

    def _track(self, work: Work, *args: Any, **options: Any) -> TrackedRun:
        address, data_dir = work.log
        if address is None:
            raise InvalidInput("a log in memory cannot be opened by a child process")
        if work.log not in self._logs:
            self._logs[work.log] = resolve_name(OPENER)(address, data_dir=data_dir)
        run: TrackedRun = self._logs[work.log].runs.track(*args, **options)
        return run

    def _find(self, work: Work) -> JobFunction:
        name, _, qualified = work.reference.partition(":")
        module = self._main_module(*work.main) if name == "__main__" else import_module(name)
        functions = by_kind(functions_of(module))
        if work.job.kind in functions:
            return functions[work.job.kind]
        found: Any = module
        for part in qualified.split("."):
            found = getattr(found, part)
        return found if isinstance(found, JobFunction) else JobFunction(found, work.job.kind, {})

    def _main_module(self, name: str | None, path: str | None) -> ModuleType:
        """The worker's program, run under another name, as multiprocessing does it: not its ``__main__`` part."""
        if self._main is None:
            module = ModuleType("__mp_main__")
            if name is not None:
                module.__dict__.update(runpy.run_module(name, run_name="__mp_main__", alter_sys=True))
            elif path is not None:
                module.__dict__.update(runpy.run_path(path, run_name="__mp_main__"))
            sys.modules["__main__"] = sys.modules["__mp_main__"] = self._main = module
        return self._main


def _terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated(signal.Signals(number).name)


def main(descriptor: int) -> None:
    """Serve the worker at the other end of a socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminated)
    for stream in (sys.stdout, sys.stderr):
        # What was printed before a crash is what one wants to read.
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        Slot(Connection(descriptor)).serve()
    except (Terminated, OSError):
        # Between two jobs, or nobody listens any more.
        os._exit(1)
