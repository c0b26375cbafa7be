"""The writer lock: an advisory lock on a side file, held over every write transaction, checkpoint and last close.

It makes writers of several processes fair, and keeps SQLite's checkpoints from overlapping commits (a race that loses
committed transactions in SQLite 3.7.0 to 3.51.2).
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import random
import time

from eventlog.errors import LogBusy, LogReadOnly

_TOKEN = 16


class FileLock:
    """An exclusive lock between processes, and between logs of one process, by ``flock`` on ``path``.

    Whoever has it may take it again; threads that share one must keep each other out by other means.
    """

    def __init__(self, path: str, timeout_s: float) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self._fd = -1
        self._depth = 0
        self._mark: mmap.mmap | None = None
        self._token = os.urandom(_TOKEN)

    def acquire(self, timeout_s: float | None = None) -> bool:
        """Take the lock; True when somebody else held it since this one last did.

        Raises LogBusy when it cannot be had in time, LogReadOnly when the file cannot be made.
        """
        if self._depth:
            self._depth += 1
            return False
        if self._mark is None:
            self._mark = self._open()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._wait(self.timeout_s if timeout_s is None else timeout_s)
        self._depth = 1
        # The file holds the token of its last holder: whoever finds its own need not look what others wrote.
        if self._mark[:] == self._token:
            return False
        self._mark[:] = self._token
        return True

    def _open(self) -> mmap.mmap:
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._fd).st_size < _TOKEN:
                os.pwrite(self._fd, bytes(_TOKEN), 0)
            return mmap.mmap(self._fd, _TOKEN)
        except (OSError, ValueError) as error:
            self.close()
            raise LogReadOnly(f"cannot write {self.path}: {error}; nothing was written") from error

    def _wait(self, timeout_s: float) -> None:
        # Polling, because flock has no time-out; short steps with jitter keep tight-loop writers fair.
        deadline = time.monotonic() + timeout_s
        pause = 0.00005
        while True:
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 (jitter, not a secret)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LogBusy(
                        f"another process has held {self.path} for {timeout_s:g} s; nothing was written, try again",
                        timeout_s=timeout_s,
                    ) from None
                pause = min(pause * 1.2, 0.0005)

    def release(self) -> None:
        """Give the lock back, when it was taken once only."""
        self._depth = max(0, self._depth - 1)
        if not self._depth and self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def release_all(self) -> None:
        """Give the lock back however often it was taken: after an interrupt."""
        self._depth = 0
        self.release()

    def close(self) -> None:
        """Close the side file; in a forked child this leaves the parent's lock alone."""
        self._depth = 0
        if self._mark is not None:
            self._mark.close()
        self._mark = None
        self._token = os.urandom(_TOKEN)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
