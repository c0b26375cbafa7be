"""A log in one file of JSON lines: torn ends, damage, kills, full disks, two openers, readers, forks, exports."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import eventlog
from eventlog import Append, UnknownEvent
from eventlog.app import Log
from eventlog.cli.root import cli
from eventlog.config import in_force
from eventlog.errors import (
    Corrupt,
    DiskFull,
    EventLogError,
    InvalidInput,
    LocksLost,
    LogBusy,
    LogClosed,
    LogMissing,
    LogReadOnly,
    NotALog,
    OutcomeUnknown,
    StorageFailed,
    StoreError,
)
from eventlog.exporters.jsonl import private_file, write
from eventlog.importers.jsonl import import_lines
from eventlog.maintenance.copy import copy
from eventlog.store.jsonl import JsonLinesStore, open_store
from eventlog.store.lines import MAX_LINE_BYTES
from tests.faults import mounts
from tests.helpers import ROOT, Noted, assert_whole, eventually, notes, numbers, thread


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def bare(path: Path, **options: Any) -> Log:
    """The log without tables, which opens fast."""
    return eventlog.open(path, events=(Noted,), projections="off", **options)


def filled(path: Path, count: int = 3) -> bytes:
    """A log of so many appends of one event; what is in the file."""
    with bare(path) as log:
        for note in notes(count):
            log.append("note-1", note)
    return path.read_bytes()


def aside(path: Path) -> list[Path]:
    """The files set aside."""
    return sorted(path.parent.glob(f"{path.name}.torn-*"))


def stored(path: Path) -> list[int]:
    with bare(path) as log:
        assert_whole(log)
        return numbers(log.read())


# torn ends


def test_a_torn_last_record_is_no_record_at_whatever_byte_it_was_torn(path: Path) -> None:
    data = filled(path)
    start = data.rindex(b"\n", 0, -1) + 1
    for end in range(start + 1, len(data) - 1):
        path.write_bytes(data[:end])
        with closing(open_store(path, writable=False, create=False)) as store, store.reader() as reader:
            assert (reader.head().position, store.torn_bytes()) == (2, end - start)
        if end % 13 and start + 1 < end < len(data) - 2:
            continue  # each opening for writing waits for the disk
        with closing(open_store(path, writable=True, create=False)) as store, store.reader() as reader:
            assert (reader.head().position, store.torn_bytes()) == (2, 0)
        (kept,) = aside(path)
        assert (path.read_bytes(), kept.read_bytes()) == (data[:start], data[start:end])
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        kept.unlink()


def test_a_log_whose_end_was_torn_goes_on(path: Path) -> None:
    path.write_bytes(filled(path)[:-20])
    with bare(path) as log:
        assert log.append("note-1", Noted(number=7)).version == 3
    assert stored(path) == [0, 1, 7]
    assert len(aside(path)) == 1


def test_only_the_line_break_missing_is_nothing_missing(path: Path) -> None:
    data = filled(path)
    path.write_bytes(data[:-1])
    with bare(path, mode="r") as log:
        assert numbers(log.read()) == [0, 1, 2]
    with bare(path) as log:
        assert path.read_bytes() == data
        log.append("note-1", Noted(number=3))
    assert stored(path) == [0, 1, 2, 3]
    assert aside(path) == []


def test_what_was_appended_together_is_torn_off_together(path: Path) -> None:
    before = filled(path, 1)
    with bare(path) as log:
        log.append_many([Append(stream=f"note-{n}", events=notes(2)) for n in (1, 2)])
    data = path.read_bytes()
    assert [json.loads(line).get("more") for line in data.splitlines()] == [None, 3, 2, 1, None]
    ends = [at for at in range(len(before) + 1, len(data) - 1) if data[at : at + 1] == b"\n" or at % 97 == 0]
    for end in [*ends, *(at + 1 for at in ends if data[at : at + 1] == b"\n")]:
        path.write_bytes(data[:end])
        assert stored(path) == [0]
        assert path.read_bytes() == before
    path.write_bytes(data)
    assert stored(path) == [0, 0, 1, 0, 1]


def test_the_first_line_torn_leaves_an_empty_log(path: Path) -> None:
    data = filled(path, 1)
    for end in (1, 8, 30, len(data) - 2):
        path.write_bytes(data[:end])
        assert stored(path) == []


# damage


def spoilt(find: bytes, put: bytes, line: int) -> Callable[[list[bytes]], list[bytes]]:
    def spoil(lines: list[bytes]) -> list[bytes]:
        assert find in lines[line - 1]
        return [*lines[: line - 1], lines[line - 1].replace(find, put, 1), *lines[line:]]

    return spoil


@pytest.mark.parametrize(
    ("line", "spoil"),
    [
        (2, spoilt(b'"number":1', b'"number":9', 2)),
        (2, spoilt(b'"version":2', b'"version":3', 2)),
        (2, spoilt(b'"test.noted","number"', b'"\xff","number"', 2)),
        (2, spoilt(b'"stream":"note-1"', b'"stream":"\xc3("', 2)),
        (2, spoilt(b'"schema":1', b'"schema":99999999999999999999999', 2)),
        (2, spoilt(b'"schema":1', b'"schema":1,"more":2', 2)),
        (2, spoilt(b'"occurred_at"', b'"occurred"', 2)),
        (3, spoilt(b'"schema":1', b'"schema":1,"more":-1', 3)),
        (2, spoilt(b"{", b"\0\0\0", 2)),
        (2, spoilt(b"}", b"", 2)),
        (2, lambda lines: [lines[0], *lines[2:]]),
        (2, lambda lines: [lines[0], lines[2], lines[1], lines[3]]),
        (3, lambda lines: [lines[0], lines[1], lines[1], *lines[2:]]),
        (3, lambda lines: [lines[0], lines[1], b"[" * 100_000 + b"\n", *lines[2:]]),
        (1, spoilt(b'"version":1', b'"version":2', 1)),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_changed(
    path: Path, line: int, spoil: Callable[[list[bytes]], list[bytes]]
) -> None:
    data = b"".join(spoil(filled(path, 4).splitlines(keepends=True)))
    path.write_bytes(data)
    wanted = {2: "line [23]: "}.get(line, f"line {line}: ")
    for mode in ("rw", "r"):
        with pytest.raises(Corrupt, match=wanted):
            bare(path, mode=mode)
    assert path.read_bytes() == data
    assert aside(path) == []


def test_a_line_that_is_too_long_is_refused(path: Path) -> None:
    data = filled(path, 1) + b'{"position":2,"type":"' + b"x" * MAX_LINE_BYTES
    for end in (b"", b'"}\n'):
        path.write_bytes(data + end)
        with pytest.raises(Corrupt, match=r"line 2: longer than 16,777,216 bytes"):
            bare(path)
        assert path.stat().st_size == len(data + end)


def test_a_file_that_is_no_log_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as other:
        other.execute("CREATE TABLE t (a)")
    other.close()
    part = filled(path).splitlines(keepends=True)[1]
    for data in (
        b'{"a": 1}\n{"a": 2}\n', b'{"a": 1}', b"{", b"no lines", b"\xff\xfe", b"[]\n", b"null\n", part,
        b'{"specversion":"1.0","id":"1","type":"a.b"}\n', b'{"stream":"a-1","type":"a.b"}\n',
        (tmp_path / "x.db").read_bytes(),
    ):  # fmt: skip
        path.write_bytes(data)
        if data == b"{":
            continue  # that much could be the beginning of a log
        for mode in ("rw", "r"):
            with pytest.raises(NotALog, match="nothing was changed"):
                bare(path, mode=mode)
        assert path.read_bytes() == data
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(NotALog):
        bare(tmp_path / "folder.jsonl")


def test_an_empty_file_is_an_empty_log(path: Path) -> None:
    path.touch(0o640)
    with bare(path, mode="r") as log:
        assert log.head().position == 0
    with bare(path) as log:
        log.append("note-1", Noted())
    assert stored(path) == [0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_missing_file_is_made_only_when_allowed(path: Path, tmp_path: Path) -> None:
    for options in ({"create": False}, {"mode": "r"}):
        with pytest.raises(LogMissing, match="db init"):
            bare(path, **options)
    assert list(tmp_path.iterdir()) == []
    deep = tmp_path / "a" / "b" / "log.jsonl"
    bare(deep).close()
    assert [stat.S_IMODE(place.stat().st_mode) for place in (deep, Path(f"{deep}.lock"))] == [0o600, 0o600]


# the same log elsewhere

HOSTILE = [
    "\x00",
    "\x7f",
    "\x85",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\U0001f600",
    "\U000e0041",
    '"\\',
    "日本",
    "\n\r\t",
    "",
]


def hostile(log: Log) -> None:
    """Every column in use, and text that is not easy."""
    for number, text in enumerate(HOSTILE):
        log.append(
            f"note-{number}",
            [Noted(text=text), UnknownEvent(tag="other.done", data={text: [text, None, 2**70, 1e300, {}]})],
            key=f"k{number}",
            actor="a",
            correlation="c",
            causation="d",
            metadata={text: text},
            occurred_at=-1 - number,
        )


def test_a_log_goes_to_lines_and_back_with_the_same_head(path: Path, tmp_path: Path) -> None:
    with (
        eventlog.open(tmp_path / "a.db", events=(Noted,)) as first,
        eventlog.open(path, events=(Noted,)) as lines,
        eventlog.open(tmp_path / "b.db", events=(Noted,)) as last,
    ):
        hostile(first)
        first.runs.start("train.py", parameters={"lr": 0.1})
        copy(first, lines)
        copy(lines, last)
        assert first.head() == lines.head() == last.head()
        assert lines.projections.verify() == []
    with eventlog.open(path, events=(Noted,)) as lines:
        assert lines.head() == last_head(tmp_path / "b.db")
        assert lines.runs.get(1).command == "train.py"
        assert copy(lines, lines).added == 0


def last_head(path: Path) -> Any:
    with eventlog.open(path, mode="r") as log:
        return log.head()


def test_what_is_appended_reads_the_same_after_opening_again(path: Path) -> None:
    with bare(path) as log:
        hostile(log)
        before = [record.row for record in log.read()]
    assert all(char.isprintable() or char == "\n" for char in path.read_text())
    with bare(path) as log:
        assert [record.row for record in log.read()] == before
        assert log.append("note-0", [Noted(text="\x00"), UnknownEvent(tag="other.done", data={})], key="z").version == 4


def test_json_with_blanks_around_it_is_kept_byte_for_byte(path: Path, tmp_path: Path) -> None:
    from eventlog import Record
    from eventlog.store.base import GENESIS, hash_of

    row = (1, "a-1", 1, "a.b", 1, 0, 0, None, None, None, None, ' {"n": 1}\n', " {} ", b"")
    record = Record(*row[:13], hash_of(GENESIS, row))
    with bare(path) as log:
        log.import_records([record])
    with bare(path) as log, bare(tmp_path / "copy.db") as other:
        assert [each.row for each in log.read()] == [record.row]
        with path.open("rb") as file:
            import_lines(other, file)
        assert other.head() == log.head()


def test_an_export_is_a_log_and_a_log_is_an_export(path: Path, tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "a.db", events=(Noted,)) as source:
        hostile(source)
        with private_file(path) as out:
            write(source.read(), out)
        head = source.head()
    with bare(path) as log:
        assert log.head() == head
        log.append("note-x", notes(3))
        head = log.head()
        with path.open("rb") as file, eventlog.open(tmp_path / "b.db", events=(Noted,)) as other:
            assert import_lines(other, file).added == head.position
            assert other.head() == head
        exported = tmp_path / "again.jsonl"
        with private_file(exported) as out:
            write(log.read(), out)
    assert last_head(exported)[:2] == head[:2]


# kills and full disks

APPENDER = """
import sys, eventlog
from tests.helpers import Noted, notes
with eventlog.open(sys.argv[1], events=(Noted,), projections="off") as log:
    first = log.head().position
    while True:
        done = log.append("note-1", notes(3 if first % 2 else 1, first), durability=sys.argv[2])
        print(done.first, done.last, flush=True)
        first = done.last
