"""Files of content beside the log: whole or not there, and nothing is left of a writer that was ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from eventlog.blobs import Blobs

CONTENT = b"written slowly"
FOLDER = sha256(CONTENT).hexdigest()[:2]
BESIDE = next(text for text in map(b"%d".__mod__, range(10_000)) if sha256(text).hexdigest()[:2] == FOLDER)
"""Content whose file is in the same folder."""
WRITER = f"""
import os, sys
from pathlib import Path
from eventlog.blobs import Blobs
sync = os.fsync

def sync_slowly(descriptor):
    print("writing", flush=True)
    sys.stdin.readline()
    sync(descriptor)

os.fsync = sync_slowly
Blobs(Path(sys.argv[1])).put({CONTENT!r})
"""


@contextmanager
def writing(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of keeping content; it goes on when it is told so, a line for each time it syncs."""
    command = [sys.executable, "-c", WRITER, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        try:
            yield process
        finally:
            process.kill()


def files(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "blobs" / FOLDER).iterdir())


def test_what_a_writer_that_was_killed_left_is_removed_by_the_next_one_there(tmp_path: Path) -> None:
    with writing(tmp_path):
        (left,) = files(tmp_path)
    assert files(tmp_path) == [left]
    foreign = left.with_name(".directory")
    foreign.touch()
    kept = Blobs(tmp_path).put(BESIDE)
    assert files(tmp_path) == [foreign, left.with_name(kept)]


def test_what_somebody_is_writing_is_left_alone(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        (part,) = files(tmp_path)
        kept = [Blobs(tmp_path).put(BESIDE), Blobs(tmp_path).put(CONTENT)]
        assert part in files(tmp_path)
        writer.communicate("\n\n", timeout=20)
        assert writer.returncode == 0
    assert files(tmp_path) == sorted(part.with_name(digest) for digest in kept)
    assert Blobs(tmp_path).get(kept[1]) == CONTENT


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_content_comes_back_as_it_was_and_is_kept_once(tmp_path: Path, size: int) -> None:
    digest = Blobs(tmp_path).put(b"x" * size)
    assert Blobs(tmp_path).put(b"x" * size) == digest
    assert Blobs(tmp_path).get(digest) == b"x" * size
    assert [path.name for path in (tmp_path / "blobs").glob("*/*")] == [digest]
