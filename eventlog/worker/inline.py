"""Running a handler in the thread that calls this; in a child process that is its main thread."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

from eventlog.codec import find_non_finite, to_json
from eventlog.errors import InvalidInput
from eventlog.recorder.job import current_job
from eventlog.worker.context import JobContext
from eventlog.worker.handlers import CONTEXT, JobFunction
from eventlog.worker.outcome import Failed, Outcome, Stopped, Succeeded, outcome_of, type_name


def run_here(function: JobFunction, context: JobContext) -> Outcome:
    """Do the job of a context. Whatever the handler raises, SystemExit too, is a failed attempt; nothing is raised."""
    mark = current_job.set(context.job.job_id)
    try:
        function.bind(context.job.args)
        arguments = {**context.job.args, CONTEXT: context} if function.wants_context else context.job.args
        result = function.function(**arguments)
        if inspect.isawaitable(result):
            result = _in_a_loop(result, context)
    except InvalidInput as error:
        return Failed("InvalidInput", error.message, retryable=False)
    except BaseException as error:
        return _told(error, function, context)
    finally:
        current_job.reset(mark)
    return _storable(result)


def _told(error: BaseException, function: JobFunction, context: JobContext) -> Outcome:
    try:
        if context.cancelled.is_set() and type_name(error).endswith("CancelledError"):
            return Stopped()
        return outcome_of(error, function.non_retryable)
    except BaseException:
        # Its __str__ ended the program, or there is no memory left to say more.
        return Failed(type(error).__name__)


def _in_a_loop(awaitable: Any, context: JobContext) -> Any:
    import asyncio

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(awaitable)

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is over
                loop.call_soon_threadsafe(task.cancel)

        context.when_told = cancel
        if context.cancelled.is_set():
            task.cancel()
        return await task

    try:
        return asyncio.run(main())
    finally:
        context.when_told = None


def _storable(result: Any) -> Outcome:
    try:
        data = to_json(result)
        if b"null" in data and (path := find_non_finite(result)):
            raise ValueError(f"a number that JSON cannot hold at `{path}`")
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        why = f"it did its work, and its result cannot be stored as JSON: {error}"
        return Failed("ResultNotStored", why[:2000].encode(errors="backslashreplace").decode(), retryable=False)
    return Succeeded(result)
