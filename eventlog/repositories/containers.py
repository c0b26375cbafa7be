"""`log.containers`: what became of containers, from their making to their removal."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import get_args

from eventlog.errors import Conflict, IllegalTransition, InvalidInput
from eventlog.events import Event
from eventlog.events.executions import (
    ContainerCreated,
    ContainerDeleted,
    ContainerRemoved,
    ContainerStarted,
    ContainerStopped,
)
from eventlog.ids import uuid7
from eventlog.redaction import redact, redact_mapping
from eventlog.repositories.entities import EntityRepository, Said, check_name, equal
from projections.containers import Container, ContainerStatus
from projections.containers import projections as _projections

STATUSES: tuple[ContainerStatus, ...] = get_args(ContainerStatus)
_FROM: dict[ContainerStatus, tuple[ContainerStatus, ...]] = {
    "running": ("created", "stopped"),
    "stopped": ("running",),
    "removed": ("created", "running", "stopped"),
}
_MADE_OF = ("image", "name", "command", "labels")


class ContainersRepository(EntityRepository[Container]):
    """Containers: create, start, stop, remove."""

    entity = _projections[0]
    noun = "container"
    way_out = "`eventlog containers create` records one"

    def find(self, container_id: str) -> Container | None:
        """A container, or None."""
        return self._found(container_id)

    def get(self, container_id: str) -> Container:
        """A container. Raises NotFound."""
        return self._must_be(container_id, self.find(container_id))

    def find_all(
        self,
        *,
        status: ContainerStatus | None = None,
        image: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> builtins.list[Container]:
        """Containers, newest first; removed ones are there too. Raises InvalidInput for a status that is none."""
        if status is not None and status not in STATUSES:
            raise InvalidInput(f"a container's status is one of {', '.join(STATUSES)}, not {status!r}")
        where = equal(status=status, image=image, name=name)
        return self._rows(where, ("-created_at", "-container_id"), limit, offset)

    def create(
        self,
        image: str,
        *,
        container_id: str | None = None,
        name: str | None = None,
        command: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_at: int | None = None,
    ) -> Container:
        """Record that a container was made. Raises Conflict when there is one of this id that was not removed."""
        key = uuid7() if container_id is None else container_id
        event = _made(image, name, command, labels or {})

        def work(held: Container | None) -> Sequence[Said]:
            if held is not None and held.status != "removed":
                raise Conflict(f"there is a container {key!r} already; it is {held.status}", container_id=key)
            return [Said(event, created_at)]

        self._decide(key, work)
        return self.get(key)

    def start(self, container_id: str, *, started_at: int | None = None) -> Container:
        """Record that it runs. Raises NotFound, IllegalTransition."""
        return self._turn(container_id, "running", ContainerStarted(), started_at)

    def stop(
        self,
        container_id: str,
        *,
        exit_code: int | None = None,
        reason: str | None = None,
        stopped_at: int | None = None,
    ) -> Container:
        """Record that it does not run any more. Raises NotFound, IllegalTransition."""
        event = ContainerStopped(exit_code=exit_code, reason=None if reason is None else redact(reason))
        return self._turn(container_id, "stopped", event, stopped_at)

    def remove(self, container_id: str, *, removed_at: int | None = None) -> Container:
        """Record that it is not there any more; its row stays, and says so. Raises NotFound, IllegalTransition."""
        return self._turn(container_id, "removed", ContainerRemoved(), removed_at)

    def save(self, container: Container) -> Container:
        """Record a container, or what became of it: its status, if that is another one.

        What it was made of does not change: InvalidInput says so. Times are not looked at.
        """
        key = container.container_id
        made = _made(container.image, container.name, container.command, container.labels)

        def work(held: Container | None) -> Sequence[Said]:
            if held is None:
                return [Said(made), *_steps("created", container)]
            if different := [part for part in _MADE_OF if getattr(made, part) != getattr(held, part)]:
                raise InvalidInput(
                    f"container {key!r} was made with another {different[0]}; give a new one an id of its own",
                    container_id=key,
                )
            return _steps(held.status, container)

        self._decide(key, work)
        return self.get(key)

    def delete(self, container_id: str) -> None:
        """Take a container out of the table; its events stay. Raises NotFound."""

        def work(held: Container | None) -> Sequence[Said]:
            self._must_be(container_id, held)
            return [Said(ContainerDeleted())]

        self._decide(container_id, work)

    def list(
        self, *, status: ContainerStatus | None = None, limit: int | None = None, offset: int = 0
    ) -> builtins.list[Container]:
        """As `find_all`."""
        return self.find_all(status=status, limit=limit, offset=offset)

    def _turn(self, key: str, status: ContainerStatus, event: Event, at: int | None) -> Container:
        def work(held: Container | None) -> Sequence[Said]:
            now = self._must_be(key, held).status
            if now not in _FROM[status]:
                raise IllegalTransition(_not_from(key, now, status), container_id=key, status=now)
            return [Said(event, at)]

        self._decide(key, work)
        return self.get(key)


def _made(image: str, name: str | None, command: str | None, labels: Mapping[str, str]) -> ContainerCreated:
    check_name("the image of a container", image)
    return ContainerCreated(
        image=image,
        name=name,
        command=None if command is None else redact(command),
        labels=redact_mapping(labels),
    )


def _steps(now: ContainerStatus, wanted: Container) -> Sequence[Said]:
    """What has to have happened for a container to be in another status."""
    if wanted.status == now:
        return []
    stopped = Said(ContainerStopped(exit_code=wanted.exit_code, reason=wanted.reason))
    match now, wanted.status:
        case "created" | "stopped", "running":
            return [Said(ContainerStarted())]
        case "running", "stopped":
            return [stopped]
        case "created", "stopped":
            return [Said(ContainerStarted()), stopped]
        case "created" | "running" | "stopped", "removed":
            return [Said(ContainerRemoved())]
    raise IllegalTransition(_not_from(wanted.container_id, now, wanted.status), status=now)


def _not_from(key: str, now: str, wanted: str) -> str:
    return f"container {key!r} is {now}, and cannot become {wanted}"