"""


def started(program: str, *words: object) -> subprocess.Popen[str]:
    paths = os.pathsep.join([*(place for place in sys.path if place), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_writer_loses_nothing_that_was_acknowledged(path: Path) -> None:
    last = 0
    for life, durability in enumerate(("full", "process", "full")):
        child = started(APPENDER, path, durability)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.03 + 0.017 * life)
        child.send_signal(signal.SIGKILL)
        out, _ = child.communicate(timeout=30)
        assert child.returncode == -signal.SIGKILL
        whole = [line.split() for line in out.splitlines(keepends=True) if line.endswith("\n")]
        assert len(whole) > 3
        last = max(last, *(int(line[1]) for line in whole if len(line) == 2))
        with bare(path) as log:
            assert log.head().position >= last
            assert_whole(log)


def with_limit(size: int, work: Callable[[], object]) -> None:
    """Do work while no file can grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("room", [0, 1, 100, 400, 1000])
def test_an_append_that_finds_no_room_leaves_the_file_as_it_was(path: Path, room: int) -> None:
    data = filled(path)
    with bare(path) as log:

        def refused() -> None:
            with pytest.raises(DiskFull, match="nothing was written"):
                log.append("note-1", notes(5), durability="process" if room % 2 else "full")

        with_limit(len(data) + room, refused)
        assert path.read_bytes() == data
        assert log.head().position == 3
        assert log.append("note-1", Noted(number=3)).first == 4
    assert stored(path) == [0, 1, 2, 3]


