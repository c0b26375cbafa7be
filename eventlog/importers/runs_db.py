"""Another program's history of runs: ``.runmeta/run_history.db``, and the files in ``result/<run_id>/`` beside it.

A run keeps its number where nobody here has it; its tag ``source_run_id`` says which one it had. Times without a zone
are Japan's. Files are kept as blobs, and where they are is told with their hash; of very large ones that alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from msgspec import UNSET

from eventlog.codec import to_json
from eventlog.events import Event
from eventlog.events.projects import ProjectAdded
from eventlog.events.runs import FinalStatus, RunArtifactSaved, RunFinished, RunStarted, RunUpdated
from eventlog.importers.cells import Scan, json_or, needed, text, when
from eventlog.importers.foreign import Foreign, Row, open_foreign
from eventlog.importers.intake import Intake, Native, Wanted, key_of
from eventlog.importers.numbers import RunOf

EXPECTED = {
    "runs": ("run_id", "created_at", "started_at", "ended_at", "status", "command", "git_commit", "note", "project_id"),
    "projects": ("project_id", "project_path", "created_at", "note"),
}
JST = timezone(timedelta(hours=9), "JST")
MAX_COPIED_BYTES = 64 << 20
MAX_META_BYTES = 16 << 20
_ENDED: dict[str, FinalStatus] = {"success": "success", "fail": "fail", "killed": "killed"}
_KINDS: tuple[Literal["input", "output", "logs"], ...] = ("input", "output", "logs")
_CHUNK = 1 << 20


class RunHistory:
    """See `eventlog.importers.run.TableFormat`."""

    name = "runs-db"
    looks_for = "run_history.db"

    def sources(self, path: Path) -> Iterator[Path]:
        """The histories below a folder."""
        yield from path.rglob("run_history.db")

    def scan(self, path: Path, intake: Intake) -> Iterator[float]:
        """Add every project and every run with its files."""
        root = path.parent.parent if path.parent.name == ".runmeta" else path.parent
        with open_foreign(path, EXPECTED, optional={"projects"}) as database:
            yield from _History(database, root / "result", intake).run()


class _History:
    """One history on its way in."""

    def __init__(self, database: Foreign, results: Path, intake: Intake) -> None:
        self.scan = Scan("runs-db", database, intake)
        self.results = results
        self.intake = intake
        self.runs: set[str] = set()

    def run(self) -> Iterator[float]:
        """Add everything; yields how much is done."""
        yield from self.scan.records("projects", self._project, 0.0, 0.05)
        yield from self.scan.records("runs", self._run, 0.05, 0.95)
        self._left()
        yield 1.0

    def _project(self, row: Row) -> Native:
        values = row.values
        project = needed(values["project_id"])
        note = self.intake.masker.text(text(values["note"]) or "")
        event = ProjectAdded(path=text(values["project_path"]), note=note)
        key = key_of("runs-db", "project", project, values["created_at"])
        return Native(0, 0, [Wanted(f"project-{project}", [event], key, when(values["created_at"], JST), fresh=True)])

    def _run(self, row: Row) -> Native:
        values = row.values
        number = values["run_id"]
        if not isinstance(number, int) or number < 1:
            raise ValueError("no number of a run")
        # Every history counts 1, 2, 3 …, so a run is known by when it was made, and what it ran, too.
        own = key_of("runs-db", number, values["created_at"], values["command"])
        stream = RunOf(own, number, "the history it was imported from")
        started = when(values["started_at"], JST)
        started = when(values["created_at"], JST) if started is None else started
        begun = self._started(values)
        wanted = [Wanted(stream, [begun], own, started)]
        wanted.append(self._row(values, own, stream, begun))
        ended = _ENDED.get(str(values["status"]))
        if ended is not None:
            end = when(values["ended_at"], JST)
            key = key_of(own, "ended", ended, values["ended_at"])
            wanted.append(Wanted(stream, [RunFinished(status=ended)], key, started if end is None else end))
        self.runs.add(str(number))
        files = list(self._files(self.results / str(number), own, stream, started))
        size = sum(event.size_bytes for one in files for event in one.events if isinstance(event, RunArtifactSaved))
        return Native(0, size, [*wanted, *files])

    def _started(self, values: dict[str, Any]) -> RunStarted:
        mask = self.intake.masker.text
        return RunStarted(
            command=mask(text(values["command"]) or ""),
            project_id=text(values["project_id"]),
            note=mask(text(values["note"]) or ""),
            git_commit=text(values["git_commit"]),
            tags={"source_run_id": str(values["run_id"])},
        )

    def _row(self, values: dict[str, Any], own: str, stream: RunOf, begun: RunStarted) -> Wanted:
        """The row as it is; where the run was here before, what is different in it now as a correction."""
        plain = {name: self.scan.plain(cell) for name, cell in values.items()}
        events: list[Event] = [self.intake.kept("runs", plain)]
        with self.intake.batch.log.reader() as reader:
            known = reader.known_keys([own])
        if known:
            status: Any = "running" if values["status"] == "running" else UNSET
            events.append(RunUpdated(status=status, note=begun.note, project_id=begun.project_id))
        key = key_of(own, "row", sha256(to_json(plain)).hexdigest())
        return Wanted(stream, events, key, when(values.get("updated_at"), JST))

    # files

    def _files(self, folder: Path, own: str, stream: RunOf, at: int | None) -> Iterator[Wanted]:
        """What is in the folder of a run."""
        meta = folder / "meta.json"
        if _is_file(meta) and meta.stat().st_size <= MAX_META_BYTES:
            content = meta.read_bytes()
            event = self.intake.kept("meta.json", json_or(content.decode("utf-8", "backslashreplace")))
            yield Wanted(stream, [event], key_of(own, "meta", sha256(content).hexdigest()), at)
        for kind in _KINDS:
            for path in _below(folder / kind):
                name = _printable(path.relative_to(folder / kind).as_posix())
                size, digest = self._kept(path)
                saved = RunArtifactSaved(
                    kind=kind, name=name, size_bytes=size, sha256=digest, source=_printable(str(path))
                )
                written = path.stat().st_mtime_ns // 1000
                yield Wanted(stream, [saved], key_of(own, "file", kind, name, digest), written)

    def _kept(self, path: Path) -> tuple[int, str]:
        """Keep the content of a file beside the log; its size and hash."""
        if path.stat().st_size <= MAX_COPIED_BYTES and self.intake.batch.blobs is not None:
            content = path.read_bytes()
            return len(content), self.intake.blob(content, of="file", mime_type="application/octet-stream").sha256
        digest, size = sha256(), 0
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
        return size, digest.hexdigest()

    def _left(self) -> None:
        """The folders of runs that the history does not have (any more): what is in them is told, and stays there."""
        try:
            folders = sorted(one.name for one in os.scandir(self.results) if one.is_dir(follow_symlinks=False))
        except OSError:
            return
        for place, name in enumerate(folders):
            if name in self.runs:
                continue
            folder = self.results / name
            files = {_printable(one.relative_to(folder).as_posix()): one.stat().st_size for one in _below(folder)}
            value = {"folder": _printable(str(folder)), "files": files}
            key = key_of("runs-db", "folder", self.intake.stream, sha256(to_json(value)).hexdigest())
            kept = self.intake.kept("result without a run", value)
            self.intake.add(Native(2**52 + place, 0, [Wanted(self.intake.stream, [kept], key)], (), "raw"))


def _below(folder: Path) -> list[Path]:
    """The files below a folder, in order; what links lead to is not in it."""
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(place, name) for name in sorted(names) if _is_file(Path(place, name))]
    return found


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _printable(name: str) -> str:
    """A name as text that can be stored, whatever bytes are in it."""
    clean = name.encode("utf-8", "backslashreplace").decode()
    return clean if clean.isprintable() else clean.encode("unicode_escape").decode("ascii")
