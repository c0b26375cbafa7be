"""What a log behind a server has imported. Files are read where the log is: importing through a server is refused."""

from __future__ import annotations

from eventlog.client.calls import Call, offered
from eventlog.client.repositories import Remote
from eventlog.repositories.imports import ImportsRepository
from projections.imports import ImportSource, Quarantined


@offered(
    list=Call("GET", "/api/imports", list[ImportSource], pages=True),
    quarantined=Call("GET", "/api/imports/{source_id}/quarantine", list[Quarantined], pages=True),
)
class RemoteImports(Remote, ImportsRepository):
    """Questions about imports."""
