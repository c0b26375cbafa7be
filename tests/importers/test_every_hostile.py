"""Every importer, and sources that are damaged or made to do harm: the rest is imported, and nothing else happens."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import eventlog
from eventlog.app import Log
from eventlog.cli import main
from eventlog.errors import NotFound
from eventlog.importers.formats import FORMATS
from tests.importers.samples import DATABASES, LINES, PLAIN, SAMPLES, sample_lines
from tests.importers.test_every import assert_adds_up

every = pytest.mark.parametrize("name", FORMATS)
NAMES = {"claude": "a.jsonl", "codex": "rollout-x.jsonl", "agent-jsonl": "t/messages.jsonl", "sessions-json": "a.json"}
WORDS = "hunter2 stands outside"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with eventlog.open(tmp_path / "log.db") as log:
        yield log


def told(log: Log) -> list[tuple[str, str, str]]:
    return [(one.stream, one.type, one.data) for one in log.read() if not one.type.startswith("import.")]


def beside(folder: Path, name: str, make: Callable[[Path], object]) -> None:
    """Something else under the name of a source, and one in the place of each file that is read along."""
    place = folder / NAMES.get(name, DATABASES.get(name, ""))
    place.parent.mkdir(parents=True, exist_ok=True)
    make(place)


@every
def test_links_pipes_and_devices_are_passed_over(log: Log, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside" / "secret.json"
    outside.parent.mkdir()
    outside.write_text(json.dumps({"id": "x", "role": "user", "type": "user", "task": WORDS, "content": WORDS}))
    source = SAMPLES[name](tmp_path / "source", PLAIN)
    ways: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo, "device": lambda at: at.symlink_to("/dev/zero"), "self": lambda at: at.symlink_to(at),
        "nowhere": lambda at: at.symlink_to(tmp_path / "nothing"), "outside": lambda at: at.symlink_to(outside),
    }  # fmt: skip
    for way, make in ways.items():
        beside(source / way, name, make)
    (source / "round").symlink_to(source, target_is_directory=True)
    (source / "up").symlink_to(tmp_path / "outside", target_is_directory=True)
    started = time.monotonic()
    report = log.import_from(name, source)
    assert time.monotonic() - started < 2
    assert not report.partial and report.total.understood_records
    assert not any(WORDS in record.data for record in log.read())
    with eventlog.open(tmp_path / "clean.db") as clean:
        clean.import_from(name, SAMPLES[name](tmp_path / "clean" / "source", PLAIN))
        assert len(told(clean)) == len(told(log))


@pytest.mark.parametrize("name", ["opencode", "tasks-db"])
@pytest.mark.parametrize("way", ["pipe", "device", "outside"])
def test_what_is_no_file_among_those_that_are_read_along(log: Log, tmp_path: Path, name: str, way: str) -> None:
    source = SAMPLES[name](tmp_path / "source", PLAIN)
    outside = tmp_path / "secret.json"
    outside.write_text(json.dumps({"role": "user", "content": WORDS, "title": WORDS}))
    file = next(one for one in sorted(source.rglob("*.json")) if "part" not in one.parts)
    file.unlink()
    if way == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero" if way == "device" else outside)
    report = log.import_from(name, source)
    assert (report.total.quarantined_records, report.partial) == (1, True)
    assert report.total.understood_records and not any(WORDS in record.data for record in log.read())


def _corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(100, len(data), 512):
        data[at : at + 256] = bytes((at * 7 + place * 11) % 256 for place in range(len(data[at : at + 256])))
    path.write_bytes(data)


def _run(script: str) -> Callable[[Path], None]:
    def made(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            tables = [
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                )
            ]
            for table in tables:
                connection.executescript(script.format(table=table))
            connection.commit()

    return made


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
BOMBS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text(f"{WORDS} " * 500),
    "zeros": lambda path: path.write_bytes(bytes(100_000)),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 3]),
    "corrupt": _corrupt,
    "views": _run(f'DROP TABLE "{{table}}"; CREATE VIEW "{{table}}" AS {ENDLESS};'),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", DATABASES)
def test_a_crafted_database_is_refused_at_once(log: Log, tmp_path: Path, name: str, bomb: str) -> None:
    source = SAMPLES[name](tmp_path / "source", [f"{WORDS} {number}" for number in range(60)])
    path = source / DATABASES[name]
    BOMBS[bomb](path)
    started = time.monotonic()
    report = log.import_from(name, path)
    assert time.monotonic() - started < 2
    assert report.partial and report.sources[0].status == "failed"
    assert WORDS not in str(report.sources[0].problem)
    assert told(log) == [] or bomb in ("cut off", "corrupt")
    assert log.verify().ok and log.projections.verify() == []


def test_what_fails_is_told_by_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tasks.db").write_text(WORDS)
    with pytest.raises(SystemExit) as done:
        main(["--db", str(tmp_path / "log.db"), "import", "tasks-db", str(tmp_path)])
    said = capsys.readouterr()
    assert done.value.code == 3 and "is not a SQLite database" in said.out and WORDS not in said.out + said.err


@pytest.mark.parametrize("name", LINES)
def test_damaged_lines_cost_themselves_alone(log: Log, tmp_path: Path, name: str) -> None:
    source = SAMPLES[name](tmp_path / "source", PLAIN)
    whole = log.import_from(name, source, dry_run=True).total
    damaged = 0
    for path in sorted(source.rglob("*.jsonl")):
        first, *rest = sample_lines(path)
        bad = [f'{{"{WORDS}": '.encode(), b"\0" * 64, b"\xff\xfe " + WORDS.encode(), b'{"a":' * 100_000, b"[1]"]
        tail = b'{"type": "user", "text": "' + WORDS.encode()
        path.write_bytes(b"\n".join([first, *bad, b"".join(rest[:2]), *rest[2:], tail]))
        os.utime(path, (1e9, 1e9))
        damaged += len(bad) + 1
    started = time.monotonic()
    report = log.import_from(name, source)
    assert time.monotonic() - started < 5
    assert report.total.quarantined_records == damaged
    assert report.total.records - damaged == whole.records
    assert_adds_up(log, report)
    assert WORDS not in str(log.projections.rows("import_quarantine")) + str(report)
    assert log.projections.verify() == []


@every
def test_a_tree_of_empty_files_costs_little(log: Log, tmp_path: Path, name: str) -> None:
    suffix = Path(NAMES.get(name, "x.txt")).suffix if name in LINES else ".txt"
    (tmp_path / "many").mkdir()
    for number in range(2000):
        (tmp_path / "many" / f"{number}{suffix}").touch()
    started = time.monotonic()
    if name in ("claude", "codex"):  # whose files may have any name
        assert log.import_from(name, tmp_path / "many").sources == []
    else:
        with pytest.raises(NotFound, match="nothing that"):
            log.import_from(name, tmp_path / "many")
    assert time.monotonic() - started < 2
    assert log.head().position == 0


@pytest.mark.parametrize("odd", [b"a\nb", b"\xff\xfe", b"\x1b[2J"])
def test_names_that_are_no_text(log: Log, tmp_path: Path, odd: bytes) -> None:
    for name in FORMATS:
        place = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name.encode(), odd)))
        place.mkdir(parents=True)
        assert not log.import_from(name, SAMPLES[name](place, PLAIN)).partial
    assert log.projections.verify() == []
