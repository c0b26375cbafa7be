"""Records out of files as other programs leave them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.importers.pieces import Piece, pieces


def found(content: bytes, **options: Any) -> list[Piece]:
    """The pieces of a content, which all together are all of it."""
    made = list(pieces(io.BytesIO(content), 0, len(content), **options))
    where = 0
    for piece in made:
        assert piece.offset == where
        assert 0 <= piece.blank <= piece.length
        where += piece.length
    assert where == len(content)
    return made


def values(content: bytes) -> list[Any]:
    return [piece.value for piece in found(content) if piece.value is not None]


def problems(content: bytes) -> list[str]:
    return [piece.problem for piece in found(content) if piece.problem]


@pytest.mark.parametrize(
    ("content", "read", "wrong"),
    [
        (b"", [], 0),
        (b"\n\n \r\n", [], 0),
        (b'{"a":1}\r\n{"b":2}', [{"a": 1}, {"b": 2}], 0),
        (b'{"a":1}{"b":2} {"c":3}\n', [{"a": 1}, {"b": 2}, {"c": 3}], 0),
        (b'{"a":"\xe2\x80\xa8\xe2\x80\xa9\xc2\x85"}\n', [{"a": "\u2028\u2029\x85"}], 0),
        (b'\xef\xbb\xbf{"a":1}\n', [{"a": 1}], 0),
        (b'\0\0\0{"a":1}\0\0\n', [{"a": 1}], 0),
        (b'{"a":1}\n\0\0\0\0\0\n{"b":2}\n', [{"a": 1}, {"b": 2}], 1),
        (b'{"a":1}\n{"cut":"o\n{"b":2}\n', [{"a": 1}, {"b": 2}], 1),
        (b'{"cut":"o{"b":2}\n', [], 1),
        (
            b'{"a":1,"b":2,"c":3}\n{"cut":"o{"c":2,"b":2,"a":{"x":1}}\n',
            [{"a": 1, "b": 2, "c": 3}, {"c": 2, "b": 2, "a": {"x": 1}}],
            1,
        ),
        (b'{"a":1,"b":2,"c":3}\n{"a":{"b":1,"x":2,"y":3}\n', [{"a": 1, "b": 2, "c": 3}], 1),
        (b'{"a":1,"b":2,"c":3}\n{"x":{"a":1,"b":2,"c":3}', [{"a": 1, "b": 2, "c": 3}], 1),
        (b'{"b":2}{"cut":\n', [{"b": 2}], 1),
        (b'{"a":"\xff\xfe"}\n', [{"a": "\\xff\\xfe"}], 0),
        (b'{"a":"\\ud83d"}\n', [{"a": "\\ud83d"}], 0),
        (b'{"a":NaN,"b":1e999,"c":36893488147419103232}\n', [{"a": "nan", "b": "inf", "c": "36893488147419103232"}], 0),
        (b'[1,2]\n"text"\n7\nnull\n{"a":1}\n', [{"a": 1}], 4),
        (b"\xff\xfe\x00garbage\n", [], 1),
    ],
)
def test_what_can_be_read_is_read_and_the_rest_is_told(content: bytes, read: list[Any], wrong: int) -> None:
    assert values(content) == read
    assert len(problems(content)) == wrong


def test_a_line_that_is_too_long_is_not_held_and_the_next_goes_on() -> None:
    content = b'{"a":"' + b"x" * 5000 + b'"}\n{"b":1}\n' + b"y" * 9000
    first, second, last = found(content, max_line_bytes=4096)
    assert first.problem == last.problem == "the line is longer than 4,096 bytes"
    assert second.value == {"b": 1}
    assert first.sha256 and not last.ended
    assert next(pieces(io.BytesIO(content), 0, 5009, 8192)).value == {"a": "x" * 5000}


def test_depth_is_a_problem_and_not_a_crash() -> None:
    assert len(problems(b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n")) >= 1
    assert len(problems(b"[" * 100_000 + b"\n")) == 1


def test_a_problem_says_nothing_of_what_is_there() -> None:
    (problem,) = problems(b'{"password": "hunter2" "token"}\n')
    assert "hunter2" not in problem
    assert "not valid JSON" in problem


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(-9, 9), max_size=3), max_size=6)
)
def test_what_was_written_is_what_is_read(records: list[dict[str, Any]]) -> None:
    content = b"".join(
        json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for record in records
    )
    assert values(content) == records


@given(st.binary(max_size=300))
def test_any_bytes_are_pieces_and_never_an_error(content: bytes) -> None:
    found(content + b'\n{"a":1}\n')
