"""Imports that are killed again and again: a database, and files of lines that go on where they were."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import eventlog
from tests.importers.samples import SAMPLES
from tests.long.sizes import size

ROOT = Path(__file__).parents[2]
CODE = (
    "import sys, eventlog\n"
    "with eventlog.open(sys.argv[1]) as log:\n"
    "    log.import_from(sys.argv[2], sys.argv[3], progress=lambda *_: print(flush=True))\n"
)


def start(log: Path, name: str, source: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(log), name, str(source)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize("name", ["codex", "llm", "mlflow", "agent-jsonl"])
def test_an_import_that_is_killed_ends_with_all_of_it_once(tmp_path: Path, name: str) -> None:
    source = SAMPLES[name](tmp_path / "source", [f"thing {number} " + "x" * (number % 700) for number in range(1500)])
    path = tmp_path / "log.db"
    dice = random.Random(39)
    killed = ended = 0
    while killed < size("KILLS"):
        process = start(path, name, source)
        assert process.stdout is not None
        process.stdout.readline()  # it has begun, however busy the machine is
        time.sleep(dice.random() ** 2)
        process.kill()
        process.communicate()
        if process.returncode == 0:
            ended += 1
            path.unlink()
        else:
            assert process.returncode == -9
            killed += 1
    process = start(path, name, source)
    process.communicate(timeout=300)
    assert process.returncode == 0
    print(f"{name}: {killed} kills in the middle, {ended} others ended before; each record once")
    with eventlog.open(path) as log, eventlog.open(tmp_path / "clean.db") as clean:
        clean.import_from(name, source)
        found, expected = (
            sorted((one.stream, one.data) for one in each.read() if not one.type.startswith("import."))
            for each in (log, clean)
        )
        assert found == expected
        assert log.verify().ok and log.projections.verify() == []
        head = log.head()
        log.import_from(name, source)
        assert log.head() == head
