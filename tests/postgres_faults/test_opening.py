"""Databases that are new, old, foreign, damaged, read-only, shut or full: opened, or refused in so many words."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import psycopg
import pytest
from pg import Cluster, Forked, all_of, ask, assert_sound, opened, place_of, schema_of, session, store_of, with_options
from under_fire import Ticked, fill, keys_in, open_log
from workers import versions
from workers.versions import tally

import eventlog
from eventlog.errors import (
    Corrupt,
    EventLogError,
    LogBusy,
    LogMissing,
    LogReadOnly,
    NotALog,
    SchemaTooNew,
    StoreError,
)
from eventlog.store.postgres_schema import migrate, open_for_schema


def test_ten_processes_that_open_an_empty_schema_at_once_all_succeed(url: str) -> None:
    lines = all_of([Forked("append", url, f"w{number}", 2) for number in range(10)])
    with session(url) as watch:
        assert ask(watch, "SELECT count(*) - count(DISTINCT number) FROM eventlog_migrations") == 0
    keys = [key for mine in lines for key in mine]
    assert len(keys) == 20
    assert_sound(url, keys)


def test_a_program_that_does_not_know_an_event_keeps_it_and_the_tables_true(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_log(url) as log:
        fill(log, 40)
        head = log.head()
    versions.old_program(url)
    assert capfd.readouterr().out == "unknown fire.ticked\n"
    with open_log(url) as log:
        assert list(log.read(to=head.position))[-1].hash == head.hash
    assert_sound(url, ["old"])


def test_a_program_that_lacks_a_projection_does_not_spoil_it_for_one_that_has_it(url: str) -> None:
    with eventlog.open(url, events=[Ticked], extra_projections=[tally(1)]) as full, open_log(url) as bare:
        for turn in range(4):
            full.append("fire-1", Ticked(), key=f"full-{turn}")
            bare.append("fire-1", Ticked(), key=f"bare-{turn}")
            bare.append("fire-2", Ticked())
        assert full.projections.verify() == []
        full.projections.catch_up()
        assert {row["stream"]: row["ticks"] for row in full.projections.rows("tallies")} == {"1": 8, "2": 4}
        assert full.projections.verify() == []
    assert_sound(url)


def test_a_projection_made_by_newer_code_is_left_alone_and_one_by_older_code_made_anew(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for version in ("1", "2", "1"):
        versions.program_with_projection_version(url, version)
    assert capfd.readouterr().out.splitlines() == ["live 1 1 rebuilt", "live 2 2 rebuilt", "newer 1 2 refused"]
    assert_sound(url)


def test_a_schema_from_the_future_is_refused_and_nothing_is_changed(url: str) -> None:
    with open_log(url) as log:
        log.append("fire-1", Ticked())
    with session(url) as watch:
        watch.execute("INSERT INTO eventlog_migrations VALUES (99, 'future', 0)")
        for mode in ("rw", "r"):
            with pytest.raises(SchemaTooNew) as told:
                open_log(url, mode=mode)
            assert told.value.version == 99
        watch.execute("DELETE FROM eventlog_migrations WHERE number = 99")
    assert_sound(url)


@pytest.mark.parametrize("foreign", ["CREATE TABLE events (id int)", "CREATE VIEW events AS SELECT 1 AS position"])
def test_a_foreign_table_of_that_name_is_no_log_and_is_left_alone(url: str, foreign: str) -> None:
    with session(url) as watch:
        watch.execute(foreign)  # type: ignore[call-overload]
        with pytest.raises(NotALog):
            open_log(url)
        kinds = "SELECT string_agg(relname, ',') FROM pg_class WHERE relnamespace = %s::regnamespace"
        assert ask(watch, kinds, schema_of(url)) == "events"


def test_an_empty_schema_is_no_log_for_whoever_only_reads(url: str) -> None:
    with pytest.raises(LogMissing):
        open_log(url, mode="r")
    with pytest.raises(LogMissing):
        open_log(url, create=False)


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE events SET data = '{}' WHERE position = 1",
        "UPDATE events SET position = 9 WHERE position = 2",
        "DELETE FROM events WHERE position = 2",
        "TRUNCATE events",
        "TRUNCATE events CASCADE",
        "INSERT INTO events SELECT * FROM events WHERE position = 1 ON CONFLICT (position) DO UPDATE SET data = '{}'",
        "MERGE INTO events e USING (SELECT 1 AS p) s ON e.position = s.p WHEN MATCHED THEN DELETE",
        "WITH gone AS (DELETE FROM events RETURNING 1) SELECT count(*) FROM gone",
    ],
)
def test_history_cannot_be_changed(url: str, attack: str) -> None:
    with open_log(url) as log:
        log.append("fire-1", [Ticked(), Ticked()], key="k")
        head = log.head()
        with session(url) as client, pytest.raises(psycopg.errors.RaiseException, match="immutable"):
            client.execute(attack)  # type: ignore[call-overload]
        assert log.head() == head
    assert_sound(url, ["k"])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("DROP TRIGGER events_no_change ON events", "events_no_change is missing"),
        ("DROP TRIGGER events_no_truncate ON events", "events_no_truncate is missing"),
        ("ALTER TABLE events DISABLE TRIGGER events_no_change", "events_no_change is switched off"),
        ("ALTER TABLE events DISABLE TRIGGER ALL", "events_no_truncate is switched off"),
        ("ALTER TABLE events ENABLE REPLICA TRIGGER events_no_truncate", "events_no_truncate is switched off"),
        (
            "CREATE OR REPLACE TRIGGER events_no_change BEFORE DELETE ON events "
            "FOR EACH ROW EXECUTE FUNCTION events_refuse()",
            "events_no_change was changed",
        ),
        (
            "CREATE TRIGGER extra BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_refuse()",
            "extra on events is not ours",
        ),
        (
            "CREATE OR REPLACE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RETURN coalesce(new, old); END$$",
            "events_refuse, which the triggers call, was changed",
        ),
    ],
)
def test_a_missing_or_changed_trigger_is_noticed_at_the_next_open_and_put_back(
    url: str, damage: str, told: str
) -> None:
    with open_log(url) as log:
        log.append("fire-1", Ticked(), key="k")
    with session(url) as client:
        client.execute(damage)  # type: ignore[call-overload]
        with pytest.raises(Corrupt, match=told):
            open_log(url)
        store = open_for_schema(place_of(url))
        migrate(store)
        store.close()
        with pytest.raises(psycopg.errors.RaiseException):
            client.execute("DELETE FROM events")
    assert_sound(url, ["k"])


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_in_utf8_is_refused(cluster: Cluster, encoding: str) -> None:
    name = f"db_{encoding.lower()}"
    with session(cluster.url) as client:
        client.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"  # type: ignore[call-overload]
        )
    with pytest.raises(StoreError, match=f"its encoding is {encoding}, not UTF8"):
        open_log(cluster.url.replace("/postgres?", f"/{name}?"))


def test_a_client_whose_environment_wants_another_encoding_stores_every_text(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with open_log(url) as log:
        log.runs.start("žluťoučký 🐎")
        assert log.runs.list()[0].command == "žluťoučký 🐎"
    assert_sound(url)


def test_a_log_on_a_server_that_only_reads_is_read_and_each_append_refused(url: str) -> None:
    with open_log(url) as log:
        log.append("fire-1", Ticked(), key="k")
        log.runs.start("once")
    with open_log(with_options(url, default_transaction_read_only="on")) as log:
        assert keys_in(log) == ["k"]
        assert log.runs.count() == 1
        for refused in (
            lambda: log.append("fire-1", Ticked()),
            lambda: log.append("fire-1", Ticked(), durability="process"),
            lambda: log.runs.start("never"),
            lambda: log.projections.rollback(1),
            log.projections.rebuild,
        ):
            with pytest.raises(LogReadOnly):
                refused()
        assert keys_in(log) == ["k"]
        assert log.verify().ok
    assert_sound(url, ["k"])


@pytest.mark.long
def test_a_standby_is_read_and_takes_appends_once_it_is_promoted(cluster: Cluster) -> None:
    url = cluster.fresh_log()
    with open_log(url) as log:
        fill(log, 50)
        log.append("fire-1", Ticked(), key="on the primary")
        head = log.head()
    with cluster.standby() as standby:
        place = url.replace(str(cluster.data), str(standby.data))
        with open_log(place) as log:
            assert log.head() == head
            assert log.verify().ok
            assert log.runs.count() > 0
            with pytest.raises(LogReadOnly):
                log.append("fire-1", Ticked(), key="refused")
            assert keys_in(log) == ["on the primary"]
            standby.run("pg_ctl", "-w", "-D", str(standby.data), "promote")
            with open_log(place) as promoted:
                promoted.append("fire-1", Ticked(), key="on the new primary")
            log.append("fire-1", Ticked(), key="by the one that was open")
        assert_sound(place, ["on the primary", "on the new primary", "by the one that was open"])


def test_an_exhausted_pool_is_told_as_busy(url: str) -> None:
    with opened(url, pool={"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}) as log:
        log.append("fire-1", Ticked())
        with log.reader() as reader:
            assert reader.head().position == 1
            with pytest.raises(LogBusy, match="every connection of the pool"):
                log.head()
            assert log.append("fire-1", Ticked()).first == 2, "a writer has a connection of its own"
        assert log.head().position == 2
        assert log.append("fire-1", Ticked()).first == 3
    assert_sound(url)


SECRET = "hunter2-öß"


@pytest.mark.parametrize("wrong", ["password", "database", "user", "host"])
def test_a_wrong_connection_string_is_told_without_its_password(cluster: Cluster, wrong: str) -> None:
    cluster.ask_for_passwords("walled", SECRET)
    with pytest.raises(EventLogError) as failed:
        open_log(connection_string(cluster, wrong, SECRET))
    told = ["".join(traceback.format_exception(failed.value)), repr(failed.value), str(failed.value.facts)]
    good = open_log(connection_string(cluster, "", SECRET))
    told += [good.url, repr(good), repr(good.store), repr(store_of(good).engine)]
    assert good.append("fire-1", Ticked()).version > 0
    good.close()
    for text in told:
        for secret in (SECRET, quote(SECRET), "wrong-" + SECRET):
            assert secret not in text


def connection_string(cluster: Cluster, wrong: str, secret: str) -> str:
    user = "nobody" if wrong == "user" else "walled"
    password = quote(f"wrong-{secret}" if wrong == "password" else secret)
    database = "nowhere" if wrong == "database" else "postgres"
    host = "/nonexistent" if wrong == "host" else str(cluster.data)
    return f"postgresql://{user}:{password}@/{database}?host={host}&options=-csearch_path%3Dwalled"
