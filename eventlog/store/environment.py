"""What a machine must be like for a SQLite log to be safe: file system, free space, SQLite version, one library."""

from __future__ import annotations

import gc
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from eventlog.errors import DiskFull, LocksLost, UnsupportedFilesystem

REFUSED_FILESYSTEMS = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "9p", "virtiofs", "afs", "ceph", "glusterfs", "beegfs",
    "ncpfs", "ocfs2", "gfs2",
}  # fmt: skip
_ESCAPE = re.compile(r"\\([0-7]{3})")
"""How the mount table writes spaces, tabs, newlines and backslashes."""
MOUNT_TABLE = "/proc/self/mounts"
LOW_WATER_BYTES = 1 << 20
_LOOKS, _LOOK_PAUSE_S = 5, 0.04
OTHER_ENGINES = ("apsw", "pysqlite3", "sqlean", "pysqlcipher3", "sqlcipher3")


def filesystem_of(path: Path, mount_table: str = MOUNT_TABLE) -> str | None:
    """The type of the file system that holds a path, from the mount table; None where there is no such table."""
    try:
        lines = os.fsdecode(Path(mount_table).read_bytes()).splitlines()
    except OSError:
        return None
    place = os.path.realpath(path)
    best, kind = "", None
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[1])
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def check_filesystem(path: Path, mount_table: str | None = None) -> None:
    """Raises UnsupportedFilesystem on network and user-space file systems, where a write-ahead log loses events."""
    kind = filesystem_of(path, mount_table or MOUNT_TABLE)
    if kind is not None and (kind in REFUSED_FILESYSTEMS or kind == "fuse" or kind.startswith("fuse.")):
        raise UnsupportedFilesystem(
            f"{path} is on a {kind} file system, where SQLite's write-ahead log is not safe; "
            "put the log on a local disk, or use PostgreSQL (postgresql://…)",
            filesystem=kind,
        )


def free_bytes(path: Path) -> int:
    """Bytes that an unprivileged process may still write on the file system of a path."""
    usage = os.statvfs(path)
    return usage.f_bavail * usage.f_frsize


def check_space(folder: Path) -> None:
    """Raises DiskFull below the low-water mark: a full disk can kill a process that opens a write-ahead log."""
    free = free_bytes(folder)
    if free < LOW_WATER_BYTES:
        raise DiskFull(
            f"only {free:,} bytes are free in {folder}, the log needs {LOW_WATER_BYTES:,}; nothing was written",
            free_bytes=free,
        )


def has_wal_reset_bug(version: str | None = None) -> bool:
    """Whether this SQLite has the WAL-reset race (3.7.0 to 3.51.2, fixed in 3.51.3, 3.50.7 and 3.44.6).

    With the bug a log is safe all the same, because every commit and checkpoint runs under the writer lock; other
    programs must not write to or checkpoint the file.
    """
    parts = tuple(int(part) for part in (version or sqlite3.sqlite_version).split("."))
    if parts < (3, 7, 0) or parts >= (3, 51, 3):
        return False
    return not ((3, 50, 7) <= parts < (3, 51, 0) or (3, 44, 6) <= parts < (3, 45, 0))


def foreign_engine() -> str | None:
    """The name of another SQLite library that this process has imported."""
    return next((name for name in OTHER_ENGINES if name in sys.modules), None)


def shared_memory_maps(path: Path) -> int:
    """How many SQLite libraries of this process have mapped a database's -shm file; 0 where /proc is not there."""
    try:
        wanted = os.stat(f"{path}-shm").st_ino
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    # address permissions offset device inode path: a library maps the start of the file once, whatever it has open.
    fields = (line.split(maxsplit=5) for line in lines)
    return sum(len(field) == 6 and int(field[2], 16) == 0 and int(field[4]) == wanted for field in fields)


def check_engines(path: Path, own: Callable[[], int]) -> None:
    """Raises LocksLost when another SQLite library has this file open too: the two cancel each other's locks.

    ``own`` says how many connections this package has to it. A thread that is just opening or closing one is not
    somebody else, nor is a log that was dropped without close(): who is still there after some looks is.
    """
    engine = foreign_engine()
    if engine is None:
        return
    for _ in range(_LOOKS):
        if shared_memory_maps(path) <= (1 if own() else 0):
            return
        gc.collect()
        time.sleep(_LOOK_PAUSE_S)
    raise LocksLost(
        f"{path} is open through another SQLite library in this process ({engine}); two libraries on one file "
        "cancel each other's locks and lose events. Close it there, or read the log through eventlog",
        engine=engine,
    )