def test_a_full_disk_is_told_and_the_log_goes_on_when_there_is_room(tmp_path: Path) -> None:
    for mount in mounts.small_disks(tmp_path, "tmpfs"):
        folder = mount(1)
        path, ballast = folder / "log.jsonl", folder / "ballast"
        ballast.write_bytes(bytes(400_000))
        acknowledged = 0
        with bare(path) as log:
            with pytest.raises(DiskFull):
                while True:
                    log.append("note-1", Noted(text="x" * 50_000, number=acknowledged))
                    acknowledged += 1
            assert log.head().position == acknowledged > 5
            ballast.unlink()
            assert log.append("note-1", Noted(number=acknowledged)).first == acknowledged + 1
        assert stored(path) == list(range(acknowledged + 1))


def failing(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_an_event_that_does_not_reach_the_disk_is_not_stored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = filled(path)
    with bare(path) as log, bare(path, mode="r") as reading:
        real, calls = os.fsync, []

        def once(descriptor: int) -> None:
            calls.append(descriptor)
            if len(calls) == 1:
                failing()
            real(descriptor)

        monkeypatch.setattr(os, "fsync", once)
        with pytest.raises(StorageFailed, match="nothing was written"):
            log.append("note-1", Noted(number=9))
        assert path.read_bytes() == data
        log.append("note-1", Noted(number=3))
        assert numbers(reading.read()) == [0, 1, 2, 3]
    assert stored(path) == [0, 1, 2, 3]


def test_where_the_end_cannot_be_cut_off_the_outcome_is_unknown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    with bare(path) as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            patch.setattr(os, "ftruncate", failing)
            with pytest.raises(OutcomeUnknown, match="Retry with a key"):
                log.append("note-1", Noted(number=9), key="k")
            for use in (lambda: log.append("note-1", Noted()), lambda: log.head()):
                with pytest.raises(StorageFailed, match="open it again"):
                    use()
        assert log.append("note-1", Noted(number=9), key="k") == (4, 4, 4, False)
    assert stored(path) == [0, 1, 2, 9]


def test_only_what_is_to_survive_a_power_cut_waits_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append(descriptor), real(descriptor)))
    with bare(path) as log:
        store = log.store
        assert isinstance(store, JsonLinesStore)
        calls.clear()
        log.append("note-1", Noted(), durability="process")
        assert calls == []
        log.append("note-1", Noted())
        assert len(calls) == 1
        log.append("note-1", Noted(), durability="process")
        store.flush()
        store.flush()
        assert len(calls) == 2


