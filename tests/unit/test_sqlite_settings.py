"""How SQLite is used: a connection a thread that keeps its statements, and the settings that `db status` tells."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import maintenance
from eventlog.store import sqlite
from tests.helpers import EVENTS, Noted

WANTED = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
    "busy_timeout": 5000,
    "recursive_triggers": 1,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "wal_autocheckpoint": 1000,
    "cache_size": -32_768,
    "journal_size_limit": 67_108_864,
    "secure_delete": 2,
}


@pytest.mark.feature("S0-9")
def test_each_thread_reads_by_one_connection_of_its_own_that_keeps_its_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, dict[str, Any]]] = []
    connect = sqlite3.connect

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made.append((threading.get_ident(), options))
        return connect(*arguments, **options)

    with eventlog.open(tmp_path / "log.db", events=EVENTS) as log:
        log.append_many([eventlog.Append(stream=f"note-{n}", events=[Noted()]) for n in range(5)])
        monkeypatch.setattr(sqlite.sqlite3, "connect", counted)
        together = threading.Barrier(3)
        counts: list[int] = []

        def read() -> None:
            counts.extend(sum(1 for _ in log.read()) for _ in range(10))
            together.wait(20)  # so that no thread gets the name of one that ended

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == [5] * 30
    assert len(made) == len({thread for thread, _ in made}) == 3
    assert {options["cached_statements"] for _, options in made} == {512}


@pytest.mark.feature("S1-6")
def test_what_status_tells_is_what_a_connection_that_writes_is_set_to(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db", events=EVENTS) as log:
        log.append("note-1", Noted())
        store = log.store
        assert isinstance(store, sqlite.SQLiteStore) and store._writer is not None
        found = {name: store._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in WANTED}
        assert found == WANTED
        told = maintenance.status(log)
    assert told["settings"]["journal_mode"] == "wal"
    words = {1: "ON", 0: "OFF", 2: "FULL", "wal": "WAL"}
    named = {name: words.get(value, str(value)) for name, value in WANTED.items()}
    assert told["writer_settings"] == named | {"secure_delete": "FAST"}
