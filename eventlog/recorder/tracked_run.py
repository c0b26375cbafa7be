"""A run while its block is running: what it says, its files, and how its end is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Token
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eventlog.errors import InvalidInput
from eventlog.events.runs import (
    RunFinished,
    RunMessageLogged,
    RunMetricLogged,
    RunNoted,
    RunParametersSet,
    RunStarted,
    RunTagged,
)
from eventlog.recorder import current, values
from eventlog.recorder.artifacts import Saved
from eventlog.recorder.current import current_run
from eventlog.recorder.measure import Stopwatch
from eventlog.recorder.recording import Recording
from eventlog.recorder.sink import Sink

PathLike = str | os.PathLike[str]


class TrackedRun:
    """A run while its block is running; use it with ``with`` or ``async with``.

    Nothing here raises because of the log: what cannot be recorded waits in a spool file, and standard error says so
    when the program ends.
    """

    def __init__(
        self, sink: Sink, start: Callable[[], RunStarted], *, inputs: Sequence[PathLike] = (), artifacts: bool = True
    ) -> None:
        self._sink = sink
        self._start = start
        self._inputs = inputs
        self._artifacts = artifacts
        self._recording: Recording | None = None
        self._token: Token[TrackedRun | None] | None = None
        self._stopwatch: Stopwatch | None = None
        self._pid = 0
        self._ended = False

    # what it is

    @property
    def run_id(self) -> int | None:
        """The run's number; None while the log could not allot one."""
        return self._open.ref.run_id

    @property
    def dir(self) -> Path | None:
        """The run's directory; None where there is none."""
        return self._open.directory

    path = dir

    @property
    def recorded(self) -> bool:
        """Whether the run is in the log, and not only in a spool file."""
        return self.run_id is not None

    @property
    def _open(self) -> Recording:
        if self._recording is None:
            raise InvalidInput("the run has not started: use it as `with log.runs.track(…) as run`")
        return self._recording

    # what it says

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Log one value of a metric; NaN and infinities are kept as words. What is no number is left out, and told."""
        try:
            event = RunMetricLogged(
                name=values.text(name, values.MAX_NAME),
                value=values.metric(value),
                step=None if step is None else int(step),
            )
        except Exception as error:
            told = f"metric {values.text(name, values.MAX_NAME)!r}: {values.text(error, values.MAX_NAME)}"
            self._sink.drop(InvalidInput(told))
            return
        self._open.say(event, telemetry=True)

    def parameters(self, parameters: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set parameters."""
        self._open.say(RunParametersSet(parameters=values.parameters({**(parameters or {}), **more})))

    def tag(self, tags: Mapping[str, Any] | None = None, /, removed: Iterable[str] = (), **more: Any) -> None:
        """Set and remove tags."""
        self._open.say(
            RunTagged(tags=values.tags({**(tags or {}), **more}), removed=tuple(values.text(one) for one in removed))
        )

    def note(self, text: str) -> None:
        """Set the run's note."""
        self._open.say(RunNoted(note=values.text(text)))

    def message(self, text: object, level: str = "INFO", logger: str = "") -> None:
        """Log a line of text, at most 8 KiB of it. Survives a killed process, not a power cut."""
        shown, truncated = values.bounded(text, values.MAX_MESSAGE)
        event = RunMessageLogged(
            message=shown,
            level=values.text(level, 50),
            logger=values.text(logger, values.MAX_NAME),
            truncated=truncated,
        )
        self._open.say(event, telemetry=True)

    # its files

    def save_output(self, name: str, content: bytes | str | os.PathLike[str]) -> Saved | None:
        """Save bytes, or the file at a path, as ``output/<name>``; None when there is no place for it.

        Raises InvalidName for a name that leaves the directory, ArtifactError for a file that cannot be read.
        """
        return self._open.output(name, content)

    artifact = save_output

    def input_snapshot(self, path: PathLike, name: str | None = None) -> Saved | None:
        """Keep an input file as it is, as ``input/<name>``. Raises InvalidName, or ArtifactError if unreadable."""
        return self._open.snapshot(path, name)

    # begin and end

    def begin(self) -> Self:
        """Start the run: what ``with`` does. Raises ArtifactError when an input cannot be read; the run failed then."""
        if self._recording is not None:
            raise InvalidInput("a tracked run is used once")
        self._pid = os.getpid()
        above = current_run()
        outer = above._recording if above is not None else None
        parent = outer.ref if outer is not None and outer.sink.target == self._sink.target else None
        self._recording = Recording(self._sink, self._start(), artifacts=self._artifacts, parent=parent)
        self._stopwatch = Stopwatch()
        try:
            for path in self._inputs:
                self._recording.snapshot(path)
        except BaseException as error:
            self.end(error)
            raise
        return self

    def end(self, error: BaseException | None = None) -> None:
        """End the run by what its block ended with: what ``with`` does. In a forked child this does nothing."""
        recording = self._recording
        if self._ended or recording is None or os.getpid() != self._pid:
            return
        self._ended = True
        measured = self._stopwatch.measured() if self._stopwatch is not None else {}
        recording.end(_finished(error, measured))

    def __enter__(self) -> Self:
        self.begin()
        self._token = current.enter(self, self._open.as_parent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        token, self._token = self._token, None
        current.leave(self, token)
        self.end(error)

    async def __aenter__(self) -> Self:
        # to_thread copies the context: the run around this one is seen there too.
        import asyncio

        await asyncio.to_thread(self.begin)
        self._token = current.enter(self, self._open.as_parent)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        token, self._token = self._token, None
        current.leave(self, token)
        import asyncio

        # Cancelled once more while it is written, the end is still written.
        await asyncio.shield(asyncio.to_thread(self.end, error))


def _finished(error: BaseException | None, measured: Mapping[str, Any]) -> RunFinished:
    """How a run ended, by the exception that left its block."""
    if error is None or isinstance(error, GeneratorExit):
        return RunFinished(status="success", **measured)
    if isinstance(error, SystemExit):
        if error.code is None or error.code == 0:
            return RunFinished(status="success", exit_code=0, **measured)
        code = error.code if isinstance(error.code, int) else 1
        reason = None if isinstance(error.code, int) else values.text(error.code, 2000)
        return RunFinished(
            status="fail", exit_code=code & 0xFF or 1, reason=reason, error_type="SystemExit", **measured
        )
    name = type(error).__name__
    if type(error).__module__ not in ("builtins", "__main__"):
        name = f"{type(error).__module__}.{name}"
    name = values.text(name, values.MAX_NAME)
    if isinstance(error, KeyboardInterrupt) or _is_cancelled(error):
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else "cancelled"
        return RunFinished(status="killed", reason=reason, error_type=name, **measured)
    return RunFinished(status="fail", reason=values.text(error, 2000) or name, error_type=name, **measured)


def _is_cancelled(error: BaseException) -> bool:
    # Without asyncio imported nothing of it can have been cancelled; importing it takes longer than a short run.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)
