"""How a repository's methods are asked of a server: one table a repository, and one function that does it.

A `Call` says which operation of the interface a method is. Its arguments go where they belong by their names: into the
path, into the body's Struct, and what is left into the query.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from eventlog.client.connection import Answer, Connection
from eventlog.client.faults import no_eventlog
from eventlog.codec import find_non_finite
from eventlog.errors import InvalidEvent, InvalidQuery, NotFound, OutcomeUnknown, ServerUnreachable

MOST_ROWS = 1000
"""What a server gives at once."""
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="next"')
_PART = re.compile(r"\{(\w+)\}")
_MAY_BE_EMPTY = frozenset(("text", "reason", "by"))
_to_json = msgspec.json.Encoder().encode
R = TypeVar("R")


class Call(NamedTuple):
    """An operation of the interface. ``answer``: the type of its answer; None: there is none.

    ``again``: done twice is done once, so a lost connection does no harm (reads always are, and whatever carries a
    ``key``). ``pages``: its answer is a list that comes page by page. ``slow``: it may take minutes. ``names``: what
    arguments are called there; ``sends``: how they travel; ``gives``: what a caller gets for the answer.
    """

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    answer: Any = None
    body: type[msgspec.Struct] | None = None
    again: bool = False
    pages: bool = False
    slow: bool = False
    names: Mapping[str, str] = MappingProxyType({})
    sends: Mapping[str, Callable[[Any], Any]] = MappingProxyType({})
    gives: Callable[[Any], Any] | None = None


class Server(NamedTuple):
    """Whom to ask, and as of which version of the log (None: the present)."""

    connection: Connection
    version: int | None = None

    def ask(self, call: Call, given: Mapping[str, Any]) -> Any:
        """Do a call with these arguments; those that are None are not part of a query."""
        found = self._found(call, given)
        return found if call.gives is None else call.gives(found)

    def _found(self, call: Call, given: Mapping[str, Any]) -> Any:
        left = {
            call.names.get(name, name): call.sends[name](value) if name in call.sends else value
            for name, value in given.items()
        }
        if call.method == "GET" and any(isinstance(value, (list, tuple)) and not value for value in left.values()):
            return 0 if call.answer is int else []  # one of none: a query cannot say that
        try:
            path = _PART.sub(lambda part: quote(str(left.pop(part[1])), safe=""), call.path)
        except UnicodeEncodeError as error:
            raise NotFound(f"nothing stored can be like that: {error}") from error
        body, again = None, call.again or call.method == "GET" or left.get("key") is not None
        if call.body is not None:
            fields = call.body.__struct_fields__
            body = encode(call.body(**{name: left.pop(name) for name in fields if name in left}))
        if call.pages:
            return self._pages(call, path, left)
        return self.send(call, path, self._query(left), body, again=again)

    def send(self, call: Call, path: str, query: str, body: bytes | None, *, again: bool) -> Any:
        """Send a request that is ready; its answer as what it is."""
        answer = self.connection.request(call.method, _target(path, query), body, again=again, slow=call.slow)
        return None if call.answer is None else self._decoded(call, answer)

    def _decoded(self, call: Call, answer: Answer) -> Any:
        try:
            return _decoder(call.answer)(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            told = no_eventlog(self.connection.url, str(error) or "its answer is too deep")
            if call.method == "GET":
                raise ServerUnreachable(told) from error
            raise OutcomeUnknown(f"{told}; whether it was done is not known") from error

    def _pages(self, call: Call, path: str, given: dict[str, Any]) -> list[Any]:
        wanted = given.pop("limit")
        if wanted == 0:
            return []
        query = self._query({**given, "limit": MOST_ROWS if wanted is None else min(wanted, MOST_ROWS)})
        found: list[Any] = []
        while True:
            answer = self.connection.request(call.method, _target(path, query), again=True)
            found += self._decoded(call, answer)
            following = _NEXT.search(answer.headers.get("link", ""))
            if following is None or (wanted is not None and len(found) >= wanted):
                return found[:wanted]
            query = urlsplit(following[1]).query

    def _query(self, given: Mapping[str, Any]) -> str:
        return query_of(given if self.version is None else {**given, "as_of": self.version})


def query_of(given: Mapping[str, Any]) -> str:
    """Arguments as a query: lists are repeated, None is left out. Raises InvalidQuery for an empty text, which a server
    would take as not given.
    """
    pairs: list[tuple[str, Any]] = []
    for name, value in given.items():
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if one == "" and name not in _MAY_BE_EMPTY:
                raise InvalidQuery(f"{name}: a server cannot be asked for an empty text")
            if one is not None and one != "":
                pairs.append((name, str(one).lower() if isinstance(one, bool) else one))
    try:
        return urlencode(pairs)
    except UnicodeEncodeError as error:
        raise InvalidQuery(f"nothing stored can be like that: {error}") from error


def encode(body: Any) -> bytes:
    """A body as JSON. Raises InvalidEvent for what JSON cannot hold: it would be part of an event."""
    try:
        data = _to_json(body)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InvalidEvent(str(error) or "nested too deeply") from error
    if b"null" in data and (path := find_non_finite(body)):
        raise InvalidEvent(f"a number that JSON cannot hold (NaN or infinite) at `{path}`", path=path)
    return data


def listed(values: Any) -> Any:
    """Texts as a list; one by itself is one of them."""
    if isinstance(values, str):
        return [values]
    return list(values) if isinstance(values, Iterable) else values


def _target(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


@cache
def _decoder(kind: Any) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(kind).decode


def offered(**calls: Call) -> Callable[[type[R]], type[R]]:
    """A class decorator: these methods, with the signatures that they have in the repository above, ask the server."""

    def decorate(cls: type[R]) -> type[R]:
        for name, call in calls.items():
            setattr(cls, name, _method(getattr(cls, name), call))
        cls.calls = calls  # type: ignore[attr-defined]
        return cls

    return decorate


def _method(above: Callable[..., Any], call: Call) -> Callable[..., Any]:
    signature = inspect.signature(above)
    limit = signature.parameters.get("limit")
    others = next((one.name for one in signature.parameters.values() if one.kind is one.VAR_KEYWORD), None)

    @functools.wraps(above)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs).arguments
        del given["self"]
        if isinstance(event := given.pop("event", None), msgspec.Struct):
            given |= msgspec.structs.asdict(event)
        if others is not None:
            given |= given.pop(others, {})
        if call.pages and limit is not None:
            given.setdefault("limit", limit.default)
        return self._ask(call, given)

    return method
