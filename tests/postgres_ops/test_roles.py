"""`eventlog db roles`: what an owner, writers, readers and strangers can do, each by a connection of its own login."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import Result

import eventlog
from eventlog.errors import EventLogError, LogReadOnly
from eventlog.events.workers import WorkerStarted
from eventlog.repositories.jobs import NewJob
from tests.helpers import Noted, assert_whole, notes
from tests.postgres_ops.support import execute, fresh_database, fresh_name, programs, run, run_json, url
from tests.projections.things import THING_EVENTS, everything, fill

PASSWORD = "pass word"
LOGINS = {"olga": "owner", "ann": "writer", "bob": "writer", "rita": "reader"}


class Site:
    """A database with a log in it, and a URL for each login of the server."""

    def __init__(self, admin: str) -> None:
        self.admin = admin
        self.database = str(psycopg.conninfo.conninfo_to_dict(admin)["dbname"])
        self.prefix = fresh_name("role")
        self.names = {who: fresh_name(who) for who in (*LOGINS, "stranger", "chief")}
        for name in self.names.values():
            execute(admin, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")

    def __getitem__(self, who: str) -> str:
        return url(user=self.names[who], password=PASSWORD, database=self.database)

    def roles(self, *words: str, status: int = 0, by: str | None = None) -> Result:
        return run(by or self.admin, "db", "roles", "--prefix", self.prefix, *words, status=status)

    def logins(self) -> list[str]:
        return [word for who, role in LOGINS.items() for word in ("--login", f"{self.names[who]}={role}")]

    def made(self) -> list[str]:
        found = execute(self.admin, f"SELECT rolname FROM pg_roles WHERE rolname LIKE '{self.prefix}%' ORDER BY 1")
        return [name for (name,) in found]

    def owners(self) -> dict[str, str]:
        found = execute(self.admin, "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'")
        return {table: owner.removeprefix(f"{self.prefix}_") for table, owner in found}

    def drop(self) -> None:
        made = [f"{self.prefix}_{role}" for role in ("owner", "writer", "reader")]
        for name in (*made, *reversed(self.names.values())):  # who was made last goes first: it may be another's grant
            execute(url(), f"DROP ROLE IF EXISTS {name}")


@pytest.fixture(scope="module")
def bare() -> Iterator[Site]:
    """A log without roles."""
    with fresh_database() as admin:
        site = Site(admin)
        with eventlog.open(admin) as log:
            log.append("note-1", notes(3))
            log.runs.start("x")
        yield site
    site.drop()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A log with roles, each given to its logins."""
    with fresh_database() as admin:
        site = Site(admin)
        with eventlog.open(admin) as log:
            log.append("note-1", notes(3))
            log.runs.start("x")
        site.roles(*site.logins())
        yield site
    site.drop()


# making them


