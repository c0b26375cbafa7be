"""An operation of the interface: its method and path, and the function that does it, whose signature says the rest.

The function's parameters are, by name: ``log``, the live log; ``ask``, the log or (``?as_of=``) its past; ``version``,
the position that ``?as_of=`` names, or None; ``service``, what serves it; ``query``, a Struct of query parameters;
``body``, what the JSON body is; any other, a part of the path. What it returns is the answer, as the OpenAPI document
has it.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from eventlog.allowed import with_allowed
from eventlog.clock import from_datetime
from eventlog.errors import InvalidQuery
from eventlog.events.base import Int64
from eventlog.web.problems import Refused

Method = Literal["GET", "POST", "PATCH", "DELETE"]
AS_OF = "as_of"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"
BYTES = "application/octet-stream"
_PART = re.compile(r"\{(\w+)(?::path)?\}")
_OFFERED = frozenset(("log", "ask", "version", "service"))
Next = Callable[[Any, Any], dict[str, Any] | None]
_MOMENT = msgspec.Meta(description="µs since the epoch, or a time in ISO 8601.")
Moment = Annotated[Int64, _MOMENT]
"""A query parameter that is a time: µs since the epoch, or ISO 8601, which is µs when the function gets it."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Query parameters; a subclass has them as fields."""


class Column(NamedTuple):
    """A query parameter."""

    name: str
    type: Any
    many: bool
    is_moment: bool
    required: bool
    default: Any


class Download(NamedTuple):
    """A file as an answer; ``size_bytes`` and ``sha256`` are what it has to be."""

    file: BinaryIO
    name: str
    size_bytes: int
    sha256: str


class Operation:
    """One method on one path."""

    def __init__(
        self,
        method: Method,
        path: str,
        function: Callable[..., Any],
        *,
        status: int = 200,
        cached: bool | None = None,
        slow: bool = False,
        follows: Next | None = None,
        streams: bool = False,
        live: Operation | None = None,
        media: str = JSON,
        status_of: Callable[[Any], int] | None = None,
    ) -> None:
        """``cached``: the answer depends on the log alone, so it has an ETag (default: reads). ``slow``: takes a turn.
        ``follows``: the query parameters of the next page. ``streams``: it answers with Server-Sent Events. ``live``:
        the operation that whoever accepts an event stream means. ``status_of``: where the answer decides the status.
        """
        self.method: Method = method
        self.path = path
        self.function = function
        self.name = function.__name__
        self.status = status
        self.cached = method == "GET" if cached is None else cached
        self.slow = slow
        self.follows = follows
        self.streams = streams
        self.live = live
        self.status_of = status_of
        self.media = EVENT_STREAM if streams else media
        self.is_async = inspect.iscoroutinefunction(function)
        hints = typing.get_type_hints(function, include_extras=True)
        self.returns: Any = hints.pop("return")
        self.downloads = self.returns is Download
        self.wants = frozenset(hints) & _OFFERED
        self.time_travels = bool(self.wants & {"ask", "version"})
        self.query: type[Query] | None = hints.get("query")
        self.body: Any = hints.get("body")
        self.parts = {name: hints[name] for name in _PART.findall(path)}
        self.columns = _columns(self.query)
        self.decode_body = None if self.body is None else msgspec.json.Decoder(self.body).decode
        self.may_lack_body = isinstance(self.body, type) and _has_defaults(self.body)
        unknown = set(hints) - _OFFERED - {"query", "body"} - set(self.parts)
        assert not unknown, (self.name, unknown)  # noqa: S101

    @property
    def documented_path(self) -> str:
        """The path as OpenAPI writes it."""
        return _PART.sub(r"{\1}", self.path)

    @property
    def summary(self) -> str:
        """What it does: the first line of the function's docstring."""
        return inspect.getdoc(self.function).splitlines()[0]  # type: ignore[union-attr]

    @property
    def description(self) -> str:
        """The rest of the docstring."""
        return "\n".join(inspect.getdoc(self.function).splitlines()[1:]).strip()  # type: ignore[union-attr]

    def parse_path(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The parts of the path, as the function wants them. Raises Refused."""
        try:
            return {name: msgspec.convert(given[name], hint, strict=False) for name, hint in self.parts.items()}
        except msgspec.ValidationError as error:
            raise Refused(404, f"there is nothing at this path: {error}") from error

    def parse_query(self, text: bytes) -> tuple[dict[str, Any], str | None]:
        """``query`` where the function wants one, and what ``?as_of=`` says. Empty parameters count as not given.

        Raises InvalidQuery.
        """
        given: dict[str, Any] = {}
        as_of = None
        for name, value in _pairs(text):
            if value == "":
                continue
            column = self.columns.get(name)
            if name == AS_OF and self.time_travels:
                as_of = value
            elif column is None:
                known = ", ".join([*self.columns, *([AS_OF] if self.time_travels else [])]) or "none"
                raise InvalidQuery(f"there is no parameter {name[:80]!r} here; there are: {known}")
            elif column.many:
                given.setdefault(name, []).append(value)
            elif name in given:
                raise InvalidQuery(f"the parameter {name!r} is given twice")
            else:
                given[name] = _moment(name, value) if column.is_moment else value
        if self.query is None:
            return {}, as_of
        try:
            return {"query": msgspec.convert(given, self.query, strict=False)}, as_of
        except msgspec.ValidationError as error:
            raise InvalidQuery(with_allowed(self.query, error)) from error

    def parse_body(self, data: bytes) -> dict[str, Any]:
        """``body`` where the function wants one. Raises Refused."""
        if self.decode_body is None:
            if data:
                raise Refused(400, "there is no body here")
            return {}
        if not data:
            if not self.may_lack_body:
                raise Refused(400, "the body has to be JSON, and there is none")
            return {"body": self.body()}
        try:
            return {"body": self.decode_body(data)}
        except msgspec.ValidationError as error:
            raise Refused(422, with_allowed(self.body, error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(400, f"the body is no JSON: {error}") from error


def _pairs(text: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=1000, errors="strict")
    except (ValueError, UnicodeError) as error:
        raise InvalidQuery(f"the query cannot be read: {error}") from error


def _columns(query: type[Query] | None) -> dict[str, Column]:
    if query is None:
        return {}
    found = {}
    for field in msgspec.structs.fields(query):
        name, options = field.encode_name, list(_options(field.type))
        many = any(typing.get_origin(option) is list for option in options)
        found[name] = Column(name, field.type, many, _MOMENT in options, field.required, field.default)
    return found


def _options(hint: Any) -> Iterator[Any]:
    """What a type says that a value may be, and what is noted beside it."""
    if typing.get_origin(hint) in (typing.Annotated, typing.Union, types.UnionType):
        for option in typing.get_args(hint):
            yield from _options(option)
    else:
        yield hint


def _moment(name: str, text: str) -> str | int:
    if text.removeprefix("-").isdecimal():
        return text
    try:
        return from_datetime(from_iso(text))
    except (ValueError, OverflowError) as error:
        raise InvalidQuery(f"{name} is µs since the epoch, or a time in ISO 8601, not {text[:80]!r}") from error


def from_iso(text: str) -> datetime:
    """A time in ISO 8601; one without an offset is in UTC. Raises ValueError."""
    # In a query a plus that was not escaped has become a blank.
    when = datetime.fromisoformat(text if "T" not in text else text.replace(" ", "+"))
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _has_defaults(body: type) -> bool:
    return issubclass(body, msgspec.Struct) and not any(field.required for field in msgspec.structs.fields(body))
