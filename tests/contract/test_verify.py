"""`verify` recomputes the chain: whatever was changed behind the log's back is found at its position."""

from __future__ import annotations

import pytest

from eventlog import Append
from eventlog.app import Log
from eventlog.errors import InvalidQuery
from eventlog.log import PAGE
from tests.helpers import Noted, behind_the_back, notes


@pytest.fixture
def filled(log: Log) -> Log:
    for number in range(6):
        log.append(f"note-{number % 2}", Noted(number=number), actor="anna", metadata={"n": number})
    return log


def test_a_sound_log_verifies(filled: Log) -> None:
    report = filled.verify()
    assert (report.ok, report.checked, report.bad_position, report.problem) == (True, 6, None, None)
    assert report.head[:2] == filled.head()[:2]


def test_an_empty_log_verifies(log: Log) -> None:
    assert log.verify()[:2] == (True, 0)


def test_progress_is_told_page_by_page(log: Log) -> None:
    log.append("note-1", notes(PAGE + 10))
    told: list[tuple[int, int | None, str]] = []
    assert log.verify(lambda *step: told.append(step)).ok
    assert [(done, total) for done, total, _ in told] == [(PAGE, PAGE + 10), (PAGE + 10, PAGE + 10)]
    assert all(label for _, _, label in told)


@pytest.mark.parametrize(
    "change",
    [
        "data = replace(CAST(data AS TEXT), '3', '4')",
        "data = CAST(data AS TEXT) || ' '",
        "stream = 'note-9'",
        "version = 99",
        "type = 'test.other'",
        "schema = 2",
        "occurred_at = occurred_at + 1",
        "recorded_at = recorded_at + 1",
        "key = 'k'",
        "actor = 'eve'",
        "actor = NULL",
        "correlation = actor, actor = NULL",
        "correlation = ''",
        "causation = '1'",
        "metadata = NULL",
        "metadata = '{}'",
        "hash = ?",
    ],
)
def test_a_changed_column_is_found_at_its_position(filled: Log, change: str) -> None:
    with behind_the_back(filled) as connection:
        connection.execute(f"UPDATE events SET {change} WHERE position = 4", (bytes(32),) if "?" in change else ())
    report = filled.verify()
    assert (report.ok, report.checked, report.bad_position) == (False, 3, 4)
    assert report.problem


@pytest.mark.parametrize("position", [1, 3, 5])
def test_a_deleted_row_is_found_at_its_position(filled: Log, position: int) -> None:
    with behind_the_back(filled) as connection:
        connection.execute("DELETE FROM events WHERE position = ?", (position,))
    report = filled.verify()
    assert (report.ok, report.bad_position) == (False, position)
    assert str(position) in str(report.problem)


def test_a_deleted_range_in_the_middle_is_found(filled: Log) -> None:
    with behind_the_back(filled) as connection:
        connection.execute("DELETE FROM events WHERE position BETWEEN 2 AND 5")
    assert filled.verify()[3] == 2


def test_a_deleted_row_whose_successors_moved_up_is_found(filled: Log) -> None:
    with behind_the_back(filled) as connection:
        connection.execute("DELETE FROM events WHERE position = 3")
        connection.execute("UPDATE events SET position = position - 1 WHERE position > 3")
    assert filled.verify()[3] == 3


def test_swapped_rows_are_found(filled: Log) -> None:
    with behind_the_back(filled) as connection:
        for old, new in ((2, 100), (3, 2), (100, 3)):
            connection.execute("UPDATE events SET position = ? WHERE position = ?", (new, old))
    assert filled.verify()[3] == 2


def test_an_inserted_row_is_found(filled: Log) -> None:
    with behind_the_back(filled) as connection:
        connection.execute(
            "INSERT INTO events SELECT 7, stream, 99, type, schema, occurred_at, recorded_at, NULL, actor, "
            "correlation, causation, data, metadata, hash FROM events WHERE position = 6"
        )
    assert filled.verify()[3] == 7


def test_a_lost_tail_is_seen_by_the_head_kept_elsewhere(filled: Log) -> None:
    kept = filled.head()
    with behind_the_back(filled) as connection:
        connection.execute("DELETE FROM events WHERE position > 4")
    report = filled.verify()
    assert report.ok
    assert report.head.position == 4
    assert report.head[:2] != kept[:2]


def test_the_first_of_several_bad_records_is_told(log: Log) -> None:
    log.append_many([Append(stream="note-1", events=Noted(number=n)) for n in range(PAGE + 20)])
    with behind_the_back(log) as connection:
        connection.execute("UPDATE events SET actor = 'eve' WHERE position IN (?, ?)", (PAGE + 5, PAGE + 9))
    report = log.verify()
    assert (report.ok, report.checked, report.bad_position) == (False, PAGE + 4, PAGE + 5)


def test_a_value_of_an_impossible_kind_is_a_finding_not_a_crash(filled: Log) -> None:
    with behind_the_back(filled) as connection:
        connection.execute(f"UPDATE events SET data = {connection.impossible} WHERE position = 4")
    report = filled.verify()
    assert (report.ok, report.bad_position) == (False, 4)


def test_verifying_can_begin_behind_what_is_trusted(filled: Log) -> None:
    third = list(filled.read())[2]
    assert filled.verify(after=3, previous=third.hash)[:2] == (True, 3)
    assert filled.verify(after=3, previous=bytes(32))[3] == 4
    with pytest.raises(InvalidQuery):
        filled.verify(after=3)