def test_three_roles_are_made_and_told(bare: Site) -> None:
    dry = bare.roles("--dry-run", *bare.logins()).stdout
    assert bare.made() == []
    assert "GRANT SELECT, INSERT ON" in dry
    done = subprocess.run(
        [str(programs() / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "--single-transaction", bare.admin],
        input=dry + "ROLLBACK;\n",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert "GRANT ROLE" in done.stdout
    assert bare.made() == []
    told = run_json(bare.admin, "db", "roles", "--prefix", bare.prefix, "--dry-run")
    assert [role["name"] for role in told["roles"]] == [f"{bare.prefix}_{r}" for r in ("owner", "writer", "reader")]
    assert ";\n".join(told["sql"]) in dry


@pytest.mark.parametrize(
    ("login", "said"),
    [("nobody_at_all=writer", "does not exist"), ("postgres=boss", "owner, writer or reader"), ("x", "not ''")],
)
def test_a_wrong_login_or_role_leaves_nothing_half_done(bare: Site, login: str, said: str) -> None:
    assert said in bare.roles("--login", login, status=1).stderr
    assert bare.made() == []
    assert set(bare.owners().values()) == {"postgres"}


def test_a_login_that_may_not_make_roles_is_told_and_changes_nothing(site: Site) -> None:
    before = site.owners()
    for who in ("ann", "rita", "olga"):
        result = run(site[who], "db", "roles", "--prefix", f"{site.prefix}x", status=1)
        assert "permission denied to create role" in result.stderr
    assert f"{site.prefix}x_owner" not in site.made()
    assert site.owners() == before


def test_doing_it_again_is_harmless_and_takes_in_a_new_projection(site: Site) -> None:
    with eventlog.open(site.admin, extra_projections=everything(), events=THING_EVENTS) as log:
        fill(log)
    assert site.owners()["things"] == "postgres"
    with eventlog.open(site["ann"], extra_projections=everything()) as log, pytest.raises(LogReadOnly, match="things"):
        log.projections.rebuild(["things"])
    for _ in range(2):
        site.roles(*site.logins())
    owners = site.owners()
    for table in ("events", "log_head", "eventlog_migrations", "projections", "worker_liveness"):
        assert owners.pop(table) == "owner"
    assert set(owners.values()) == {"writer"}
    with eventlog.open(site["ann"], extra_projections=everything(), events=THING_EVENTS) as log:
        fill(log, start=12)
        log.projections.rebuild()
        assert log.projections.verify() == []
    with eventlog.open(site["rita"], extra_projections=everything(), mode="r") as log:
        assert len(log.projections.rows("growths")) > 0


def test_a_database_s_owner_who_may_create_roles_needs_no_superuser() -> None:
    with fresh_database() as admin:
        other = Site(admin)
        chief = other.names["chief"]
        execute(admin, f"ALTER ROLE {chief} CREATEROLE", f"ALTER DATABASE {other.database} OWNER TO {chief}")
        with eventlog.open(other["chief"]) as log:
            log.runs.start("x")
        execute(other["chief"], f"CREATE ROLE {(clerk := fresh_name('clerk'))} LOGIN PASSWORD '{PASSWORD}'")
        for _ in range(2):
            other.roles("--login", f"{clerk}=writer", by=other["chief"])
        other.names["clerk"] = clerk
        run(other["clerk"], "projects", "add", "p")
        assert other.made() == [f"{other.prefix}_{role}" for role in ("owner", "reader", "writer")]
        run(other["chief"], "projections", "rebuild")
        assert run_json(other["chief"], "db", "check")["ok"]
    other.drop()


def test_a_login_that_is_given_another_role_loses_the_one_it_had(site: Site) -> None:
    name = site.names["stranger"]
    site.roles("--login", f"{name}=writer")
    execute(site["stranger"], f"SET ROLE {site.prefix}_writer")
    site.roles("--login", f"{name}=reader")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(site["stranger"], f"SET ROLE {site.prefix}_writer")
    with eventlog.open(site["stranger"]) as log, pytest.raises(LogReadOnly):
        log.append("note-1", Noted())
    execute(
        site.admin,
        f"REVOKE {site.prefix}_reader FROM {name}",
        f"ALTER ROLE {name} IN DATABASE {site.database} RESET role",
    )


# a writer


def test_a_writer_appends_keeps_rebuilds_rolls_back_and_looks_back(site: Site) -> None:
    with eventlog.open(site["ann"]) as log:
        before = log.head().position
        log.append("note-1", notes(30))
        run_id = log.runs.start("ann's", tags={"a": "b"}).run_id
        log.runs.finish_success(run_id)
        with log.as_of(before) as past:
            assert past.runs.count() == log.runs.count() - 1
        with log.as_of(1) as past:
            assert past.runs.count() == 0
        log.projections.rebuild()
        log.projections.rollback(to=before)
        assert log.runs.count() == run_id - 1
        log.projections.resume()
        log.projections.rollback(to=1)  # far: folded from the start, and swapped
        log.projections.resume()
        assert log.runs.get(run_id).status == "success"
        assert log.projections.verify() == []
        assert log.projections.explain("runs", run_id).steps
        assert_whole(log)


def test_two_writers_rebuild_each_other_s_tables(site: Site) -> None:
    with eventlog.open(site["ann"]) as ann, eventlog.open(site["bob"]) as bob:
        for log in (ann, bob, ann):
            log.projections.rebuild()
            log.runs.start("x")
        bob.projections.rollback(to=2)
        ann.projections.resume()
        assert bob.projections.verify() == []
    assert {owner for table, owner in site.owners().items() if table.startswith("run")} == {"writer"}


def test_a_writer_works_off_jobs_and_says_that_it_lives(site: Site) -> None:
    with eventlog.open(site["ann"]) as ann, eventlog.open(site["bob"]) as bob:
        worker = ann.workers.start(WorkerStarted(host="h"))
        made = ann.jobs.enqueue_many([NewJob(kind="work") for _ in range(3)])
        (job,) = ann.jobs.claim(worker)
        assert ann.workers.beat(worker)
        (lost, *_) = bob.jobs.claim("bob", limit=2)
        assert job.job_id == made[0] and lost.job_id == made[1]
        ann.jobs.complete(job.job_id, job.token or 0)
        bob.jobs.crash([(lost.job_id, lost.token or 0)], "lease_expired", "silent")
        assert set(bob.workers.silences()) == {worker}
        assert bob.workers.lost(worker, "process_gone", "pid 7 is gone")
        assert not ann.workers.beat(worker)
        assert ann.jobs.purge(2**52) == 1
        assert bob.jobs.check() == ann.projections.verify() == []


FORBIDDEN = (
    "UPDATE events SET actor = 'x'",
    "DELETE FROM events",
    "TRUNCATE events",
    "DROP TABLE events",
    "ALTER TABLE events DISABLE TRIGGER USER",
    "ALTER TABLE events DISABLE TRIGGER events_no_change",
    "DROP TRIGGER events_no_change ON events",
    "CREATE TRIGGER mine BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_refuse()",
    "CREATE RULE mine AS ON INSERT TO events DO INSTEAD NOTHING",
    "CREATE OR REPLACE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "SET session_replication_role = replica",
    "INSERT INTO eventlog_migrations VALUES (99, 'x', 0)",
    "UPDATE eventlog_migrations SET number = 99",
    "DELETE FROM eventlog_migrations",
    "INSERT INTO log_head VALUES (false, 1)",
    "DELETE FROM log_head",
    "DROP TABLE projections",
    "TRUNCATE projections",
    "DROP TABLE worker_liveness",
    "TRUNCATE worker_liveness",
)


@pytest.mark.feature("S4-10")
def test_a_writer_cannot_change_events_or_what_guards_them(site: Site) -> None:
    head = run_json(site.admin, "log", "head")
    refuses(site["ann"], *FORBIDDEN)
    refuses(site["ann"], "RESET ROLE", *FORBIDDEN)  # nor as itself, without the role that it works as
    assert run_json(site.admin, "log", "head") == head
    assert run_json(site.admin, "db", "check")["ok"]


def refuses(place: str, *statements: str) -> None:
    """Each statement but RESET ROLE is refused."""
    with contextlib.closing(psycopg.connect(place, autocommit=True)) as connection:
        for statement in statements:
            if statement == "RESET ROLE":
                connection.execute(statement)
                continue
            try:
                connection.execute(statement)  # type: ignore[call-overload]
            except psycopg.errors.InsufficientPrivilege:
                continue
            pytest.fail(f"{statement} was not refused")


def test_a_writer_s_commands_on_the_schema_are_refused_in_a_sentence(site: Site) -> None:
    assert run_json(site["ann"], "db", "migrate")["pending"] == []  # nothing to do
    result = run(site["ann"], "db", "rollback", "--to", 1, "--yes", status=1)
    assert "must be owner" in result.stderr
    assert run_json(site["ann"], "db", "check")["ok"]
    run(site["ann"], "db", "status")
    run(site["ann"], "db", "optimize")


# a reader


def test_a_reader_reads_and_looks_back_and_writes_nothing(site: Site) -> None:
    with eventlog.open(site["rita"], mode="r") as log:
        head = log.head()
        assert [record.position for record in log.read()] == list(range(1, head.position + 1))
        assert log.verify().ok
        for version in (1, head.position - 1):
            with log.as_of(version) as past:
                assert past.runs.count() <= log.runs.count()
        assert log.projections.verify() == []
        assert log.projections.diff(1, head.position)
    with eventlog.open(site["rita"]) as log:
        with pytest.raises(LogReadOnly, match="permission denied"):
            log.append("note-1", Noted())
        with pytest.raises(LogReadOnly):
            log.runs.start("x")
        with pytest.raises(LogReadOnly):
            log.projections.rebuild()
        assert log.head() == head
    for words in (("runs", "list"), ("runs", "show", "1"), ("runs", "list", "--as-of", "2"), ("stats", "runs")):
        run(site["rita"], *words)
    for words in (("status",), ("check",)):
        run(site["rita"], "db", *words)
    for words in (("log", "append", "a-1", "a.b"), ("projections", "rollback", "--to", "1"), ("projects", "add", "p")):
        assert "permission denied" in run(site["rita"], *words, status=1).stderr


@pytest.mark.parametrize("folder", ["pg_dump", "export"])
def test_a_reader_can_make_a_backup(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setenv("PATH", str(programs() if folder == "pg_dump" else tmp_path))
    assert run_json(site["rita"], "db", "backup", tmp_path / "saved") == run_json(site.admin, "log", "head")


def test_a_reader_goes_on_reading_after_a_writer_s_rebuild(site: Site) -> None:
    with eventlog.open(site["rita"], mode="r") as log:
        count = log.runs.count()
        run(site["ann"], "projections", "rebuild")
        assert log.runs.count() == count
        assert log.projections.verify() == []


def test_a_reader_sees_who_lives_and_beats_for_nobody(site: Site) -> None:
    with eventlog.open(site["bob"]) as bob, eventlog.open(site["rita"]) as rita:
        worker = bob.workers.start(WorkerStarted())
        bob.jobs.enqueue("work", queue="seen")
        assert worker in rita.workers.silences()
        assert rita.jobs.count(queue="seen") == 1
        for command in (
            lambda: rita.workers.beat(worker),
            lambda: rita.store.forget_workers([worker]),
            lambda: rita.jobs.claim("rita", queues=["seen"]),
            lambda: rita.jobs.enqueue("work"),
        ):
            with pytest.raises(LogReadOnly):
                command()
        assert worker in bob.workers.silences()
        bob.workers.stop(worker)


def test_a_reader_cannot_write(site: Site) -> None:
    refuses(
        site["rita"],
        "INSERT INTO events SELECT * FROM events",
        "DELETE FROM runs",
        "UPDATE projections SET position = 1",
        "UPDATE worker_liveness SET beat_at = 1",
        "INSERT INTO worker_liveness VALUES ('w', 1)",
        "DELETE FROM worker_liveness",
        "SELECT * FROM log_head FOR UPDATE",
        "CREATE TABLE mine (x int)",
        "DROP TABLE runs",
    )


# an owner


def test_an_owner_migrates_checks_and_mends(site: Site) -> None:
    run(site["ann"], "projections", "rebuild")
    assert run_json(site["olga"], "db", "check")["ok"]  # reads tables that a writer made
    execute(site["olga"], "ALTER TABLE events DISABLE TRIGGER events_no_change")
    assert "switched off" in run(site["ann"], "runs", "list", status=1).stderr
    run(site["olga"], "db", "migrate")
    run(site["ann"], "runs", "list")
    run(site["olga"], "db", "rollback", "--to", 1, "--yes")
    assert "must be owner" not in run(site["olga"], "db", "migrate").stdout
    site.roles()  # what a migration made is the owner's alone, until the roles are made again
    with eventlog.open(site["bob"]) as log:
        assert log.runs.count() > 0
        assert log.projections.verify() == []
        log.runs.start("x")


# a stranger


def test_a_login_without_rights_is_told_so(site: Site) -> None:
    assert "permission denied" in run(site["stranger"], "runs", "list", status=1).stderr
    with pytest.raises(EventLogError, match="permission denied"):
        eventlog.open(site["stranger"], mode="r")


def test_a_login_that_may_not_create_tables_is_told_and_nothing_is_there(bare: Site) -> None:
    with fresh_database() as empty:
        database = str(psycopg.conninfo.conninfo_to_dict(empty)["dbname"])
        place = url(user=bare.names["stranger"], password=PASSWORD, database=database)
        assert "permission denied for schema public" in run(place, "db", "init", status=1).stderr
        assert execute(empty, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
        execute(empty, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        assert "this login may use" in run(place, "db", "init", status=1).stderr