# who else has the file


def test_a_second_opener_is_told_who_has_it_and_what_to_do(path: Path) -> None:
    with bare(path) as log:
        with pytest.raises(LogBusy, match=r"this process has .* open for writing.*mode='r'"):
            bare(path, timeout_s=0)
        program = (
            "import sys, eventlog\n"
            "try: eventlog.open(sys.argv[1], timeout_s=0.1)\n"
            "except eventlog.errors.LogBusy as error: print(error.pid, error)"
        )
        out, _ = started(program, path).communicate(timeout=30)
        assert out.startswith(f"{os.getpid()} process {os.getpid()} has {path} open for writing")
        log.append("note-1", Noted())
    bare(path, timeout_s=0).close()


def test_a_log_dropped_without_closing_lets_the_next_one_in(path: Path) -> None:
    log = bare(path)
    log.append("note-1", Noted())
    del log
    import gc

    gc.collect()
    assert stored(path) == [0]


def test_the_next_writer_waits_for_a_short_one(path: Path) -> None:
    first = bare(path)
    with thread(lambda: bare(path, timeout_s=10).close()) as waiting:
        time.sleep(0.1)
        assert waiting.is_alive()
        first.close()


@pytest.mark.feature("S3-4")
def test_a_reader_sees_what_the_writer_appends_and_its_tables_follow(path: Path) -> None:
    with eventlog.open(path, events=(Noted,)) as log, eventlog.open(path, events=(Noted,), mode="r") as reading:
        assert reading.runs.list() == []
        counter = reading.store.change_counter()
        for number in range(3):
            run = log.runs.start(f"train.py {number}")
            assert reading.runs.get(run.run_id).command == f"train.py {number}"
        log.runs.finish_success(1)
        assert reading.head() == log.head()
        assert reading.store.change_counter() != counter
        assert reading.runs.count() == 3
        assert reading.runs.get(1).status == "success"
        assert reading.projections.verify() == []
        assert reading.verify().ok
        with reading.as_of(1) as past:
            assert past.runs.count() == 1
        assert [status.lag for status in reading.projections.status() if status.lag] == []


