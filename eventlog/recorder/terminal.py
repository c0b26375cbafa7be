"""Terminals: a pseudo-terminal like the real one, raw mode that is always undone, window sizes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Iterator


def is_terminal(descriptor: int) -> bool:
    """Whether a descriptor is an open terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def same_file(one: int, other: int) -> bool:
    """Whether two descriptors write to one place, so that the order of what is written matters (``2>&1``)."""
    try:
        left, right = os.fstat(one), os.fstat(other)
        null = os.stat(os.devnull)
    except OSError:
        return False
    same = (left.st_dev, left.st_ino) == (right.st_dev, right.st_ino)
    return same and (left.st_dev, left.st_ino) != (null.st_dev, null.st_ino)


def in_foreground(descriptor: int) -> bool:
    """Whether this process may read from the terminal and change it without being stopped."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


def copy_size(source: int, target: int) -> None:
    """Give a terminal the window size of another one; the kernel tells the programs in it."""
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def open_like(real: int, *, output_only: bool) -> tuple[int, int]:
    """A new pseudo-terminal (master, slave) with the settings and size of a real one.

    ``output_only``: it changes no byte on its way, the real terminal does that. Raises OSError.
    """
    master, slave = os.openpty()
    with contextlib.suppress(termios.error):
        settings = termios.tcgetattr(real)
        if output_only:
            settings[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, settings)
    copy_size(real, slave)
    return master, slave


class RawTerminal:
    """Lets every key through to the program in the pseudo-terminal. `restore` undoes it, any number of times."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._settings: list[object] | None = None

    def enter(self) -> None:
        """Switch to raw mode, unless already there or in the background."""
        if self._settings is not None or not in_foreground(self._descriptor):
            return
        import tty

        with contextlib.suppress(termios.error, OSError):
            settings = termios.tcgetattr(self._descriptor)
            tty.setraw(self._descriptor, termios.TCSANOW)
            self._settings = settings

    def restore(self) -> None:
        """Back to the settings found."""
        if self._settings is None:
            return
        settings, self._settings = self._settings, None
        # From the background this would stop us; the settings matter more.
        with _ignored(signal.SIGTTOU), contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, settings)  # type: ignore[arg-type]


@contextlib.contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    old = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, old)


def take_controlling_terminal(slave: int) -> None:
    """In a new session: make a pseudo-terminal its controlling terminal."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
