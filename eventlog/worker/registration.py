"""A worker's place among others: its id, the lock that it holds for life, and what others can find out about it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

from eventlog.events.workers import WorkerStarted
from eventlog.ids import uuid7
from eventlog.recorder.capture import process_facts
from eventlog.worker.attempt import WorkerLog

FOLDER = "workers"
ENDING = ".lock"
YOUNG_S = 60.0
"""A lock file this young may be one whose worker is just being registered."""
_held: weakref.WeakSet[LifeLock] = weakref.WeakSet()


class LifeLock:
    """A file that is locked as long as this process lives: the system gives it back however the process ends."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / f"{worker_id}{ENDING}"
        # No program that is started from here may keep it.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            self.release()
            raise
        _held.add(self)

    def release(self) -> None:
        """The worker ended in good order."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.forget()

    def forget(self) -> None:
        """Let go of the descriptor: in a forked child that leaves its parent's lock alone."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _after_fork_in_child() -> None:
    # A child would keep the lock held after its parent, the worker, is gone.
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Registration:
    """One worker id in use: made when a worker starts, and anew when the worker was taken for lost."""

    def __init__(
        self,
        log: WorkerLog,
        *,
        lease_us: int,
        queues: tuple[str, ...],
        kinds: tuple[str, ...],
        concurrency: int,
    ) -> None:
        self._log = log
        self.worker_id = uuid7()
        self.lock: LifeLock | None = None
        if log.data_dir is not None:
            # Where no file can be made or locked, the other evidence has to do.
            with contextlib.suppress(OSError):
                self.lock = LifeLock(Path(log.data_dir).absolute() / FOLDER, self.worker_id)
        facts = {name: value for name, value in process_facts().items() if name in WorkerStarted.__struct_fields__}
        event = WorkerStarted(
            **facts,
            lock_path=None if self.lock is None else os.fsencode(self.lock.path).decode(errors="backslashreplace"),
            lease_us=lease_us,
            queues=queues,
            kinds=kinds,
            concurrency=concurrency,
        )
        try:
            log.workers.start(event, self.worker_id)
        except BaseException:
            self.let_go()
            raise

    def beat(self) -> bool:
        """Say that the worker lives; False: it was taken for lost."""
        return self._log.workers.beat(self.worker_id)

    def stop(self, reason: str) -> None:
        """The worker ends in good order."""
        self._log.workers.stop(self.worker_id, reason)
        self.let_go()

    def let_go(self) -> None:
        """Give the lock back."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None


def is_lock_path(path: str, worker_id: str) -> bool:
    """Whether a file is where this worker keeps its lock: ``…/workers/<worker_id>.lock``."""
    where = Path(path)
    return where.is_absolute() and where.parent.name == FOLDER and where.name == f"{worker_id}{ENDING}"


def is_unlocked(path: str) -> bool:
    """Whether a worker's lock file is there and nobody holds it. A shared lock is tried: two may look at once."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def remove_stale_locks(data_dir: Path, running: Iterable[str]) -> int:
    """Remove the lock files of workers that are gone and of whom that is known; returns how many."""
    known = set(running)
    count = 0
    for path in _lock_files(Path(data_dir) / FOLDER):
        with contextlib.suppress(OSError):
            if (
                path.name.removesuffix(ENDING) not in known
                and time.time() - path.stat().st_mtime > YOUNG_S
                and is_unlocked(str(path))
            ):
                path.unlink()
                count += 1
    return count


def _lock_files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(path for path in folder.iterdir() if path.name.endswith(ENDING))
