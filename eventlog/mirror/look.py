"""Whether every session and its file say the same."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventlog.exporters.session_form import differences, digest, is_session
from eventlog.exporters.session_json import comparable
from eventlog.log import EventLog
from eventlog.mirror.files import MirrorFolder, Unreadable
from eventlog.store.base import Progress
from projections.mirrors import Mirror
from projections.sessions import projections as _sessions

if TYPE_CHECKING:
    from eventlog.mirror import DualWriteRepository

SESSIONS = _sessions[0]


class Look:
    """A comparison of every session with its file."""

    def __init__(self, mirrors: DualWriteRepository, log: EventLog, mirror: Mirror, limit: int) -> None:
        self._mirrors, self._log, self._mirror, self._limit = mirrors, log, mirror, limit
        self._folder = MirrorFolder(Path(mirror.path))
        self.head = log.head().position
        self.sessions = self.files = self.missing = self.extra = self.different = 0
        self.digest = sha256()
        self.paths: list[str] = []
        self.wrong: list[str] = []

    def run(self, progress: Progress | None) -> None:
        """Look at all of them."""
        table = SESSIONS.table
        with self._log.reader() as reader:
            ids = [row.session_id for row in reader.select(table, order=("session_id",))]
        for place, session_id in enumerate(ids):
            self._one(session_id)
            if progress is not None:
                progress(place + 1, len(ids), "sessions")
        self._others({self._folder.name(one) for one in ids})

    def _one(self, session_id: str) -> None:
        name = self._folder.name(session_id)
        found: list[str] = []
        for wait in (0.0, 0.05, 0.2):
            # A session that somebody just changed has its file in a moment.
            time.sleep(wait if found else 0)
            document = self._mirrors.document(session_id)
            if document is None:
                return
            expected = comparable(document)
            found = self._compare(name, expected)
            if not found:
                break
        self.sessions += 1
        self.digest.update(digest(expected).encode())
        if found:
            self.wrong.append(session_id)
            self.missing += found == ["missing"]
            self.different += found != ["missing"]
            self._tell(name, found)

    def _compare(self, name: str, expected: dict[str, Any]) -> list[str]:
        try:
            there = self._folder.read(name)
        except Unreadable as error:
            return [str(error)]
        if there is None:
            return ["missing"]
        return differences(expected, comparable(there))

    def _others(self, known: set[str]) -> None:
        """Files that no session has."""
        try:
            names = self._folder.names()
        except OSError:
            return
        self.files = len(names)
        for name in sorted(names - known):
            try:
                there = self._folder.read(name)
                if there is None or not is_session(there):
                    continue
            except Unreadable:
                pass
            if self._is_of_a_new_one(name):
                continue
            self.extra += 1
            own = self._folder.id_of(name)
            if own is not None and self._mirrors.was(self._log, own):
                self.wrong.append(own)
            self._tell(name, ["extra"])

    def _is_of_a_new_one(self, name: str) -> bool:
        own = self._folder.id_of(name)
        if own is None:
            return False
        with self._log.reader() as reader:
            return bool(reader.load(SESSIONS.table, [(own,)]))

    def _tell(self, name: str, found: list[str]) -> None:
        for one in found[: max(0, self._limit - len(self.paths))]:
            self.paths.append(f"{self._folder.path.name}/{name}: {one}")
