"""What PostgreSQL, its driver and the pool raise, as errors of ours; and what may pass by itself."""

from __future__ import annotations

from typing import TypeVar

import psycopg
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from eventlog.errors import (
    Conflict,
    Corrupt,
    DiskFull,
    EventLogError,
    InvalidInput,
    LogBusy,
    LogMissing,
    LogReadOnly,
    NotALog,
    ProjectionError,
    ServerUnreachable,
    StorageFailed,
    StoreError,
)

E = TypeVar("E", bound=BaseException)
_ENDED = (
    pg.AdminShutdown,
    pg.CrashShutdown,
    pg.CannotConnectNow,
    pg.IdleInTransactionSessionTimeout,
    pg.IdleSessionTimeout,
    pg.TransactionTimeout,
    pg.TooManyConnections,
)
"""How the server ends a session, or does not begin one."""
_PASSING = (*_ENDED, pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure, InvalidRequestError)
_HOPELESS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied", "permission")
_FAULTS: tuple[tuple[type[psycopg.Error] | tuple[type[psycopg.Error], ...], type[EventLogError]], ...] = (
    ((pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure, pg.QueryCanceled), LogBusy),
    (_ENDED, ServerUnreachable),
    ((pg.DiskFull,), DiskFull),
    ((pg.InsufficientPrivilege, pg.ReadOnlySqlTransaction), LogReadOnly),
    ((pg.DataCorrupted, pg.IndexCorrupted), Corrupt),
    ((pg.IoError,), StorageFailed),
    ((pg.ProgramLimitExceeded,), InvalidInput),
    (psycopg.IntegrityError, Conflict),
)


def told(error: psycopg.Error | SQLAlchemyError, url: str) -> EventLogError:
    """The error of ours that a driver's or the pool's stands for; ``url`` has no password in it."""
    error = _bare(error)
    if isinstance(error, PoolTimeout):
        return LogBusy(f"every connection of the pool to {url} is in use; try again, or make the pool larger")
    if not isinstance(error, psycopg.Error):
        return StoreError(f"{url}: {as_line(error)}")
    text = as_line(error)
    for kind, make in _FAULTS:
        if isinstance(error, kind):
            return make(f"{url}: {text}")
    if isinstance(error, pg.UndefinedTable):
        if '"events"' in text or '"log_head"' in text:
            return NotALog(f"{url} holds no event log; nothing was changed")
        return ProjectionError(
            f"{url}: {text}; the tables of this projection are not made yet: open the log for writing once, "
            "or run `eventlog projections rebuild`"
        )
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return _unreachable(text, url)
    return StoreError(f"{url}: {text}")


def _unreachable(text: str, url: str) -> EventLogError:
    if "database" in text and "does not exist" in text:
        return LogMissing(f"{url}: {text}; `createdb` makes one")
    if any(sign in text for sign in _HOPELESS):
        return StoreError(f"{url} refuses the login: {text}")
    return ServerUnreachable(f"the server of {url} cannot be reached, or went away ({text}); try again")


def is_passing(error: BaseException) -> bool:
    """Whether it may go well a moment later: the server restarts, or another client holds the head."""
    error = _bare(error)
    if isinstance(error, _PASSING):
        return True
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) or error.sqlstate is not None:
        return False
    text = str(error)
    if "starting up" in text or "shutting down" in text or "recovery" in text:
        return True
    return not any(sign in text for sign in _HOPELESS)


def _bare(error: E) -> E | psycopg.Error:
    """The driver's own error, where SQLAlchemy has wrapped it: so it does while it makes its first connection."""
    return error.orig if isinstance(error, DBAPIError) and isinstance(error.orig, psycopg.Error) else error


def as_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())
