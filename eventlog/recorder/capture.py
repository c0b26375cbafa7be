"""What can be known about a run at the moment it starts, and the proof that its process is gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from eventlog.recorder.git import DirtyCheck, git_state
from eventlog.recorder.values import clip, plain, text
from eventlog.redaction import redact_argv, redact_mapping

ENVIRONMENT_SETTING = "EVENTLOG_ENV_ALLOW"
DEFAULT_ENVIRONMENT: tuple[str, ...] = ()
"""Names of environment variables recorded without being asked for: none, no value is harmless for everybody."""

MAX_ARGUMENTS = 2000
MAX_ARGV_TEXT = 128 * 1024
_MACHINE_ID_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")


def command_text(argv: Sequence[str]) -> str:
    """Arguments as one would type them in a shell."""
    import shlex

    return clip(plain(shlex.join(argv)), MAX_ARGV_TEXT)


def bounded_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """Arguments without secrets, valid Unicode, and no more than an event can hold."""
    kept: list[str] = []
    room = MAX_ARGV_TEXT
    for argument in redact_argv([plain(part) for part in argv[:MAX_ARGUMENTS]]):
        if room <= 0:
            break
        kept.append(clip(argument, room + 20))
        room -= len(argument)
    if len(kept) < len(argv):
        kept.append(f"… ({len(argv) - len(kept):,} more)")
    return tuple(kept)


def environment(names: str | None = None) -> dict[str, str]:
    """The allowed environment variables that are set, redacted.

    ``names``: comma list, ``*`` at the end of a name is a prefix; default the variable EVENTLOG_ENV_ALLOW.
    """
    wanted = names if names is not None else os.environ.get(ENVIRONMENT_SETTING, "")
    allowed = [*DEFAULT_ENVIRONMENT, *(part.strip() for part in wanted.split(",") if part.strip())]
    chosen: dict[str, str] = {}
    for rule in allowed:
        if rule.endswith("*") and len(rule) > 1:
            found = [name for name in os.environ if name.startswith(rule[:-1])]
        else:
            found = [rule] if rule in os.environ else []
        chosen.update({plain(name): clip(plain(os.environ[name]), 8192) for name in found[:200]})
    return redact_mapping(chosen)


def machine_id() -> str | None:
    """An identity of this installation, derived: machine-id(5) asks not to show the original."""
    for path in _MACHINE_ID_FILES:
        value = _read(path)
        if value and value != "uninitialized":
            import hashlib

            return hashlib.sha256(b"eventlog machine " + value.encode()).hexdigest()[:32]
    return None


def boot_id() -> str | None:
    """Changes with every start of the machine. None where there is no /proc."""
    return _read("/proc/sys/kernel/random/boot_id")


def pid_namespace() -> int | None:
    """The inode of the namespace in which process numbers are counted."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


class ProcessState(NamedTuple):
    """Of /proc/<pid>/stat (proc(5)): state letter, number of threads, start in clock ticks since boot."""

    letter: str
    threads: int
    started_ticks: int


def process_state(pid: int) -> ProcessState | None:
    """What /proc says about a process; None when it cannot be read."""
    line = _read(f"/proc/{pid}/stat")
    if line is None:
        return None
    # The second field is the program's name in brackets and may hold anything, brackets and spaces too.
    fields = line.rpartition(")")[2].split()
    try:
        return ProcessState(fields[0], int(fields[17]), int(fields[19]))
    except (IndexError, ValueError):
        return None


