"""The stores that every contract test runs on. A new database joins by one line in `PLACES`."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

import eventlog
from eventlog.app import Log
from eventlog.config import VARIABLES
from tests import postgres
from tests.helpers import EVENTS

OpenLog = Callable[..., Log]
settings.register_profile("eventlog", settings.get_profile(settings.get_current_profile_name()), max_examples=40)
settings.load_profile("eventlog")


class Place(NamedTuple):
    """A kind of store: where a test's log is, and whether a second log object finds the same records there.

    ``tables``: whether its tables are kept by code of its own; else only `tests/contract` runs on it in every run.
    """

    name: str
    target: Callable[[Path], str]
    shared: bool
    contract: bool = True
    """Whether the contract is tried here in every run, and not in the long one alone."""
    tables: bool = True
    """The same for what is tried of tables."""


PLACES = [
    Place("sqlite-file", lambda folder: str(folder / "log.db"), shared=True),
    # The store of JSON lines is one in memory with a file beside it, so what it can do, this one can.
    Place("sqlite-memory", lambda folder: ":memory:", shared=False, contract=False, tables=False),
    Place("jsonl", lambda folder: str(folder / "log.jsonl"), shared=False, tables=False),
    Place("postgres", lambda folder: postgres.borrow_log(), shared=True),
]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shared: needs a store that several logs can open at once")
    config.addinivalue_line("markers", "alike: what it asks of a store other tests ask of each; long on all but a file")
    config.addinivalue_line("markers", "unmade: needs a place where no table of a projection was made before")


def pytest_collection_finish() -> None:
    """What the collection made stays: the collector of garbage need not walk over it again and again."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        only_shared = metafunc.definition.get_closest_marker("shared") is not None
        places = [place for place in PLACES if place.shared or not only_shared]
        contract = "contract" in metafunc.definition.path.parts
        often = [place.contract if contract else place.tables for place in places]
        if metafunc.definition.get_closest_marker("alike") is not None:
            often = [place.name == "sqlite-file" for place in places]
        marks = [() if one else pytest.mark.long for one in often]
        params = [pytest.param(place, id=place.name, marks=mark) for place, mark in zip(places, marks, strict=True)]
        metafunc.parametrize("place", params)


@pytest.fixture(autouse=True)
def _nobodys_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may touch the log of whoever runs it."""
    monkeypatch.setenv("EVENTLOG_URL", str(tmp_path / "default.db"))
    for name in ("EVENTLOG_DATA_DIR", *VARIABLES[1:]):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def target(place: Place, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """What to open."""
    made = request.node.get_closest_marker("unmade") is None
    if place.name == "postgres":
        target = place.target(tmp_path) if made else postgres.fresh_log()
        yield target
        postgres.return_log(target)
        return
    target = place.target(tmp_path)
    if made and place.name == "sqlite-file":
        Path(target).touch(0o600)
        Path(target).write_bytes(_empty_log())
    yield target


@cache
def _empty_log() -> bytes:
    """A file with an empty log in it: its tables take longer to make than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log.db")
        eventlog.open(path).close()
        return path.read_bytes()


@pytest.fixture
def open_log(target: str) -> Iterator[OpenLog]:
    """``open_log(**options)`` opens the test's log, once more where the store is shared; all are closed at the end."""
    opened: list[Log] = []

    def open_one(**options: Any) -> Log:
        options.setdefault("events", EVENTS)
        opened.append(eventlog.open(target, **options))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()


@pytest.fixture
def log(open_log: OpenLog) -> Log:
    """An empty log."""
    return open_log()
