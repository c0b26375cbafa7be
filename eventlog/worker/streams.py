"""The record of an attempt that runs in a process of its own: a run linked to the job, with what it prints."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import BinaryIO, Literal

from eventlog.events.runs import RunFinished, RunOutputCaptured, RunStarted
from eventlog.recorder.artifacts import Saved
from eventlog.recorder.recording import Recording
from eventlog.recorder.sink import Sink
from eventlog.recorder.tee import Tee

Channel = Literal["stdout", "stderr"]
CHANNELS: tuple[Channel, Channel] = ("stdout", "stderr")
CHUNK = 1 << 16


class AttemptRun:
    """A run being recorded: `feed` it what the process prints, then `end` it. Nothing here raises."""

    def __init__(self, sink: Sink, event: RunStarted) -> None:
        self._recording = Recording(sink, event)
        self._tees = {channel: Tee(self._file(channel), sink.drop) for channel in CHANNELS}

    def _file(self, channel: Channel) -> BinaryIO | None:
        store, run_id = self._recording.store, self._recording.ref.run_id
        if store is None or run_id is None:
            return None
        try:
            return store.open_new(run_id, "logs", f"{channel}.log")
        except Exception as error:
            self._recording.sink.drop(error)
            return None

    @property
    def as_parent(self) -> str | None:
        """What the process finds in its environment as the run around it."""
        return self._recording.as_parent

    @property
    def run_id(self) -> int | None:
        """Its number; None while the log could not allot one."""
        return self._recording.ref.run_id

    def feed(self, channel: Channel, data: bytes) -> None:
        """What the process printed next."""
        self._tees[channel].feed(data)

    def tail(self, channel: Channel) -> str:
        """The end of what it printed, without secrets."""
        self._tees[channel].flush()
        return self._tees[channel].tail()

    def end(self, finished: RunFinished) -> None:
        """The process ended, or the attempt in it."""
        events: list[RunOutputCaptured] = []
        files: list[Saved] = []
        for channel, tee in self._tees.items():
            complete = tee.close()
            events.append(
                RunOutputCaptured(channel=channel, tail=tee.tail(), size_bytes=tee.size_bytes, sha256=tee.sha256)
            )
            if complete:
                files.append(Saved("logs", f"{channel}.log", tee.file_size, tee.file_sha256))
        self._recording.end(finished, *events, files=files, output="stdout and stderr apart")


class Pipes:
    """The reading ends of a process's stdout and stderr."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._open: dict[int, Channel] = dict(zip(descriptors, CHANNELS, strict=True))
        for descriptor in descriptors:
            os.set_blocking(descriptor, False)

    @property
    def descriptors(self) -> list[int]:
        """Those that may still give something."""
        return list(self._open)

    def read(self, descriptor: int, run: AttemptRun | None) -> None:
        """Take what is there; at the end of the stream close it."""
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            del self._open[descriptor]
            os.close(descriptor)
        elif run is not None:
            run.feed(self._open[descriptor], data)

    def drain(self, run: AttemptRun | None) -> None:
        """Take what is there now, and wait for nothing."""
        poll = select.poll()
        for descriptor in self._open:
            poll.register(descriptor, select.POLLIN)
        # Bounded: what a program left behind may print for ever.
        for _ in range(1024):
            ready = [descriptor for descriptor, _ in poll.poll(0)]
            if not ready:
                return
            for descriptor in ready:
                self.read(descriptor, run)
                if descriptor not in self._open:
                    poll.unregister(descriptor)

    def close(self) -> None:
        """Read no more."""
        for descriptor in list(self._open):
            del self._open[descriptor]
            os.close(descriptor)
