"""What the store asks of its machine: file systems, space, the SQLite version, one library on a file."""

from __future__ import annotations

import os
import sqlite3
import sys
import types
from pathlib import Path

import pytest

import eventlog
from eventlog.errors import DiskFull, LocksLost, UnsupportedFilesystem
from eventlog.store import environment

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export /mnt/nfs nfs4 rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
server:/x /mnt/données nfs rw 0 0
/dev/sdb1 /mnt/nfs/local ext4 rw 0 0
user@host: /mnt/sshfs fuse.sshfs rw 0 0
host /mnt/9p 9p rw 0 0
drive /mnt/fuse fuse rw 0 0
broken line
/dev/sdc1 /mnt/nfs/twice ext4 rw 0 0
server:/y /mnt/nfs/twice nfs4 rw 0 0
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return str(path)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/anna/log.db", "ext4"),
        ("/mnt/nfs/log.db", "nfs4"),
        ("/mnt/nfs", "nfs4"),
        ("/mnt/nfsx/log.db", "ext4"),
        ("/mnt/nfs/local/deep/log.db", "ext4"),
        ("/mnt/nfs/twice/log.db", "nfs4"),
        ("/mnt/with space/log.db", "cifs"),
        ("/mnt/données/log.db", "nfs"),
        ("/mnt/sshfs/log.db", "fuse.sshfs"),
        ("/mnt/9p/log.db", "9p"),
        ("/mnt/nfs/../other/log.db", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_its_deepest_mount(table: str, path: str, kind: str) -> None:
    assert environment.filesystem_of(Path(path), table) == kind


@pytest.mark.parametrize("folder", ["nfs", "with space", "données", "sshfs", "9p", "fuse", "nfs/twice"])
def test_network_and_user_space_file_systems_are_refused(table: str, folder: str) -> None:
    with pytest.raises(UnsupportedFilesystem, match="local disk") as caught:
        environment.check_filesystem(Path("/mnt") / folder / "log.db", table)
    assert caught.value.filesystem


@pytest.mark.parametrize("path", ["/home/log.db", "/mnt/nfs/local/log.db", "/mnt/log.db"])
def test_local_disks_are_taken(table: str, path: str) -> None:
    environment.check_filesystem(Path(path), table)


def test_without_a_mount_table_nothing_is_refused(tmp_path: Path) -> None:
    assert environment.filesystem_of(tmp_path, str(tmp_path / "none")) is None
    environment.check_filesystem(tmp_path, str(tmp_path / "none"))


def test_this_machines_own_mount_table_is_read(tmp_path: Path) -> None:
    if Path(environment.MOUNT_TABLE).exists():
        assert environment.filesystem_of(tmp_path)


def test_free_space_is_what_the_system_says(tmp_path: Path) -> None:
    usage = os.statvfs(tmp_path)
    assert abs(environment.free_bytes(tmp_path) - usage.f_bavail * usage.f_frsize) < 1 << 30


def test_too_little_space_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.check_space(tmp_path)
    monkeypatch.setattr(environment, "LOW_WATER_BYTES", 1 << 62)
    with pytest.raises(DiskFull) as caught:
        environment.check_space(tmp_path)
    assert caught.value.free_bytes
    with pytest.raises(DiskFull):
        eventlog.open(tmp_path / "log.db")
    assert not (tmp_path / "log.db").exists()


@pytest.mark.parametrize(
    ("version", "has_bug"),
    [
        ("3.6.23", False),
        ("3.7.0", True),
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.0", True),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.52.0", False),
        ("4.0.0", False),
    ],
)
def test_the_wal_reset_bug_is_known_by_version(version: str, has_bug: bool) -> None:
    assert environment.has_wal_reset_bug(version) is has_bug


def test_without_a_version_it_is_this_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.has_wal_reset_bug() is environment.has_wal_reset_bug(sqlite3.sqlite_version)


def test_a_library_maps_the_shared_memory_of_a_log_once(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    assert environment.shared_memory_maps(path) == 0
    with eventlog.open(path) as log, eventlog.open(path) as other:
        assert log.head() == other.head()
        log.runs.start("x")
        assert environment.shared_memory_maps(path) == 1


def test_another_sqlite_library_matters_only_when_it_has_the_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    with eventlog.open(path) as log:
        for name in environment.OTHER_ENGINES:
            monkeypatch.delitem(sys.modules, name, raising=False)
        assert environment.foreign_engine() is None
        monkeypatch.setitem(sys.modules, "apsw", types.ModuleType("apsw"))
        assert environment.foreign_engine() == "apsw"
        log.runs.start("fine")
        with eventlog.open(path) as other:
            assert other.runs.count() == 1
        with pytest.raises(LocksLost, match="apsw"):
            environment.check_engines(path, own=lambda: 0)


def test_a_thread_that_is_just_opening_the_log_is_not_another_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    with eventlog.open(path):
        monkeypatch.setitem(sys.modules, "apsw", types.ModuleType("apsw"))
        counts = iter((0, 1))  # its connection is there already, and is counted a moment later
        environment.check_engines(path, own=lambda: next(counts))
