"""The upkeep of a log in PostgreSQL. See `eventlog.maintenance.Upkeep`."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from struct import error as StructError
from typing import Any

from eventlog.errors import Corrupt, InvalidInput, LogMissing, NotALog, StoreError
from eventlog.exporters import jsonl
from eventlog.importers import jsonl as lines
from eventlog.log import ChainReport, EventLog
from eventlog.maintenance import postgres_dump as dump
from eventlog.place import Place, Server
from eventlog.store import postgres_schema
from eventlog.store.base import GENESIS, Head, Progress, Record, hash_of
from eventlog.store.migrations import SchemaStatus
from eventlog.store.postgres import PostgresStore
from eventlog.store.postgres_session import Reader

_SETTINGS = (
    "server_version", "max_connections", "fsync", "synchronous_commit", "full_page_writes", "data_checksums",
    "lock_timeout", "idle_in_transaction_session_timeout",
)  # fmt: skip
# Not the server's own workers. What they are is not shown to everybody.
_MINE = (
    "FROM pg_stat_activity WHERE datname = current_database() "
    "AND coalesce(backend_type, 'client backend') = 'client backend'"
)
_CONNECTIONS = (
    "SELECT count(*), count(*) FILTER (WHERE state = 'active'), "
    f"count(*) FILTER (WHERE state LIKE 'idle in transaction%%') {_MINE}"
)
_LONGEST = (
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 "
    f"{_MINE} AND pid <> pg_backend_pid()"
)
_WAITING = (
    "SELECT a.pid, coalesce(l.relation::regclass::text, l.locktype), l.mode, pg_blocking_pids(a.pid)::text "
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()"
)
_DATABASE = (
    "SELECT deadlocks, coalesce(checksum_failures, 0), active_time / 1000, xact_commit + xact_rollback "
    "FROM pg_stat_database WHERE datname = current_database()"
)
# Asking for the size of a table waits for whoever has it to himself, as a migration has; then it is not told.
_TABLES = (
    "SELECT c.relname, greatest(c.reltuples, 0)::bigint, "
    "CASE WHEN locked.yes THEN NULL ELSE pg_table_size(c.oid) END, "
    "CASE WHEN locked.yes THEN NULL ELSE pg_indexes_size(c.oid) END, coalesce(s.n_dead_tup, 0) "
    "FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid, LATERAL (SELECT EXISTS (SELECT 1 "
    "FROM pg_locks l WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock') AS yes) locked "
    "WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind = 'r' ORDER BY c.relname"
)
_INVALID = (
    "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indrelid "
    "WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND NOT indisvalid"
)
_AMCHECK = (
    "SELECT quote_ident(n.nspname) || '.bt_index_check' FROM pg_extension e JOIN pg_namespace n "
    "ON n.oid = e.extnamespace WHERE extname = 'amcheck' AND has_schema_privilege(n.oid, 'USAGE')"
)
_MAY = "SELECT has_function_privilege(? || '(regclass)', 'EXECUTE')"
_BTREES = (
    "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam "
    "WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind = 'i' AND a.amname = 'btree'"
)


def _postgres(log: EventLog) -> PostgresStore:
    if not isinstance(log.store, PostgresStore):
        raise StoreError(f"{log.store.url} is not in PostgreSQL")
    return log.store


def status(log: EventLog) -> dict[str, Any]:
    """Connections of the server and of this process's pool, sizes, dead rows, locks, deadlocks, settings.

    ``query_time_s``: how long the database has been at work on statements of all programs, in ``transactions``.
    ``tables``: rows as the server estimates them, bytes of the table and of its indexes (None while somebody has the
    table to himself), dead rows.
    """
    store = _postgres(log)
    with store.reader() as reader:
        used, active, idle = reader.execute(_CONNECTIONS).fetchone()
        deadlocks, checksum_failures, query_time_s, transactions = reader.execute(_DATABASE).fetchone()
        settings = {name: reader.execute("SELECT current_setting(?)", (name,)).fetchone()[0] for name in _SETTINGS}
        tables = {
            name: {"rows": rows, "table_bytes": size, "index_bytes": indexes, "dead_rows": dead}
            for name, rows, size, indexes, dead in reader.execute(_TABLES).fetchall()
        }
        return {
            "schema": store.schema,
            "size_bytes": reader.execute("SELECT pg_database_size(current_database())").fetchone()[0],
            "connections": {"in_use": used, "active": active, "idle_in_transaction": idle},
            "pool": {
                "size": store.server.pool.size,
                "max_overflow": store.server.pool.max_overflow,
                "checked_out": store.engine.pool.checkedout(),  # type: ignore[attr-defined]
                "checked_in": store.engine.pool.checkedin(),  # type: ignore[attr-defined]
            },
            "longest_transaction_s": round(reader.execute(_LONGEST).fetchone()[0], 3),
            "locks_waited_for": [
                {"pid": pid, "on": on, "mode": mode, "blocked_by": by}
                for pid, on, mode, by in reader.execute(_WAITING).fetchall()
            ],
            "deadlocks": deadlocks,
            "checksum_failures": checksum_failures,
            "query_time_s": round(query_time_s, 3),
            "transactions": transactions,
            "advice": _advice(settings),
            "settings": settings,
            "tables": tables,
        }


def _advice(settings: dict[str, str]) -> str | None:
    unsafe = [name for name in ("fsync", "full_page_writes") if settings[name] == "off"]
    if settings["synchronous_commit"] == "off":
        unsafe.append("synchronous_commit")
    return f"a crash can lose acknowledged events: {', '.join(unsafe)} is off" if unsafe else None


def problems(log: EventLog, progress: Progress | None) -> list[str]:
    """Triggers, invalid indexes, failed page checksums; index order where ``amcheck`` is there and may be used."""
    store = _postgres(log)
    found = postgres_schema.trigger_problems(store)
    with store.reader() as reader:
        if reader.execute("SELECT 1 FROM log_head").fetchone() is None:
            found.append("the row of log_head is missing, so nothing can be appended: run `eventlog db migrate`")
        found += [f"the index {name} is not valid" for (name,) in reader.execute(_INVALID).fetchall()]
        failures = reader.execute(_DATABASE).fetchone()[1]
        found += [f"{failures} pages had a wrong checksum when they were read"] if failures else []
        installed = reader.execute(_AMCHECK).fetchone()
        if installed and reader.execute(_MAY, installed).fetchone()[0]:
            found += _index_problems(store, reader, installed[0])
    return found


def _index_problems(store: PostgresStore, reader: Reader, check: str) -> list[str]:
    found = []
    for (name,) in reader.execute(_BTREES).fetchall():
        try:
            reader.execute(f"SELECT {check}(?::regclass)", (name,))
        except Exception as error:
            if isinstance(store.translate(error), Corrupt):
                found.append(f"index check: {error}")
            else:
                raise
    return found


def optimize(log: EventLog) -> dict[str, int]:
    """Vacuum and analyse every table of the log."""
    store = _postgres(log)
    with contextlib.closing(store.builder()) as session:
        before = session.execute("SELECT pg_database_size(current_database())").fetchone()[0]
        for row in session.execute(_TABLES).fetchall():
            session.execute(f'VACUUM (ANALYZE) "{row[0]}"')
        after = session.execute("SELECT pg_database_size(current_database())").fetchone()[0]
    return {"before_bytes": before, "after_bytes": after}


# backup


def backup(log: EventLog, target: Path, progress: Progress | None) -> ChainReport:
    """By ``pg_dump`` where there is one that knows this server, else as the log's own export, compressed by gzip.

    The file is read back record by record before it takes its name. Raises Corrupt when it is not the log's.
    """
    store = _postgres(log)
    fresh = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        head = log.head()
        if progress is not None:
            progress(0, None, "copying")
        if dump.can_dump(store):
            # A view of the past holds the tables: a rebuild's swap would take them away from under pg_dump.
            with contextlib.closing(store.scratch()):
                dump.write(store, fresh)
        else:
            # What was cut off would be a shorter log, and as sound: gzip tells.
            with gzip.open(fresh, "wb", compresslevel=6) as file:
                records = log.read(0, head.position)
                jsonl.write(records, file, encode=jsonl.line, total=head.position, progress=progress)  # type: ignore[arg-type]
        report = _verify(fresh, head.position, progress)
        if report.head.position < head.position:
            raise Corrupt("the copy does not verify: records are missing")
        _fsync(fresh)
        os.link(fresh, target)
        _fsync(target.parent)
        return report
    finally:
        fresh.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _records(source: Path) -> Iterator[Iterator[Record]]:
    """The records in a backup, whichever way it was made. Raises NotALog, Corrupt."""
    with source.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"SQLite format 3"):
        raise NotALog(f"{source} is a SQLite file: bring it in with `eventlog db copy {source} URL`")
    if start.startswith(dump.MAGIC):
        with dump.records(source) as records:
            yield records
        return
    try:
        with lines.records(source) as records:
            yield records
    except InvalidInput as error:
        raise Corrupt(f"{source} is damaged, or no backup of a log: {error.message}") from error


def _verify(source: Path, total: int, progress: Progress | None) -> ChainReport:
    position, digest = 0, GENESIS
    with _records(source) as records:
        for record in records:
            if record.position != position + 1 or record.hash != _hash(digest, record):
                raise Corrupt(f"{source} is damaged: its chain of hashes breaks at position {position + 1}")
            position, digest = record.position, record.hash
            if progress is not None and position % 5000 == 0:
                progress(position, max(total, position), "verifying")
    return ChainReport(True, position, Head(position, digest))


def _hash(previous: bytes, record: Record) -> bytes | None:
    try:
        return hash_of(previous, record.row)
    except (StructError, UnicodeError):
        return None


def restore(source: Path, place: Place, *, force: bool, progress: Progress | None) -> ChainReport:
    """The whole backup is verified before anything is written. Then its records go in, checked against the chain.

    The database must hold no log, or the beginning of this very one: a restore that was interrupted goes on where it
    was. The tables are made from the records when the log is next opened.
    """
    if not source.exists():
        raise LogMissing(f"there is no backup at {source}")
    end = _verify(source, 0, progress).head
    with contextlib.closing(EventLog(postgres_schema.open_store(_server(place)))) as log:
        head = log.head()
        told = _Told(head.position, end.position, progress)
        try:
            with _records(source) as records:
                if head.position:
                    _skip(records, head, place)
                log.import_records(records, told)
        except StoreError as error:
            if told.done == head.position:
                raise
            raise StoreError(
                f"the restore stopped: {error.message}. Records up to about position {told.done} of {end.position} are "
                "there; the same restore, run again, goes on where it was"
            ) from error
        return log.verify(progress)


def _skip(records: Iterator[Record], head: Head, place: Place) -> None:
    last = next(islice(records, head.position - 1, None), None)
    if last is None or last.hash != head.hash:
        raise StoreError(
            f"{place} holds another log already, or a longer one (version {head.position}); nothing was written. "
            "Restore into an empty database, or into an empty schema (`?options=-csearch_path=NAME`)"
        )


class _Told:
    """Passes progress on, and knows how far it went."""

    def __init__(self, start: int, end: int, progress: Progress | None) -> None:
        self.done = self._start = start
        self._end = end
        self._progress = progress

    def __call__(self, done: int, _total: int | None, _what: str) -> None:
        self.done = self._start + done
        if self._progress is not None:
            self._progress(self.done, self._end, "restoring")


# the schema


def _server(place: Place) -> Server:
    if place.server is None:
        raise StoreError(f"{place} is not in PostgreSQL")
    return place.server


def schema(place: Place) -> SchemaStatus:
    """How a database's schema stands."""
    with contextlib.closing(postgres_schema.open_for_schema(_server(place), writable=False)) as store:
        return postgres_schema.status(store)


def migrate(place: Place) -> None:
    """Bring a database's schema up to date, put missing triggers back."""
    with contextlib.closing(postgres_schema.open_for_schema(_server(place))) as store:
        postgres_schema.migrate(store)


def rollback(place: Place, to: int) -> None:
    """Take a database's schema back. Refused while that would throw events away."""
    with contextlib.closing(postgres_schema.open_for_schema(_server(place))) as store:
        postgres_schema.rollback(store, to)


def open_damaged(place: Place) -> EventLog:
    """The records of a log whose triggers are not as they should be."""
    return EventLog(postgres_schema.open_for_schema(_server(place), writable=False), writable=False)
