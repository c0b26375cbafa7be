"""Where a recorder's events go: the log, and when that fails a spool file. Nothing here raises because of the log."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eventlog.clock import counted, now_us
from eventlog.errors import InvalidInput
from eventlog.events.runs import RunEvent, RunStarted
from eventlog.log import Append
from eventlog.recorder import spool
from eventlog.store.base import Durability
from eventlog.target import parse_target
from eventlog.url import LINES

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
MAX_REASONS = 3
"""So many different reasons are told of what could not be recorded."""


class RunRef:
    """A run being recorded: its number, or a token while the log could not allot one; ``refused``: why never."""

    __slots__ = ("refused", "run_id", "started_at", "token")

    def __init__(self, token: str, started_at: int, run_id: int | None = None) -> None:
        self.token = token
        self.started_at = started_at
        self.run_id = run_id
        self.refused: InvalidInput | None = None

    @property
    def stream(self) -> str:
        """The run's stream; a placeholder while it has no number."""
        return f"run-{self.run_id}" if self.run_id is not None else spool.PLACEHOLDER + self.token


class Sink:
    """Appends a recorder's events, spools what fails, and says at exit what is not in the log.

    ``open_log`` gives the log, and is asked again after a pause when it failed. After a failure events go straight to
    the spool for a while, longer each time: a log that answers with a time-out must not slow the program down.
    ``never``: why there can be no log at this place, as far as is known; nothing waits for it then.
    """

    def __init__(self, open_log: Callable[[], Any], target: str, data_dir: Path | None) -> None:
        self._open_log = open_log
        self._log: Any = None
        self.target = target
        self.data_dir = data_dir
        self.dropped = 0
        self.spooled = 0
        self.problem: BaseException | None = None
        self.refusals: list[str] = []
        self.never: BaseException | None = None
        self.told_of_spools: tuple[str, ...] = ()
        self._file: spool.SpoolFile | None = None
        self._paths: list[Path] = []
        self._lock = threading.RLock()
        self._retry_at = 0.0
        self._pause = FIRST_PAUSE_S
        self._at_exit = False
        self._pid = 0
        self._new_keys()

    def _new_keys(self) -> None:
        """Keys begin anew in a forked child; they grow with time, so that their index stays cheap to append to."""
        self._pid = os.getpid()
        self._prefix = f"{time.time_ns():x}-{os.urandom(6).hex()}"
        self._count = 0
        self._file = None
        self._paths = []
        self._at_exit = False
        self.spooled = self.dropped = 0
        self.refusals = []
        self._lock = threading.RLock()

    def _key(self) -> str:
        if os.getpid() != self._pid:
            self._new_keys()
        with self._lock:
            self._count += 1
            return f"{self._prefix}-{self._count}"

    # the log

    def log(self) -> Any:
        """The log, or None when it cannot be opened now."""
        if self._log is None and self._may_try():
            try:
                self._log = self._open_log()
                self.never = None
            except Exception as error:
                self._failed(error)
        return self._log

    def _may_try(self) -> bool:
        return time.monotonic() >= self._retry_at

    def _failed(self, error: BaseException) -> None:
        self.problem = error
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE_S)

    def start(self, event: RunStarted, parent: RunRef | None = None) -> RunRef:
        """Append the start of a run. Its reference has no number when the log did not take it."""
        key = self._key()
        at = now_us()
        reference = RunRef(key, at)
        log = self.log()
        if log is not None and self._may_try():
            try:
                reference.run_id = log.runs.append_start(event, occurred_at=at, key=key)
                return reference
            except InvalidInput as error:
                reference.refused = error
                self._drop(1, error)
                return reference
            except Exception as error:
                self._failed(error)
        above = parent.stream if parent is not None and parent.run_id is None else None
        reference.refused = self._spool(
            [spool.Line(key=key, stream=reference.stream, at=at, event=event, parent=above)]
        )
        return reference

    def append(
        self,
        run: RunRef,
        events: Sequence[RunEvent],
        *,
        durability: Durability = "full",
        occurred_at: int | None = None,
    ) -> bool:
        """Append events of a run, all or nothing; False when they wait in the spool or some were refused.

        One that cannot be stored takes no other with it, but nothing is taken of a run whose start was refused.
        """
        if run.refused is not None:
            self._drop(len(events), run.refused)
            return False
        at = now_us() if occurred_at is None else occurred_at
        keyed = [(self._key(), event) for event in events]
        if self.spooled:
            self.settle()  # what waits is older, and must not come in after this
        if run.run_id is not None and self._log is not None and self._may_try() and not self.spooled:
            stream = run.stream
            try:
                if len(keyed) == 1:
                    key, event = keyed[0]
                    self._log.append(stream, event, key=key, occurred_at=at, durability=durability)
                else:
                    appends = [Append(stream=stream, events=event, key=key, occurred_at=at) for key, event in keyed]
                    self._log.append_many(appends, durability=durability)
                self._pause = FIRST_PAUSE_S
                return True
            except InvalidInput as error:
                if len(events) > 1:
                    for event in events:
                        self.append(run, [event], durability=durability, occurred_at=at)
                else:
                    self._drop(1, error)
                return False
            except Exception as error:
                self._failed(error)
        self._spool([spool.Line(key=key, stream=run.stream, at=at, event=event) for key, event in keyed])
        return False

    # the spool

    def _spool(self, lines: list[spool.Line]) -> InvalidInput | None:
        """Let events wait; returns why one of them never could be imported, and does not."""
        if self.never is not None:
            self._drop(len(lines), self.never)
            return None
        refused = None
        with self._lock:
            for line in lines:
                try:
                    if self._file is None:
                        self._file = spool.SpoolFile(self.data_dir, self._header())
                        self._paths.append(self._file.path)
                    self._file.add(line)
                    self.spooled += 1
                    self._report_at_exit()
                except InvalidInput as error:
                    refused = error
                    self._drop(1, error)
                except Exception as error:
                    self._drop(1, self.problem or error)
        return refused

    def _header(self) -> spool.Header:
        log_id = None
        if self._log is not None:
            with contextlib.suppress(Exception):
                log_id = self._log.log_id
        return spool.Header(
            spool=spool.FORMAT, target=self.target, log_id=log_id, host=os.uname().nodename, pid=self._pid, at=now_us()
        )

    def drop(self, problem: BaseException) -> None:
        """Count something that could not be recorded and cannot wait either; told at exit."""
        self._drop(1, problem)

    def _drop(self, count: int, error: BaseException) -> None:
        self.dropped += count
        if (why := _why(error)) not in self.refusals:
            self.refusals = [*self.refusals, why][:MAX_REASONS]
        self._report_at_exit()

    def import_waiting(self) -> spool.Imported:
        """Import what dead writers, and this one, left in the spool. Never raises."""
        log = self.log()
        if log is None or not self._may_try():
            return spool.Imported()
        with self._lock:
            self._close_file()
            try:
                done = spool.import_spool(log, log.runs, self.data_dir)
            except Exception as error:
                self._failed(error)
                return spool.Imported()
            self.told_of_spools += done.told
            if self._paths and not any(path.exists() for path in self._paths):
                self.spooled = 0
                self._paths = []
            return done

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    # the end

    def settle(self) -> None:
        """At the end of a run: bring what was spooled into the log, if that works again. Never raises."""
        if self.spooled and self._may_try():
            self.import_waiting()

    def report(self) -> str | None:
        """What is not in the log, where it waits, and what to do: a line each, safe in a terminal, or None."""
        lines = []
        if self.spooled:
            where = ", ".join(str(path) for path in self._paths)
            lines.append(
                f"eventlog: {counted(self.spooled, 'event')} not in the log ({_why(self.problem)}); they wait in "
                f"{where} and are imported by the next run recorded in this log, or by "
                f"`eventlog{_option(self.target)} runs recover`"
            )
        if self.dropped and self.never is not None:
            lines.append(f"eventlog: the run was not recorded ({_why(self.never)}); name another place for the log")
        elif self.dropped:
            lines.append(
                f"eventlog: {counted(self.dropped, 'thing')} could not be recorded ({'; '.join(self.refusals)})"
            )
        lines += [f"eventlog: {told}" for told in self.told_of_spools]
        return "\n".join(map(_shown, lines)) or None

    def close(self) -> None:
        """Close the log, where it was opened. Never raises."""
        log, self._log = self._log, None
        if log is not None:
            with contextlib.suppress(Exception):
                log.close()

    def _report_at_exit(self) -> None:
        if not self._at_exit:
            self._at_exit = True
            atexit.register(self.say)

    def say(self) -> None:
        """Write the report to standard error, once. Never raises."""
        if os.getpid() != self._pid:
            return
        text = self.report()
        self.spooled = self.dropped = 0
        self.refusals = []
        self.told_of_spools = ()
        self._close_file()
        if text:
            with contextlib.suppress(Exception):
                sys.stderr.write(text + "\n")
                sys.stderr.flush()


def _why(error: BaseException | None) -> str:
    told = f"{type(error).__name__}: {error}" if error is not None else "unknown"
    return " ".join(told.split())[:300]


def _option(target: str) -> str:
    """What a later `eventlog` has to be told to find this log, where it would not find it by itself."""
    with contextlib.suppress(Exception):
        if not target or parse_target().masked == target:
            return ""
    import shlex

    scheme, _, path = target.partition(":///")
    is_plain = scheme == ("jsonl" if path.endswith(LINES) else "sqlite")
    return f" --db {shlex.quote(path if is_plain else target)}"


def _shown(text: str) -> str:
    # What was to be recorded, and a spool file, may name anything, and this goes to a terminal.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
