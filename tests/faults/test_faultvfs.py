"""The faulty disk itself, on plain sqlite3: it must pass everything through, fail when told, and remember truly."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import faultvfs
import pytest
from faultvfs import Fault, FaultyDisk


@pytest.fixture
def connection(disk: FaultyDisk, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    c = sqlite3.connect(f"file:{tmp_path}/plain.db?vfs={faultvfs.NAME}", uri=True, isolation_level=None)
    c.execute("PRAGMA journal_mode=WAL")
    c.execute("PRAGMA synchronous=FULL")
    c.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, v TEXT)")
    disk.clear()
    yield c
    disk.clear()
    c.close()


def rows(tmp_path: Path) -> list[int]:
    with sqlite3.connect(f"file:{tmp_path}/plain.db", uri=True) as c:
        found = [n for (n,) in c.execute("SELECT n FROM t ORDER BY n")]
    c.close()
    return found


def test_everything_passes_through_when_nothing_is_armed(connection: sqlite3.Connection, tmp_path: Path) -> None:
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    for n in range(200):
        connection.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 500))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert rows(tmp_path) == list(range(200))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("write", "disk I/O error"),
        ("short", "disk I/O error"),
        ("full", "database or disk is full"),
        ("sync", "disk I/O error"),
    ],
)
def test_an_armed_fault_strikes_once_and_the_file_works_on(
    connection: sqlite3.Connection, disk: FaultyDisk, tmp_path: Path, fault: Fault, message: str
) -> None:
    connection.execute("INSERT INTO t VALUES (1, 'a')")
    disk.arm(fault)
    with pytest.raises(sqlite3.OperationalError, match=message):
        connection.execute("INSERT INTO t VALUES (2, 'b')")
    assert [name for name, _ in disk.fired] == [fault]
    connection.execute("INSERT INTO t VALUES (3, 'c')")
    assert 1 in rows(tmp_path) and 3 in rows(tmp_path)


def test_a_lasting_fault_strikes_until_it_is_cleared(connection: sqlite3.Connection, disk: FaultyDisk) -> None:
    disk.arm("full", at=2, lasting=True)
    for n in range(3):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            connection.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 20_000))
    assert len(disk.fired) >= 3
    disk.clear()
    connection.execute("INSERT INTO t VALUES (9, 'ok')")
    assert connection.execute("SELECT n FROM t").fetchall() == [(9,)]


def test_a_read_fault_reaches_the_reader(connection: sqlite3.Connection, disk: FaultyDisk, tmp_path: Path) -> None:
    for n in range(100):
        connection.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 1000))
    other = sqlite3.connect(f"file:{tmp_path}/plain.db?vfs={faultvfs.NAME}", uri=True)
    other.execute("SELECT 1 FROM t LIMIT 1").fetchall()
    disk.arm("read", at=1, lasting=True)
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        other.execute("SELECT sum(length(v)) FROM t").fetchall()
    disk.clear()
    assert other.execute("SELECT count(*) FROM t").fetchone() == (100,)
    other.close()


def test_opening_and_shared_memory_can_fail_too(
    disk: FaultyDisk, connection: sqlite3.Connection, tmp_path: Path
) -> None:
    url = f"file:{tmp_path}/plain.db?vfs={faultvfs.NAME}"
    disk.arm("open")
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(url, uri=True).execute("SELECT 1 FROM t")
    disk.arm("shm")
    other = sqlite3.connect(url, uri=True)
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        other.execute("SELECT 1 FROM t").fetchall()
    assert other.execute("SELECT 1 FROM t").fetchall() == []
    other.close()


def test_a_suffix_limits_the_fault_to_one_file(connection: sqlite3.Connection, disk: FaultyDisk) -> None:
    disk.arm("sync", lasting=True, suffix=".db")
    connection.execute("INSERT INTO t VALUES (1, 'only the -wal is synced by a commit')")
    assert disk.fired == []
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(FULL)")
    assert disk.fired


def test_the_recording_replayed_gives_the_same_bytes(
    connection: sqlite3.Connection, disk: FaultyDisk, tmp_path: Path
) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    image = {p.name: bytearray(p.read_bytes()) for p in tmp_path.glob("plain.db*") if not p.name.endswith("-shm")}
    with disk.recording() as journal:
        for n in range(50):
            connection.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 300))
            disk.mark(b"%d" % n)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT INTO t VALUES (999, 'not recorded')")
    for op in journal:
        content = image.setdefault(Path(op.path).name, bytearray())
        if op.kind == "write":
            content.extend(b"\0" * (op.offset - len(content)))
            content[op.offset : op.offset + len(op.data)] = op.data
        elif op.kind == "truncate":
            del content[op.offset :]
    replayed = tmp_path / "replayed.db"
    replayed.write_bytes(image["plain.db"])
    with sqlite3.connect(replayed) as c:
        assert [n for (n,) in c.execute("SELECT n FROM t")] == list(range(50))
    c.close()
    assert [op.data for op in journal if op.kind == "mark"] == [b"%d" % n for n in range(50)]
    assert sum(op.kind == "sync" for op in journal) >= 50  # FULL: at least one a commit
