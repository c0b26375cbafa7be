"""Imports that are killed, starved, raced and fed with too much: nothing lost, nothing doubled, the report true."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import eventlog
from eventlog.app import Log
from eventlog.events.agents import LlmCallCompleted, MessageAdded, ToolCallFinished
from tests.importers.support import MESSAGES, TOOLS, answered, lines, rows, said, totals, uuid, write

ROOT = Path(__file__).parents[2]
IMPORT = (
    "import sys, eventlog\n"
    "with eventlog.open(sys.argv[1]) as log:\n"
    "    report = log.import_from('claude', sys.argv[2], progress=lambda *_: print(flush=True))\n"
    "    print(report.total.events, report.partial, flush=True)\n"
)
APART = "from eventlog.importers import apart\napart.MIN_BYTES, apart.cores = 1, lambda: 2\n"
"""Any import in two processes."""


def conversation(first: int, turns: int, session: str) -> bytes:
    """A transcript with prompts, answers and tools."""
    records = []
    for number in range(first, first + turns * 3, 3):
        records.append(
            said(number, f"question {number}", session=session, parent=number - 1 if number > first else None)
        )
        asked = answered(number + 1, f"answer {number}", session=session, parent=number)
        tool = {"type": "tool_use", "id": f"toolu_{number}", "name": "Bash", "input": {"command": f"echo {number}"}}
        asked["message"]["content"].append(tool)
        told = said(number + 2, "", session=session, parent=number + 1)
        told["message"]["content"] = [
            {
                "type": "tool_result",
                "tool_use_id": f"toolu_{number}",
                "content": "x" * random.Random(number).randrange(900),
            }
        ]
        records += [asked, told]
    return lines(records)


def corpus(folder: Path, files: int, turns: int) -> int:
    """Transcripts in a folder; how many messages they have."""
    for number in range(files):
        name = f"{number:08}-0000-4000-8000-000000000000"
        write(folder / f"{name}.jsonl", conversation(number * 100_000, turns, name))
    return files * turns * 3


def start(log: Path, source: Path, *, limit: int | None = None, before: str = "") -> subprocess.Popen[str]:
    def starve() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, resource.RLIM_INFINITY))

    return subprocess.Popen(
        [sys.executable, "-c", before + IMPORT, str(log), str(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=None if limit is None else starve,
    )


def assert_complete(log: Log, messages: int) -> None:
    """Each record once: messages, calls, tools with their answers, bytes."""
    assert len({row.message_id for row in rows(log, MESSAGES)}) == len(rows(log, MESSAGES)) == messages
    assert totals(log).calls == messages // 3
    tools = rows(log, TOOLS)
    assert len(tools) == messages // 3
    assert all(tool.outcome == "ok" for tool in tools)
    for source in log.imports.list():
        assert source.offset == source.size_bytes == source.understood_bytes + source.duplicate_bytes
    assert log.verify().ok
    assert log.projections.verify() == []


def kill_again_and_again(tmp_path: Path, kills: int, files: int, turns: int, before: str = "") -> None:
    messages = corpus(tmp_path / "source", files, turns)
    path = tmp_path / "log.db"
    dice = random.Random(7)
    killed = ended = 0
    while killed < kills:
        process = start(path, tmp_path / "source", before=before)
        assert process.stdout is not None
        process.stdout.readline()  # it has begun, however busy the machine is
        time.sleep(dice.random() ** 2 * 0.9)
        process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:
            ended += 1
            path.unlink()
        else:
            assert process.returncode == -signal.SIGKILL, errors
            killed += 1
    process = start(path, tmp_path / "source", before=before)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    with eventlog.open(path) as log:
        assert_complete(log, messages)
        head = log.head()
        log.import_from("claude", tmp_path / "source")
        assert log.head() == head
    print(f"{killed} kills in the middle, {ended} others ended before; {messages:,} messages, each once")


@pytest.mark.parametrize("before", ["", APART], ids=["alone", "apart"])
def test_an_import_that_is_killed_goes_on_where_it_was(tmp_path: Path, before: str) -> None:
    kill_again_and_again(tmp_path, kills=2, files=8, turns=120, before=before)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("before", ["", APART], ids=["alone", "apart"])
def test_imports_are_killed_many_times(tmp_path: Path, before: str) -> None:
    kills = int(os.environ.get("EVENTLOG_LONG_KILLS", "12"))
    kill_again_and_again(tmp_path, kills=kills, files=20, turns=400, before=before)


def test_a_disk_that_is_full_is_told_and_the_rest_follows_when_there_is_space(tmp_path: Path) -> None:
    messages = corpus(tmp_path / "source", 6, 100)
    path = tmp_path / "log.db"
    process = start(path, tmp_path / "source", limit=700_000)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "eventlog.errors." in errors
    with eventlog.open(path) as log:
        assert log.verify().ok
        log.import_from("claude", tmp_path / "source")
        assert_complete(log, messages)


def test_a_file_that_grows_while_it_is_read_is_there_in_the_end(tmp_path: Path) -> None:
    name = "00000000-0000-4000-8000-000000000000"
    path = write(tmp_path / "source" / f"{name}.jsonl", b"")
    content = conversation(0, 300, name)
    over = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            for at in range(0, len(content), 4001):
                file.write(content[at : at + 4001])
                time.sleep(0.002)
        over.set()

    with eventlog.open(tmp_path / "log.db") as log:
        writer = threading.Thread(target=grow)
        writer.start()
        while not over.is_set():
            log.import_from("claude", path)
        writer.join()
        log.import_from("claude", path)
        assert_complete(log, 900)
        assert log.imports.list()[0].quarantined_records == 0


def test_many_imports_at_once_add_each_record_once(tmp_path: Path) -> None:
    messages = corpus(tmp_path / "source", 6, 60)
    path = tmp_path / "log.db"
    eventlog.open(path).close()
    processes = [start(path, tmp_path / "source") for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    with eventlog.open(path) as log:
        assert len(rows(log, MESSAGES)) == messages
        assert totals(log).calls == messages // 3
        assert len(list(log.read(types=[LlmCallCompleted]))) == messages // 3
        assert len(list(log.read(types=[ToolCallFinished]))) == messages // 3
        assert log.projections.verify() == []


def test_of_two_imports_of_a_source_one_says_what_became_of_it(log: Log, tmp_path: Path) -> None:
    content = lines([said(1, "a")]) + b"{bad}\n" + lines([said(2, "b", parent=1)])
    path = write(tmp_path / "a.jsonl", content)
    others: list[int] = []

    def meanwhile(done: int, total: int | None, label: str) -> None:
        if not others:
            others.append(done)
            log.import_from("claude", path)

    report = log.import_from("claude", path, progress=meanwhile)
    assert report.partial and report.total.duplicate_records == 2
    (source,) = log.imports.list()
    assert (source.records, source.understood_records, source.quarantined_records) == (3, 2, 1)
    assert source.understood_bytes + source.quarantined_bytes + source.blank_bytes == source.offset == len(content)
    write(path, content + lines([said(3, "c", parent=2)]), age_s=900)
    assert log.import_from("claude", path).total.understood_records == 1
    assert log.imports.list()[0].records == 4


def test_an_endless_line_costs_no_memory_and_the_rest_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "source.jsonl"
    with path.open("wb") as file:
        file.write(lines([said(1, "before")]))
        file.write(b'{"type":"file-history-snapshot","content":"')
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + lines([said(2, "after", parent=1)]))
    os.utime(path, (1e9, 1e9))
    code = (
        IMPORT + "status = open('/proc/self/status').read().split('VmHWM:')[1].split()[0]\nprint(status)\n"
        if Path("/proc/self/status").exists()
        else IMPORT + "print(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log.db"), str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert int(done.stdout.split()[-1]) < 250_000
    with eventlog.open(tmp_path / "log.db") as log:
        assert [row.message_id for row in rows(log, MESSAGES)] == [uuid(1), uuid(2)]
        (source,) = log.imports.list()
        assert source.quarantined_bytes == path.stat().st_size - source.understood_bytes
        assert "longer than" in log.imports.quarantined(source.source_id)[0].reason


def test_an_import_appends_while_others_do(tmp_path: Path) -> None:
    messages = corpus(tmp_path / "source", 4, 80)
    with eventlog.open(tmp_path / "log.db") as log:
        process = start(tmp_path / "log.db", tmp_path / "source")
        runs = 0
        while process.poll() is None:
            log.runs.start(f"run {runs}")
            runs += 1
        process.communicate()
        assert process.returncode == 0
        assert log.runs.count() == runs
        assert_complete(log, messages)
        told = [json.loads(record.data)["message_id"] for record in log.read(types=[MessageAdded])]
        assert len(told) == messages
