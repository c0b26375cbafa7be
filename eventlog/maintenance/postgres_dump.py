"""Backups by ``pg_dump``, and the records in them: read back through ``pg_restore``, for any database.

The dump is an ordinary one of the log's schema, so ``pg_restore`` alone can bring it back too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import make_conninfo

from eventlog.errors import Corrupt, NotALog, StoreError
from eventlog.store.base import COLUMNS, Record
from eventlog.store.postgres import PostgresStore

MAGIC = b"PGDMP"
_NUMBERS = frozenset(("position", "version", "schema", "occurred_at", "recorded_at"))
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BEING_BUILT = "*__" + "[0-9a-f]" * 8
"""Tables that a rebuild makes beside the live ones, and may drop at any moment."""
# Whatever the schema is called: a name may hold blanks.
_COPY = re.compile(r"COPY (?:.*\.)?events \((.*)\) FROM stdin;")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def can_dump(store: PostgresStore) -> bool:
    """Whether both programs are on the path, and as new as the server: older ones refuse."""
    with store.reader() as reader:
        server = int(reader.execute("SELECT current_setting('server_version_num')").fetchone()[0]) // 10_000
    return all(_version(program) >= server for program in ("pg_dump", "pg_restore"))


def _version(program: str) -> int:
    if shutil.which(program) is None:
        return 0
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)", said)
    return int(found[1]) if found else 0


def write(store: PostgresStore, target: Path) -> None:
    """Dump the log's schema into a file. Raises StoreError with what ``pg_dump`` said."""
    server = store.server
    place: dict[str, str | int | None] = {
        "host": server.host,
        "port": server.port,
        "dbname": server.database,
        "user": server.user,
    }
    options = {name: value for name, value in server.options.items() if name not in ("options", "password")}
    environment = dict(os.environ)
    if server.password is not None:
        # Not among the arguments, which everybody on this machine can see.
        environment["PGPASSWORD"] = server.password.reveal()
    command = ["pg_dump", "--format=custom", f"--schema={_quoted(store.schema)}", f"--file={target}", "--no-password"]
    command.append(f"--exclude-table={_quoted(store.schema)}.{_BEING_BUILT}")
    given: dict[str, str | int | None] = {**place, **options}
    done = subprocess.run(
        [*command, f"--dbname={make_conninfo('', **given)}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StoreError(f"pg_dump failed: {done.stderr.strip()}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def records(source: Path) -> Iterator[Iterator[Record]]:
    """The records in a dump, in order of position. Raises StoreError without ``pg_restore``, Corrupt when it fails."""
    if shutil.which("pg_restore") is None:
        raise StoreError(f"{source} was made by pg_dump: pg_restore is needed to read it, and is not on the path")
    command = ["pg_restore", "--data-only", "--table=events", "--file=-", str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as child:
        try:
            yield _in_order(_rows(_lines(child)))
        except (Corrupt, NotALog) as error:
            raise type(error)(f"{source} cannot be read: {error.message}") from error


def _lines(child: subprocess.Popen[str]) -> Iterator[str]:
    assert child.stdout is not None and child.stderr is not None  # noqa: S101
    try:
        yield from child.stdout
    except UnicodeDecodeError as error:
        raise Corrupt("it holds text that is none") from error
    said = child.stderr.read().strip()
    if child.wait():
        raise Corrupt(said)


def _in_order(rows: Iterable[Record]) -> Iterator[Record]:
    """A dump has rows as they lie in the table: some fill the place of others whose transaction was rolled back."""
    early: dict[int, Record] = {}
    position = 1
    for row in rows:
        early[row.position] = row
        while (record := early.pop(position, None)) is not None:
            yield record
            position += 1
    for left in sorted(early):
        yield early[left]


def _rows(lines: Iterator[str]) -> Iterator[Record]:
    columns: list[str] = []
    found = False
    rest = ""
    for line in lines:
        if columns:
            if line == "\\.\n":
                columns = []
                continue
            try:
                record = _record(dict(zip(columns, line[:-1].split("\t"), strict=True)))
            except (ValueError, KeyError):
                rest = line  # where the dump is cut off the last line is too, and the program says so next
                break
            yield record
        elif named := _COPY.match(line):
            columns = [name.strip('" ') for name in named[1].split(",")]
            found = True
    for _ in lines:
        pass
    if rest:
        raise Corrupt(f"a record in it is damaged: {rest[:80]!r}")
    if not found:
        raise NotALog("it holds no table `events`")


def _record(cells: dict[str, str]) -> Record:
    values: dict[str, object] = {}
    for name in COLUMNS:
        cell = cells[name]
        if name in _NUMBERS:
            values[name] = int(cell)
        elif cell == "\\N":
            values[name] = None
        else:
            values[name] = _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), cell) if "\\" in cell else cell
    values["hash"] = bytes.fromhex(str(values["hash"])[2:])
    return Record(**values)  # type: ignore[arg-type]
