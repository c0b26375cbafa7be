from __future__ import annotations

import io
import json
import re
import sys
from datetime import UTC
from typing import Any, NamedTuple

import msgspec
import pytest

from eventlog.cli import plot, view
from eventlog.cli import progress as progress_module
from eventlog.cli.as_json import to_json
from eventlog.cli.pairs import pairs, parameters
from eventlog.cli.progress import bar
from eventlog.cli.view import Column, View, cell_width


class Row(msgspec.Struct):
    name: str
    count: int = 0
    argv: tuple[str, ...] = ()


class Pair(NamedTuple):
    position: int
    hash: bytes


COLUMNS = [Column("name", lambda row: row.name), Column("count", lambda row: str(row.count), right=True)]
ROWS = [Row("a\x1b[2Jb", 1), Row("日本", 200, ("x",))]


def test_plain_tables_are_aligned_by_what_the_eye_sees(capsys: pytest.CaptureFixture[str]) -> None:
    View().rows(ROWS, COLUMNS)
    assert capsys.readouterr().out == "name  count\nab        1\n日本    200\n"


def test_columns_with_nothing_in_them_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    note = Column("note", lambda row: " ".join(row.argv), optional=True)
    View().rows(ROWS, [*COLUMNS, note])
    assert "note" in capsys.readouterr().out
    View().rows(ROWS[:1], [*COLUMNS, note])
    assert "note" not in capsys.readouterr().out


def test_raw_prints_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    View(raw=True).rows(ROWS[:1], COLUMNS)
    assert "a\x1b[2Jb" in capsys.readouterr().out


def test_an_empty_table_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    View().rows([], COLUMNS, empty="nothing")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "nothing\n")


def test_a_list_is_one_array(capsys: pytest.CaptureFixture[str]) -> None:
    View(form="json").rows(iter(ROWS), COLUMNS)
    assert json.loads(capsys.readouterr().out) == [
        {"name": "a\x1b[2Jb", "count": 1, "argv": []},
        {"name": "日本", "count": 200, "argv": ["x"]},
    ]


