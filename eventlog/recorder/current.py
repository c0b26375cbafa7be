"""Which tracked run a piece of code runs in: a context variable here, an environment variable for child processes."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from eventlog.recorder.recording import PARENT_VARIABLE

if TYPE_CHECKING:
    from eventlog.recorder.tracked_run import TrackedRun

_current: ContextVar[TrackedRun | None] = ContextVar("eventlog_run", default=None)
_lock = threading.Lock()
_entered: list[tuple[object, str]] = []
_outside: str | None = None


def current_run() -> TrackedRun | None:
    """The innermost tracked run around the calling code, or None."""
    return _current.get()


def enter(run: TrackedRun, as_parent: str | None) -> Token[TrackedRun | None]:
    """Make a run the current one, and the parent of processes started from now on."""
    global _outside
    if as_parent is not None:
        with _lock:
            if not _entered:
                _outside = os.environ.get(PARENT_VARIABLE)
            _entered.append((run, as_parent))
            os.environ[PARENT_VARIABLE] = as_parent
    return _current.set(run)


def leave(run: TrackedRun, token: Token[TrackedRun | None] | None) -> None:
    """Undo `enter`. Blocks of several threads overlap in any order: the environment names the last one still open."""
    if token is not None:
        try:
            _current.reset(token)
        except ValueError:
            # Entered in another context (a generator moved between tasks): that context forgets it by itself.
            if _current.get() is run:
                _current.set(None)
    with _lock:
        before = len(_entered)
        _entered[:] = [entry for entry in _entered if entry[0] is not run]
        if len(_entered) == before:
            return
        value = _entered[-1][1] if _entered else _outside
        if value is None:
            os.environ.pop(PARENT_VARIABLE, None)
        else:
            os.environ[PARENT_VARIABLE] = value


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
