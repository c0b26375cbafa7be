"""Handlers: the Python callables that do jobs, each of one kind."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from eventlog.errors import InvalidInput

if TYPE_CHECKING:
    from eventlog.repositories.jobs import JobsRepository
    from projections.jobs import Job

CONTEXT = "context"
SHELL = "shell"


class Enqueues(Protocol):
    """A log, as far as a handler's `JobFunction.enqueue` needs one."""

    @property
    def jobs(self) -> JobsRepository:
        """Where jobs are enqueued."""


class Registers(Enqueues, Protocol):
    """A log that knows its handlers."""

    @property
    def handlers(self) -> dict[str, JobFunction]:
        """By kind."""


class JobFunction:
    """A callable that does jobs of one kind. Called, it runs here and now; `enqueue` has a worker run it."""

    def __init__(
        self,
        function: Callable[..., Any],
        kind: str,
        options: Mapping[str, Any],
        non_retryable: tuple[type[BaseException], ...] = (),
        log: Enqueues | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.kind = kind
        self.options = dict(options)
        self.non_retryable = non_retryable
        self.log = log
        self._signature = inspect.signature(function)
        self.wants_context = CONTEXT in self._signature.parameters
        self.is_async = inspect.iscoroutinefunction(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's own doing, without any job."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<handler of {self.kind!r}: {self.reference}>"

    @property
    def reference(self) -> str:
        """``module:name``, by which another process finds it."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def on(self, log: Enqueues) -> JobFunction:
        """The same, enqueueing to this log."""
        other = copy.copy(self)
        other.log = log
        return other

    def having(self, **options: Any) -> JobFunction:
        """The same, with other options for its jobs: ``send.having(priority=-1, run_at=…).enqueue(…)``."""
        other = copy.copy(self)
        other.options = self.options | _options(options)
        return other

    def enqueue(self, /, **args: Any) -> Job:
        """Enqueue a job with these arguments. Raises InvalidInput when the function does not take them."""
        self.bind(args)
        if self.log is None:
            raise InvalidInput(f"which log? {self.__name__}.on(log).enqueue(…), or decorate it with @log.job")
        return self.log.jobs.enqueue(self.kind, args, **self.options)

    def bind(self, args: Mapping[str, Any]) -> None:
        """Raise InvalidInput when the function does not take these arguments."""
        given = {**args, CONTEXT: None} if self.wants_context else args
        try:
            self._signature.bind(**given)
        except TypeError as error:
            raise InvalidInput(f"jobs of kind {self.kind!r} are {self.__name__}{self._signature}: {error}") from None

    __name__: str


def job(
    kind: str,
    *,
    non_retryable: type[BaseException] | Iterable[type[BaseException]] = (),
    log: Enqueues | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], JobFunction]:
    """Make a function, or a coroutine function, do the jobs of a kind.

    A job's arguments are passed by name; a parameter named ``context`` gets a `JobContext`. ``options`` are what its
    jobs are enqueued with (`eventlog.repositories.jobs.NewJob`): ``queue``, ``priority``, ``max_retries``,
    ``retry_policy``, ``on_crash``, ``timeout_s`` … An exception that is one of ``non_retryable`` ends the job at once.
    """
    types = (non_retryable,) if isinstance(non_retryable, type) else tuple(non_retryable)
    if kind == SHELL:
        raise InvalidInput(f"jobs of kind {SHELL!r} are commands, which workers run by themselves")
    kept = _options(options)

    def decorate(function: Callable[..., Any]) -> JobFunction:
        return JobFunction(function, kind, kept, types, log)

    return decorate


def register(log: Registers, kind: str, **options: Any) -> Callable[[Callable[..., Any]], JobFunction]:
    """As `job`, for a log that is to know its handlers: ``@log.job("kind")``."""
    decorate = job(kind, log=log, **options)

    def add(function: Callable[..., Any]) -> JobFunction:
        made = decorate(function)
        by_kind([*log.handlers.values(), made])
        log.handlers[kind] = made
        return made

    return add


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    from eventlog.repositories.jobs import NewJob

    kept = dict(options)
    if "timeout_s" in kept:
        seconds = kept.pop("timeout_s")
        kept["timeout_us"] = None if seconds is None else round(seconds * 1e6)
    known = {*NewJob.__struct_fields__, "if_exists", "durability"} - {"kind", "args"}
    if unknown := sorted(set(kept) - known):
        raise InvalidInput(f"a job has no option {unknown[0]!r}; there are {', '.join(sorted(known))} and timeout_s")
    try:
        msgspec.convert({"kind": "checked", **{k: v for k, v in kept.items() if k in NewJob.__struct_fields__}}, NewJob)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"a job's options: {error}") from error
    return kept


def functions_of(source: object) -> list[JobFunction]:
    """The handlers in a module, a log, a mapping or a list; or the one that is given."""
    if isinstance(source, JobFunction):
        return [source]
    if isinstance(source, ModuleType):
        source = vars(source)
    elif hasattr(source, "handlers"):
        source = source.handlers
    values = source.values() if isinstance(source, Mapping) else source if isinstance(source, Iterable) else ()
    # One function may stand in a module under two names.
    return list({id(one): one for one in values if isinstance(one, JobFunction)}.values())


def load(reference: str) -> list[JobFunction]:
    """The handlers in ``package.module``, or in ``package.module:attribute``. Raises InvalidInput."""
    name, _, attribute = reference.partition(":")
    try:
        found: Any = import_module(name)
        for part in attribute.split(".") if attribute else ():
            found = getattr(found, part)
    except Exception as error:
        raise InvalidInput(f"cannot import {reference!r}: {type(error).__name__}: {error}") from error
    functions = functions_of(found)
    if not functions:
        raise InvalidInput(f"{reference!r} holds no handler; decorate a function with @job or @log.job")
    return functions


def by_kind(functions: Iterable[JobFunction]) -> dict[str, JobFunction]:
    """Handlers by kind. Raises InvalidInput where two are of one kind."""
    table: dict[str, JobFunction] = {}
    for function in functions:
        other = table.setdefault(function.kind, function)
        if other.function is not function.function:
            raise InvalidInput(f"two handlers of kind {function.kind!r}: {other.reference} and {function.reference}")
    return table