def started_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot."""
    state = process_state(pid)
    return None if state is None else state.started_ticks


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(8192).strip() or None
    except OSError:
        return None


def user_name() -> str | None:
    """The name of the user this process runs as."""
    try:
        import pwd

        return plain(pwd.getpwuid(os.geteuid()).pw_name)
    except (ImportError, KeyError, OSError):
        return plain(os.environ.get("USER", "")) or None


@lru_cache(maxsize=4)
def _process_facts(pid: int) -> dict[str, Any]:
    return {
        "host": plain(os.uname().nodename) or None,
        "machine_id": machine_id(),
        "boot_id": boot_id(),
        "pid": pid,
        "pid_namespace": pid_namespace(),
        "process_started_ticks": started_ticks(pid),
        "user": user_name(),
        "python_version": ".".join(str(part) for part in sys.version_info[:3]),
    }


def process_facts() -> dict[str, Any]:
    """Host, boot, process, user and Python version, as fields of RunStarted. Read once per process."""
    return dict(_process_facts(os.getpid()))


def git_facts(folder: str, dirty: bool = True) -> dict[str, Any]:
    """Commit, branch and, where asked for, the dirty flag, as fields of RunStarted; empty outside of a repository."""
    state = git_state(folder)
    if state is None:
        return {}
    facts: dict[str, Any] = {"git_commit": state.commit, "git_branch": state.branch and plain(state.branch)}
    if dirty:
        facts["git_dirty"] = DirtyCheck(state.root).result()
    return facts


def working_directory() -> str | None:
    """The current directory; None when it was removed."""
    try:
        return plain(os.getcwd())
    except OSError:
        return None


def command_facts(argv: Sequence[str], command: str | None = None, program: str | None = None) -> dict[str, Any]:
    """Command, arguments and program name as fields of RunStarted, without secrets."""
    shown = bounded_argv(argv)
    return {
        "command": text(command, MAX_ARGV_TEXT) if command is not None else command_text(shown),
        "argv": shown,
        "program": text(program, 200) if program is not None else program_name(argv),
    }


def program_name(argv: Sequence[str]) -> str:
    """What runs, in one word: the script of an interpreter, the module of ``-m``, else the command's own name."""
    if not argv:
        return ""
    first = os.path.basename(argv[0])
    rest = list(argv[1:])
    if first.rstrip("0123456789.") in ("python", "pypy", "node", "ruby", "perl", "bash", "sh", "Rscript", "julia"):
        if rest[:1] == ["-m"] and len(rest) > 1:
            return text(rest[1], 200)
        if rest and not rest[0].startswith("-"):
            return text(os.path.basename(rest[0]), 200)
    return text(first, 200)


def own_argv() -> list[str]:
    """How this Python process was started."""
    argv = list(getattr(sys, "orig_argv", None) or sys.argv)
    return argv if argv and argv[0] else [sys.executable or "python", *argv[1:]]


class Located(Protocol):
    """A process as a run or a worker remembers it."""

    @property
    def host(self) -> str | None:
        """The machine's name."""

    @property
    def machine_id(self) -> str | None:
        """See `machine_id`."""

    @property
    def boot_id(self) -> str | None:
        """See `boot_id`."""

    @property
    def pid(self) -> int | None:
        """Its number."""

    @property
    def pid_namespace(self) -> int | None:
        """See `pid_namespace`."""

    @property
    def process_started_ticks(self) -> int | None:
        """See `started_ticks`."""


def is_gone(run: Located) -> str | None:
    """One sentence that proves a run's or a worker's process gone; None when that is not proven. Never guesses."""
    here = process_facts()
    if run.pid is None or run.host is None or run.host != here["host"]:
        return None
    if run.machine_id is not None and here["machine_id"] is not None and run.machine_id != here["machine_id"]:
        return None
    if run.boot_id is None or here["boot_id"] is None:
        return _gone_without_proc(run, here)
    if run.boot_id != here["boot_id"]:
        if run.machine_id is None or here["machine_id"] is None:
            return None
        return f"{run.host} was restarted since: boot {run.boot_id[:8]} then, {here['boot_id'][:8]} now"
    if run.pid_namespace is None or run.pid_namespace != here["pid_namespace"]:
        return None
    if not _exists(run.pid):
        return f"process {run.pid} is no longer there"
    state = process_state(run.pid)
    if state is None:
        return None
    letter, threads, ticks = state
    if run.process_started_ticks is not None and ticks != run.process_started_ticks:
        before = run.process_started_ticks
        return f"process {run.pid} is another one now: started at tick {ticks}, the recorded one at {before}"
    if letter in "ZX" and threads <= 1 and run.process_started_ticks is not None:
        return f"process {run.pid} has ended and waits to be reaped"
    return None


def _gone_without_proc(run: Located, here: Mapping[str, Any]) -> str | None:
    """Without /proc only an absent process is proof, and only when neither side has namespaces."""
    if run.boot_id is not None or here["boot_id"] is not None or run.pid_namespace is not None or run.pid is None:
        return None
    return None if _exists(run.pid) else f"process {run.pid} is no longer there"


def _exists(pid: int) -> bool:
    # /proc may hide other users' processes; a signal that is not sent tells the truth.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