def test_a_reader_keeps_its_view_while_it_looks(path: Path) -> None:
    with bare(path) as log, bare(path, mode="r") as reading:
        log.append("note-1", Noted())
        with reading.reader() as view:
            assert view.head().position == 1
            log.append("note-1", Noted())
            assert reading.head().position == view.head().position == 1
        assert reading.head().position == 2


def test_a_reader_refuses_to_write(path: Path) -> None:
    with eventlog.open(path, events=(Noted,)) as log:
        log.runs.start("x")
        with eventlog.open(path, events=(Noted,), mode="r") as reading:
            refused: list[Callable[[], Any]] = [
                lambda: reading.append("note-1", Noted()),
                lambda: reading.decide(lambda tx: None),
                lambda: reading.transaction().__enter__(),
                lambda: reading.runs.start("y"),
                lambda: reading.projections.rollback(0),
                lambda: reading.projections.rebuild(),
                lambda: reading.projections.resume(),
                lambda: reading.store.beat("w", first=True),
                lambda: reading.store.builder(),
            ]
            for attempt in refused:
                with pytest.raises(LogReadOnly):
                    attempt()
            assert reading.head() == log.head()


def test_followers_get_what_is_appended(path: Path) -> None:
    with bare(path) as log, bare(path, mode="r") as reading:
        seen: list[int] = []

        def follow() -> None:
            seen.extend(record.position for record in reading.follow(0, timeout_s=0.3, poll_s=0.01))

        with thread(follow):
            for note in notes(5):
                log.append("note-1", note)
            log.append("note-1", notes(3))
            eventually(lambda: len(seen) == 8)
        assert seen == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_reader_waits_for_the_end_of_what_is_being_written(path: Path) -> None:
    with bare(path) as log:
        log.append("note-1", Noted(number=0))
        log.append("note-1", notes(3, 1))
        log.append("note-1", Noted(number=4))
    data = path.read_bytes()
    whole = {sum(map(len, data.splitlines(keepends=True)[:count])): count for count in (1, 4, 5)}
    path.write_bytes(b"")
    with bare(path, mode="r") as reading, path.open("ab", buffering=0) as file:
        seen = 0
        for at in range(0, len(data), 60):
            file.write(data[at : at + 60])
            written = at + len(data[at : at + 60])
            # A line that lacks its line break only is whole.
            expected = max((count for end, count in whole.items() if end - 1 <= written), default=0)
            assert numbers(reading.read()) == list(range(expected))
            seen = expected
        assert seen == 5
        assert reading.verify().ok


