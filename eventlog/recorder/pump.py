"""Moving bytes between the command and our own streams, unmodified and at once, with a copy for the record."""

from __future__ import annotations

import os
import select
import threading
import time

from eventlog.recorder.tee import Tee
from eventlog.recorder.terminal import in_foreground

CHUNK = 1 << 16
IDLE_FLUSH_MS = 500
GRACE_S = 0.5
"""How long after the command's end others that hold its output open are waited for."""


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, also to a descriptor that somebody made non-blocking. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


class Outlet(threading.Thread):
    """Copies what the command writes to one of our own descriptors, and to a tee.

    When nobody reads our output any more, or it cannot be written, the command's is closed, so that it gets the SIGPIPE
    it would have got.
    """

    def __init__(self, source: int, target: int, tee: Tee) -> None:
        super().__init__(daemon=True, name=f"eventlog output {target}")
        self.source = source
        self.target = target
        self.tee = tee
        self.left_open = False
        self.problem: OSError | None = None
        self._end: float | None = None
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> None:
        """Until the end of the stream, or until the grace after `command_ended` is over."""
        poll = select.poll()
        poll.register(self.source, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        woken = False
        while True:
            timeout: float | None = IDLE_FLUSH_MS if self.tee.holding else None
            if woken and self._end is not None:
                timeout = max(0.0, self._end - time.monotonic()) * 1000
            ready = {descriptor for descriptor, _ in poll.poll(timeout)}
            if self._wake_read in ready:
                poll.unregister(self._wake_read)
                woken = True
            if self.source in ready:
                if not self._copy():
                    break
                if woken and self._end is not None and time.monotonic() >= self._end:
                    self.left_open = True
                    break
            elif woken and self._end is not None and time.monotonic() >= self._end:
                self.left_open = True
                break
            elif not ready:
                self.tee.flush()
        if self.problem is not None:
            os.close(self.source)
        self.tee.flush()

    def _copy(self) -> bool:
        try:
            data = os.read(self.source, CHUNK)
        except OSError:
            return False
        if not data:
            return False
        try:
            write_all(self.target, data)
        except OSError as error:
            self.problem = error
            self.tee.feed(data)
            return False
        self.tee.feed(data)
        return True

    @property
    def lost(self) -> OSError | None:
        """Why output of the command did not arrive; that its reader went away is no fault."""
        return None if isinstance(self.problem, (BrokenPipeError, ConnectionResetError)) else self.problem

    def command_ended(self) -> None:
        """What is still to be read is read now; then the stream counts as ended."""
        self._end = time.monotonic() + GRACE_S
        os.write(self._wake_write, b"x")

    def finish(self) -> None:
        """Wait for the last byte."""
        self.join()
        if not self.left_open and self.problem is None:
            os.close(self.source)
        os.close(self._wake_read)
        os.close(self._wake_write)


class Keyboard(threading.Thread):
    """Copies what is typed into the command's pseudo-terminal, while we are in the foreground."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__(daemon=True, name="eventlog keyboard")
        self._source = source
        self._target = target
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> None:
        """Until `finish`, or the end of the terminal."""
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake_read in ready:
                return
            if not in_foreground(self._source):
                time.sleep(0.05)
                continue
            try:
                data = os.read(self._source, 4096)
                if not data:
                    return
                write_all(self._target, data)
            except OSError:
                return

    def finish(self) -> None:
        """Stop; what is typed from now on belongs to whoever reads the terminal next."""
        os.write(self._wake_write, b"x")
        self.join(timeout=1)


def leave_behind(outlets: list[Outlet]) -> None:
    """Something the command started still holds its output: a process of its own goes on reading for it.

    Otherwise that program would be killed by its next line. It still reaches a terminal or a file; a pipe is let go,
    because whoever reads it waits for its end.
    """
    left = [outlet for outlet in outlets if outlet.left_open]
    if not left or os.fork() != 0:
        return
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        for descriptor in (1, 2):
            if not (os.isatty(descriptor) or os.path.isfile(f"/dev/fd/{descriptor}")):
                os.dup2(null, descriptor)
        _pass_on(left)
    finally:
        os._exit(0)


def _pass_on(outlets: list[Outlet]) -> None:
    poll = select.poll()
    targets = {outlet.source: outlet.target for outlet in outlets}
    for source in targets:
        poll.register(source, select.POLLIN)
    while targets:
        for source, _ in poll.poll():
            try:
                data = os.read(source, CHUNK)
                if data:
                    write_all(targets[source], data)
                    continue
            except OSError:
                pass
            poll.unregister(source)
            os.close(source)
            del targets[source]
