"""Databases of other programs: what is no plain table is refused, soon and with little memory, and nothing is run."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import eventlog
from eventlog.importers.foreign import MAX_CELL_BYTES, open_foreign
from eventlog.importers.run import SourceFailed
from tests.faults.mounts import small_disks

EXPECTED = {"notes": ("id", "text")}


def made(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


def notes(path: Path, count: int) -> Path:
    made(path, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany("INSERT INTO notes VALUES (?, ?)", ((n, f"note {n}" * 20) for n in range(1, count + 1)))
        connection.commit()
    return path


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS id, '' AS text FROM c"
BOMBS = {
    "view": ("is not a plain table", [f"CREATE VIEW notes AS {ENDLESS}"]),
    "virtual": ("is not a plain table", ["CREATE VIRTUAL TABLE notes USING fts5(id, text)"]),
    "triggers": (
        "has triggers",
        [
            "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)",
            "CREATE TRIGGER t AFTER INSERT ON notes BEGIN INSERT INTO notes(text) VALUES ('x'); END",
        ],
    ),
    "computed": (
        "has computed columns",
        ["CREATE TABLE notes (id INTEGER, text TEXT AS (hex(zeroblob(id))), more TEXT)"],
    ),
    "columns": ("has no column text", ["CREATE TABLE notes (id INTEGER)"]),
    "nothing": ("has no table notes", ["CREATE TABLE other (id INTEGER)"]),
    "unnumbered": ("has no row numbers", ["CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT) WITHOUT ROWID"]),
    "hidden": ("has no row numbers", ["CREATE TABLE notes (id, text, rowid TEXT, _rowid_ TEXT, oid TEXT)"]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_no_plain_table_is_refused_at_once(tmp_path: Path, name: str) -> None:
    problem, statements = BOMBS[name]
    path = made(tmp_path / "bomb.db", *statements)
    started = time.monotonic()
    with pytest.raises(SourceFailed, match=problem):
        open_foreign(path, EXPECTED)
    assert time.monotonic() - started < 2


def test_computed_columns_that_nobody_needs_are_not_read(tmp_path: Path) -> None:
    columns = "id INTEGER PRIMARY KEY, text TEXT, big AS (zeroblob(id * 40000000))"
    path = made(tmp_path / "notes.db", f"CREATE TABLE notes ({columns})", "INSERT INTO notes VALUES (1, 'one')")
    with open_foreign(path, EXPECTED) as database:
        assert [row.values for row in database.rows("notes")] == [{"id": 1, "text": "one"}]


def test_a_schema_without_end_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "many.db", *(f"CREATE TABLE t{n} (a)" for n in range(3)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "INSERT INTO sqlite_schema WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 60000) "
            "SELECT 'table', 'u' || x, 'u' || x, 2, 'CREATE TABLE u' || x || ' (a)' FROM c"
        )
        connection.commit()
    started = time.monotonic()
    with pytest.raises(SourceFailed, match="takes more steps"):
        open_foreign(path, EXPECTED)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("seed", range(8))
def test_damaged_pages_end_the_reading_and_say_nothing_of_the_content(tmp_path: Path, seed: int) -> None:
    path = notes(tmp_path / "damaged.db", 3000)
    data = bytearray(path.read_bytes())
    pages = len(data) // 4096
    for number in range(1 if seed % 2 else 0, pages, 3):
        start = number * 4096 + (100 if number == 0 else 0)
        data[start : start + 900] = bytes((seed * 37 + place * 11) % 256 for place in range(900))
    path.write_bytes(data)
    started = time.monotonic()
    with pytest.raises(SourceFailed) as raised, open_foreign(path, EXPECTED) as database:
        list(database.rows("notes"))
    assert "note" not in str(raised.value).replace(str(path), "").replace("notes", "")
    assert time.monotonic() - started < 2


def test_a_schema_that_is_no_text_is_damage(tmp_path: Path) -> None:
    path = made(tmp_path / "flipped.db", "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")
    data = path.read_bytes()
    path.write_bytes(data.replace(b" STRICT", b" \xd3TRICT"))
    with pytest.raises(SourceFailed, match="is damaged"):
        open_foreign(path, EXPECTED)


def test_pages_that_lead_round_in_a_circle_end(tmp_path: Path) -> None:
    path = notes(tmp_path / "circle.db", 3000)
    data = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_schema").fetchone()[0]
    page = (root - 1) * 4096
    cells = int.from_bytes(data[page + 3 : page + 5], "big")
    first = int.from_bytes(data[page + 12 : page + 14], "big")
    child = data[page + first : page + first + 4]
    for cell in range(cells):
        where = int.from_bytes(data[page + 12 + 2 * cell : page + 14 + 2 * cell], "big")
        data[page + where : page + where + 4] = child
    path.write_bytes(data)
    with pytest.raises(SourceFailed, match="is damaged"), open_foreign(path, EXPECTED) as database:
        list(database.rows("notes"))


def test_rows_that_share_their_content_end(tmp_path: Path) -> None:
    path = made(tmp_path / "shared.db", "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO notes VALUES (1, ?)", ("a" * (6 << 20),))
        connection.executemany("INSERT INTO notes VALUES (?, ?)", ((n, "b" * 4200) for n in range(2, 300)))
        connection.commit()
    with open_foreign(path, EXPECTED) as database:
        assert sum(row.size for row in database.rows("notes")) == (6 << 20) + 298 * 4200
        # As if the file had a thousandth of its pages.
        database._size //= 1000
        with pytest.raises(SourceFailed, match="is damaged"):
            list(database.rows("notes"))


def test_rows_come_in_order_whatever_is_in_them(tmp_path: Path) -> None:
    path = made(tmp_path / "odd.db", "CREATE TABLE notes (id INTEGER PRIMARY KEY, text)")
    with closing(sqlite3.connect(path)) as connection:
        for number, value in ((5, b"\xff\0"), (7, 1.5), (9, None), (11, "a\0b"), (1200, "end")):
            connection.execute("INSERT INTO notes VALUES (?, ?)", (number, value))
        connection.execute("INSERT INTO notes VALUES (13, CAST(x'61ff' AS TEXT))")
        connection.execute(f"INSERT INTO notes VALUES (15, zeroblob({MAX_CELL_BYTES + 1}))")
        connection.execute(f"INSERT INTO notes VALUES (16, CAST(zeroblob({MAX_CELL_BYTES + 1}) AS TEXT))")
        connection.executemany("INSERT INTO notes VALUES (?, 'x')", ((number,) for number in range(100, 1150)))
        connection.commit()
    with open_foreign(path, EXPECTED) as database:
        rows = list(database.rows("notes"))
        assert [row.number for row in rows] == [5, 7, 9, 11, 13, 15, 16, *range(100, 1150), 1200]
        assert [row.values["text"] for row in rows[:5]] == [b"\xff\0", 1.5, None, "a\\x00b", "a\\xff"]
        assert [row.too_big for row in rows[4:8]] == [(), ("text",), ("text",), ()]
        assert rows[5].values == {"id": 15, "text": None}
        same = database.by("notes", "text")("x")
        assert [row.number for row in same] == [*range(100, 1150)]
        assert database.find("notes", "id", 15)[0].too_big == ("text",)
        assert database.find("notes", "id", 1200)[0].values["text"] == "end"
        assert database.get("notes", 6) is None
        assert database.count("notes") == 1200


def test_an_event_log_is_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with eventlog.open(path) as log:
        with pytest.raises(SourceFailed, match="is an event log itself; `eventlog db copy`"):
            open_foreign(path, {"events": ("position",)})
        log.runs.start("still works")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("secret words " * 100)
    (tmp_path / "empty.db").touch()
    (tmp_path / "short.db").write_bytes(notes(tmp_path / "whole.db", 500).read_bytes()[:5000])
    os.mkfifo(tmp_path / "pipe.db")
    for name, problem in {
        "text.db": "is not a SQLite database",
        "empty.db": "has no table notes",
        "short.db": "is damaged",
        "pipe.db": "is not a file",
        "none.db": "is not a file",
    }.items():
        with pytest.raises(SourceFailed, match=problem), open_foreign(tmp_path / name, EXPECTED) as database:
            list(database.rows("notes"))


def test_a_database_that_its_program_has_open_is_read_with_its_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("INSERT INTO notes VALUES (1, 'one')")
        connection.commit()
        with open_foreign(path, EXPECTED) as database:
            assert [row.values["text"] for row in database.rows("notes")] == ["one"]
            connection.execute("INSERT INTO notes VALUES (2, 'two')")
            connection.commit()
            assert [row.number for row in database.rows("notes")] == [1, 2]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    for mount in small_disks(tmp_path, "tmpfs"):
        yield mount(8)


@pytest.mark.parametrize("checkpointed", [True, False])
def test_a_database_on_a_place_where_nothing_can_be_written(tmp_path: Path, disk: Path, checkpointed: bool) -> None:
    path = tmp_path / "live.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("INSERT INTO notes VALUES (1, 'one')")
        connection.commit()
        if checkpointed:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for end in ("",) if checkpointed else ("", "-wal"):
            shutil.copyfile(f"{path}{end}", disk / f"notes.db{end}")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with open_foreign(disk / "notes.db", EXPECTED) as database:
        assert [row.values["text"] for row in database.rows("notes")] == ["one"]