@pytest.mark.parametrize("change", ["cut", "replaced", "removed", "spoilt"])
def test_a_reader_is_told_when_the_file_is_not_what_it_was(path: Path, change: str) -> None:
    data = filled(path)
    with bare(path, mode="r") as reading:
        assert reading.head().position == 3
        if change == "cut":
            os.truncate(path, len(data) - 10)
        elif change == "spoilt":
            path.write_bytes(data + b"{}\n")
        else:
            path.unlink()
            if change == "replaced":
                path.write_bytes(data)
        with pytest.raises(LocksLost, match="open it again"):
            reading.head()


@pytest.mark.parametrize("change", ["written", "cut", "replaced", "removed"])
def test_a_writer_does_not_write_to_a_file_that_others_changed(path: Path, change: str) -> None:
    data = filled(path)
    with bare(path) as log:
        changed = {"written": data + b"\n", "cut": data[:-1], "replaced": data, "removed": None}[change]
        if change in ("replaced", "removed"):
            path.unlink()
        if changed is not None:
            path.write_bytes(changed)
        with pytest.raises(LocksLost, match="nothing was written"):
            log.append("note-1", Noted(number=9))
        assert log.head().position == 3
        assert changed is None or path.read_bytes() == changed


def test_a_forked_child_cannot_write_and_takes_nothing_from_its_parent(path: Path) -> None:
    with bare(path) as log:
        log.append("note-1", Noted(number=0))
        said, told = os.pipe()
        child = os.fork()
        if child == 0:
            answers = []
            for use in (lambda: log.append("note-1", Noted()), lambda: log.head(), lambda: log.store.change_counter()):
                try:
                    answers.append(str(use()))
                except LogClosed as error:
                    answers.append("refused" if "fork" in str(error) else str(error))
            try:
                with bare(path, mode="r") as again:
                    answers.append(str(again.head().position))
                log.close()
            except BaseException as error:
                answers.append(repr(error))
            os.write(told, json.dumps(answers).encode())
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert json.loads(os.read(said, 1000)) == ["refused", "refused", "refused", "1"]
        os.close(said)
        os.close(told)
        with pytest.raises(LogBusy):
            bare(path, timeout_s=0)
        log.append("note-1", Noted(number=1))
    assert stored(path) == [0, 1]


# what is not kept


def test_checkpoints_and_what_workers_said_live_in_memory_only(path: Path) -> None:
    with eventlog.open(path) as log:
        log.runs.start("x")
        size = path.stat().st_size
        log.projections.rollback(0)
        assert log.store.beat("worker-1", first=True)
        assert log.store.beat("worker-1")
        assert list(log.store.silences()) == ["worker-1"]
        assert path.stat().st_size == size
    with eventlog.open(path) as log:
        assert {status.state for status in log.projections.status()} == {"live"}
        assert log.runs.count() == 1
        assert log.store.silences() == {}
        assert not log.store.beat("worker-1")


def test_jobs_are_done_in_the_one_process(path: Path) -> None:
    with eventlog.open(path) as log:
        job = log.jobs.enqueue("sum", {"n": 1})
    with eventlog.open(path) as log:
        assert [each.job_id for each in log.jobs.get_pending()] == [job.job_id]


# where it is


