"""The copy of a stream: sizes, hashes, the tail, and what happens to lines that do not end."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from eventlog.recorder.tee import MAX_HELD, TAIL_BYTES, Tee


def test_bytes_sizes_and_hashes(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    path = tmp_path / "f"
    tee = Tee(path.open("wb", buffering=0))
    for start in range(0, len(data), 4097):
        tee.feed(data[start : start + 4097])
    assert tee.close()
    assert path.read_bytes() == data
    assert tee.sha256 == tee.file_sha256 == hashlib.sha256(data).hexdigest()
    assert tee.size_bytes == tee.file_size == len(data)
    assert not tee.redacted


def test_the_tail_begins_with_a_whole_character() -> None:
    tee = Tee(None)
    tee.feed("é".encode() * 5000 + b"x")
    tee.close()
    assert len(tee.tail().encode()) <= TAIL_BYTES
    assert set(tee.tail()) == {"é", "x"}


def test_bytes_that_are_no_text() -> None:
    tee = Tee(None)
    tee.feed(b"ok \xff\x00\n")
    assert tee.tail() == "ok \\xff\x00\n"


def test_a_line_without_end_is_not_held_for_ever() -> None:
    tee = Tee(None)
    tee.feed(b"x" * 100)
    assert tee.holding
    tee.flush()
    assert not tee.holding
    for _ in range(10):
        tee.feed(b"y" * MAX_HELD)
    assert len(tee._held) <= MAX_HELD
    tee.close()
    assert tee.tail() == "y" * TAIL_BYTES


def test_progress_bars_are_written_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "f"
    tee = Tee(path.open("wb", buffering=0))
    tee.feed(b"10%\r")
    assert path.read_bytes() == b"10%\r"
    tee.close()


def test_a_file_that_cannot_be_written_is_given_up(tmp_path: Path) -> None:
    problems: list[OSError] = []
    with open("/dev/full", "wb", buffering=0) as file:
        tee = Tee(file, problems.append)
        tee.feed(b"one\n")
        tee.feed(b"two\n")
        assert not tee.close()
    assert len(problems) == 1
    assert tee.size_bytes == 8
    assert tee.tail() == "one\ntwo\n"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_nothing_is_lost_at_the_end(end: bytes) -> None:
    tee = Tee(None)
    tee.feed(b"last line" + end)
    tee.close()
    assert tee.tail().encode() == b"last line" + end
