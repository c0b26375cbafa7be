"""`log.projects`: what runs belong to."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from eventlog.errors import Conflict, InvalidInput, InvalidName, NotFound
from eventlog.events.projects import ProjectAdded, ProjectDeleted, ProjectUpdated
from eventlog.log import Tx
from eventlog.repositories.base import Repository
from eventlog.store.base import Filter
from projections.projects import Project
from projections.projects import projections as _projections

PROJECTS = _projections[0]


class ProjectsRepository(Repository):
    """Add, update, delete and find projects."""

    def add(self, project_id: str, path: str | None = None, note: str = "") -> Project:
        """Add a project. Raises Conflict when there is one of this name."""
        _check(project_id)
        log = self._before_command("projects")

        def work(tx: Tx) -> None:
            if self._exists(tx, project_id):
                raise Conflict(f"there is a project {project_id!r} already", project_id=project_id)
            tx.append(_stream(project_id), ProjectAdded(path=path, note=note))

        log.decide(work)
        return self.get(project_id)

    def update(
        self, project_id: str, *, path: str | None | UnsetType = UNSET, note: str | UnsetType = UNSET
    ) -> Project:
        """Change what is given. Raises NotFound; InvalidInput when nothing is."""
        if path is UNSET and note is UNSET:
            raise InvalidInput("say what to update: path or note")
        log = self._before_command("projects")

        def work(tx: Tx) -> None:
            self._must_exist(tx, project_id)
            tx.append(_stream(project_id), ProjectUpdated(path=path, note=note))

        log.decide(work)
        return self.get(project_id)

    def delete(self, project_id: str) -> None:
        """Delete a project; its runs stay. Raises NotFound."""
        log = self._before_command("projects")

        def work(tx: Tx) -> None:
            self._must_exist(tx, project_id)
            tx.append(_stream(project_id), ProjectDeleted())

        log.decide(work)

    def find(self, project_id: str) -> Project | None:
        """A project, or None."""
        table = self._fresh(PROJECTS)
        with self._source.reader() as reader:
            return reader.load(table, [(project_id,)]).get((project_id,))

    def get(self, project_id: str) -> Project:
        """A project. Raises NotFound."""
        if (project := self.find(project_id)) is None:
            raise _no_project(project_id)
        return project

    def list(self, *, text: str | None = None, limit: int | None = None, offset: int = 0) -> list[Project]:
        """Projects by name; ``text`` must occur in name, path or note."""
        where = [] if text is None else [Filter("project_id|path|note", "text", text)]
        table = self._fresh(PROJECTS)
        with self._source.reader() as reader:
            return reader.select(table, where, order=("project_id",), limit=limit, offset=offset)

    def _must_exist(self, tx: Tx, project_id: str) -> None:
        if not self._exists(tx, project_id):
            raise _no_project(project_id)

    def _exists(self, tx: Tx, project_id: str) -> bool:
        events = [record.event for record in tx.read_stream(_stream(project_id))]
        lives = [event for event in events if isinstance(event, (ProjectAdded, ProjectDeleted))]
        return bool(lives) and isinstance(lives[-1], ProjectAdded)


def _no_project(project_id: str) -> NotFound:
    return NotFound(
        f"there is no project {project_id!r}; `eventlog projects add` adds it (runs may name one that was not added)",
        project_id=project_id,
    )


def _stream(project_id: str) -> str:
    return f"project-{project_id}"


def _check(project_id: str) -> None:
    if not project_id or len(project_id) > 200 or not project_id.isprintable():
        raise InvalidName(f"a project's name is 1 to 200 printable characters, not {project_id[:80]!r}")
