"""Starting the command, and learning how it ended. Fork and exec by hand: a terminal needs a session of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from eventlog.recorder.measure import own_peak_bytes, peak_of_child
from eventlog.recorder.terminal import take_controlling_terminal

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_MESSAGE = struct.Struct("=cidd q")


class Ended(NamedTuple):
    """How a process ended: exit code or signal, and what it (with the children it waited for) used.

    The peak is None where the command took less than the recorder, which the kernel counts with it.
    """

    exit_code: int | None
    signal: int | None
    cpu_user_us: int
    cpu_system_us: int
    peak_memory_bytes: int | None


class CommandNotStarted(Exception):
    """The command cannot be executed; ``code`` is what a shell would exit with, 126 or 127."""

    def __init__(self, command: str, number: int) -> None:
        self.code = 127 if number in (errno.ENOENT, errno.ENOTDIR) else 126
        reason = "command not found" if number == errno.ENOENT and "/" not in command else os.strerror(number)
        super().__init__(f"{command}: {reason}")


class Child:
    """The running command. ``watcher`` is the process we wait for: the command, or the leader of its session."""

    def __init__(self, pid: int, watcher: int, messages: int, hold: int) -> None:
        self.pid = pid
        self.own_session = watcher != pid
        self._watcher = watcher
        self._messages = messages
        self._hold = hold
        self._starter_peak_bytes = own_peak_bytes()

    def poll(self) -> Ended | str | None:
        """After a SIGCHLD: how it ended, ``"stopped"``, or None."""
        if not self.own_session:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            return None if pid == 0 else self._ended(status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss)
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._messages, _MESSAGE.size)
        if len(data) < _MESSAGE.size:
            return self._watcher_died()
        kind, status, user, system, peak = _MESSAGE.unpack(data)
        return "stopped" if kind == b"S" else self._ended(status, user, system, peak)

    def _watcher_died(self) -> Ended | None:
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(self._watcher, os.WNOHANG)
            if pid:
                self._watcher = 0
                return self._ended(status, 0.0, 0.0, 0)
        return None

    def _ended(self, status: int, user_s: float, system_s: float, ru_maxrss: int) -> Ended:
        code = os.waitstatus_to_exitcode(status)
        used = (round(user_s * 1e6), round(system_s * 1e6), peak_of_child(ru_maxrss, self._starter_peak_bytes))
        return Ended(None, -code, *used) if code < 0 else Ended(code, None, *used)

    def send(self, number: int) -> None:
        """Send the command a signal."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, number)

    def resume(self) -> None:
        """Let a stopped command and whatever it started go on."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGCONT)

    def release(self) -> None:
        """The end: nothing of the command's terminal is needed any more."""
        for descriptor in (self._messages, self._hold):
            if descriptor >= 0:
                os.close(descriptor)
        self._messages = self._hold = -1
        if self.own_session and self._watcher:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._watcher, 0)


def launch(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: str | None,
    streams: tuple[int, int, int],
    mask: set[signal.Signals],
    *,
    own_session: bool,
) -> Child:
    """Start the command with these descriptors as its standard streams. Raises CommandNotStarted.

    ``own_session``: ``streams`` are a pseudo-terminal that becomes the controlling terminal of a new session. A second
    process leads that session, so that the command is in a process group that can be stopped and continued.
    """
    if not own_session and cwd is None:
        return _spawn(argv, environment, streams, mask)
    error_read, error_write = os.pipe()
    if not own_session:
        pid = os.fork()
        if pid == 0:
            _execute(argv, environment, cwd, streams, mask, error_write)
        os.close(error_write)
        child = Child(pid, pid, -1, -1)
    else:
        child = _launch_in_session(argv, environment, cwd, streams, mask, error_write)
    with os.fdopen(error_read, "rb") as pipe:
        problem = pipe.read(4)
    if problem:
        child.release()
        if not own_session:
            os.waitpid(child.pid, 0)
        raise CommandNotStarted(argv[0], struct.unpack("=i", problem)[0])
    return child


def _spawn(
    argv: Sequence[str], environment: Mapping[str, str], streams: tuple[int, int, int], mask: set[signal.Signals]
) -> Child:
    """The quick way: nothing of this process is copied, and an open log need not be closed for a fork."""
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(streams) if source != target]
    defaults = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]
    options: dict[str, Any] = {"file_actions": actions, "setsigmask": mask, "setsigdef": defaults}
    try:
        try:
            pid = os.posix_spawnp(argv[0], list(argv), dict(environment), **options)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a first line that names its interpreter: a shell would run it, so do we.
            shell = ["/bin/sh", _found(argv[0], environment), *argv[1:]]
            pid = os.posix_spawn(shell[0], shell, dict(environment), **options)
    except OSError as error:
        raise CommandNotStarted(argv[0], error.errno or errno.EINVAL) from error
    return Child(pid, pid, -1, -1)


