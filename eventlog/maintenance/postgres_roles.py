"""Least privilege: roles that own a log, write to it, or read it. None of them but the owner can change an event."""

from __future__ import annotations

from typing import NamedTuple

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from eventlog.errors import InvalidInput, StoreError
from eventlog.log import EventLog
from eventlog.store.postgres import PostgresStore
from eventlog.store.postgres_pool import driver

OURS = ("events", "log_head", "eventlog_migrations")
ROLES = {
    "owner": "owns the schema of the log: migrates it; the only one who could switch its triggers off",
    "writer": "appends events and keeps, rebuilds and rolls back projections; may not change or remove events",
    "reader": "reads events and tables, also as of a version; writes nothing",
}


class Role(NamedTuple):
    """A role of the server (without a login), and what it may do."""

    name: str
    purpose: str


def statements(store: PostgresStore, prefix: str, tables: list[str], logins: dict[str, str]) -> list[str]:
    """The SQL that makes the roles. ``logins``: existing login roles, each with owner, writer or reader.

    A login works as its role (``SET ROLE`` by default), so that tables which one writer makes belong to all writers. It
    has one role: another that it had is taken away.
    """
    names = {role: _name(f"{prefix}_{role}") for role in ROLES}
    owner, writer, reader = names.values()
    schema, database = _name(store.schema), _name(store.server.database)
    sql = [
        f"DO $do$ BEGIN CREATE ROLE {name} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $do$"
        for name in names.values()
    ]
    sql += [
        f"GRANT {owner}, {writer} TO CURRENT_USER",
        f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner}, {writer}",
        f"GRANT USAGE ON SCHEMA {schema} TO {reader}",
        f"GRANT TEMPORARY ON DATABASE {database} TO {owner}, {writer}, {reader}",
    ]
    sql += [f"ALTER TABLE {schema}.{table} OWNER TO {owner}" for table in OURS]
    sql += [
        f"ALTER FUNCTION {schema}.events_refuse() OWNER TO {owner}",
        f"REVOKE ALL ON {', '.join(f'{schema}.{table}' for table in OURS)} FROM PUBLIC, {writer}, {reader}",
        f"GRANT SELECT, INSERT ON {schema}.events TO {writer}",
        f"GRANT SELECT, UPDATE ON {schema}.log_head TO {writer}",
        f"GRANT SELECT ON {schema}.eventlog_migrations TO {writer}, {reader}",
        f"GRANT SELECT ON {schema}.events, {schema}.log_head TO {reader}",
        f"ALTER TABLE {schema}.projections OWNER TO {owner}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.projections TO {writer}",
        f"GRANT SELECT ON {schema}.projections TO {reader}",
        f"ALTER TABLE {schema}.worker_liveness OWNER TO {owner}",
        f"REVOKE ALL ON {schema}.worker_liveness FROM PUBLIC, {reader}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.worker_liveness TO {writer}",
        f"GRANT SELECT ON {schema}.worker_liveness TO {reader}",
    ]
    for table in tables:
        sql += [
            f"ALTER TABLE {schema}.{_name(table)} OWNER TO {writer}",
            f"GRANT SELECT ON {schema}.{_name(table)} TO {reader}, {owner}",
        ]
    # A rebuild makes its tables anew: who could read the old ones can read those.
    for maker, others in ((owner, reader), (writer, f"{reader}, {owner}")):
        sql.append(f"ALTER DEFAULT PRIVILEGES FOR ROLE {maker} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {others}")
    for login, role in logins.items():
        if role not in names:
            raise InvalidInput(f"a login is given owner, writer or reader, not {role!r}")
        others = ", ".join(name for other, name in names.items() if other != role)
        sql += [
            f"REVOKE {others} FROM {_name(login)}",
            f"GRANT {names[role]} TO {_name(login)}",
            f"ALTER ROLE {_name(login)} IN DATABASE {database} SET role = {names[role]}",
        ]
    return sql


def create(
    log: EventLog, prefix: str, logins: dict[str, str], *, dry_run: bool = False
) -> tuple[list[Role], list[str]]:
    """Make the roles, all or nothing; returns them and the SQL. Doing it again is harmless, and takes in new tables.

    The login used needs CREATEROLE and must own the tables, or be a superuser. Raises StoreError, LogReadOnly.
    """
    if not isinstance(log.store, PostgresStore):
        raise StoreError(f"{log.store.url} has no roles: whoever can write the file can write the log")
    store = log.store
    with log.reader() as reader:
        tables = [row[0] for row in reader.checkpoints()]
    sql = statements(store, prefix, tables, logins)
    if not dry_run:
        try:
            fairy = store.checkout(patient=False)
            try:
                connection = driver(fairy)
                with connection.transaction():
                    for statement in sql:
                        connection.execute(statement.encode())
            finally:
                fairy.close()
        except (psycopg.Error, SQLAlchemyError) as error:
            raise store.translate(error) from error
    return [Role(f"{prefix}_{role}", purpose) for role, purpose in ROLES.items()], sql


def _name(name: str) -> str:
    if not name or "\0" in name or len(name.encode()) > 63:
        raise InvalidInput(f"a role's name has 1 to 63 bytes, not {name!r}")
    return '"' + name.replace('"', '""') + '"'
