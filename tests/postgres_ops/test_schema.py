"""The schema in PostgreSQL: fresh, down and up, upgraded from every released one, it is the same; damage is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import eventlog
from eventlog.errors import Corrupt, EventLogError, LogMissing, MigrationError, NotALog, SchemaTooNew
from eventlog.store import postgres_schema
from eventlog.store.migrations import latest, migrations
from eventlog.target import parse_target
from tests.helpers import Noted, assert_whole, in_processes, notes
from tests.postgres_ops.support import catalogue, execute, fresh_schema, run, run_json
from tests.unit.test_migrations import HEAD

RELEASED = sorted(Path(__file__).with_name("schemas").glob("schema-*.sql"))
"""A log at each released schema, as plain SQL: the same log as the one kept for SQLite."""
LATEST = latest("postgres")


@pytest.fixture
def empty() -> Iterator[str]:
    with fresh_schema() as target:
        yield target


@pytest.fixture
def full(empty: str) -> str:
    """A log with a run and five notes."""
    with eventlog.open(empty) as log:
        log.append("note-1", notes(5))
        log.runs.start("x")
    return empty


def test_the_migrations_have_the_numbers_and_names_of_sqlite() -> None:
    steps = migrations("postgres")
    assert [(step.number, step.name) for step in steps] == [(s.number, s.name) for s in migrations("sqlite")]
    assert all(step.up.strip() and step.down.strip() for step in steps)


def test_a_fresh_log_has_what_the_design_says(full: str) -> None:
    found = catalogue(full)
    assert {name: text for (kind, name), text in found.items() if kind == "migration"} == {
        str(step.number): step.name for step in migrations("postgres")
    }
    columns = {name: text for (kind, name), text in found.items() if kind == "column" and name.startswith("events.")}
    assert len(columns) == 14
    assert columns["events.data"].startswith("json  NOT NULL")
    for name in ("stream", "type", "key", "actor", "correlation", "causation"):
        assert columns[f"events.{name}"].startswith("text C"), name  # in the order of bytes, as in SQLite
    assert not any(" json " in text or text.startswith("jsonb") for text in columns.values())
    assert [name for kind, name in found if kind == "trigger"] == [
        "events.events_no_change",
        "events.events_no_truncate",
    ]


def test_down_to_nothing_and_up_again_is_the_fresh_schema(empty: str) -> None:
    eventlog.open(empty).close()
    fresh = catalogue(empty)
    assert run_json(empty, "db", "rollback", "--to", 0, "--yes") == {"version": 0, "pending": []}
    assert not [name for _, name in catalogue(empty) if name.startswith(("events", "projections", "log_head"))]
    dry = run_json(empty, "db", "migrate", "--dry-run")
    assert (dry["version"], len(dry["pending"])) == (0, LATEST)
    assert run_json(empty, "db", "migrate")["version"] == LATEST
    assert catalogue(empty) == fresh
    with eventlog.open(empty) as log:
        log.runs.start("x")
        assert log.projections.verify() == []


@pytest.mark.parametrize("to", range(1, LATEST + 1))
def test_each_step_down_and_up_keeps_the_events_and_the_schema(full: str, to: int) -> None:
    with eventlog.open(full) as log:
        head = log.head()
    fresh = catalogue(full)
    for _ in range(2):
        run(full, "db", "rollback", "--to", to, "--yes")
        run(full, "db", "migrate")
        assert catalogue(full) == fresh
    run(full, "db", "rollback", "--to", to, "--yes")
    with eventlog.open(full) as log:  # opening migrates by itself
        assert log.head() == head
        assert log.runs.count() == 1
        assert log.projections.verify() == []
        log.append("note-1", Noted())
        assert_whole(log)


def test_every_schema_has_a_kept_log() -> None:
    assert [script.name for script in RELEASED] == [f"schema-{n}.sql" for n in range(1, LATEST + 1)]


@pytest.mark.parametrize("script", RELEASED, ids=lambda script: script.stem)
def test_a_log_of_a_released_schema_is_upgraded_when_it_is_opened(script: Path, empty: str) -> None:
    execute(empty, script.read_text())
    assert f"schema-{run_json(empty, 'db', 'migrate', '--dry-run')['version']}" == script.stem
    if script != RELEASED[-1]:
        before = catalogue(empty)
        with pytest.raises(MigrationError, match="db migrate"):
            eventlog.open(empty, mode="r")
        assert catalogue(empty) == before
    with eventlog.open(empty) as log:
        assert (log.head().position, log.head().hash.hex()) == (10, HEAD)
        assert_whole(log)
        assert [run.status for run in log.runs.list()] == ["running", "fail", "success"]
        assert log.projects.get("demo").note == "é"
        assert log.projections.verify() == []
        log.append("note-1", Noted())
        log.runs.start("after")
        assert log.projections.verify() == []
        assert_whole(log)
    with fresh_schema() as other:
        eventlog.open(other).close()
        assert catalogue(empty) == catalogue(other)


def test_a_rollback_that_would_throw_events_away_is_refused(full: str) -> None:
    before = catalogue(full)
    result = run(full, "db", "rollback", "--to", 0, "--yes", status=1)
    assert "holds events; export them first" in result.stderr
    assert "99" in run(full, "db", "rollback", "--to", 99, "--yes", status=1).stderr
    assert catalogue(full) == before
    with eventlog.open(full) as log:
        assert log.head().position == 6


def open_at_once(number: int, target: str) -> None:
    """Work for a process: open a place that may be empty, and append."""
    with eventlog.open(target) as log:
        log.append(f"note-{number}", Noted(number=number))
        log.runs.start(f"by {number}")


def test_ten_processes_may_open_an_empty_schema_at_once(empty: str) -> None:
    in_processes(10, open_at_once, empty, method="fork")
    with eventlog.open(empty) as log:
        assert log.head().position == 20
        assert sorted(run.run_id for run in log.runs.list(limit=20)) == list(range(1, 11))
        assert_whole(log)
        assert log.projections.verify() == []
    with fresh_schema() as other:
        eventlog.open(other).close()
        assert catalogue(empty) == catalogue(other)


def test_a_newer_schema_is_refused_and_unchanged(full: str) -> None:
    execute(
        full,
        f"INSERT INTO eventlog_migrations VALUES ({LATEST + 1}, 'from the future', 0)",
        "CREATE TRIGGER from_the_future AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_refuse()",
    )
    before = catalogue(full)
    for mode in ("r", "rw"):
        with pytest.raises(SchemaTooNew) as caught:
            eventlog.open(full, mode=mode)  # type: ignore[arg-type]
        assert caught.value.version == LATEST + 1
    for words in (("migrate",), ("migrate", "--dry-run"), ("rollback", "--to", 1, "--yes")):
        assert "upgrade eventlog" in run(full, "db", *words, status=1).stderr
    assert catalogue(full) == before


def test_somebody_else_s_events_table_is_left_alone(empty: str) -> None:
    execute(empty, "CREATE TABLE events (id int, what text)", "INSERT INTO events VALUES (1, 'theirs')")
    for mode in ("r", "rw"):
        with pytest.raises(NotALog, match="nothing was changed"):
            eventlog.open(empty, mode=mode)  # type: ignore[arg-type]
    for words in (("init",), ("migrate",), ("migrate", "--dry-run"), ("rollback", "--to", 0, "--yes"), ("check",)):
        assert "is not an event log's" in run(empty, "db", *words, status=1).stderr, words
    tables = execute(empty, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    assert tables == [("events",)]
    assert execute(empty, "SELECT * FROM events") == [(1, "theirs")]


def test_an_empty_schema_has_nothing_to_take_back_or_to_look_at(empty: str) -> None:
    with pytest.raises(LogMissing, match="db init"):
        eventlog.open(empty, create=False)
    for words in (("status",), ("check",), ("migrate", "--dry-run"), ("rollback", "--to", 0, "--yes")):
        assert "holds no event log yet" in run(empty, "db", *words, status=1).stderr, words
    assert execute(empty, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()") == []


DAMAGE = {
    "missing": "DROP TRIGGER events_no_change ON events",
    "switched off": "ALTER TABLE events DISABLE TRIGGER events_no_truncate",
    "changed": "DROP TRIGGER events_no_truncate ON events; CREATE TRIGGER events_no_truncate AFTER TRUNCATE ON events "
    "FOR EACH STATEMENT EXECUTE FUNCTION events_refuse()",
    "only for some columns": "DROP TRIGGER events_no_change ON events; CREATE TRIGGER events_no_change "
    "BEFORE DELETE OR UPDATE OF actor ON events FOR EACH ROW EXECUTE FUNCTION events_refuse()",
    "without effect": "CREATE OR REPLACE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql "
    "AS $$ BEGIN RETURN NEW; END $$",
    "not ours": 'CREATE TRIGGER "a ""spy" AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_refuse()',
    "a rule": "CREATE RULE swallow AS ON DELETE TO events DO INSTEAD NOTHING",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_happened_to_the_guards_is_told_and_mended_by_migrating(full: str, damage: str) -> None:
    fresh = catalogue(full)
    execute(full, damage)
    with pytest.raises(Corrupt, match=r"(events_no_|events_refuse|spy|swallow).*db migrate"):
        eventlog.open(full)
    found = run_json(full, "db", "check", status=1)
    assert found["ok"] is False
    assert len(found["problems"]) == 1
    assert len(run_json(full, "db", "migrate", "--dry-run", status=1)["problems"]) == 1
    run(full, "db", "migrate")
    assert catalogue(full) == fresh
    assert run_json(full, "db", "check") == {"ok": True, "problems": [], "not_checked": {}}
    with eventlog.open(full) as log:
        log.append("note-1", Noted())


def test_a_head_row_that_is_missing_is_told_and_put_back_by_migrating(full: str) -> None:
    with eventlog.open(full) as other:
        execute(full, "DELETE FROM log_head")
        with pytest.raises(NotALog, match="db migrate"):
            other.append("note-1", Noted())
        (problem,) = run_json(full, "db", "check", status=1)["problems"]
        assert "log_head" in problem
        run(full, "db", "migrate")
        other.append("note-1", Noted())
    assert run_json(full, "db", "check")["ok"]


def test_what_was_changed_while_the_guards_were_away_is_named_by_check(full: str) -> None:
    execute(full, "ALTER TABLE events DISABLE TRIGGER USER", "UPDATE events SET actor = 'x' WHERE position = 3")
    problems = run_json(full, "db", "check", status=1)["problems"]
    assert [problem for problem in problems if problem.startswith("hash chain: position 3")]
    assert len(problems) == 3


@pytest.mark.parametrize("statement", ["UPDATE events SET actor = 'x'", "DELETE FROM events", "TRUNCATE events"])
def test_the_table_refuses_what_is_no_append_even_from_its_owner(full: str, statement: str) -> None:
    import psycopg

    with pytest.raises(psycopg.errors.RaiseException, match="immutable"):
        execute(full, statement)


def test_migrating_a_sound_log_waits_for_nobody(full: str) -> None:
    import psycopg

    with psycopg.connect(full) as other:
        other.execute("SELECT count(*) FROM events")  # a transaction that has read the table, and stays open
        store = postgres_schema.open_for_schema(server := parse_target(full).server)  # type: ignore[arg-type]
        assert server is not None
        with closing(store):
            postgres_schema.migrate(store)


@pytest.mark.parametrize("name", ["Mixed Case", 'a "quoted" name', "back\\slash", "日本's;."])
def test_a_schema_may_have_any_name(name: str) -> None:
    with fresh_schema(name) as place:
        with eventlog.open(place) as log:
            log.runs.start("x")
            with log.as_of(1) as past:
                assert past.runs.count() == 1
            log.projections.rebuild()
            assert log.projections.verify() == []
        execute(place, "DROP TRIGGER events_no_change ON events")
        with pytest.raises(EventLogError, match="events_no_change is missing"):
            eventlog.open(place)
        run(place, "db", "migrate")
        assert run_json(place, "db", "status")["schema"] == name
        run(place, "db", "optimize")
        assert run_json(place, "db", "check")["ok"]
        run(place, "db", "roles", "--dry-run")
