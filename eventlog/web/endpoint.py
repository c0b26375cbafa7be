"""How a request becomes a call of an operation's function, and what it returns an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from starlette.types import Message, Receive, Scope, Send

from eventlog.web.download import send_file
from eventlog.web.operation import EVENT_STREAM, Operation
from eventlog.web.problems import ClientGone, Refused
from eventlog.web.projections import parse_version
from eventlog.web.service import Service, matches
from eventlog.web.sse import follow

Answer = tuple[int, bytes, dict[str, str]]
DRAIN_S = 1.0
_to_json = msgspec.json.Encoder().encode


class Endpoint:
    """An operation as an ASGI application. Raises Refused, the log's errors, and ClientGone."""

    def __init__(self, service: Service, operation: Operation) -> None:
        self.service = service
        self.operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        operation, service = self.operation, self.service
        headers = _headers(scope)
        if operation.live is not None and EVENT_STREAM in headers.get("accept", ""):
            operation = operation.live
        query, as_of = operation.parse_query(scope["query_string"])
        if operation.streams:
            if scope["method"] == "HEAD":
                await respond(send, 200, b"", {}, media=EVENT_STREAM)
            else:
                await follow(service, query["query"], headers.get("last-event-id"), receive, send)
            return
        given = {**operation.parse_path(scope["path_params"]), **query}
        given |= operation.parse_body(await self._body(headers, receive))
        if operation.downloads:
            found = await service.in_thread(lambda: operation.function(log=service.log, **given))
            await send_file(service, found, scope["method"], headers, receive, send)
            return
        if operation.is_async:
            result = await operation.function(log=service.log, **given)
            answer: Answer = operation.status, _to_json(result), {}
        else:
            wanted = headers.get("if-none-match")
            # The far past is folded from the start.
            async with _turn(service, operation.slow or as_of is not None):
                answer = await service.in_thread(lambda: self._work(given, as_of, wanted, scope))
        if operation.method != "GET":
            service.watcher.poke()
        await respond(send, *answer, media=operation.media)

    def _work(self, given: dict[str, Any], as_of: str | None, wanted: str | None, scope: Scope) -> Answer:
        operation, service = self.operation, self.service
        log = service.log
        headers: dict[str, str] = {}
        version = None if as_of is None else parse_version(log, as_of)
        if operation.cached:
            headers["etag"] = tag = service.tag(version)
            if wanted is not None and matches(tag, (wanted,)):
                return 304, b"", headers
        result = self._call(given, version)
        if operation.follows is not None and (following := operation.follows(given["query"], result)) is not None:
            headers["link"] = f'<{_with(scope, following)}>; rel="next"'
        if operation.status == 204:
            return 204, b"", headers
        status = operation.status if operation.status_of is None else operation.status_of(result)
        return status, result if isinstance(result, bytes) else _to_json(result), headers

    def _call(self, given: dict[str, Any], version: int | None) -> Any:
        wants, log = self.operation.wants, self.service.log
        if "ask" in wants and version is not None:
            with log.as_of(version) as past:
                return self.operation.function(ask=past, **given)
        offered = {"ask": log, "log": log, "version": version, "service": self.service}
        return self.operation.function(**{name: offered[name] for name in wants}, **given)

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """The body, within limits of size and time. Raises Refused, ClientGone."""
        if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
            return b""
        limit = self.service.body_limit
        too_large = Refused(413, f"a body has at most {limit:,} bytes", close=True)
        if int(headers.get("content-length", 0)) > limit:
            if "expect" not in headers:
                await _drain(receive)
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.service.request_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        break
                    if not message.get("more_body", False):
                        return self._checked(b"".join(parts), headers)
        except TimeoutError as error:
            raise Refused(408, "the request took too long to arrive", close=True) from error
        await _drain(receive)
        raise too_large

    def _checked(self, data: bytes, headers: Mapping[str, str]) -> bytes:
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        if data and self.operation.body is not None and media != "application/json":
            raise Refused(415, "a body here is application/json")
        return data


async def _drain(receive: Receive) -> None:
    # Closing a connection on which unread data waits resets it, and the client never sees why.
    try:
        async with asyncio.timeout(DRAIN_S):
            while True:
                message: Message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        pass


class _Nobody:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *exc: object) -> None: ...


def _turn(service: Service, slow: bool) -> asyncio.Semaphore | _Nobody:
    return service.slow if slow else _Nobody()


def _headers(scope: Scope) -> dict[str, str]:
    """The headers by name; of one that comes several times, all values."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _with(scope: Scope, parameters: Mapping[str, Any]) -> str:
    """This request's path and query with other parameters in it; an offset does not go with a cursor."""
    gone = {*parameters, "offset"}
    kept = [(name, value) for name, value in parse_qsl(scope["query_string"].decode()) if name not in gone]
    return f"{quote(scope['path'])}?{urlencode([*kept, *parameters.items()])}"


async def respond(send: Send, status: int, body: bytes, headers: Mapping[str, str], *, media: str) -> None:
    """Send an answer."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    if status not in (204, 304):
        raw += [(b"content-type", media.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
