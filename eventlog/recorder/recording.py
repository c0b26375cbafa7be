"""One run being recorded: its events go to a sink, its files to the artifact store, in the order that keeps both true.

The log comes first, then the directory, then meta.json; at the end the events, then the final meta.json.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from eventlog.clock import iso, now_us
from eventlog.errors import ArtifactError, EventLogError, InvalidName
from eventlog.events.runs import RunArtifactSaved, RunEvent, RunFinished, RunStarted
from eventlog.recorder.artifacts import ArtifactStore, Saved
from eventlog.recorder.sink import RunRef, Sink

PARENT_VARIABLE = "EVENTLOG_PARENT_RUN"


def parent_from_environment(log_id: str | None) -> int | None:
    """The run that started this process, when it is one of this log: ``EVENTLOG_PARENT_RUN=<log id>:<run id>``."""
    owner, _, number = os.environ.get(PARENT_VARIABLE, "").partition(":")
    if log_id is None or owner != log_id or not number.isascii() or not number.isdigit() or len(number) > 15:
        return None
    return int(number) or None


class Recording:
    """Started by the constructor. Nothing but an input that cannot be read, or a name that is refused, raises."""

    def __init__(self, sink: Sink, event: RunStarted, *, artifacts: bool = True, parent: RunRef | None = None) -> None:
        self.sink = sink
        self.event = event
        self.ref = sink.start(event, parent)
        self.store: ArtifactStore | None = None
        self.directory: Path | None = None
        self._saved: list[Saved] = []
        if artifacts:
            self._make_directory()

    def _make_directory(self) -> None:
        log_id = self.log_id
        if self.ref.run_id is None or self.sink.data_dir is None or log_id is None:
            return
        try:
            store = ArtifactStore(self.sink.data_dir, log_id)
            self.directory = store.create(self.ref.run_id, self._meta())
            self.store = store
        except Exception as error:
            self.sink.drop(error)

    @property
    def log_id(self) -> str | None:
        """The log's identity, where it is known."""
        log = self.sink.log()
        try:
            return None if log is None else log.log_id
        except Exception:
            return None

    @property
    def as_parent(self) -> str | None:
        """What children find in their environment; None while the run has no number."""
        log_id = self.log_id
        return None if self.ref.run_id is None or log_id is None else f"{log_id}:{self.ref.run_id}"

    def say(self, *events: RunEvent, telemetry: bool = False) -> bool:
        """Record events of the run; whether they are in the log already."""
        return self.sink.append(self.ref, events, durability="process" if telemetry else "full")

    # files

    def snapshot(self, source: str | os.PathLike[str], name: str | None = None) -> Saved | None:
        """Keep an input file as it is now. Raises ArtifactError when it cannot be read."""
        if self.store is None or self.ref.run_id is None:
            return None
        run_id = self.ref.run_id
        return self._keep(lambda store: store.save_input(run_id, source, name))

    def output(self, name: str, content: bytes | str | os.PathLike[str]) -> Saved | None:
        """Save an output: bytes, or the file at a path. Raises InvalidName, ArtifactError when it cannot be read."""
        if self.store is None or self.ref.run_id is None:
            return None
        run_id = self.ref.run_id
        if isinstance(content, (bytes, bytearray, memoryview)):
            return self._keep(lambda store: store.save_bytes(run_id, name, bytes(content)))
        return self._keep(lambda store: store.save_file(run_id, name, content))

    def _keep(self, save: Any) -> Saved | None:
        try:
            saved: Saved = save(self.store)
        except InvalidName:
            raise
        except ArtifactError as error:
            if "source" in error.facts:
                raise
            self.sink.drop(error)
            return None
        self.add_saved([saved])
        return saved

    def add_saved(self, files: Iterable[Saved]) -> None:
        """Record files that are in the run's directory now."""
        kept = list(files)
        self._saved += kept
        if kept:
            self.say(*(artifact_event(one) for one in kept))

    # the end

    def end(self, finished: RunFinished, *others: RunEvent, files: Sequence[Saved] = (), **extra: Any) -> None:
        """Record the end, with what belongs to it, in one piece; then the final meta.json. Never raises."""
        self._saved += files
        at = now_us()
        self.sink.append(self.ref, [*others, *(artifact_event(one) for one in files), finished], occurred_at=at)
        if self.store is not None and self.ref.run_id is not None:
            try:
                self.store.write_meta(self.ref.run_id, self._meta(finished, at, extra))
            except Exception as error:
                self.sink.drop(error)
        self.sink.settle()

    def _meta(
        self, finished: RunFinished | None = None, ended_at: int | None = None, extra: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        facts = {
            name: value for name, value in msgspec.structs.asdict(self.event).items() if value not in (None, {}, ())
        }
        meta: dict[str, Any] = {
            "run_id": self.ref.run_id,
            "status": "running" if finished is None else finished.status,
            "started_at": iso(self.ref.started_at),
            "ended_at": None if ended_at is None else iso(ended_at),
            **facts,
        }
        if finished is not None:
            meta |= {name: value for name, value in msgspec.structs.asdict(finished).items() if value is not None}
            meta |= extra or {}
            meta["files"] = [
                {"path": f"{one.kind}/{one.name}", "size_bytes": one.size_bytes, "sha256": one.sha256}
                for one in self._saved
            ]
        return meta


def artifact_event(saved: Saved) -> RunArtifactSaved:
    """The event for a file."""
    return RunArtifactSaved(
        kind=saved.kind, name=saved.name, size_bytes=saved.size_bytes, sha256=saved.sha256, source=saved.source
    )


def prepare(sink: Sink) -> None:
    """Before the first run of a recorder: import what waits in spools, and mark runs whose process is gone as lost.

    Costs a look into a folder and one query. Never raises.
    """
    log = sink.log()
    if log is None:
        return
    sink.import_waiting()
    try:
        if getattr(log, "writable", True) and log.runs.count(status="running"):
            from eventlog.recorder.capture import is_gone

            log.runs.recover(is_gone)
    except (EventLogError, OSError, ValueError):
        # Somebody else's old runs are no reason to disturb this one; the next recorder tries again.
        return
