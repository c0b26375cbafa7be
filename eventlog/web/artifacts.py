"""The files of runs: those that an event names, while they are what it says."""

from __future__ import annotations

import os
import re

from eventlog.app import Log
from eventlog.errors import NotFound
from eventlog.recorder.artifacts import ArtifactStore, Kind, check_name
from eventlog.web.operation import BYTES, Download, Operation
from eventlog.web.problems import Refused

_SHA256 = re.compile("[0-9a-f]{64}")


def read_run_artifact(log: Log, run_id: int, kind: Kind, name: str) -> Download:
    """The bytes of a file that a run took in or left behind; 410 where it is not what was saved any more.

    What was saved last under the name. ``Range`` gives a part.
    """
    check_name(name)
    log.runs.get(run_id)
    saved = [one for one in log.runs.artifacts(run_id, name) if one.kind == kind]
    if not saved:
        raise NotFound(f"run {run_id} saved no {kind}/{name}", run_id=run_id, kind=kind, name=name)
    if log.data_dir is None or log.log_id is None:
        raise NotFound("the server of this log has no folder of files", run_id=run_id, kind=kind, name=name)
    size, digest = saved[-1].size_bytes, saved[-1].sha256.lower()
    file = ArtifactStore(log.data_dir, log.log_id).open(run_id, kind, name)
    if (found := os.fstat(file.fileno()).st_size) == size and _SHA256.fullmatch(digest):
        return Download(file, name, size, digest)
    file.close()
    raise Refused(410, f"the file is not what was saved any more: it has {found:,} bytes, its event says {size:,}")


OPERATIONS = (
    Operation("GET", "/api/runs/{run_id}/artifacts/{kind}/{name:path}", read_run_artifact, cached=False, media=BYTES),
)
