"""`log.workspaces`: the folders in which agents work."""

from __future__ import annotations

import builtins
import hashlib
import os

from eventlog.errors import Conflict, InvalidInput, NotFound
from eventlog.events.sessions import WorkspaceDeleted, WorkspaceMoved, WorkspaceRegistered
from eventlog.log import Tx
from eventlog.repositories.base import Repository
from eventlog.store.base import Filter
from projections.workspaces import Workspace
from projections.workspaces import projections as _projections

WORKSPACES = _projections[0]
MAX_PATH = 4096


class WorkspacesRepository(Repository):
    """Register, move, delete and find workspaces. An id is the first 16 hex digits of the SHA-256 of the path."""

    def register(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        repository_url: str | None = None,
        machine_id: str | None = None,
    ) -> Workspace:
        """Register a folder, or say more of one that is. What is not given stays; where all is as it was, nothing is
        appended. A relative path is taken from the current directory. Raises InvalidInput.
        """
        text = _absolute(path)
        digest = hashlib.sha256(text.encode()).hexdigest()
        workspace_id = digest[:16]
        log = self._before_command("workspaces")

        def work(tx: Tx) -> None:
            there = self._row(tx, workspace_id)
            if there is None:
                said = (name, repository_url, machine_id)
            else:
                old = (there.name, there.repository_url, there.machine_id)
                new = (name, repository_url, machine_id)
                said = tuple(b if a is None else a for a, b in zip(new, old, strict=True))  # type: ignore[assignment]
                if there.path == text and said == old:
                    return
            tx.append(
                _stream(workspace_id),
                WorkspaceRegistered(
                    path=text, path_sha256=digest, name=said[0], repository_url=said[1], machine_id=said[2]
                ),
            )

        log.decide(work)
        return self.get(workspace_id)

    def move(self, workspace_id: str, path: str | os.PathLike[str]) -> Workspace:
        """Say that a workspace is somewhere else now; it keeps its id. Raises NotFound; Conflict where another is."""
        text = _absolute(path)
        digest = hashlib.sha256(text.encode()).hexdigest()
        log = self._before_command("workspaces")

        def work(tx: Tx) -> None:
            there = self._must_exist(tx, workspace_id)
            if there.path == text:
                return
            for other in tx.reader.select(WORKSPACES.table, [Filter("path", "=", text)], limit=1):
                raise Conflict(
                    f"workspace {other.workspace_id} is at {text!r} already", workspace_id=other.workspace_id
                )
            tx.append(_stream(workspace_id), WorkspaceMoved(path=text, path_sha256=digest))

        log.decide(work)
        return self.get(workspace_id)

    def delete(self, workspace_id: str) -> None:
        """Take a workspace out of the table; its sessions stay. Raises NotFound."""
        log = self._before_command("workspaces")

        def work(tx: Tx) -> None:
            self._must_exist(tx, workspace_id)
            tx.append(_stream(workspace_id), WorkspaceDeleted())

        log.decide(work)

    def find(self, workspace_id: str) -> Workspace | None:
        """A workspace, or None."""
        table = self._fresh(WORKSPACES)
        with self._source.reader() as reader:
            return reader.load(table, [(workspace_id,)]).get((workspace_id,))

    def get(self, workspace_id: str) -> Workspace:
        """A workspace. Raises NotFound."""
        if (found := self.find(workspace_id)) is None:
            raise _no_workspace(workspace_id)
        return found

    def find_by_path(self, path: str | os.PathLike[str]) -> Workspace | None:
        """The workspace that is at a path now, or None."""
        found = self.list(path=_absolute(path), limit=1)
        return found[0] if found else None

    def list(
        self, *, path: str | None = None, text: str | None = None, limit: int | None = None, offset: int = 0
    ) -> builtins.list[Workspace]:
        """Workspaces by path; ``path`` is exact, ``text`` must occur in path, name or URL of the repository."""
        where = [] if path is None else [Filter("path", "=", path)]
        where += [] if text is None else [Filter("path|name|repository_url", "text", text)]
        table = self._fresh(WORKSPACES)
        with self._source.reader() as reader:
            return reader.select(table, where, order=("path", "workspace_id"), limit=limit, offset=offset)

    def _must_exist(self, tx: Tx, workspace_id: str) -> Workspace:
        there = self._row(tx, workspace_id)
        if there is None:
            raise _no_workspace(workspace_id)
        return there

    def _row(self, tx: Tx, workspace_id: str) -> Workspace | None:
        tables = self._projections
        assert tables is not None  # noqa: S101 - only the past has none, and it takes no commands
        tables.bring(tx, "workspaces")
        row: Workspace | None = tables.row(tx, WORKSPACES, workspace_id)
        return row


def _no_workspace(workspace_id: str) -> NotFound:
    return NotFound(
        f"there is no workspace {str(workspace_id)[:80]!r}; `eventlog workspaces register PATH` makes it one",
        workspace_id=workspace_id,
    )


def _stream(workspace_id: str) -> str:
    return f"workspace-{workspace_id}"


def _absolute(path: str | os.PathLike[str]) -> str:
    """A path as an id is computed of it: absolute, without ``..``, links not followed."""
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text or len(text) > MAX_PATH:
        raise InvalidInput(f"a workspace's path is text of 1 to {MAX_PATH} characters, not {str(text)[:80]!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"a workspace's path is valid text: {error}") from error
    return os.path.abspath(text)
