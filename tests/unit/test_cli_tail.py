from __future__ import annotations

from pathlib import Path

import pytest

from eventlog.cli import runs_tail
from eventlog.cli.runs_tail import Growing, split


@pytest.mark.parametrize(
    ("text", "lines", "rest"),
    [
        ("", [], ""),
        ("a\nb\n", ["a", "b"], ""),
        ("a\r\nb", ["a"], "b"),
        ("10%\r20%\rdone\n", ["10%", "20%", "done"], ""),
        ("10%\r20%\r", ["10%"], "20%\r"),
        ("\n\n", ["", ""], ""),
    ],
)
def test_lines(text: str, lines: list[str], rest: str) -> None:
    assert split(text) == (lines, rest)


def test_a_file_is_read_as_it_grows(tmp_path: Path) -> None:
    place = tmp_path / "x"
    place.write_bytes(b"one\ntwo\nthr")
    file = Growing(place)
    assert file.end(1, whole=True) == ["two"]
    with place.open("ab") as more:
        more.write("ee\nf\xc3".encode("latin-1"))
    assert list(file.new(final=False)) == ["three"]
    with place.open("ab") as more:
        more.write(b"\xbc\r")
    assert list(file.new(final=False)) == []
    with place.open("ab") as more:
        more.write(b"\n\xff\nend")
    assert list(file.new(final=False)) == ["fü", "\\xff"]
    assert list(file.new(final=True)) == ["end"]
    assert list(file.new(final=True)) == []


def test_only_the_end_of_a_big_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_tail, "CHUNK_BYTES", 64)
    place = tmp_path / "x"
    place.write_text("".join(f"line {number}\n" for number in range(1000)) + "last")
    assert Growing(place).end(2, whole=False) == ["line 999", "last"]
    assert Growing(place).end(0, whole=False) == []
    assert len(Growing(place).end(10_000, whole=False)) == 1001