def _launch_in_session(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: str | None,
    streams: tuple[int, int, int],
    mask: set[signal.Signals],
    error_write: int,
) -> Child:
    read_end, write_end = os.pipe()
    held, hold = os.pipe()
    recorder = os.getpid()
    leader = os.fork()
    if leader == 0:
        try:
            os.close(read_end)
            os.close(hold)
            os.setsid()
            take_controlling_terminal(streams[0])
            # Blocked, not ignored: the command would inherit that.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU, signal.SIGTTIN, signal.SIGTSTP})
            pid = os.fork()
            if pid == 0:
                os.setpgid(0, 0)
                os.tcsetpgrp(streams[0], os.getpid())
                _execute(argv, environment, cwd, streams, mask, error_write)
            _lead(pid, streams[0], write_end, held, recorder)
        finally:
            os._exit(1)
    os.close(error_write)
    os.close(write_end)
    os.close(held)
    first = os.read(read_end, 4)
    pid = struct.unpack("=i", first)[0] if len(first) == 4 else leader
    os.set_blocking(read_end, False)
    return Child(pid, leader, read_end, hold)


def _lead(pid: int, terminal: int, messages: int, held: int, recorder: int) -> NoReturn:
    """The session's leader: tells the recorder what happens to the command, and stays until it has read everything."""
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
        os.tcsetpgrp(terminal, pid)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.write(messages, struct.pack("=i", pid))
    highest = max(messages, held)
    keep = {messages, held}
    for descriptor in range(3, highest + 1):
        if descriptor not in keep:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    os.closerange(highest + 1, 4096)
    while True:
        _, status, usage = os.wait4(pid, os.WUNTRACED)
        stopped = os.WIFSTOPPED(status)
        kind = b"S" if stopped else b"E"
        os.write(messages, _MESSAGE.pack(kind, status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss))
        os.kill(recorder, signal.SIGCHLD)
        if not stopped:
            os.read(held, 1)
            os._exit(0)


def _execute(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: str | None,
    streams: tuple[int, int, int],
    mask: set[signal.Signals],
    error_write: int,
) -> NoReturn:
    """In the child: become the command, with the signals as the recorder found them."""
    number = errno.EINVAL
    try:
        for target, source in enumerate(streams):
            if source == target:
                os.set_inheritable(target, True)
            else:
                os.dup2(source, target)
        # Python ignores these two; the command must find them as usual. An interrupt between here and the exec must
        # end the command, not be noted by a Python that is about to vanish.
        for name in ("SIGPIPE", "SIGXFSZ"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if cwd is not None:
            os.chdir(cwd)
        try:
            os.execvpe(argv[0], list(argv), dict(environment))  # noqa: S606
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a first line that names its interpreter: a shell would run it, so do we.
            shell = ["/bin/sh", _found(argv[0], environment), *argv[1:]]
            os.execve(shell[0], shell, dict(environment))  # noqa: S606
    except OSError as error:
        number = error.errno or errno.EINVAL
    except BaseException:
        number = errno.EINVAL
    finally:
        os.write(error_write, struct.pack("=i", number))
        os._exit(127)
    raise AssertionError


def _found(command: str, environment: Mapping[str, str]) -> str:
    if "/" in command:
        return command
    for folder in os.get_exec_path(dict(environment)):
        path = os.path.join(folder, command)
        if os.access(path, os.X_OK):
            return path
    return command


def fill_standard_streams() -> None:
    """Where we were started with a closed standard stream, it is the null device: a pipe must not take its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class Received(NamedTuple):
    """A signal that arrived: ``sender`` is 0 when it came from the terminal or the kernel."""

    number: int
    sender: int


def block_signals() -> set[signal.Signals]:
    """Hold signals back, to be taken with `next_signal`; returns the mask as it was."""
    wanted = {*FORWARDED, signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT}
    return signal.pthread_sigmask(signal.SIG_BLOCK, wanted)  # type: ignore[return-value]


def next_signal(timeout_s: float | None = None) -> Received | None:
    """The next signal that arrives, or has arrived; None after the time-out."""
    wanted = {*FORWARDED, signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT}
    if not hasattr(signal, "sigtimedwait"):
        return _next_signal_without_info(wanted, timeout_s)
    info = signal.sigwaitinfo(wanted) if timeout_s is None else signal.sigtimedwait(wanted, timeout_s)
    return None if info is None else Received(info.si_signo, info.si_pid if info.si_code <= 0 else 0)


def _next_signal_without_info(wanted: set[signal.Signals], timeout_s: float | None) -> Received | None:
    """Where no sender is told (macOS), whatever comes counts as sent by a program."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while deadline is not None and not signal.sigpending() & wanted:
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.005)
    return Received(signal.sigwait(wanted), os.getpid())
