"""`eventlog.open`: a store, the log on it, its projections and repositories, put together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from eventlog.codec import Codec, Upcaster
from eventlog.errors import InvalidInput, LogReadOnly
from eventlog.events import Event
from eventlog.log import EventLog
from eventlog.place import Place
from eventlog.projection import Projection
from eventlog.projection.discovery import installed
from eventlog.projection.manager import Projections, Version
from eventlog.projection.past import PastLog, PastProjections
from eventlog.recorder.track import RecordedRuns
from eventlog.repositories.containers import ContainersRepository
from eventlog.repositories.contests import ContestsRepository, ProblemsRepository
from eventlog.repositories.executions import ExecutionsRepository
from eventlog.repositories.imports import ImportsRepository
from eventlog.repositories.jobs import JobsRepository
from eventlog.repositories.prices import PricesRepository
from eventlog.repositories.projects import ProjectsRepository
from eventlog.repositories.runs import RunsRepository
from eventlog.repositories.schedules import SchedulesRepository
from eventlog.repositories.search import SearchRepository
from eventlog.repositories.sessions import SessionsRepository
from eventlog.repositories.settings import SettingsRepository
from eventlog.repositories.statistics import StatisticsRepository
from eventlog.repositories.tasks import TasksRepository
from eventlog.repositories.workers import QueuesRepository, WorkersRepository
from eventlog.repositories.workspaces import WorkspacesRepository
from eventlog.store.base import Progress, Store
from eventlog.store.sqlite_schema import open_store
from eventlog.target import Target, data_folder, parse_target

if TYPE_CHECKING:
    from eventlog.aio import AsyncLog
    from eventlog.importers.run import Report
    from eventlog.mirror import DualWriteRepository
    from eventlog.store.jsonl import JsonLinesStore
    from eventlog.worker.handlers import JobFunction
    from projections.workers import Worker


class Log(EventLog):
    """An open log: append and read, `projections`, and one repository a subject."""

    def __init__(
        self,
        store: Store,
        codec: Codec,
        projections: Iterable[Projection],
        *,
        inline: bool,
        writable: bool,
        data_dir: Path | None,
    ) -> None:
        super().__init__(store, codec, writable=writable)
        self.projections = Projections(self, projections, inline=inline)
        self.data_dir = data_dir

    @property
    def url(self) -> str:
        """Where the log is, as it can be given to `open`."""
        return self.store.url

    @property
    def path(self) -> Path | None:
        """The log's file; None for a log in memory."""
        return self.store.path

    @cached_property
    def runs(self) -> RecordedRuns:
        """Runs: commands, queries, and the recorder."""
        return RecordedRuns(self, self.projections)

    @cached_property
    def projects(self) -> ProjectsRepository:
        """Projects."""
        return ProjectsRepository(self, self.projections)

    @cached_property
    def jobs(self) -> JobsRepository:
        """Jobs: enqueue, claim, end, and every question about them."""
        made = JobsRepository(self, self.projections)
        made.gone = _evidence
        return made

    @cached_property
    def imports(self) -> ImportsRepository:
        """What was brought in, and what could not be read."""
        return ImportsRepository(self, self.projections)

    def import_from(
        self,
        kind: str,
        *paths: str | os.PathLike[str],
        dry_run: bool = False,
        strict: bool = False,
        max_line_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """Bring the past of another program in, from files or folders: ``kind`` is a name of `eventlog import --help`.

        What is there already is left out, so it can be repeated, and goes on after it was interrupted. Raises
        InvalidInput (no such importer; with ``strict`` at the first record that cannot be read), NotFound.
        """
        from eventlog.importers.formats import format_of
        from eventlog.importers.run import import_paths, options

        return import_paths(
            self,
            self.projections,
            format_of(kind),
            [Path(path) for path in paths],
            data_dir=self.data_dir,
            options=options(dry_run=dry_run, strict=strict, max_line_bytes=max_line_bytes),
            progress=progress,
        )

    def retry_imports(
        self,
        *source_ids: str,
        dry_run: bool = False,
        max_line_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """Read again what could not be read, of these sources or of all. Raises NotFound."""
        from eventlog.importers.run import options, retry

        return retry(
            self,
            self.projections,
            sources=source_ids,
            data_dir=self.data_dir,
            options=options(dry_run=dry_run, max_line_bytes=max_line_bytes),
            progress=progress,
        )

    @cached_property
    def queues(self) -> QueuesRepository:
        """Queues of jobs: pause, resume, limit."""
        return QueuesRepository(self, self.projections)

    @cached_property
    def workers(self) -> WorkersRepository:
        """Those who do jobs."""
        return WorkersRepository(self, self.projections)

    @cached_property
    def schedules(self) -> SchedulesRepository:
        """Jobs that are enqueued by the clock."""
        return SchedulesRepository(self, self.projections)

    @cached_property
    def workspaces(self) -> WorkspacesRepository:
        """The folders in which agents work."""
        return WorkspacesRepository(self, self.projections)

    @cached_property
    def search(self) -> SearchRepository:
        """Full-text search over messages, calls of tools, commands and notes."""
        return SearchRepository(self, self.projections)

    @cached_property
    def sessions(self) -> SessionsRepository:
        """Conversations with agents: what was said, what was called, forks, and worktrees."""
        made = SessionsRepository(self, self.projections)
        made.observer = lambda session_id: self.dual_write.told(session_id)
        return made

    @cached_property
    def dual_write(self) -> DualWriteRepository:
        """The folder of JSON files that sessions are written to, too, for programs that read those still."""
        from eventlog.mirror import DualWriteRepository  # few logs have one

        return DualWriteRepository(self, self.projections, self.data_dir)

    @cached_property
    def tasks(self) -> TasksRepository:
        """Tasks of coding agents, and what is done in them."""
        return TasksRepository(self, self.projections)

    @cached_property
    def handlers(self) -> dict[str, JobFunction]:
        """The functions that do jobs, by kind, made with `job`."""
        return {}

    def job(self, kind: str, **options: Any) -> Callable[[Callable[..., Any]], JobFunction]:
        """Make a function do this log's jobs of a kind, ``@log.job("kind")``: see `eventlog.worker.job`."""
        from eventlog.worker.handlers import register

        return register(self, kind, **options)

    @cached_property
    def executions(self) -> ExecutionsRepository:
        """Executions of programs on problems."""
        return ExecutionsRepository(self, self.projections)

    @cached_property
    def contests(self) -> ContestsRepository:
        """Contests."""
        return ContestsRepository(self, self.projections)

    @cached_property
    def problems(self) -> ProblemsRepository:
        """Problems."""
        return ProblemsRepository(self, self.projections)

    @cached_property
    def settings(self) -> SettingsRepository:
        """Settings: values that programs share, and their history."""
        return SettingsRepository(self, self.projections)

    @cached_property
    def containers(self) -> ContainersRepository:
        """Containers."""
        return ContainersRepository(self, self.projections)

    @cached_property
    def statistics(self) -> StatisticsRepository:
        """Statistics."""
        return StatisticsRepository(self, self.projections)

    @cached_property
    def prices(self) -> PricesRepository:
        """What tokens cost."""
        return PricesRepository(self, self.projections)

    @cached_property
    def aio(self) -> AsyncLog:
        """The log for asyncio."""
        from eventlog.aio import AsyncLog  # asyncio is slow to import, and few programs that record need it

        return AsyncLog(self)

    @contextmanager
    def as_of(self, version: Version) -> Iterator[Past]:
        """The state at a version, for questions only: a position, or a time, as a datetime or as ``--as-of`` takes it
        (``"2026-11-21T09:30"``, ``"yesterday"``, ``"2h"`` ago).
        """
        with self.projections.as_of(version) as past:
            yield Past(past)

    def __enter__(self) -> Log:
        return self


def _evidence(worker: Worker) -> str | None:
    """What proves that a worker is gone."""
    from eventlog.worker.recovery import proof  # who only asks about other things does not need it

    found = proof(worker)
    return None if found is None else found[1]


class Past:
    """A log as of a version: the same questions, and nothing that writes."""

    def __init__(self, source: PastLog) -> None:
        self._source = source
        self.version = source.version
        self.read_stream = source.read_stream
        self.projections = PastProjections(source)
        self.runs = RunsRepository(source)
        self.projects = ProjectsRepository(source)
        self.jobs = JobsRepository(source)
        self.queues = QueuesRepository(source)
        self.imports = ImportsRepository(source)
        self.workers = WorkersRepository(source)
        self.schedules = SchedulesRepository(source)
        self.tasks = TasksRepository(source)
        self.workspaces = WorkspacesRepository(source)
        self.sessions = SessionsRepository(source)
        self.search = SearchRepository(source)
        self.executions = ExecutionsRepository(source)
        self.contests = ContestsRepository(source)
        self.problems = ProblemsRepository(source)
        self.settings = SettingsRepository(source)
        self.containers = ContainersRepository(source)
        self.statistics = StatisticsRepository(source)
        self.prices = PricesRepository(source)

    @cached_property
    def dual_write(self) -> DualWriteRepository:
        """See `Log.dual_write`."""
        from eventlog.mirror import DualWriteRepository

        return DualWriteRepository(self._source)


def open(
    target: Target = None,
    *,
    events: Iterable[type[Event]] = (),
    upcasters: Iterable[Upcaster] = (),
    projections: Literal["inline", "deferred", "off"] = "inline",
    extra_projections: Iterable[Projection] = (),
    mode: Literal["rw", "r"] = "rw",
    create: bool = True,
    data_dir: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
    token_file: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Log:
    """Open a log, creating it when it is not there.

    ``target`` is a path, ``sqlite:///path``, ``:memory:``, ``postgresql://user@host/database``, a file of JSON lines (a
    path that ends in ``.jsonl``, ``jsonl:///path``), or ``http://host:port`` of an `eventlog serve`, which gives a
    `RemoteLog`: the same repositories and the same questions, without transactions. Default: what variables and files
    say (`eventlog.config`), else a SQLite file of this user.
    ``projections``: kept in each append's transaction, only on demand, or not at all. ``data_dir`` holds ``result/``
    (default: ``$EVENTLOG_DATA_DIR``, else the file's folder; this user's, where the log is no file). ``timeout_s``: how
    long a writer waits for others (default: 10 s on a file, 15 s on a server, where it is also how long one that went
    away is waited for). ``token_file`` holds the token of an `eventlog serve` (default: ``$EVENTLOG_TOKEN``,
    ``$EVENTLOG_TOKEN_FILE``, else the file of this user's own server on this machine); how the tables are kept, and
    ``create``, are that server's to say.
    Projections that older code made are rebuilt, which takes a while on a long log: ``progress`` is told.

    Raises InvalidInput, LogMissing, NotALog, SchemaTooNew, UnsupportedFilesystem, DiskFull, Corrupt, LogBusy,
    ServerUnreachable.
    """
    if mode not in ("rw", "r") or projections not in ("inline", "deferred", "off"):
        raise InvalidInput("mode is 'rw' or 'r'; projections is 'inline', 'deferred' or 'off'")
    place = parse_target(target)
    writable = mode == "rw"
    if place.remote is not None:
        if tuple(extra_projections):
            raise InvalidInput("the projections of a log behind a server are those of its server")
        from eventlog.client.log import open_remote

        remote = open_remote(
            place.remote,
            Codec(events, upcasters),
            writable=writable,
            data_dir=data_folder(data_dir, place),
            token_file=token_file,
            timeout_s=timeout_s,
        )
        return cast(Log, remote)
    if token_file is not None:
        raise InvalidInput("token_file is for a log behind a server: http://host:port")
    store = _open_store(place, writable=writable, create=create, timeout_s=timeout_s)
    try:
        folder = data_folder(data_dir, place)
        chosen = () if projections == "off" else (*installed(), *extra_projections)
        log = Log(
            store, Codec(events, upcasters), chosen, inline=projections == "inline", writable=writable, data_dir=folder
        )
        if writable and chosen:
            _prepare(log, progress)
        elif chosen and place.kind == "jsonl":
            _prepare_reading(log, chosen)
    except BaseException:
        store.close()
        raise
    return log


def _open_store(place: Place, *, writable: bool, create: bool, timeout_s: float | None) -> Store:
    if place.server is not None:
        try:
            from eventlog.store.postgres_schema import open_store as open_postgres
        except ImportError as error:
            raise InvalidInput("PostgreSQL needs pip install 'execution-eventlog[postgres]'") from error
        return open_postgres(place.server, writable=writable, create=create, timeout_s=timeout_s)
    if place.path is None:
        from eventlog.store.memory import MemoryStore

        return MemoryStore()
    if place.lines:
        from eventlog.store.jsonl import open_store as open_lines

        return open_lines(place.path, writable=writable, create=create, timeout_s=timeout_s)
    return open_store(place.path, writable=writable, create=create, timeout_s=timeout_s, vfs=place.vfs)


def _prepare_reading(log: Log, chosen: Iterable[Projection]) -> None:
    """Tables in memory are nobody else's: who only reads makes them too, by a log object that nobody else has."""
    store: JsonLinesStore = log.store  # type: ignore[assignment]
    keeper = Log(store, log.codec, chosen, inline=log.projections.inline, writable=True, data_dir=None)
    store.keep_tables(lambda: keeper.projections.prepare(lazy=True))  # nobody else brings them along


def _prepare(log: Log, progress: Progress | None) -> None:
    try:
        log.projections.prepare(progress)
    except LogReadOnly:
        # A file that cannot be written can still be read; each append will say so.
        log.writable = False
