"""Search behind a server."""

from __future__ import annotations

from eventlog.client.calls import Call, offered
from eventlog.client.repositories import Remote
from eventlog.repositories.search import Hit, SearchRepository


@offered(
    find=Call("GET", "/api/search", list[Hit], pages=True),
    count=Call("GET", "/api/search/count", int),
)
class RemoteSearch(Remote, SearchRepository):
    """What was said, called, run and noted, found by its words."""
