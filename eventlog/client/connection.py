"""Requests to a server: one kept connection a thread, time-outs, and a second try where that can do no harm."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import socket
import ssl
import threading
import time
import weakref
from typing import NamedTuple
from urllib.parse import urlsplit

from eventlog.client.faults import no_eventlog, raise_refusal
from eventlog.errors import InvalidQuery, LogClosed, OutcomeUnknown, ServerUnreachable

IDLE_S = 20.0
"""A connection that was not used for so long is not used any more: the server closes it after 30 s."""
SLOW_S = 3600.0
LONGEST_TARGET = 30_000
JSON = "application/json"


class Answer(NamedTuple):
    """What came back for a request that succeeded. Names of headers are in lower case."""

    headers: dict[str, str]
    body: bytes


class _Kept:
    """A thread's connection, and when it was used last."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        self.pid = os.getpid()
        self.used_at = time.monotonic()

    def __del__(self) -> None:
        self.connection.close()  # its thread ended, or the log was let go

    def is_fresh(self) -> bool:
        """Whether it is ours, and the server has not closed it: then it would be readable."""
        if self.pid != os.getpid() or self.connection.sock is None or time.monotonic() - self.used_at > IDLE_S:
            return False
        poll = select.poll()
        poll.register(self.connection.sock, select.POLLIN)
        return not poll.poll(0)


class Connection:
    """Where a server is, and how to talk to it. Safe under threads and fork."""

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        self.url = url
        self.timeout_s = timeout_s
        parts = urlsplit(url)
        self._host, self._port, self._tls = parts.hostname or "", parts.port, parts.scheme == "https"
        self._authorization = {} if token is None else {"authorization": f"Bearer {token}"}
        self._local = threading.local()
        self._all: weakref.WeakSet[http.client.HTTPConnection] = weakref.WeakSet()
        self.closed = False

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"

    def request(
        self, method: str, target: str, body: bytes | None = None, *, again: bool = False, slow: bool = False
    ) -> Answer:
        """Ask, and wait for the answer. ``again``: asking twice is as asking once, so a lost connection is no matter.

        Raises what the server says; ServerUnreachable, where nothing was done; OutcomeUnknown, where that is not known.
        """
        if len(target) > LONGEST_TARGET:
            raise InvalidQuery(f"this is too much for one question to a server: {len(target):,} characters")
        writes = method != "GET"
        headers = self._authorization | ({} if body is None else {"content-type": JSON})
        lost: Exception | None = None
        for left in (1, 0):
            connection = self._connected(SLOW_S if slow else self.timeout_s, lost if writes else None)
            try:
                status, answer = _exchange(connection, method, target, body, headers)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if isinstance(error, TimeoutError) or not (again and left):
                    raise self._lost(error, writes) from error
                lost = error
            except BaseException:
                connection.close()
                raise
            else:
                break
        if not 200 <= status < 300:
            raise_refusal(self.url, status, answer.body, writes=writes)
        return answer

    def _connected(self, timeout_s: float, lost: Exception | None) -> http.client.HTTPConnection:
        if self.closed:
            raise LogClosed
        kept: _Kept | None = getattr(self._local, "kept", None)
        if kept is None or not kept.is_fresh():
            if kept is not None and kept.pid == os.getpid():
                kept.connection.close()
            try:
                kept = self._local.kept = _Kept(self.connect(timeout_s))
            except ServerUnreachable as error:
                if lost is not None:
                    raise self._lost(lost, True) from error
                raise
        kept.used_at = time.monotonic()
        kept.connection.sock.settimeout(timeout_s)
        return kept.connection

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """A new connection. Raises ServerUnreachable."""
        if self.closed:
            raise LogClosed
        made: http.client.HTTPConnection
        if self._tls:
            made = http.client.HTTPSConnection(
                self._host, self._port, timeout=min(timeout_s, self.timeout_s), context=ssl.create_default_context()
            )
        else:
            made = http.client.HTTPConnection(self._host, self._port, timeout=min(timeout_s, self.timeout_s))
        try:
            made.connect()
        except ssl.SSLCertVerificationError as error:
            raise ServerUnreachable(
                f"the certificate of {self.url} is not trusted ({error.verify_message}); SSL_CERT_FILE names a file of "
                "those that are"
            ) from error
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "no answer"
            raise ServerUnreachable(
                f"there is no server at {self.url} ({reason}); nothing was written. Is `eventlog serve` running?"
            ) from error
        self._all.add(made)
        return made

    def stream(self, target: str, accept: str, timeout_s: float) -> tuple[http.client.HTTPConnection, object]:
        """A connection of its own, and the answer as it comes. Raises ServerUnreachable, and what the server says."""
        connection = self.connect(timeout_s)
        try:
            connection.request("GET", target, headers={"accept": accept, **self._authorization})
            response = connection.getresponse()
            if response.status != 200:
                raise_refusal(self.url, response.status, response.read(), writes=False)
            if response.getheader("content-type", "").partition(";")[0] != accept:
                raise ServerUnreachable(no_eventlog(self.url, f"it does not answer with {accept}"))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._lost(error, False) from error
        except BaseException:
            connection.close()
            raise
        assert connection.sock is not None  # noqa: S101
        connection.sock.settimeout(timeout_s)
        return connection, response

    def _lost(self, error: Exception, writes: bool) -> Exception:
        if self.closed:
            return LogClosed()
        if isinstance(error, TimeoutError):
            what = f"the server of {self.url} did not answer within {self.timeout_s:g} s"
        elif isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
            what = no_eventlog(self.url, "it does not speak HTTP")
        else:
            what = f"the connection to {self.url} was lost"
        if writes:
            return OutcomeUnknown(f"{what}: whether it was done is not known. Try again with a key")
        return ServerUnreachable(f"{what}; try again")

    def close(self) -> None:
        """Close every connection; whoever asks from now on gets LogClosed."""
        self.closed = True
        for connection in list(self._all):
            hang_up(connection)


def hang_up(connection: http.client.HTTPConnection) -> None:
    """Close a connection from another thread than the one that may wait for its answer."""
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def _exchange(
    connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, Answer]:
    try:
        connection.request(method, target, body, headers)
    except (BrokenPipeError, ConnectionResetError):
        pass  # a server that refuses what is too large may have said so before all of it was sent
    response = connection.getresponse()
    found = {name.lower(): value for name, value in response.getheaders()}
    data = response.read()
    if response.will_close:
        connection.close()
    return response.status, Answer(found, data)
