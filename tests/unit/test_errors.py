"""The error tree: drawn truly, told in full, carried between processes."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import eventlog
from eventlog import errors
from eventlog.app import Log
from eventlog.errors import EventLogError, KeyReused, LogBusy, NotFound, WrongExpectedVersion
from eventlog.store import sqlite_schema
from tests.helpers import EVENTS, Noted

CLASSES = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, EventLogError)]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([ │├└─]*)([A-Z]\w+)", line)
        if found:
            depth = len(found[1]) // 4
            path = [*path[:depth], found[2]]
            drawn[found[2]] = path[-2] if depth else ""
    assert drawn == {one.__name__: "" if one is EventLogError else one.__base__.__name__ for one in CLASSES}  # type: ignore[union-attr]


@pytest.mark.parametrize("cls", CLASSES)
def test_a_docstring_is_the_default_message(cls: type[EventLogError]) -> None:
    assert cls.__doc__
    if cls not in (WrongExpectedVersion, KeyReused):
        assert str(cls()) == cls.__doc__.strip()
        assert str(cls("told", n=1)) == "told"


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_travels_between_processes(cls: type[EventLogError]) -> None:
    arguments = {WrongExpectedVersion: ("note-1", 3, 5), KeyReused: ("k", 7)}.get(cls, ("told",))
    error = cls(*arguments)  # type: ignore[arg-type]
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(copied) is cls
        assert str(copied) == str(error)
        assert copied.facts == error.facts


def test_facts_are_attributes() -> None:
    error = WrongExpectedVersion("note-1", 3, 5)
    assert (error.stream, error.expected, error.actual) == ("note-1", 3, 5)
    assert NotFound("no", run_id=5).run_id == 5
    assert not hasattr(error, "other")
    with pytest.raises(AttributeError, match="other"):
        _ = error.other


def test_a_message_tells_its_facts() -> None:
    for expected, told in (("no stream", "no events were"), ("exists", "events were"), (3, "version 3 was")):
        assert str(WrongExpectedVersion("note-1", expected, 5)) == (
            f"wrong expected version of stream 'note-1': it is at version 5, and {told} expected"
        )
    assert "'k'" in str(KeyReused("k", 7)) and "7" in str(KeyReused("k", 7))


def test_notes_and_causes_can_be_added() -> None:
    error = LogBusy()
    error.add_note("more")
    assert error.__notes__ == ["more"]


def _no_database(log: Log, folder: Path) -> None:
    (folder / "text.db").write_text("no database at all")
    eventlog.open(folder / "text.db")


def _no_such_schema(log: Log, folder: Path) -> None:
    with contextlib.closing(sqlite_schema.open_for_schema(folder / "log.db")) as store:
        sqlite_schema.rollback(store, 99)


def _no_such_file(log: Log, folder: Path) -> None:
    with log.runs.track("x", inputs=[folder / "gone"]):
        raise AssertionError("the block does not run")


def _no_json(log: Log, folder: Path) -> None:
    log.append("note-1", Noted(text="a"), metadata={"a": math.nan})


def _stored_json_that_does_not_decode(log: Log, folder: Path) -> None:
    log.codec.decode("run.started", 1, b'{"type":"run.started","command":7}')


@pytest.mark.feature("S1-9")
@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        pytest.param(_no_database, errors.StoreError, id="Database"),
        pytest.param(lambda log, folder: log.sessions.get("none"), errors.NotFound, id="NotFound"),
        pytest.param(_no_such_schema, errors.MigrationError, id="Migration"),
        pytest.param(
            lambda log, folder: log.sessions.add_message("s", "nobody", "hm"), errors.InvalidInput, id="Validation"
        ),
        pytest.param(_no_such_file, errors.ArtifactError, id="Io"),
        pytest.param(_no_json, errors.InvalidInput, id="Json"),
        pytest.param(_stored_json_that_does_not_decode, errors.DecodeError, id="Json-stored"),
    ],
)
def test_each_kind_of_error_that_sessions_had_is_one_of_the_tree(
    fail: Callable[[Log, Path], object], kind: type[EventLogError], tmp_path: Path
) -> None:
    with eventlog.open(tmp_path / "log.db", events=EVENTS) as log:
        log.sessions.create(session_id="s")
        with pytest.raises(kind) as raised:
            fail(log, tmp_path)
        assert "\n" not in raised.value.message
        assert log.verify().ok
