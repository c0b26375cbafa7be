"""`eventlog run` in a terminal: the command sees one too, and everything in it behaves as without us."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.run_command_support import RUNNER, only_run

WINDOW = (33, 111)


class Terminal:
    """A recorder in a terminal of its own, as a shell would start it: leader of a session, in the foreground."""

    def __init__(self, db: Path, *command: str, stdout: int | None = None, stdin: int | None = None) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            if stdout is not None:
                os.dup2(stdout, 1)
            if stdin is not None:
                os.dup2(stdin, 0)
            os.environ.pop("PYTHONUNBUFFERED", None)
            os.execv(sys.executable, [sys.executable, "-c", RUNNER, str(db), *command])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", *WINDOW, 0, 0))
        self.seen = b""

    def read_until(self, wanted: bytes, timeout_s: float = 30) -> bytes:
        deadline = time.monotonic() + timeout_s
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{wanted!r} never came, only {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                self._read()
        return self.seen

    def _read(self) -> bool:
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def type(self, data: bytes) -> None:
        os.write(self.fd, data)

    def wait(self, timeout_s: float = 30) -> int:
        deadline = time.monotonic() + timeout_s
        while True:
            if select.select([self.fd], [], [], 0.02)[0] and not self._read():
                break
            assert time.monotonic() < deadline, f"still running: {self.seen!r}"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.fd)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "log" / "log.db"


@pytest.fixture
def terminal(db: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def make(*command: str, **options: int) -> Terminal:
        opened.append(Terminal(db, *command, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_the_command_has_a_terminal_of_the_right_size(db: Path, terminal: Callable[..., Terminal]) -> None:
    program = (
        "import os,sys,time; time.sleep(0.3); "
        "print([os.isatty(n) for n in range(3)], os.get_terminal_size(), "
        "os.tcgetpgrp(0) == os.getpgrp(), os.ttyname(0) == os.ttyname(2))"
    )
    shell = terminal(sys.executable, "-c", program)
    assert shell.wait() == 0
    assert b"[True, True, True] os.terminal_size(columns=111, lines=33) True True\r\n" in shell.seen
    assert only_run(db).status == "success"


def test_colours_and_progress_pass_unmodified(db: Path, terminal: Callable[..., Terminal]) -> None:
    shell = terminal("sh", "-c", r"printf '\033[31mred\033[0m\r10%%\r20%%\n'; printf 'e1\n' >&2; printf 'o2\n'")
    assert shell.wait() == 0
    expected = b"\x1b[31mred\x1b[0m\r10%\r20%\r\ne1\r\no2\r\n"
    assert shell.seen == expected
    assert (db.parent / "result/1/logs/stdout.log").read_bytes() == expected
    assert only_run(db).peak_memory_bytes is None, "less than the recorder has taken, which the kernel counts, too"


def test_typed_text_reaches_the_command_and_is_echoed_once(db: Path, terminal: Callable[..., Terminal]) -> None:
    shell = terminal("sh", "-c", "echo ready; read line; echo got:$line")
    shell.read_until(b"ready")
    shell.type(b"hello\n")
    assert shell.wait() == 0
    assert shell.seen == b"ready\r\nhello\r\ngot:hello\r\n"


def test_end_of_input_is_passed_on(db: Path, terminal: Callable[..., Terminal]) -> None:
    shell = terminal("sh", "-c", "echo ready; exec cat")
    shell.read_until(b"ready")
    shell.type(b"one\n\x04")
    assert shell.wait() == 0
    assert shell.seen.endswith(b"one\r\n")


def test_a_password_prompt_does_not_echo(db: Path, terminal: Callable[..., Terminal]) -> None:
    program = "import getpass; p = getpass.getpass('Password: '); print(len(p))"
    shell = terminal(sys.executable, "-c", program)
    shell.read_until(b"Password: ")
    shell.type(b"sesame-opens\n")
    assert shell.wait() == 0
    assert b"sesame" not in shell.seen
    assert b"12" in shell.seen


def test_control_c_reaches_the_command_once(db: Path, terminal: Callable[..., Terminal]) -> None:
    program = (
        "import signal,time\n"
        "n = 0\n"
        "def handler(*_):\n global n; n += 1\n"
        "signal.signal(signal.SIGINT, handler); print('ready', flush=True)\n"
        "end = time.monotonic() + 20\n"
        "while not n and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.3); print('interrupts:', n)\n"
    )
    shell = terminal(sys.executable, "-c", program)
    shell.read_until(b"ready")
    shell.type(b"\x03")
    assert shell.wait() == 0
    assert b"interrupts: 1\r\n" in shell.seen


def test_control_c_kills_and_is_recorded(db: Path, terminal: Callable[..., Terminal]) -> None:
    shell = terminal("sh", "-c", "echo ready; sleep 60")
    shell.read_until(b"ready")
    shell.type(b"\x03")
    assert shell.wait() == 130
    assert (only_run(db).status, only_run(db).signal) == ("killed", signal.SIGINT)


def test_control_c_reaches_the_command_once_when_only_the_output_is_a_pipe(
    db: Path, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    program = (
        "import signal,time,sys\n"
        "n = 0\n"
        "def handler(*_):\n global n; n += 1\n"
        "signal.signal(signal.SIGINT, handler)\n"
        "print('ready', sys.stderr.isatty(), sys.stdin.isatty(), file=sys.stderr, flush=True)\n"
        "end = time.monotonic() + 20\n"
        "while not n and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.3); print('interrupts:', n, flush=True); print(sys.stdout.isatty())\n"
    )
    with (tmp_path / "out").open("wb") as out:
        shell = terminal(sys.executable, "-c", program, stdout=out.fileno())
    shell.read_until(b"ready True True\r\n")
    shell.type(b"\x03")
    assert shell.wait() == 0
    assert (tmp_path / "out").read_bytes() == b"interrupts: 1\nFalse\n"


def test_a_resized_window(db: Path, terminal: Callable[..., Terminal]) -> None:
    program = (
        "import os,signal,time\n"
        "changed = False\n"
        "def handler(*_):\n global changed; changed = True\n"
        "signal.signal(signal.SIGWINCH, handler); print('ready', flush=True)\n"
        "end = time.monotonic() + 20\n"
        "while os.get_terminal_size().columns != 50 and time.monotonic() < end: time.sleep(0.01)\n"
        "print(os.get_terminal_size(), changed)\n"
    )
    shell = terminal(sys.executable, "-c", program)
    shell.read_until(b"ready")
    fcntl.ioctl(shell.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 50, 0, 0))
    assert shell.wait() == 0
    assert b"columns=50, lines=20) True" in shell.seen


def test_input_from_a_pipe_output_to_a_terminal(db: Path, terminal: Callable[..., Terminal]) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"from a pipe\n")
    os.close(write_end)
    shell = terminal("sh", "-c", "cat; test -t 1 && test -t 2 && ! test -t 0 && echo mixed", stdin=read_end)
    os.close(read_end)
    assert shell.wait() == 0
    assert shell.seen == b"from a pipe\r\nmixed\r\n"
    assert (db.parent / "result/1/logs/stdout.log").read_bytes() == b"from a pipe\nmixed\n"


@pytest.mark.parametrize("ending", ["exit 3", "kill -9 $$", "no-such-command"])
def test_the_terminal_is_left_as_it_was(db: Path, tmp_path: Path, ending: str) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    command = [sys.executable, "-c", RUNNER, str(db), "sh", "-c", f"stty raw -echo; {ending}"]
    script = (
        "import fcntl,os,subprocess,sys,termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        f"sys.exit(subprocess.call({command!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=slave, stdout=slave, stderr=slave)
    deadline = time.monotonic() + 30
    while process.poll() is None:
        assert time.monotonic() < deadline
        if select.select([master], [], [], 0.05)[0]:
            os.read(master, 65536)
    assert process.returncode in (3, 137, 127)
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_control_z_stops_and_fg_continues(db: Path, tmp_path: Path) -> None:
    """A real shell with job control around the recorder."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    shell = Terminal.__new__(Terminal)
    shell.pid, shell.fd, shell.seen = pid, fd, b""
    try:
        script = tmp_path / "recorder.py"
        script.write_text(RUNNER)
        shell.type(b"PS1='pr''ompt> '\n")
        shell.read_until(b"prompt> ")
        inner = "echo begun; read a; echo got:$a"
        shell.type(f"PYTHONPATH={os.getcwd()} {sys.executable} {script} {db} sh -c '{inner}'\n".encode())
        shell.read_until(b"begun\r\n")
        shell.seen = b""
        shell.type(b"\x1a")
        shell.read_until(b"Stopped")
        shell.read_until(b"prompt> ")
        shell.seen = b""
        shell.type(b"echo between-$((40+2))\n")
        shell.read_until(b"between-42")
        shell.read_until(b"prompt> ")
        shell.seen = b""
        shell.type(b"fg\n")
        time.sleep(0.5)
        shell.type(b"word\n")
        shell.read_until(b"got:word")
        shell.read_until(b"prompt> ")
        shell.type(b"exit\n")
        shell.wait()
    finally:
        shell.close()
    assert only_run(db).status == "success"
