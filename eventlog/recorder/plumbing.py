"""Which pipes and pseudo-terminals stand between a command and our own standard streams."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import BinaryIO, Literal

from eventlog.recorder import terminal
from eventlog.recorder.pump import Keyboard, Outlet
from eventlog.recorder.recording import Recording
from eventlog.recorder.tee import Tee

Channel = Literal["stdout", "stderr"]
_NAMES: tuple[tuple[Channel, int], ...] = (("stdout", 1), ("stderr", 2))


class Plumbing:
    """A terminal is replaced by a pseudo-terminal, anything else by a pipe.

    Where stdin and stdout are one terminal that we are in the foreground of, the command gets a terminal of its own
    (a session, job control, raw keys). Otherwise stdin is inherited, and only what is written passes through here.
    Where stdout and stderr are one place, they stay one stream, because their order would be lost.
    """

    def __init__(self, recording: Recording) -> None:
        self.outlets: list[Outlet] = []
        self.combined = terminal.same_file(1, 2)
        self.own_session = (
            terminal.is_terminal(0)
            and terminal.is_terminal(1)
            and terminal.same_file(0, 1)
            and terminal.in_foreground(0)
        )
        self.has_terminals = False
        self._recording = recording
        self._tees: list[tuple[Channel, Tee]] = []
        self._masters: list[tuple[int, int]] = []
        self._childs_ends: list[int] = []
        self._keyboard: Keyboard | None = None
        self._raw = terminal.RawTerminal(0)
        standard = 0
        written: list[int] = []
        for channel, descriptor in _NAMES:
            if channel == "stderr" and self.combined:
                written.append(written[0])
                continue
            written.append(self._connect(channel, descriptor))
        if self.own_session:
            standard = written[0]
            self._keyboard = Keyboard(0, self._masters[0][0])
        self.child_streams = (standard, written[0], written[1])

    def _connect(self, channel: Channel, descriptor: int) -> int:
        """Make the way for one stream; returns the command's end of it."""
        source = end = -1
        if terminal.is_terminal(descriptor):
            try:
                source, end = terminal.open_like(descriptor, output_only=not (self.own_session and channel == "stdout"))
                self._masters.append((source, descriptor))
                self.has_terminals = True
            except OSError:
                self.own_session = False
        if source < 0:
            source, end = os.pipe()
        self._childs_ends.append(end)
        tee = Tee(self._log_file(channel), self._recording.sink.drop)
        self._tees.append((channel, tee))
        self.outlets.append(Outlet(source, descriptor, tee))
        return end

    def _log_file(self, channel: Channel) -> BinaryIO | None:
        store, run_id = self._recording.store, self._recording.ref.run_id
        if store is None or run_id is None:
            return None
        try:
            return store.open_new(run_id, "logs", f"{channel}.log")
        except Exception as error:
            self._recording.sink.drop(error)
            return None

    def start(self) -> None:
        """The command runs: let the bytes flow."""
        self._close_childs_ends()
        if self._keyboard is not None:
            self._raw.enter()
            self._keyboard.start()
        for outlet in self.outlets:
            outlet.start()

    def _close_childs_ends(self) -> None:
        for end in self._childs_ends:
            os.close(end)
        self._childs_ends = []

    def abandon(self) -> None:
        """The command did not start."""
        self._close_childs_ends()
        for outlet in self.outlets:
            os.close(outlet.source)
            outlet.tee.close()

    def resize(self) -> None:
        """Our terminal's window changed."""
        for master, real in self._masters:
            terminal.copy_size(real, master)

    def suspend(self) -> None:
        """The command was stopped from its keyboard: stop as well, with our terminal as we found it."""
        self._raw.restore()
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        self.resume()

    def resume(self) -> None:
        """We go on, maybe in the foreground again."""
        if self._keyboard is not None:
            self._raw.enter()
            self.resize()

    def finish(self) -> None:
        """The command ended: read what is left, within bounds."""
        if self._keyboard is not None:
            self._keyboard.finish()
        for outlet in self.outlets:
            outlet.command_ended()
        for outlet in self.outlets:
            outlet.finish()

    def lost(self) -> list[str]:
        """What could not be written onwards, and why."""
        name = "stdout and stderr" if self.combined else ""
        return [
            f"{name or channel} could not be written: {outlet.lost.strerror or outlet.lost}"
            for (channel, _), outlet in zip(self._tees, self.outlets, strict=True)
            if outlet.lost is not None
        ]

    def restore(self) -> None:
        """Our terminal as we found it."""
        self._raw.restore()

    def channels(self) -> Iterator[tuple[Channel, Tee, bool]]:
        """Each stream with its copy, and whether that is complete as a file."""
        for channel, tee in self._tees:
            yield channel, tee, tee.close()
