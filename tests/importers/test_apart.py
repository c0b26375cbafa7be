"""An import in two processes ends as one in one does, whatever becomes of the child."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import redaction
from eventlog.app import Log
from eventlog.errors import InvalidInput
from eventlog.importers import apart
from eventlog.importers.run import Report
from tests.importers.samples import SAMPLES
from tests.importers.support import answered, lines, said, write
from tests.importers.test_under_fire import assert_complete, conversation, corpus

Sent = list[apart.Sent]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What children send; without it no import is long enough for one."""
    messages: Sent = []
    decode = apart._decode

    def told(content: bytes) -> apart.Sent:
        messages.append(decode(content))
        return messages[-1]

    monkeypatch.setattr(apart, "_decode", told)
    monkeypatch.setattr(apart, "MIN_BYTES", 1)
    monkeypatch.setattr(apart, "cores", lambda: 2)
    return messages


def content(log: Log) -> Iterator[Any]:
    """All that is in a log, but the times at which sources were read."""
    for record in log.read():
        at = None if record.stream.startswith("import-") else record.occurred_at
        yield record.position, record.stream, record.type, record.key, at, record.data


def same_alone(log: Log, report: Report, name: str, source: Path, tmp_path: Path) -> None:
    """One process makes the same log, and the same report."""
    with pytest.MonkeyPatch.context() as patch, eventlog.open(tmp_path / "alone" / "log.db") as other:
        patch.setattr(apart, "MIN_BYTES", 1 << 60)
        again = other.import_from(name, source)
        assert list(content(other)) == list(content(log))
        assert (again.total, again.sources) == (report.total, report.sources)
    blobs = [
        sorted(file.name for file in place.rglob("blobs/*/*")) for place in (tmp_path / "alone", tmp_path / "apart")
    ]
    assert blobs[0] == blobs[1]


def odd(folder: Path) -> Path:
    """Transcripts with whatever is odd: damaged, secret, big, unreadable, empty, open at the end."""
    secret = "ghp_" + "a1B2" * 9
    damaged = lines([said(1, f"use {secret}"), answered(2, "x" * 90_000, parent=1)]) + b"{bad}\n\0\0\n"
    write(folder / "a.jsonl", damaged + lines([said(3, "zebra-7", parent=2)]), age_s=9000)
    write(folder / "b.jsonl", lines([said(1, f"use {secret}"), said(4, "a fork", session="b", parent=1)]), age_s=8000)
    write(folder / "d.jsonl", b"", age_s=6000)
    write(folder / "e.jsonl", lines([said(5, "more", session="e")]) + b'{"type": "us', age_s=5000)
    write(folder / "last.jsonl", b"SQLite format 3\0" + b"\0" * 90, age_s=60)
    return folder


def test_two_processes_make_the_log_that_one_makes(tmp_path: Path, sent: Sent) -> None:
    source = odd(tmp_path / "source")
    corpus(source / "more", 9, 160)
    told: list[tuple[int, int | None]] = []
    redaction.add_pattern("own", "zebra-[0-9]", hints=("zebra-",))
    try:
        with eventlog.open(tmp_path / "apart" / "log.db") as log:
            report = log.import_from("claude", source, progress=lambda done, total, _: told.append((done, total)))
            assert len(sent) > 1 and sent[-1].last
            assert report.total.secrets == 3 and report.total.quarantined_records == 3
            assert [one.status for one in report.sources].count("failed") == 1
            assert told == sorted(told) and told[-1][0] == told[-1][1] == report.size_bytes
            same_alone(log, report, "claude", source, tmp_path)
            assert log.projections.verify() == []
    finally:
        redaction.PATTERNS.pop()


def test_a_rollout_and_its_fork_are_read_the_same_apart(tmp_path: Path, sent: Sent) -> None:
    source = SAMPLES["codex"](tmp_path / "source", [f"thing {number}" for number in range(20)])
    with eventlog.open(tmp_path / "apart" / "log.db") as log:
        report = log.import_from("codex", source)
        assert sent and sent[-1].last
        same_alone(log, report, "codex", source, tmp_path)


