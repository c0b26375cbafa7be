"""Every error this package raises, one tree.

    EventLogError
    ├── InvalidInput                 refused at the door; nothing was written
    │   ├── InvalidEvent             a field of the wrong type, NaN, a lone surrogate, too deep
    │   ├── EventTooLarge
    │   ├── InvalidName              a stream, key or artifact name that cannot be used
    │   └── InvalidQuery
    ├── Conflict                     the log is not in the state the caller expected
    │   ├── WrongExpectedVersion
    │   ├── KeyReused
    │   └── IllegalTransition
    ├── NotFound
    ├── DecodeError                  a stored record that its event class does not accept
    ├── ProjectionError              a projection is pinned, failed, unknown or differs from the log
    │   ├── ProjectionPinned
    │   ├── ProjectionFailed
    │   └── ProjectionUnknown
    ├── StoreError                   the place where records live
    │   ├── LogBusy
    │   ├── LogReadOnly
    │   ├── LogMissing
    │   ├── ServerUnreachable
    │   ├── NotALog
    │   ├── SchemaTooNew
    │   ├── MigrationError
    │   ├── UnsupportedFilesystem
    │   ├── DiskFull
    │   ├── StorageFailed
    │   ├── OutcomeUnknown
    │   ├── LocksLost
    │   └── LogClosed
    ├── Corrupt                      the chain, a page or a trigger is not as it was written
    └── RecorderError
        └── ArtifactError

A class's docstring is its default message; the facts are attributes; where a person can act, the message says how.
Errors of the database driver never leave the store: they are the ``__cause__`` of one of these.
"""

from __future__ import annotations


class EventLogError(Exception):
    """Something went wrong in the event log."""

    def __init__(self, message: str | None = None, **facts: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.facts = facts
        super().__init__(self.message)

    def __getattr__(self, name: str) -> object:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(name)

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.message, self.facts)


def _restore(cls: type[EventLogError], message: str, facts: dict[str, object]) -> EventLogError:
    error = cls.__new__(cls)
    EventLogError.__init__(error, message, **facts)
    return error


class InvalidInput(EventLogError):
    """The input was refused; nothing was written."""


class InvalidEvent(InvalidInput):
    """The event cannot be stored as it is; nothing was written."""


class EventTooLarge(InvalidInput):
    """The event is larger than the limit; save big content as an artifact and refer to it."""


class InvalidName(InvalidInput):
    """The name cannot be used here."""


class InvalidQuery(InvalidInput):
    """The question cannot be asked like this."""


class Conflict(EventLogError):
    """The log is not in the expected state; nothing was written."""


class WrongExpectedVersion(Conflict):
    """The stream is not at the expected version; nothing was written."""

    def __init__(self, stream: str, expected: object, actual: int) -> None:
        wanted = {"no stream": "no events were", "exists": "events were"}.get(str(expected), f"version {expected} was")
        super().__init__(
            f"wrong expected version of stream {stream!r}: it is at version {actual}, and {wanted} expected",
            stream=stream,
            expected=expected,
            actual=actual,
        )


class KeyReused(Conflict):
    """The idempotency key was used before with other content; nothing was written."""

    def __init__(self, key: str, position: int) -> None:
        super().__init__(
            f"key {key!r} was used at position {position} with other content; nothing was written",
            key=key,
            position=position,
        )


class IllegalTransition(Conflict):
    """The thing is not in a state in which this can be done."""


class NotFound(EventLogError):
    """There is no such thing in the log."""


class DecodeError(EventLogError):
    """A stored record does not decode; `eventlog log check` lists all of them."""


class ProjectionError(EventLogError):
    """A projection cannot answer."""


class ProjectionPinned(ProjectionError):
    """The projection is rolled back and pinned; run `eventlog projections resume` to go on."""


class ProjectionFailed(ProjectionError):
    """The projection stopped at an event it cannot apply; see `eventlog projections status`."""


class ProjectionUnknown(ProjectionError):
    """No projection has this name; `eventlog projections list` shows them all."""


class StoreError(EventLogError):
    """The store failed."""


class LogBusy(StoreError):
    """Another process holds the writer lock; nothing was written, try again."""


class LogReadOnly(StoreError):
    """The log cannot be written here; nothing was written."""


class LogMissing(StoreError):
    """There is no log here; `eventlog db init` creates one."""


class ServerUnreachable(StoreError):
    """The server cannot be reached, or went away; what was not committed was not written."""


class NotALog(StoreError):
    """The file is not an event log; nothing was changed."""


class SchemaTooNew(StoreError):
    """The log was written by a newer version of eventlog; upgrade eventlog to open it. Nothing was changed."""


class MigrationError(StoreError):
    """A migration failed; the log is as it was before."""


class UnsupportedFilesystem(StoreError):
    """SQLite's write-ahead log is not safe on this file system; put the file on a local disk or use PostgreSQL."""


class DiskFull(StoreError):
    """There is no space left for the log; nothing was written. Free some space and append again."""


class StorageFailed(StoreError):
    """The disk reported an error; after reopening, the event was found not to be stored."""


class OutcomeUnknown(StoreError):
    """The disk failed, or a connection was lost: whether the event was stored is not known. Retry with a key."""


class LocksLost(StoreError):
    """The log's files changed under this process; nothing was written. Close the log and open it again."""


class LogClosed(StoreError):
    """The log is closed."""


class Corrupt(EventLogError):
    """The log is damaged; `eventlog db check` says where."""


class RecorderError(EventLogError):
    """The recorder could not do its work."""


class ArtifactError(RecorderError):
    """The artifact could not be saved."""
