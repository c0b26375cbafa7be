"""`RemoteLog`: the log behind a server. What needs a transaction of one's own is refused, and says so."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import msgspec
from msgspec import Raw

from eventlog.aio import AsyncLog
from eventlog.client.calls import Call, Server, encode, query_of
from eventlog.client.connection import Connection
from eventlog.client.executions import (
    RemoteContainers,
    RemoteContests,
    RemoteExecutions,
    RemoteProblems,
    RemoteSettings,
)
from eventlog.client.faults import needs_the_log
from eventlog.client.following import follow
from eventlog.client.imports import RemoteImports
from eventlog.client.jobs import RemoteJobs
from eventlog.client.projections import RemoteProjections
from eventlog.client.reader import HEAD, RemoteReader, row_of
from eventlog.client.repositories import (
    RemotePrices,
    RemoteProjects,
    RemoteQueues,
    RemoteRuns,
    RemoteSchedules,
    RemoteStatistics,
    RemoteWorkers,
)
from eventlog.client.search import RemoteSearch
from eventlog.client.sessions import RemoteSessions, RemoteWorkspaces
from eventlog.client.store import RemoteStore
from eventlog.client.tasks import RemoteTasks
from eventlog.client.token import find_token
from eventlog.codec import Codec
from eventlog.committer import Appended, Expect, Prepared, Transaction
from eventlog.errors import InvalidInput, LogClosed, WrongExpectedVersion
from eventlog.events import Event
from eventlog.log import Append, EventLog, Events, _check_bounds, _check_durability
from eventlog.place import Remote
from eventlog.projection.manager import Version
from eventlog.store.base import Durability, Record, Selection, Store
from eventlog.wire import Appended as SentAppended
from eventlog.wire import Head as SentHead
from eventlog.wire import NewAppend, NewEvent

if TYPE_CHECKING:
    from eventlog.worker.handlers import JobFunction

T = TypeVar("T")
PATIENCE_S = 15.0
WORDS = {Expect.ANY: "any", Expect.NO_STREAM: "none", Expect.EXISTS: "exists"}
APPEND_MANY = Call("POST", "/api/events", list[SentAppended])


class RemoteLog(EventLog):
    """A log behind a server: append, read, follow, verify, and the repositories of a `Log`.

    Safe under threads and fork: each thread keeps a connection. Raises ServerUnreachable where the server cannot be
    reached, and OutcomeUnknown where the connection was lost over something that may have been done; with a ``key`` it
    was tried once more before that.
    """

    def __init__(
        self, connection: Connection, codec: Codec, *, writable: bool, data_dir: Path | None, address: str
    ) -> None:
        super().__init__(cast(Store, RemoteStore(connection, address)), codec, writable=writable)
        self.server = Server(connection)
        self.data_dir = data_dir
        self.projections = RemoteProjections(self, self.server)

    @property
    def url(self) -> str:
        """Where the server is."""
        return self.store.url

    @property
    def path(self) -> Path | None:
        """None: the log is not here."""
        return None

    @property
    def log_id(self) -> str | None:
        """See `EventLog.log_id`."""
        if self._log_id is None:
            head: SentHead = self.server.ask(HEAD, {})
            self._log_id = head.log_id
        return self._log_id

    @cached_property
    def runs(self) -> RemoteRuns:
        """Runs: commands, queries, and the recorder."""
        return RemoteRuns(self)

    @cached_property
    def projects(self) -> RemoteProjects:
        """Projects."""
        return RemoteProjects(self)

    @cached_property
    def jobs(self) -> RemoteJobs:
        """Jobs: enqueue, claim, end, and every question about them."""
        return RemoteJobs(self)

    @cached_property
    def queues(self) -> RemoteQueues:
        """Queues of jobs: pause, resume, limit."""
        return RemoteQueues(self)

    @cached_property
    def workers(self) -> RemoteWorkers:
        """Those who do jobs."""
        return RemoteWorkers(self)

    @cached_property
    def schedules(self) -> RemoteSchedules:
        """Jobs that are enqueued by the clock."""
        return RemoteSchedules(self)

    @cached_property
    def workspaces(self) -> RemoteWorkspaces:
        """The folders in which agents work."""
        return RemoteWorkspaces(self)

    @cached_property
    def search(self) -> RemoteSearch:
        """Full-text search over messages, calls of tools, commands and notes."""
        return RemoteSearch(self)

    @cached_property
    def sessions(self) -> RemoteSessions:
        """Conversations with agents: what was said, what was called, forks, and worktrees."""
        return RemoteSessions(self)

    @cached_property
    def tasks(self) -> RemoteTasks:
        """Tasks of coding agents, and what is done in them."""
        return RemoteTasks(self)

    @cached_property
    def handlers(self) -> dict[str, JobFunction]:
        """The functions that do jobs, by kind, made with `job`."""
        return {}

    def job(self, kind: str, **options: Any) -> Callable[[Callable[..., Any]], JobFunction]:
        """Make a function do this log's jobs of a kind, ``@log.job("kind")``: see `eventlog.worker.job`."""
        from eventlog.worker.handlers import register

        return register(self, kind, **options)

    @cached_property
    def imports(self) -> RemoteImports:
        """What was brought in, and what could not be read."""
        return RemoteImports(self, self.projections)

    def import_from(self, kind: str, *paths: str | os.PathLike[str], **options: Any) -> NoReturn:
        """Files are imported where the log is. Raises InvalidInput."""
        raise needs_the_log("an import")

    def retry_imports(self, *source_ids: str, **options: Any) -> NoReturn:
        """See `import_from`. Raises InvalidInput."""
        raise needs_the_log("an import")

    @property
    def dual_write(self) -> NoReturn:
        """The files of a mirror are where the server is. Raises InvalidInput."""
        raise InvalidInput("sessions are written to files where the log is: open the log itself for dual_write")

    @cached_property
    def executions(self) -> RemoteExecutions:
        """Executions of programs on problems."""
        return RemoteExecutions(self)

    @cached_property
    def contests(self) -> RemoteContests:
        """Contests."""
        return RemoteContests(self)

    @cached_property
    def problems(self) -> RemoteProblems:
        """Problems."""
        return RemoteProblems(self)

    @cached_property
    def settings(self) -> RemoteSettings:
        """Settings: values that programs share, and their history."""
        return RemoteSettings(self)

    @cached_property
    def containers(self) -> RemoteContainers:
        """Containers."""
        return RemoteContainers(self)

    @cached_property
    def statistics(self) -> RemoteStatistics:
        """Statistics."""
        return RemoteStatistics(self)

    @cached_property
    def prices(self) -> RemotePrices:
        """What tokens cost."""
        return RemotePrices(self)

    @cached_property
    def aio(self) -> RemoteAsync:
        """The log for asyncio; what waits for the server waits in a thread."""
        return RemoteAsync(self)

    @contextmanager
    def as_of(self, version: Version) -> Iterator[RemotePast]:
        """See `Log.as_of`."""
        yield RemotePast(self, self.projections.version(version))

    # appending

    def append(self, stream: str, events: Events, *, durability: Durability = "full", **options: Any) -> Appended:
        """See `EventLog.append`."""
        return self.append_many([Append(stream=stream, events=events, **options)], durability=durability)[0]

    def append_many(self, appends: Iterable[Append], *, durability: Durability = "full") -> list[Appended]:
        """See `EventLog.append_many`."""
        given = list(appends)
        sent = [self._sent(one, prepared) for one, prepared in zip(given, self.prepare_many(given), strict=True)]
        self.check_writable()
        _check_durability(durability)
        if not sent:
            return []
        again = all(one.key is not None for one in given)
        found = self.server.send(
            APPEND_MANY, APPEND_MANY.path, query_of({"durability": durability}), encode(sent), again=again
        )
        return [Appended(*msgspec.structs.astuple(one)) for one in found]

    def _sent(self, append: Append, prepared: Prepared) -> NewAppend:
        stream, encoded, expect, key, when, actor, correlation, causation, metadata = prepared
        if not isinstance(expect, Expect) and not 0 <= expect < 2**63:
            last = next(self.read_stream(stream, backwards=True, limit=1), None)
            raise WrongExpectedVersion(stream, expect, 0 if last is None else last.version)
        return NewAppend(
            stream=stream,
            events=[NewEvent(type=tag, data=Raw(data), schema=schema) for tag, _, schema, data, _ in encoded],
            expect=cast(Any, WORDS[expect] if isinstance(expect, Expect) else expect),
            key=key,
            occurred_at=None if append.occurred_at is None else when,
            actor=actor,
            correlation=correlation,
            causation=causation,
            metadata=None if metadata is None else cast(Any, Raw(metadata)),
        )

    def _submit(
        self, work: Callable[[Transaction], T], durability: Durability, *, pure: bool, streams: Sequence[str] = ()
    ) -> T:
        self.check_writable()
        _check_durability(durability)
        if self.server.connection.closed:
            raise LogClosed
        raise needs_the_log("a transaction")

    # reading

    def _pages(self, after: int, to: int, where: Selection, backwards: bool, limit: int | None) -> Iterator[Record]:
        yield from self._records(after, to, where, backwards=backwards, limit=limit)

    def read_stream(
        self, stream: str, *, after: int = 0, to: int | None = None, backwards: bool = False, limit: int | None = None
    ) -> Iterator[Record]:
        """See `EventLog.read_stream`."""
        _check_bounds(after, to, limit)
        where = self.selection(streams=(stream,))
        yield from self._records(after, to, where, backwards=backwards, limit=limit, in_stream=True)

    def _records(self, after: int, to: int | None, where: Selection, **options: Any) -> Iterator[Record]:
        for page in RemoteReader(self.server).pages(after, to, where, **options):
            for row in page:
                yield Record(*row, self.codec)

    def follow(
        self,
        after: int | None = None,
        *,
        streams: Iterable[str] | None = None,
        categories: Iterable[str] | None = None,
        types: Iterable[str | type[Event]] | None = None,
        poll_s: float = 0.05,
        stop: threading.Event | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Record]:
        """See `EventLog.follow`. The server says at once what was appended; ``poll_s`` has no part in it.

        When the server goes away it is waited for, for as long as the log was told to when it was opened.
        """
        where = self.selection(streams, categories, types)
        position = self.head().position if after is None else after
        query = query_of({"streams": where.streams, "categories": where.categories, "types": where.types})
        for sent in follow(self.server.connection, query, position, stop or threading.Event(), timeout_s):
            row = row_of(sent.record)
            if not sent.exact:  # line ends inside its JSON became others on the way
                row = RemoteReader(self.server).records(row[0] - 1, row[0], Selection())[0]
            yield Record(*row, self.codec)

    def __enter__(self) -> RemoteLog:
        return self