@pytest.mark.parametrize(("form", "printed"), [("json", "[]\n"), ("jsonl", "")])
def test_an_empty_list(form: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    View(form=form).rows([], COLUMNS, empty="nothing")  # type: ignore[arg-type]
    assert capsys.readouterr() == (printed, "")


def test_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    View(form="jsonl").rows(ROWS, COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["count"] for line in lines] == [1, 200]


def test_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    View().item(ROWS[0], [("name", "one\ntwo"), ("empty", ""), ("longer label", "x\x07")])
    assert capsys.readouterr().out == "name          one\n              two\nlonger label  x\\x07\n"
    View(form="json").item(Pair(3, b"\xff\x00"))
    assert capsys.readouterr().out == '{"position":3,"hash":"ff00"}\n'


def test_a_terminal_gets_a_table_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    wide = [Column("status", lambda row: "fail", status=True), Column("name", lambda row: row.name, wide=True)]
    View().rows([Row("x" * 200), Row("[red]markup[/red] :smile: \x1b]0;t\x07")], wide)
    printed = terminal.getvalue()
    assert "…" in printed
    assert "[red]markup[/red] :smile:" in printed
    assert "\x1b]" not in printed
    assert "\x07" not in printed


def test_what_gives_way_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    columns = [
        Column("id", lambda row: "12345678901234567890", right=True),
        Column("spare", lambda row: "s" * 20, spare=True),
        Column("wide", lambda row: "w" * 200, wide=True),
        Column("words", lambda row: "o" * 20),
    ]
    for width, there, gone in ((120, "s" * 20, "?"), (60, "12345678901234567890", "sss"), (46, "1234567890", "o" * 20)):
        terminal = Terminal()
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.setenv("COLUMNS", str(width))
        View().rows(ROWS, columns)
        printed = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
        assert there in printed
        assert gone not in printed
        assert max(map(len, printed.splitlines())) <= width


def test_json_of_what_commands_answer() -> None:
    assert json.loads(to_json({"a": (1, Row("x")), "b": b"\x01", "c": None})) == {
        "a": [1, {"name": "x", "count": 0, "argv": []}],
        "b": "01",
        "c": None,
    }


def test_cells_are_as_wide_as_they_look() -> None:
    assert [cell_width(text) for text in ("", "abc", "日本", "e\u0301")] == [0, 3, 4, 1]


def test_long_lists_begin_before_they_end(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "PAGE", 2)
    seen: list[str] = []

    def rows() -> object:
        for number in range(3):
            seen.append(capsys.readouterr().out)
            yield Row(str(number))

    View().rows(rows(), COLUMNS)  # type: ignore[arg-type]
    assert seen[2] == "name  count\n0         0\n1         0\n"
    assert capsys.readouterr().out == "2         0\n"


class Flushed(io.StringIO):
    """An output that counts how often it is flushed."""

    times = 0

    def flush(self) -> None:
        self.times += 1


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_a_list_in_a_pipe_is_flushed_by_the_page_and_not_by_the_line(
    form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Flushed()
    monkeypatch.setattr(sys, "stdout", out)
    View(form=form).rows([Row(str(number)) for number in range(3 * view.PAGE)], COLUMNS)
    assert out.getvalue().count("\n") >= 3 * view.PAGE
    assert out.times <= 3


def test_one_hostile_or_wide_cell_of_a_page_leaves_the_others_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    View().rows([Row("a\nb"), Row("日本"), Row("\x1b[31mred"), Row("plain")], COLUMNS)
    assert capsys.readouterr().out.splitlines()[1:] == ["a\\nb       0", "日本       0", "red        0", "plain      0"]


def test_times_are_shown_in_the_zone() -> None:
    assert View(zone=UTC).time(0) == "1970-01-01 00:00:00.000Z"


def test_names_and_values() -> None:
    assert pairs(("a=1", "b=x=y", " c = "), "--tag") == {"a": "1", "b": "x=y", "c": " "}
    with pytest.raises(Exception, match="NAME=VALUE"):
        pairs(("a",), "--tag")
    with pytest.raises(Exception, match="NAME=VALUE"):
        pairs(("=a",), "--tag")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("0.1", 0.1),
        ("1e-3", 0.001),
        ("true", True),
        ("null", None),
        ("True", "True"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("1e400", "1e400"),
        (str(2**63), str(2**63)),
        (str(2**63 - 1), 2**63 - 1),
        ("", ""),
        ("a b", "a b"),
    ],
)
def test_parameters_are_scalars(text: str, value: object) -> None:
    found = parameters((f"x={text}",))["x"]
    assert found == value
    assert type(found) is type(value)


def test_plots() -> None:
    assert plot.sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert plot.sparkline([0, 0]) == "  "
    assert plot.sparkline([]) == ""
    assert plot.bar(10, 10, 5) == "█████"
    assert plot.bar(1, 1000, 5) == "▏"
    assert plot.bar(0, 10) == ""


def test_plots_where_the_encoding_has_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert plot.sparkline([0, 1, 9]) == " 19"
    assert plot.bar(5, 10, 10) == "#####"


def test_no_bar_where_nobody_sees_it() -> None:
    with bar() as progress:
        assert progress is None


def test_a_bar_is_drawn_on_stderr_once_the_work_takes_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out, err = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    with bar() as progress:
        assert progress is not None
        progress(1, 10, "quick")
    assert err.getvalue() == ""
    monkeypatch.setattr(progress_module, "PATIENCE_S", 0)
    with bar() as progress:
        assert progress is not None
        progress(1, 10, "slow\x07")
        progress(10, 10, "slow\x07")
        progress(5, None, "other")
    assert "slow" in err.getvalue()
    assert "10/10" in err.getvalue()
    assert "\x07" not in err.getvalue()
    assert out.getvalue() == ""