def test_a_place_is_one_of_lines_by_its_ending_or_its_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = os.path.realpath(tmp_path)
    for target in ("a.jsonl", "jsonl:///a.jsonl", f"jsonl:///{here}/a.jsonl", "JSONL:///a.jsonl"):
        found = in_force(target)
        assert (found.place.kind, found.place.masked) == ("jsonl", f"jsonl:///{here}/a.jsonl")
        assert in_force(found.place.masked).place == found.place
        assert found.settings[0].value == "jsonl"
    assert in_force("jsonl:///a.log").place.kind == "jsonl"
    assert in_force("sqlite:///a.jsonl").place.kind == "file"
    assert in_force(None, {"EVENTLOG_URL": "a.jsonl", "DATABASE_HOST": "h"}).place.kind == "jsonl"
    (tmp_path / "eventlog.toml").write_text('[database]\nurl = "jsonl:///sub/a.jsonl"\n')
    assert in_force(None, {}).place.masked == f"jsonl:///{here}/sub/a.jsonl"
    for wrong in ("jsonl://", "jsonl:///", "jsonl:///:memory:", "jsonl://host/a.jsonl", "jsonl:///a.jsonl?vfs=x"):
        with pytest.raises(InvalidInput, match="jsonl URL"):
            in_force(wrong)
    with eventlog.open("a.jsonl") as log:
        assert (log.path, log.data_dir, log.url) == (Path(here, "a.jsonl"), Path(here), f"jsonl:///{here}/a.jsonl")


# the command line


def run(db: Path, *words: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["--db", str(db), *map(str, words)])
    assert result.exit_code == status, (words, result.exit_code, result.stdout, result.stderr)
    return result


@pytest.fixture
def run_log(path: Path) -> Iterator[Path]:
    """A log with a run, held open for writing by this process."""
    with eventlog.open(path) as log:
        log.runs.start("train.py")
        yield path


def test_questions_need_no_lock(run_log: Path) -> None:
    assert json.loads(run(run_log, "runs", "list", "--json").stdout)[0]["command"] == "train.py"
    assert json.loads(run(run_log, "log", "head", "--json").stdout)["position"] == 1
    assert run(run_log, "projections", "status").stdout
    assert json.loads(run(run_log, "runs", "list", "--as-of", "0", "--json").stdout) == []


def test_status_tells_who_writes_and_what_was_set_aside(path: Path) -> None:
    path.write_bytes(filled(path) + b'{"position":4,')
    found = json.loads(run(path, "db", "status", "--json").stdout)
    assert (found["writer"], found["torn_bytes"], found["set_aside"], found["position"]) == (None, 14, [], 3)
    with bare(path):
        found = json.loads(run(path, "db", "status", "--json").stdout)
    assert (found["writer"], found["torn_bytes"], found["tables"]["events"]) == (os.getpid(), 0, 3)
    assert found["set_aside"] == [aside(path)[0].name]
    assert "can be deleted" in found["advice"]
    assert found["url"] == f"jsonl:///{path}"


def test_check_names_the_damaged_line(path: Path) -> None:
    data = filled(path)
    assert json.loads(run(path, "db", "check", "--json").stdout) == {"ok": True, "problems": [], "not_checked": {}}
    path.write_bytes(data.replace(b'"number":1', b'"number":7'))
    (problem,) = json.loads(run(path, "db", "check", "--json", status=1).stdout)["problems"]
    assert "line 2: " in problem


def test_what_a_file_of_lines_does_not_need_is_refused(run_log: Path, tmp_path: Path) -> None:
    with pytest.raises(EventLogError):
        eventlog.open(run_log, timeout_s=0)
    for words in (
        ["db", "migrate"], ["db", "rollback", "--to", 1, "--yes"], ["db", "backup", tmp_path / "b.db"],
        ["db", "restore", run_log, "--yes"],
    ):  # fmt: skip
        assert run(run_log, *words, status=1).stderr.count("\n") == 1
    from eventlog import maintenance

    with eventlog.open(run_log, mode="r") as log, pytest.raises(StoreError, match="nothing to optimize"):
        maintenance.optimize(log)
