"""A projection's table: columns from the row Struct, and rows there and back."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from eventlog.events.base import Int64
from eventlog.projection import Row
from eventlog.store.base import Column, Table
from projections.runs import Run


class Everything(Row, frozen=True):
    thing_id: int
    text: str
    number: float
    flag: bool
    maybe_text: str | None
    maybe_number: float | None
    maybe_flag: bool | None
    word: Literal["a", "b"]
    bounded: Int64
    maybe_bounded: Int64 | None
    mapping: dict[str, int]
    parts: tuple[str, ...]
    mixed: str | int | None
    maybe_mapping: dict[str, Any] | None = None


TABLE = Table("everything", Everything, ("thing_id",))
ROW = Everything(1, "é\0", 1.5, True, None, None, None, "b", 5, None, {"x": 1}, ("a", "b"), 7)
FULL = Everything(2, "", -0.5, False, "t", 2.0, True, "a", -(2**63), 2**63 - 1, {}, (), "7", {"k": [None, 1.5]})


def test_columns_come_from_the_fields_in_their_order() -> None:
    assert TABLE.columns == (
        Column("thing_id", "int", False),
        Column("text", "text", False),
        Column("number", "float", False),
        Column("flag", "bool", False),
        Column("maybe_text", "text", True),
        Column("maybe_number", "float", True),
        Column("maybe_flag", "bool", True),
        Column("word", "text", False),
        Column("bounded", "int", False),
        Column("maybe_bounded", "int", True),
        Column("mapping", "json", False),
        Column("parts", "json", False),
        Column("mixed", "json", True),
        Column("maybe_mapping", "json", True),
    )
    assert TABLE.names == tuple(Everything.__struct_fields__)


@pytest.mark.parametrize("row", [ROW, FULL])
def test_a_row_comes_back(row: Everything) -> None:
    values = TABLE.dump(row)
    assert all(value is None or isinstance(value, (int, float, str)) for value in values)
    stored = [int(value) if isinstance(value, bool) else value for value in values]
    back = TABLE.load(stored)
    assert back == row
    assert back.flag is row.flag
    assert back.maybe_flag is row.maybe_flag


def test_json_of_the_same_value_is_the_same_text() -> None:
    assert TABLE.dump(ROW)[10] == '{"x":1}'
    assert TABLE.dump(FULL)[10] == "{}"
    assert TABLE.dump(ROW)[13] is None


def test_keys_are_columns_by_name() -> None:
    table = Table("pair", Everything, ("text", "bounded"))
    assert table.key_indexes == (1, 8)


def test_the_table_of_runs_keeps_its_promises() -> None:
    names = {column.name: column for column in Table("runs", Run, ("run_id",)).columns}
    assert names["status"] == Column("status", "text", False)
    assert names["tags"] == Column("tags", "json", False)
    assert names["git_dirty"] == Column("git_dirty", "bool", True)
    assert names["project_id"].nullable
