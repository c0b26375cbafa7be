"""Commit, branch and dirty flag of the working tree a run starts in. Only the dirty flag needs git itself."""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

DIRTY_TIMEOUT_S = 0.3


class GitState(NamedTuple):
    """Where ``HEAD`` is. ``branch`` is None when detached, ``commit`` None before the first commit."""

    root: str
    commit: str | None
    branch: str | None


def git_state(folder: str) -> GitState | None:
    """The state of the repository that holds a folder, None where there is none. Starts no process, never raises."""
    try:
        found = _find(os.path.abspath(folder))
        if found is None:
            return None
        root, git_dir = found
        common = _common_dir(git_dir)
        head = _read(os.path.join(git_dir, "HEAD"))
        if not head.startswith("ref: "):
            return GitState(root, _hash(head), None)
        ref = head[5:]
        commit = _resolve(common, git_dir, ref)
        return GitState(root, commit, ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else None)
    except (OSError, ValueError):
        return None


def _find(folder: str) -> tuple[str, str] | None:
    """The root of the working tree and its git directory, going up from a folder."""
    while True:
        path = os.path.join(folder, ".git")
        if os.path.isdir(path):
            return folder, path
        if os.path.isfile(path):
            line = _read(path)
            if line.startswith("gitdir: "):
                return folder, os.path.normpath(os.path.join(folder, line[8:]))
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _common_dir(git_dir: str) -> str:
    """Linked working trees keep their refs in the main repository."""
    try:
        return os.path.normpath(os.path.join(git_dir, _read(os.path.join(git_dir, "commondir"))))
    except OSError:
        return git_dir


def _resolve(common: str, git_dir: str, ref: str) -> str | None:
    for folder in dict.fromkeys((git_dir, common)):
        try:
            return _hash(_read(os.path.join(folder, *ref.split("/"))))
        except OSError:
            continue
    try:
        with open(os.path.join(common, "packed-refs"), encoding="utf-8", errors="replace") as lines:
            for line in lines:
                value, _, name = line.rstrip("\n").partition(" ")
                if name == ref:
                    return _hash(value)
    except OSError:
        pass
    return None


def _hash(value: str) -> str | None:
    return value if len(value) in (40, 64) and all(char in "0123456789abcdef" for char in value) else None


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(4096).split("\n", 1)[0].strip()


class DirtyCheck:
    """``git status``, started now and asked later, so that it runs while something else is done.

    Untracked files do not count: the log's own files would make every tree dirty. Never raises, never waits longer than
    ``DIRTY_TIMEOUT_S`` after its start, and leaves no process behind.
    """

    def __init__(self, root: str) -> None:
        self._pid = 0
        self._read_end = -1
        self._started = time.perf_counter()
        try:
            self._start(root)
        except OSError:
            self._close()

    def _start(self, root: str) -> None:
        self._read_end, write_end = os.pipe()
        # No optional locks: a status must not take the index lock from a commit that runs beside it. No fsmonitor: it
        # would start a program that the repository's own configuration names.
        command = ["git", "-C", root, "-c", "core.fsmonitor=false", "status", "--porcelain", "--untracked-files=no"]
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        try:
            null = os.open(os.devnull, os.O_RDWR)
            try:
                actions = [
                    (os.POSIX_SPAWN_DUP2, null, 0),
                    (os.POSIX_SPAWN_DUP2, write_end, 1),
                    (os.POSIX_SPAWN_DUP2, null, 2),
                ]
                self._pid = os.posix_spawnp(
                    "git", command, environment, file_actions=actions, setsigmask=(), setsigdef=(signal.SIGPIPE,)
                )
            finally:
                os.close(null)
        finally:
            os.close(write_end)

    def result(self) -> bool | None:
        """Whether a tracked file differs from the commit; None when git did not say so in time."""
        if not self._pid:
            return None
        dirty: bool | None = None
        try:
            data, ended = self._output()
            if ended:
                _, status = os.waitpid(self._pid, 0)
                self._pid = 0
                dirty = bool(data) if status == 0 else None
            elif data:
                dirty = True
        except OSError:
            dirty = None
        self._close()
        return dirty

    def _output(self) -> tuple[bytes, bool]:
        """What git wrote, and whether it came to its end."""
        import select

        data = b""
        poll = select.poll()
        poll.register(self._read_end, select.POLLIN | select.POLLHUP)
        while (left := self._started + DIRTY_TIMEOUT_S - time.perf_counter()) > 0:
            if poll.poll(left * 1000):
                chunk = os.read(self._read_end, 4096)
                if not chunk:
                    return data, True
                data = data or chunk
        return data, False

    def _close(self) -> None:
        if self._read_end >= 0:
            os.close(self._read_end)
            self._read_end = -1
        if self._pid:
            try:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            except OSError:
                pass
            self._pid = 0


def dirty(root: str) -> bool | None:
    """Whether a tracked file differs from the commit; waits at most ``DIRTY_TIMEOUT_S``; None when not known."""
    return DirtyCheck(root).result()
