"""What stands before every operation. Loopback is no boundary: any web page can send requests there.

A request has to name this server (``Host``), come from no other site when it writes (``Origin``), and carry the token.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventlog.web.endpoint import respond
from eventlog.web.problems import MEDIA_TYPE, TITLES, ClientGone, Refused, answer
from eventlog.web.service import Service

OPEN = frozenset(("/healthz", "/readyz"))
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
HEADERS = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


def hosts_of(port: int, more: Iterable[str] = ()) -> frozenset[str]:
    """What may stand in ``Host``: the names of this machine with the port, and those that were allowed besides."""
    names = {f"{name}:{port}" for name in LOOPBACK}
    if port in (80, 443):
        names.update(LOOPBACK)
    for name in more:
        names.add(name.lower())
        names.add(f"{name.lower()}:{port}")
    return frozenset(names)


class Guard:
    """An ASGI application before another."""

    def __init__(self, app: ASGIApp, service: Service, *, hosts: frozenset[str], token: str) -> None:
        self.app = app
        self.service = service
        self.hosts = hosts
        self.origins = frozenset(f"{scheme}://{host}" for host in hosts for scheme in ("http", "https"))
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on; every answer gets its headers, every error becomes one."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def sender(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        scope["app"] = self
        try:
            self._admit(scope)
            await self.app(scope, receive, sender)
        except ClientGone:
            status = status or 499
        except Exception as error:
            if status:
                raise
            code, body, headers = answer(_translated(error), hidden=self.service.hidden)
            await respond(sender, code, body, headers, media=MEDIA_TYPE)
        finally:
            route = getattr(scope.get("route"), "path", "(none)")
            self.service.metrics.count(scope["method"], route, status, time.perf_counter() - begun)

    def _admit(self, scope: Scope) -> None:
        found: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            found.setdefault(name, []).append(value)
        host = found.get(b"host", [])
        if len(host) != 1 or host[0].decode("latin-1").lower() not in self.hosts:
            raise Refused(421, "this server does not answer to that host name; --allow-host adds one", close=True)
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            origin = found.get(b"origin", [])
            if any(one.decode("latin-1").lower() not in self.origins for one in origin):
                raise Refused(403, "a page of another origin may not write here", close=True)
        if scope["path"] not in OPEN and not self._is_known(found.get(b"authorization", [])):
            raise Refused(
                401,
                "say Authorization: Bearer and the token, which stands in the file that the server named at its start",
                headers={"www-authenticate": 'Bearer realm="eventlog"'},
                close=scope["method"] not in ("GET", "HEAD"),
            )

    def _is_known(self, given: list[bytes]) -> bool:
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


def _translated(error: Exception) -> Exception:
    if not isinstance(error, HTTPException):
        return error
    detail = "there is nothing at this path" if error.status_code == 404 else TITLES.get(error.status_code, "refused")
    return Refused(error.status_code, detail, headers=dict(error.headers or {}), close=error.status_code == 405)
