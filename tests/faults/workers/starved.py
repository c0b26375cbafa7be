"""Programs whose disk fails them, or whose rights do, and programs that look at damaged logs."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sqlite3
import sys
import time
from pathlib import Path

from mounts import fill_up
from under_fire import Ticked, open_log

from eventlog.errors import EventLogError, StoreError
from workers.writers import one, say


def read_and_try_to_append(path: str) -> None:
    """Say the head, then how an append ends."""
    try:
        with open_log(path, mode="r") as log:
            head = log.head()
            assert sum(1 for _ in log.read()) == head.position
            say(f"{head.position} {head.hash.hex()}")
        with open_log(path) as log:
            log.append("fire-again", Ticked(text="x" * 500_000))
        say("appended")
    except StoreError as error:
        say(type(error).__name__)


def append_under_a_size_limit(path: str, limit: str, prefix: str = "limited") -> None:
    """No file may grow beyond ``limit`` bytes; say how the first append that hits it ends, and its key."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open_log(path) as log:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
        told = ""
        for number in range(100_000):
            key = f"{prefix}-{number}"
            try:
                log.append("fire-limited", Ticked(text="x" * 3000), key=key)
            except StoreError as error:
                told = f"{type(error).__name__} {key}"
                break
            say(key)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        log.append("fire-limited", Ticked(text="the log works on"))
        say(told)


def append_until_full(path: str, prefix: str, filler: str) -> None:
    """Fill the disk with another file and append until the log refuses; say how."""
    try:
        log = open_log(path)
        for number in range(20):
            one(log, f"{prefix}before", number)
        fill_up(Path(filler))
        for number in range(100_000):
            one(log, f"{prefix}until", number)
    except StoreError as error:
        say(type(error).__name__)


def append_until_full_and_wait(path: str, filler: str) -> None:
    """The same, and then wait to be killed."""
    append_until_full(path, "w", filler)
    time.sleep(60)


def try_to_open(path: str) -> None:
    """Say "opened" or the name of the error, and its message."""
    try:
        with open_log(path) as log:
            say(f"opened {log.head().position}")
    except EventLogError as error:
        say(type(error).__name__)
        say(repr(str(error)))


def everything_wrong(path: str) -> list[str]:
    """What is wrong with the chain, the tables or the pages. Any other exception is a failure of its own."""
    found = []
    try:
        with open_log(path, mode="r") as log:
            report = log.verify()
            if not report.ok:
                found.append(f"chain {report.bad_position} {report.problem!r}")
            found += [f"row {difference!r}" for difference in log.projections.verify()]
    except EventLogError as error:
        found.append(f"{type(error).__name__} {str(error)!r}")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        pages = connection.execute("PRAGMA integrity_check").fetchone()[0]
        connection.close()
        if pages != "ok":
            found.append(f"pages {pages!r}")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        found.append(f"pages {error!r}")
    return found


def check_everything(path: str) -> None:
    """Say "sound", or what was found."""
    for line in everything_wrong(path)[:20] or ["sound"]:
        say(line)


def without_override() -> None:
    """Give up root's right to ignore file modes; nothing to do for other users."""
    if os.geteuid() != 0:
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0
    for index in range(3):
        data[index] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, data) == 0


def read_without_rights(path: str) -> None:
    """Read a log whose modes forbid writing, then try to write."""
    without_override()
    with open_log(path, mode="r") as log:
        assert log.verify().ok
        assert log.runs.count() > 0
        say(f"read {sum(1 for _ in log.read())}")
    try:
        with open_log(path) as log:
            log.append("fire-1", Ticked())
        say("appended")
    except EventLogError as error:
        say(type(error).__name__)


def read_again_and_again_without_rights(path: str) -> None:
    """Say how many records there are, now and after each line of stdin."""
    without_override()
    with open_log(path, mode="r") as log:
        say(f"read {sum(1 for _ in log.read())}")
        for _ in sys.stdin:
            say(f"read {sum(1 for _ in log.read())}")


def search_without_rights(path: str) -> None:
    """Search by the command line; say its status, and what it says on stderr."""
    from click.testing import CliRunner

    from eventlog.cli.root import cli

    without_override()
    done = CliRunner().invoke(cli, ["--db", path, "search", "needle"])
    say(str(done.exit_code))
    say(done.stderr.strip())


def say_why_not_read_without_rights(path: str) -> None:
    """Say the error of a log that cannot be read without writing, and what it advises."""
    without_override()
    try:
        open_log(path, mode="r").close()
        say("read")
    except EventLogError as error:
        folder = ": the folder" if "right to write there" in str(error) and str(Path(path).parent) in str(error) else ""
        say(f"{type(error).__name__}{folder}{', a copy' if 'db backup' in str(error) else ''}")


def make_every_file(path: str, umask: str) -> None:
    """Make every file a log has, under a umask; say each name and mode."""
    from click.testing import CliRunner

    from eventlog.cli.root import cli

    os.umask(int(umask, 8))
    log = open_log(path)
    for number in range(20):
        one(log, "files", number)
    folder = Path(path).parent
    done = CliRunner().invoke(cli, ["--db", path, "db", "backup", str(folder / "backup.db")])
    assert done.exit_code == 0, done.output
    with log.runs.track("files") as run:
        assert run.run_id
    for file in sorted(folder.glob("*")):
        if file.is_file():
            say(f"{file.relative_to(folder)} {oct(file.stat().st_mode & 0o777)}")
    log.close()
