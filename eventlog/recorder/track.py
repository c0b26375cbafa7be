"""`log.runs.track` and `log.runs.tracked`: a block or a function of a program as a run."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from eventlog.events.runs import RunStarted
from eventlog.recorder import capture, values
from eventlog.recorder.artifacts import ArtifactStore
from eventlog.recorder.current import current_run
from eventlog.recorder.job import current_job_id
from eventlog.recorder.recording import parent_from_environment, prepare
from eventlog.recorder.sink import Sink
from eventlog.recorder.spool import Imported
from eventlog.recorder.tracked_run import PathLike, TrackedRun
from eventlog.repositories.runs import RunsRepository
from projections.runs import Run

__all__ = ["RecordedRuns", "TrackedRun", "current_run"]

F = TypeVar("F", bound=Callable[..., Any])


class RecordedRuns(RunsRepository):
    """`log.runs`: everything about runs, and the recorder."""

    @functools.cached_property
    def _sink(self) -> Sink:
        log: Any = self._log
        return Sink(lambda: log, log.url, log.data_dir)

    _prepared_by: int = 0

    def _prepare(self) -> Sink:
        sink = self._sink
        if self._prepared_by != os.getpid():
            self._prepared_by = os.getpid()
            prepare(sink)
        return sink

    def start(self, command: str, **options: Any) -> Run:
        """Start a run; its row says ``running`` at once. Where and by whom is filled in, unless given.

        See `RunsRepository.start`. The process that calls this counts as the run's: when it is gone and the run has not
        ended, the run is lost, until somebody ends it.
        """
        folder = capture.working_directory()
        known: dict[str, Any] = {"cwd": folder, "job_id": current_job_id(), **capture.process_facts()}
        if folder is not None and "git_commit" not in options:
            known |= capture.git_facts(folder, dirty=False)
        return super().start(command, **(known | options))

    def track(
        self,
        command: str | None = None,
        *,
        project: str | None = None,
        project_id: str | None = None,
        note: str = "",
        tags: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        inputs: Sequence[PathLike] = (),
        program: str | None = None,
        artifacts: bool = True,
    ) -> TrackedRun:
        """A block of this program as a run: ``with log.runs.track("train") as run``, or ``async with``.

        ``command`` defaults to how this process was started. The block's end is the run's: success, fail with the
        exception, killed by an interrupt; the exception goes on its way. ``inputs`` are files to keep as they are now.
        Whatever else is given becomes text. Raises InvalidInput for tags or parameters that are no mapping, and for
        inputs that are no list of paths.
        """
        sink = self._sink
        owner = project if project is not None else project_id
        given: dict[str, Any] = {
            "project_id": None if owner is None else values.text(owner),
            "note": values.text(note),
            "tags": values.tags(tags or {}),
            "parameters": values.parameters(parameters or {}),
        }

        def start() -> RunStarted:
            self._prepare()
            folder = capture.working_directory()
            return RunStarted(
                **capture.command_facts(capture.own_argv(), command, program),
                cwd=folder,
                **given,
                parent_run_id=self._parent(),
                job_id=current_job_id(),
                environment=capture.environment(),
                **(capture.git_facts(folder) if folder is not None else {}),
                **capture.process_facts(),
            )

        return TrackedRun(sink, start, inputs=values.paths(inputs), artifacts=artifacts)

    def _parent(self) -> int | None:
        above = current_run()
        try:
            log_id = self._log.log_id
            if above is not None and above._recording is not None and above._recording.log_id == log_id:
                return above.run_id
            return parent_from_environment(log_id)
        except Exception:
            return None

    @overload
    def tracked(self, function: F, /) -> F: ...

    @overload
    def tracked(self, command: str | None = None, /, **options: Any) -> Callable[[F], F]: ...

    def tracked(self, function: Any = None, /, **options: Any) -> Any:
        """Make every call of a function a run: ``@log.runs.tracked`` or ``@log.runs.tracked(project="p")``.

        Options are those of `track`; the command defaults to the function's name. Functions, coroutine functions,
        generators (the run ends with the iteration) and asynchronous generators.
        """
        if function is None or isinstance(function, str):
            return lambda target: self._wrap(target, function, options)
        return self._wrap(function, None, options)

    def _wrap(
        self, function: Callable[..., Any], command: str | None, options: Mapping[str, Any]
    ) -> Callable[..., Any]:
        name = command if command is not None else f"{function.__module__}.{function.__qualname__}"

        def tracked_run() -> TrackedRun:
            return self.track(name, **options)

        import inspect

        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def asynchronous_generator(*args: Any, **kwargs: Any) -> Any:
                async with tracked_run():
                    async for item in function(*args, **kwargs):
                        yield item

            return asynchronous_generator
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                async with tracked_run():
                    return await function(*args, **kwargs)

            return coroutine
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                with tracked_run():
                    return (yield from function(*args, **kwargs))

            return generator

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with tracked_run():
                return function(*args, **kwargs)

        return call

    # upkeep

    def import_spool(self) -> Imported:
        """Import events that earlier recorders could not append. Raises the log's errors; nothing is lost by them."""
        from eventlog.recorder.spool import import_spool

        log: Any = self._log
        return import_spool(log, self, log.data_dir)

    def recover(
        self, is_gone: Callable[[Run], str | None] = capture.is_gone, *, dry_run: bool = False, limit: int | None = None
    ) -> list[tuple[Run, str]]:
        """Import what waits in spool files, then mark runs whose process is proven gone as lost.

        Returns them with the evidence; with ``dry_run`` nothing is written.
        """
        if not dry_run:
            self.import_spool()
        return super().recover(is_gone, dry_run=dry_run, limit=limit)

    def files(self, run_id: int) -> Path | None:
        """The directory of a run's files, where there is one."""
        log: Any = self._log
        if log.data_dir is None or log.log_id is None:
            return None
        folder = ArtifactStore(log.data_dir, log.log_id).run_dir(run_id)
        return folder if folder.is_dir() else None