def test_names_that_are_no_text_are_those_of_files_to_read_apart(tmp_path: Path, sent: Sent) -> None:
    place = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xff\xfe")))
    messages = corpus(place, 2, 20)
    with eventlog.open(tmp_path / "log.db") as log:
        assert log.import_from("claude", place).total.understood_records == messages
        assert sent[-1].last


def test_what_was_added_to_a_file_is_read_apart_from_its_cursor_on(tmp_path: Path, sent: Sent) -> None:
    name = "00000000-0000-4000-8000-000000000000"
    whole = conversation(0, 90, name)
    half = whole.index(b"\n", len(whole) // 2) + 1
    path = write(tmp_path / "source" / f"{name}.jsonl", whole[:half], age_s=9000)
    with eventlog.open(tmp_path / "log.db") as log:
        log.import_from("claude", path)
        write(path, whole, age_s=8000)
        report = log.import_from("claude", path)
        assert sum(message.last for message in sent) == 2
        assert report.total.understood_bytes == len(whole) - half
        assert_complete(log, 270)


def killing(number: int) -> Callable[[str], subprocess.Popen[bytes]]:
    """Starts children, each of which is killed when it has sent so many messages."""
    start = apart.start

    def started(module: str) -> subprocess.Popen[bytes]:
        child = start(module)
        decode, seen = apart._decode, [0]

        def told(content: bytes) -> apart.Sent:
            seen[0] += 1
            if seen[0] == number:
                child.kill()
                child.wait()
            return decode(content)

        apart._decode = told
        if number == 0:
            child.kill()
        return child

    return started


@pytest.mark.parametrize("number", [0, 1])
def test_a_child_that_is_killed_costs_nothing_but_time(
    tmp_path: Path, sent: Sent, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = corpus(tmp_path / "source", 9, 160)
    monkeypatch.setattr(apart, "start", killing(number))
    with eventlog.open(tmp_path / "log.db") as log:
        report = log.import_from("claude", tmp_path / "source")
        assert len(sent) == number and not any(message.last for message in sent)
        assert report.total.understood_records == messages
        assert [source.status for source in report.sources] == ["imported"] * 9
        assert_complete(log, messages)


def test_a_child_that_cannot_be_started_is_done_without(
    tmp_path: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(module: str) -> subprocess.Popen[bytes]:
        raise OSError("no more processes")

    messages = corpus(tmp_path / "source", 2, 20)
    monkeypatch.setattr(apart, "start", start)
    with eventlog.open(tmp_path / "log.db") as log:
        assert log.import_from("claude", tmp_path / "source").total.understood_records == messages
        assert_complete(log, messages)


def test_a_child_that_says_something_else_is_not_listened_to(
    tmp_path: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(module: str) -> subprocess.Popen[bytes]:
        said = "print('what a sitecustomize prints')"
        return subprocess.Popen([sys.executable, "-c", said], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    messages = corpus(tmp_path / "source", 2, 20)
    monkeypatch.setattr(apart, "start", start)
    with eventlog.open(tmp_path / "log.db") as log:
        assert log.import_from("claude", tmp_path / "source").total.understood_records == messages
        assert_complete(log, messages)


def test_a_strict_import_ends_with_the_same_error_apart(tmp_path: Path, sent: Sent) -> None:
    path = write(tmp_path / "a.jsonl", lines([said(1, "a")]) + b"{bad}\n" + lines([said(2, "b", parent=1)]))
    place = path.read_bytes().index(b"{bad}")
    with eventlog.open(tmp_path / "log.db") as log, pytest.raises(InvalidInput, match=f"a.jsonl, byte {place}"):
        log.import_from("claude", path, strict=True)
    assert sent == []


def test_a_child_leaves_when_nobody_listens(tmp_path: Path) -> None:
    child = apart.start("eventlog.importers.apart_child")
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    assert child.wait(60) != 0
    child.stdout.close()
    assert os.listdir(tmp_path) == []
