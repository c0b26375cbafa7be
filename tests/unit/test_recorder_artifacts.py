"""The artifact store: where files go, that they appear whole, and that no name leads out of the run's directory."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

import pytest

from eventlog.errors import ArtifactError, EventLogError, InvalidName
from eventlog.recorder.artifacts import ArtifactStore, check_name

HOSTILE = [
    "", ".", "..", "../x", "a/../../x", "a/./b", "/etc/passwd", "//x", "a//b", "a/", "C:\\x", "c:x", "a\\..\\b",
    "\\\\host\\x", "x\0y", "x\ny", "x\x7f", "a" * 256, "é" * 128, "a/" * 600 + "b", "%2e%2e/x", "%2E%2e",
    "a%2f..%2fb", "..%5cx",
    "\udcff",
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    made = ArtifactStore(tmp_path, "0123456789abcdef")
    made.create(7, {"run_id": 7})
    return made


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["input", "output", "logs"])
def test_names_that_escape_are_refused(store: ArtifactStore, tmp_path: Path, name: str, kind: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidName):
        store.save_bytes(7, name, b"x", kind)  # type: ignore[arg-type]
    with pytest.raises(InvalidName):
        store.path(7, kind, name)  # type: ignore[arg-type]
    with pytest.raises(InvalidName):
        store.open_new(7, kind, name)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before


def test_fuzzed_names_stay_inside(store: ArtifactStore, tmp_path: Path) -> None:
    rng = random.Random(34)
    pieces = ["..", ".", "/", "\\", "a", "%2e", "\0", "~", " ", "C:", "é", "\n", "-", "\u202e", "CON", "*"]
    for _ in range(300):
        name = "".join(rng.choice(pieces) for _ in range(rng.randrange(1, 7)))
        try:
            store.save_bytes(7, name, b"x")
        except (InvalidName, ArtifactError):
            continue
        assert store.path(7, "output", name).resolve().is_relative_to(tmp_path / "result/7/output")
    assert {path.name for path in tmp_path.iterdir()} == {"result"}
    assert {path.name for path in (tmp_path / "result/7").iterdir()} == {"input", "output", "logs", "meta.json"}


@pytest.mark.parametrize("name", ["a", "a.b/c.d", "with space", "ünï", "~x", "-rf", ".hidden", "a" * 255, "..."])
def test_names_that_are_fine(store: ArtifactStore, name: str) -> None:
    saved = store.save_bytes(7, name, b"data")
    assert store.path(7, "output", name).read_bytes() == b"data"
    assert (saved.size_bytes, saved.sha256) == (4, hashlib.sha256(b"data").hexdigest())
    assert check_name(name)


def test_symbolic_links_do_not_lead_out(store: ArtifactStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep")
    output = tmp_path / "result/7/output"
    (output / "link").symlink_to(outside)
    (output / "file").symlink_to(outside / "precious")
    (output / "dangling").symlink_to(outside / "new")
    for name in ("link/x", "link/precious", "file", "dangling"):
        with pytest.raises(ArtifactError):
            store.save_bytes(7, name, b"x")
        with pytest.raises(ArtifactError):
            store.open_new(7, "output", name)
    assert {path.name for path in outside.iterdir()} == {"precious"}
    assert (outside / "precious").read_text() == "keep"
    output.rename(tmp_path / "moved")
    output.symlink_to(outside)
    with pytest.raises(ArtifactError):
        store.save_bytes(7, "x", b"x")
    store.delete(7)
    assert (outside / "precious").read_text() == "keep"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        store = ArtifactStore(tmp_path / "data", "f" * 16)
        store.create(1, {})
        store.save_bytes(1, "deep/er/file", b"x")
        store.open_new(1, "logs", "stdout.log").close()
    finally:
        os.umask(old)
    for path in (tmp_path / "data/result").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert (tmp_path / "data/result").stat().st_mode & 0o777 == 0o700


def test_meta_is_replaced_as_a_whole(store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result/7/meta.json"
    assert json.loads(path.read_text()) == {"log_id": store.log_id, "run_id": 7}

    def broken(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(ArtifactError, match="No space"):
        store.write_meta(7, {"run_id": 7, "status": "success"})
    assert json.loads(path.read_text()) == {"log_id": store.log_id, "run_id": 7}
    assert {one.name for one in path.parent.iterdir()} == {"input", "output", "logs", "meta.json"}
    monkeypatch.undo()
    store.write_meta(7, {"status": "success"})
    assert json.loads(path.read_text())["status"] == "success"


def test_two_logs_in_one_folder(store: ArtifactStore, tmp_path: Path) -> None:
    other = ArtifactStore(tmp_path, "fedcba9876543210")
    assert other.create(7, {}) == tmp_path / "result/7-fedcba98"
    other.save_bytes(7, "x", b"other")
    store.save_bytes(7, "x", b"one")
    assert other.path(7, "output", "x").read_bytes() == b"other"
    assert store.path(7, "output", "x").read_bytes() == b"one"
    assert other.create(7, {}) == other.run_dir(7)
    assert other.delete(7)
    assert not other.delete(7)
    assert store.run_dir(7).is_dir()


def test_a_directory_of_somebody_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "result/1"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work")
    store = ArtifactStore(tmp_path, "0123456789abcdef")
    assert store.create(1, {}) == tmp_path / "result/1-01234567"
    assert store.run_dir(1) == tmp_path / "result/1-01234567"
    assert {path.name for path in mine.iterdir()} == {"thesis.txt"}


def test_inputs(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_bytes(os.urandom(3 << 20))
    saved = store.save_input(7, source)
    assert (saved.kind, saved.name, saved.source) == ("input", "data.csv", str(source))
    assert saved.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert store.save_input(7, source).name == "data-2.csv"
    assert store.save_input(7, source, "renamed").name == "renamed"
    os.mkfifo(tmp_path / "pipe")
    for bad in (tmp_path / "none", tmp_path, tmp_path / "pipe", "x\0y"):
        with pytest.raises(EventLogError):
            store.save_input(7, bad)


def test_an_output_is_replaced_but_a_log_file_is_not(store: ArtifactStore) -> None:
    store.save_bytes(7, "x", b"one")
    store.save_bytes(7, "x", b"two")
    assert store.path(7, "output", "x").read_bytes() == b"two"
    store.open_new(7, "logs", "l").close()
    with pytest.raises(ArtifactError):
        store.open_new(7, "logs", "l")
    (store.run_dir(7) / "output/dir").mkdir()
    with pytest.raises(ArtifactError):
        store.save_bytes(7, "dir", b"x")