class RemoteAsync(AsyncLog):
    """Awaitable `RemoteLog`."""

    async def append(self, stream: str, events: Events, *, durability: Durability = "full", **options: Any) -> Appended:
        """See `AsyncLog.append`."""
        return (await self.append_many([Append(stream=stream, events=events, **options)], durability=durability))[0]

    async def append_many(self, appends: Iterable[Append], *, durability: Durability = "full") -> list[Appended]:
        """See `AsyncLog.append_many`."""
        return await asyncio.to_thread(self._log.append_many, list(appends), durability=durability)


class _PastSource:
    """What repositories ask when they ask of the past."""

    def __init__(self, log: RemoteLog, version: int) -> None:
        self.server = Server(log.server.connection, version)
        self.log_id = log.log_id
        self._codec = log.codec

    @contextmanager
    def reader(self) -> Iterator[Any]:
        yield RemoteReader(self.server)

    def read_stream(self, stream: str, *, after: int = 0) -> Iterator[Record]:
        where = Selection(streams=(stream,))
        for page in RemoteReader(self.server).pages(after, None, where, in_stream=True):
            for row in page:
                yield Record(*row, self._codec)


class RemotePast:
    """A log behind a server as of a version: the same questions, and nothing that writes."""

    def __init__(self, log: RemoteLog, version: int) -> None:
        source = _PastSource(log, version)
        self.version = version
        self.read_stream = source.read_stream
        self.runs = RemoteRuns(source)
        self.projects = RemoteProjects(source)
        self.jobs = RemoteJobs(source)
        self.queues = RemoteQueues(source)
        self.workers = RemoteWorkers(source)
        self.schedules = RemoteSchedules(source)
        self.workspaces = RemoteWorkspaces(source)
        self.sessions = RemoteSessions(source)
        self.search = RemoteSearch(source)
        self.imports = RemoteImports(source)
        self.executions = RemoteExecutions(source)
        self.contests = RemoteContests(source)
        self.problems = RemoteProblems(source)
        self.settings = RemoteSettings(source)
        self.containers = RemoteContainers(source)
        self.tasks = RemoteTasks(source)
        self.statistics = RemoteStatistics(source)
        self.prices = RemotePrices(source)

    dual_write = RemoteLog.dual_write

    @property
    def projections(self) -> NoReturn:
        """A server answers questions, and gives no table away whole: raises InvalidInput."""
        raise needs_the_log("a table as it was")


def open_remote(
    remote: Remote,
    codec: Codec,
    *,
    writable: bool,
    data_dir: Path | None,
    token_file: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
) -> RemoteLog:
    """Open a log behind a server. Raises ServerUnreachable where there is none, or the token is not known to it."""
    if token_file is not None:
        remote = Remote(url=remote.url, token_file=os.fspath(token_file), told=True)
    if timeout_s is not None and timeout_s <= 0:
        raise InvalidInput(f"timeout_s is above 0, not {timeout_s!r}")
    connection = Connection(remote.url, find_token(remote), PATIENCE_S if timeout_s is None else timeout_s)
    log = RemoteLog(connection, codec, writable=writable, data_dir=data_dir, address=remote.address)
    try:
        log.head()
    except BaseException:
        log.close()
        raise
    return log
