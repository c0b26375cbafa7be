"""`serve`: a log over HTTP, until a signal ends it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import msgspec
import uvicorn
from starlette.routing import Route, Router
from uvicorn.protocols.http.h11_impl import H11Protocol

from eventlog.app import Log
from eventlog.errors import InvalidInput
from eventlog.web.access import check_address, read_token, token_path
from eventlog.web.endpoint import Endpoint
from eventlog.web.guard import Guard, hosts_of
from eventlog.web.service import Service
from eventlog.web.table import DOCUMENT, OPERATIONS

BODY_LIMIT = 16 << 20
HEADER_LIMIT = 32 << 10
MOST_CONNECTIONS = 500
KEEP_ALIVE_S = 30
STREAMS_END_S = 0.5
REQUESTS_END_S = 5


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How to serve. ``port`` 0: a free one. ``allow_hosts``: names besides this machine's by which it is reached."""

    host: str = "127.0.0.1"
    port: int = 8411
    token_file: Path | None = None
    allow_hosts: Sequence[str] = ()
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    behind_proxy: bool = False
    request_timeout_s: float = 30.0


class Started(NamedTuple):
    """Where a server is, and the file that holds its token (None: it came from the environment)."""

    url: str
    token_file: Path | None


def serve(log: Log, settings: Settings, announce: Callable[[Started], None]) -> None:
    """Serve a log until SIGTERM or SIGINT; a second signal ends it at once. Raises InvalidInput.

    ``announce`` is called once it listens. Requests under way have 5 s to end; followers are sent away at once.
    """
    tls = settings.ssl_certfile is not None
    check_address(settings.host, tls=tls, behind_proxy=settings.behind_proxy)
    token, file = read_token(settings.token_file or token_path(log))
    listener = _bind(settings.host, settings.port)
    port = listener.getsockname()[1]
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    service = Service(log, request_timeout_s=settings.request_timeout_s, body_limit=BODY_LIMIT)
    more = [*settings.allow_hosts, *([] if name in ("0.0.0.0", "[::]") else [name])]  # noqa: S104
    app = Guard(router(service), service, hosts=hosts_of(port, more), token=token)
    config = uvicorn.Config(
        app,
        http=_protocol(settings.request_timeout_s),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=REQUESTS_END_S,
        h11_max_incomplete_event_size=HEADER_LIMIT,
        ssl_certfile=settings.ssl_certfile,
        ssl_keyfile=settings.ssl_keyfile,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"the certificate or its key cannot be used: {error}") from error
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # else it warns of every malformed request
    url = f"{'https' if tls else 'http'}://{name}:{port}"
    try:
        _Server(config, service, lambda: announce(Started(url, file))).run([listener])
    finally:
        service.close()


def router(service: Service) -> Router:
    """The routes of all operations."""
    service.document = DOCUMENT
    routes = [Route(one.path, Endpoint(service, one), methods=[one.method], name=one.name) for one in OPERATIONS]
    return Router(routes, redirect_slashes=False)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        hint = "; --port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
        raise InvalidInput(f"cannot listen on {host} port {port}: {error.strerror}{hint}") from error
    except OverflowError as error:
        raise InvalidInput(f"a port is 0 to 65535, not {port}") from error
    listener.set_inheritable(False)
    return listener


class _Server(uvicorn.Server):
    """Tells followers when a signal came, and leaves the process to whoever called `serve`."""

    def __init__(self, config: uvicorn.Config, service: Service, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._announce = announce
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(self._service.threads)
        await super().startup(sockets)
        self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # The first signal is not given back afterwards, as uvicorn would: the log is still to be closed.
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._service.stop.set()
        asyncio.get_running_loop().call_later(STREAMS_END_S, self._cut)

    def _cut(self) -> None:
        # What a client does not read would keep its connection, and so the server.
        for connection in list(self.server_state.connections):
            transport: Any = connection.transport
            if transport.is_closing():
                transport.abort()


class _Joined:
    """A transport that sends together what is written together: the head of an answer and its body are one packet."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send soon: when whoever writes has nothing more to say."""
        if data:
            if not self._parts:
                self._loop.call_soon(self._flush)
            self._parts.append(data)

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(b"".join(parts))


def _protocol(timeout_s: float) -> type[H11Protocol]:
    """HTTP/1.1 where a request has to begin, and its headers to arrive, in time."""

    class Protocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(_Joined(transport, self.loop))  # type: ignore[arg-type]
            self._deadline = self.loop.call_later(timeout_s, self._too_slow)

        def data_received(self, data: bytes) -> None:
            if self._deadline is None and self._is_idle():
                self._deadline = self.loop.call_later(timeout_s, self._too_slow)
            super().data_received(data)
            if self._deadline is not None and not self._is_idle():
                self._deadline.cancel()
                self._deadline = None

        def connection_lost(self, exc: Exception | None) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            super().connection_lost(exc)

        def _is_idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _too_slow(self) -> None:
            self._deadline = None
            if self._is_idle():
                self.transport.close()

    return Protocol
