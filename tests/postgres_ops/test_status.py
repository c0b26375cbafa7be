"""`eventlog db status`, `check` and `optimize` for PostgreSQL: what they tell about a server at work and in trouble."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import eventlog
from eventlog import maintenance
from tests.helpers import Noted, eventually, notes, thread
from tests.postgres_ops.support import execute, fresh_database, fresh_name, fresh_schema, run, run_json, url
from tests.projections.things import THING_EVENTS, ThingMade, entity


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A database of its own: what is counted in it is this module's."""
    with fresh_database() as place:
        with eventlog.open(place) as log:
            log.append("note-1", notes(20))
            for number in range(5):
                log.runs.start(f"job {number}")
        yield place


@contextlib.contextmanager
def plain(place: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of somebody else's."""
    with contextlib.closing(psycopg.connect(place)) as connection:
        yield connection


def set_fsync(place: str, value: str) -> None:
    """Of the whole server."""
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET fsync = {value}".encode())
        connection.execute("SELECT pg_reload_conf()")


@pytest.mark.feature("S4-9")
def test_every_field_is_told(database: str) -> None:
    found = run_json(database, "db", "status")
    assert {
        *("url", "position", "hash", "log_id", "schema", "size_bytes", "connections", "pool", "longest_transaction_s"),
        *("locks_waited_for", "deadlocks", "checksum_failures", "advice", "settings", "tables", "projection_lag"),
        *("query_time_s", "transactions"),
    } == set(found)
    assert (found["position"], found["schema"]) == (25, "public")
    assert found["hash"] == run_json(database, "log", "head")["hash"]
    assert found["size_bytes"] > 1_000_000
    assert found["pool"] == {"size": 5, "max_overflow": 10, "checked_out": 1, "checked_in": 0}
    assert found["connections"]["in_use"] >= 1
    assert found["locks_waited_for"] == []
    assert found["query_time_s"] > 0 and found["transactions"] >= 1
    assert found["settings"]["lock_timeout"] == "5s"
    assert found["settings"]["idle_in_transaction_session_timeout"] == "10s"
    assert found["projection_lag"]["runs"] == 0
    execute(database, "ANALYZE events")
    events = run_json(database, "db", "status")["tables"]["events"]
    assert events["rows"] == 25
    assert events["table_bytes"] > 0
    assert events["index_bytes"] > events["table_bytes"] / 2


def test_it_is_told_to_people_with_sizes_they_can_read(database: str) -> None:
    text = run(database, "db", "status").stdout
    for words in ("connections", "in_use: ", "longest transaction s", "dead_rows: 0", "projection lag", "MiB"):
        assert words in text, words


def test_connections_in_use_and_in_the_pool_are_counted(database: str) -> None:
    before = run_json(database, "db", "status")["connections"]
    with plain(database) as one, plain(database):
        one.execute("SELECT 1")  # and so in a transaction
        found = run_json(database, "db", "status")["connections"]
        assert found["in_use"] == before["in_use"] + 2
        assert found["idle_in_transaction"] == 1
    with eventlog.open(f"{database}&pool_size=3&max_overflow=1") as log:
        log.append("note-1", Noted())
        with log.store.reader():
            pool = maintenance.status(log)["pool"]
    assert pool == {"size": 3, "max_overflow": 1, "checked_out": 2, "checked_in": 0}  # the one that writes is apart


def test_the_longest_transaction_is_timed(database: str) -> None:
    with plain(database) as other:
        other.execute("SELECT 1")
        time.sleep(0.3)
        assert run_json(database, "db", "status")["longest_transaction_s"] >= 0.3
    eventually(lambda: run_json(database, "db", "status")["longest_transaction_s"] < 0.3)


def test_a_lock_that_is_waited_for_is_told_with_who_holds_it(database: str) -> None:
    with plain(database) as holder, plain(database) as waiter:
        held, waits = holder.info.backend_pid, waiter.info.backend_pid
        holder.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        with thread(lambda: waiter.execute("SELECT count(*) FROM runs")):
            eventually(lambda: run_json(database, "db", "status")["locks_waited_for"])
            found = run_json(database, "db", "status")
            holder.rollback()
    (told,) = found["locks_waited_for"]
    assert told == {"pid": waits, "on": "runs", "mode": "AccessShareLock", "blocked_by": f"{{{held}}}"}
    assert found["tables"]["runs"]["table_bytes"] is None  # it is not waited for
    assert found["tables"]["events"]["table_bytes"] > 0


def test_deadlocks_are_counted(database: str) -> None:
    before = run_json(database, "db", "status")["deadlocks"]
    with plain(database) as one, plain(database) as other:
        for connection, table in ((one, "runs"), (other, "projects")):
            connection.execute("SET deadlock_timeout = '20ms'")
            connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")  # type: ignore[call-overload]
        outcomes: list[str] = []

        def cross(connection: psycopg.Connection[Any], table: str) -> None:
            try:
                connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")  # type: ignore[call-overload]
            except psycopg.errors.DeadlockDetected:
                outcomes.append("deadlock")
            connection.rollback()

        with thread(lambda: cross(one, "projects")), thread(lambda: cross(other, "runs")):
            pass
    assert outcomes
    eventually(lambda: run_json(database, "db", "status")["deadlocks"] > before)


def test_dead_rows_are_counted_and_cleared_by_optimize() -> None:
    with fresh_schema() as place:

        def dead() -> int:
            return int(run_json(place, "db", "status")["tables"]["runs"]["dead_rows"])

        with eventlog.open(place) as log:
            for _ in range(5):
                log.runs.start("x")
        execute(
            place,
            "ALTER TABLE runs SET (autovacuum_enabled = off)",
            "DELETE FROM runs",
            "SELECT pg_stat_force_next_flush()",
        )
        eventually(lambda: dead() == 5)
        assert set(run_json(place, "db", "optimize")) == {"before_bytes", "after_bytes"}
        eventually(lambda: dead() == 0)


def test_the_lag_of_each_projection_is_told(database: str) -> None:
    def fail(event: Any, record: Any) -> None:
        if record.stream == "thing-2":
            raise ValueError("no second thing")

    with fresh_schema() as place:
        with eventlog.open(place, events=THING_EVENTS, extra_projections=[entity(fail)]) as log:
            log.append("thing-1", ThingMade())
            log.append("thing-2", ThingMade())
            log.projections.rollback(to=1, names=["runs"])
        with eventlog.open(place, projections="deferred") as log:
            log.append("note-1", notes(3))
        found = run_json(place, "db", "status")["projection_lag"]
        assert (found["runs"], found["projects"], found["things"]) == (4, 3, "failed")


def test_settings_with_which_a_crash_loses_events_are_warned_of(database: str) -> None:
    def advice_is(told: str | None) -> bool:
        return bool(run_json(database, "db", "status")["advice"] == told)

    (as_it_was,) = execute(database, "SHOW fsync")[0]
    set_fsync(database, "off")
    eventually(lambda: advice_is("a crash can lose acknowledged events: fsync is off"))
    set_fsync(database, "on")
    eventually(lambda: advice_is(None))
    advice = run_json(f"{database}&options=-csynchronous_commit%3Doff", "db", "status")["advice"]
    assert advice == "a crash can lose acknowledged events: synchronous_commit is off"
    set_fsync(database, as_it_was)


# check


def test_check_names_an_index_that_is_not_valid() -> None:
    with fresh_schema() as place:
        eventlog.open(place).close()
        assert run_json(place, "db", "check") == {"ok": True, "problems": [], "not_checked": {}}
        execute(place, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'events_key'::regclass")
        assert run_json(place, "db", "check", status=1)["problems"] == ["the index events_key is not valid"]
        execute(place, "REINDEX INDEX events_key")
        assert run_json(place, "db", "check")["ok"]


def test_check_names_a_row_that_is_not_what_the_events_say() -> None:
    with fresh_schema() as place:
        with eventlog.open(place) as log:
            log.runs.start("x")
        execute(place, "UPDATE runs SET command = 'y'")
        assert run_json(place, "db", "check", status=1)["problems"] == ["table runs, row 1: not what the events say"]
        run(place, "projections", "rebuild")
        assert run_json(place, "db", "check")["ok"]


AMCHECK = """
CREATE SCHEMA else_where;
CREATE FUNCTION else_where.bt_index_check(index regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF index::text = 'events_key' THEN
        RAISE EXCEPTION 'item order invariant violated for index "%"', index USING ERRCODE = 'XX002';
    END IF;
END
$$;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 99999, 'amcheck', 10, oid, false, '1.4' FROM pg_namespace WHERE nspname = 'else_where'
"""
"""A stand-in for the extension of that name, which the test server may lack: one index is found to be out of order."""


@pytest.mark.long
def test_check_asks_amcheck_in_whatever_schema_it_is_where_it_may() -> None:
    with fresh_database() as place:
        eventlog.open(place).close()
        execute(place, AMCHECK)
        (problem,) = run_json(place, "db", "check", status=1)["problems"]
        assert problem.startswith("index check: ")
        assert "item order invariant violated" in problem
        name = fresh_name("checker")
        execute(
            place,
            f"CREATE ROLE {name} LOGIN PASSWORD 'x'",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
            "REVOKE EXECUTE ON FUNCTION else_where.bt_index_check FROM PUBLIC",
        )
        database = str(psycopg.conninfo.conninfo_to_dict(place)["dbname"])
        checker = url(user=name, password="x", database=database)
        assert run_json(checker, "db", "check")["ok"]  # it may not use it, and checks the rest
        execute(place, f"GRANT USAGE ON SCHEMA else_where TO {name}")
        assert run_json(checker, "db", "check")["ok"]
    execute(url(), f"DROP ROLE {name}")


def test_check_and_status_go_on_beside_writers(database: str) -> None:
    stop = threading.Event()

    def write() -> None:
        with eventlog.open(database) as log:
            while not stop.is_set():
                log.runs.start("x", durability="process")
                time.sleep(0.002)

    with thread(write), thread(write):
        try:
            for _ in range(3):
                assert run_json(database, "db", "check")["ok"]
                assert run_json(database, "db", "status")["position"] > 0
            run(database, "db", "optimize")
        finally:
            stop.set()
