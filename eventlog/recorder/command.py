"""`eventlog run`: a command runs as it would by itself, and is recorded."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eventlog.config import VARIABLES
from eventlog.errors import InvalidInput, NotALog
from eventlog.events.runs import RunFinished, RunOutputCaptured, RunStarted
from eventlog.recorder import capture, values
from eventlog.recorder.artifacts import Saved
from eventlog.recorder.git import DirtyCheck, git_state
from eventlog.recorder.job import current_job_id
from eventlog.recorder.plumbing import Plumbing
from eventlog.recorder.process import (
    FORWARDED,
    Child,
    CommandNotStarted,
    Ended,
    block_signals,
    fill_standard_streams,
    launch,
    next_signal,
)
from eventlog.recorder.pump import leave_behind
from eventlog.recorder.recording import PARENT_VARIABLE, Recording, parent_from_environment, prepare
from eventlog.recorder.sink import Sink
from eventlog.target import Target, data_folder, parse_target
from eventlog.url import masked

Opener = Callable[..., Any]
"""What opens logs, `eventlog.open`: it stands above the recorder, and is handed down."""

LOCK_TIMEOUT_S = 5.0
"""How long the start of a command waits for other writers of the log."""


def run_command(
    argv: Sequence[str],
    *,
    opener: Opener,
    log_target: Target = None,
    project: str | None = None,
    note: str = "",
    tags: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    inputs: Sequence[str | os.PathLike[str]] = (),
    program: str | None = None,
    artifacts: bool = True,
    cwd: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> int:
    """Run a command with our standard streams and record it. Returns the exit status to end with.

    That is the command's own, 128 + n when signal n ended it, 127 when it is not found, 126 when it cannot be executed,
    2 when there is no command or an input cannot be read (nothing runs then), 1 when the command's own is 0 but what it
    printed could not be written. Never raises because of the log: what cannot be recorded now waits in a spool file,
    and what never can be is left out; standard error says so at the end.
    """
    if not argv or not argv[0]:
        return _refuse("no command to run")
    for path in inputs:
        if not os.path.isfile(path) or not os.access(path, os.R_OK):
            return _refuse(f"cannot read the input {os.fspath(path)!r}")
    fill_standard_streams()
    mask = block_signals()
    sink = open_sink(opener, log_target, data_dir)
    try:
        event = _started(argv, project, note, tags or {}, parameters or {}, program, cwd, sink)
        recording = Recording(sink, event, artifacts=artifacts)
        for path in inputs:
            try:
                recording.snapshot(path)
            except Exception as error:
                sink.drop(error)
        return _Run(argv, recording, mask, cwd).run()
    finally:
        sink.say()
        sink.close()
        while next_signal(0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _refuse(why: str) -> int:
    _tell(why)
    return 2


def _tell(what: str) -> None:
    """A line on standard error, if that is there and can be written."""
    with contextlib.suppress(Exception):
        sys.stderr.write(f"eventlog: {what}\n")
        sys.stderr.flush()


def open_sink(opener: Opener, target: Target, data_dir: str | os.PathLike[str] | None = None) -> Sink:
    """A sink for the log at a target, which may fail to open now, or for ever. Never raises."""

    def open_log() -> Any:
        try:
            return opener(target, data_dir=data_dir, timeout_s=LOCK_TIMEOUT_S)
        except NotALog as error:
            if path is not None and _is_other(path):
                sink.never = error
            raise

    url, folder = masked(os.fspath(target)) if target is not None else "", None
    path = never = None
    try:
        place = parse_target(target)
        folder = data_folder(data_dir, place)
        url, path = place.masked, place.path
    except InvalidInput as error:
        folder = None if data_dir is None else Path(data_dir)
        if target is not None or os.environ.get(VARIABLES[0]):  # else it is a file of settings, which may be mended
            never = error
    except Exception:
        folder = None if data_dir is None else Path(data_dir)
    sink = Sink(open_log, url, folder)
    sink.never = never
    return sink


def _is_other(path: str | os.PathLike[str]) -> bool:
    """Whether what stands at a log's place is something else. A log's lock stays beside it: what is damaged now may be
    a log again, from a backup; and what is empty may be removed.
    """
    return not os.path.exists(f"{path}.lock") and (os.path.isdir(path) or os.path.getsize(path) > 0)


def _started(
    argv: Sequence[str],
    project: str | None,
    note: str,
    tags: Mapping[str, str],
    parameters: Mapping[str, Any],
    program: str | None,
    cwd: str | None,
    sink: Sink,
) -> RunStarted:
    folder = os.path.abspath(cwd) if cwd is not None else capture.working_directory()
    state = git_state(folder) if folder is not None else None
    check = DirtyCheck(state.root) if state is not None else None
    # git works while the log is opened and tidied up.
    prepare(sink)
    log = sink.log()
    try:
        parent = parent_from_environment(None if log is None else log.log_id)
    except Exception:
        parent = None
    return RunStarted(
        **capture.command_facts(argv, program=program),
        cwd=None if folder is None else values.plain(folder),
        project_id=None if project is None else values.text(project),
        note=values.text(note),
        tags=values.tags(tags),
        parameters=values.parameters(parameters),
        parent_run_id=parent,
        job_id=current_job_id(),
        git_commit=state.commit if state else None,
        git_branch=values.plain(state.branch) if state and state.branch else None,
        git_dirty=check.result() if check else None,
        environment=capture.environment(),
        **capture.process_facts(),
    )


class _Run:
    """From the start of the command to the end of its record."""

    def __init__(self, argv: Sequence[str], recording: Recording, mask: set[signal.Signals], cwd: str | None) -> None:
        self._argv = argv
        self._recording = recording
        self._mask = mask
        self._cwd = cwd
        self._asked_to_end: int | None = None

    def run(self) -> int:
        """Start, wait, record; returns the exit status."""
        if (early := self._early_signal()) is not None:
            self._recording.end(
                RunFinished(status="killed", signal=early, reason=f"{_name(early)} before the command ran")
            )
            return 128 + early
        plumbing = Plumbing(self._recording)
        began = time.perf_counter_ns()
        try:
            child = launch(
                self._argv, self._environment(), self._cwd, plumbing.child_streams, self._mask,
                own_session=plumbing.own_session,
            )  # fmt: skip
        except CommandNotStarted as error:
            plumbing.abandon()
            _tell(str(error))
            self._recording.end(RunFinished(status="fail", exit_code=error.code, reason=values.text(error), wall_us=0))
            return error.code
        plumbing.start()
        try:
            ended = self._wait(child, plumbing)
            wall_us = (time.perf_counter_ns() - began) // 1000
            plumbing.finish()
        finally:
            plumbing.restore()
            child.release()
        return self._record(ended, wall_us, plumbing)

    def _early_signal(self) -> int | None:
        """A signal that arrived while the log was opened: the command, not started yet, would have died of it."""
        while (received := next_signal(0)) is not None:
            ignored = signal.getsignal(received.number) == signal.SIG_IGN
            if received.number in FORWARDED and not ignored:
                return received.number
        return None

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        parent = self._recording.as_parent
        if parent is not None:
            environment[PARENT_VARIABLE] = parent
        return environment

    def _wait(self, child: Child, plumbing: Plumbing) -> Ended:
        while True:
            received = next_signal()
            if received is None:
                continue
            if received.number == signal.SIGCHLD:
                state = child.poll()
                while state == "stopped":
                    plumbing.suspend()
                    child.resume()
                    state = child.poll()
                if isinstance(state, Ended):
                    return state
            elif received.number == signal.SIGWINCH:
                plumbing.resize()
                if not child.own_session and plumbing.has_terminals:
                    child.send(signal.SIGWINCH)
            elif received.number == signal.SIGCONT:
                plumbing.resume()
            else:
                self._asked_to_end = received.number
                if child.own_session or received.sender not in (0, child.pid):
                    # What the terminal sends to our process group, or the command itself, has reached it already.
                    child.send(received.number)

    def _record(self, ended: Ended, wall_us: int, plumbing: Plumbing) -> int:
        events: list[RunOutputCaptured] = []
        files: list[Saved] = []
        for channel, tee, complete in plumbing.channels():
            tail = tee.tail()
            if plumbing.has_terminals:
                tail = tail.replace("\r\n", "\n")
            events.append(RunOutputCaptured(channel=channel, tail=tail, size_bytes=tee.size_bytes, sha256=tee.sha256))
            if complete:
                files.append(Saved("logs", f"{channel}.log", tee.file_size, tee.file_sha256))
        lost = plumbing.lost()
        finished = self._finished(ended, wall_us, lost)
        extra = {"output": "stdout and stderr in one" if plumbing.combined else "stdout and stderr apart"}
        self._recording.end(finished, *events, files=files, **extra)
        leave_behind(plumbing.outlets)
        for told in lost:
            _tell(f"the command's {told}")
        if ended.signal is not None:
            return 128 + ended.signal
        return ended.exit_code or int(bool(lost))

    def _finished(self, ended: Ended, wall_us: int, lost: Sequence[str]) -> RunFinished:
        """How the command ended. What it printed did not arrive: that is no success, whatever its exit code."""
        reason = None
        if ended.signal is not None:
            status, reason = "killed", _name(ended.signal)
        elif ended.exit_code and self._asked_to_end in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            status, reason = "killed", f"exit status {ended.exit_code} after {_name(self._asked_to_end or 0)}"
        else:
            status = "fail" if ended.exit_code or lost else "success"
        return RunFinished(
            status=status,  # type: ignore[arg-type]
            exit_code=ended.exit_code,
            signal=ended.signal,
            reason="; ".join([*([reason] if reason else []), *lost]) or None,
            wall_us=wall_us,
            cpu_user_us=ended.cpu_user_us,
            cpu_system_us=ended.cpu_system_us,
            peak_memory_bytes=ended.peak_memory_bytes,
        )


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
