"""Three tables over the deployments' events, one of each kind."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from eventlog import Record
from eventlog.projection import Entity, Journal, Projection, Rollup, Row, bin_of
from eventlog_deploys.events import DeployFinished, DeployStarted, DeployStepDone


class Deploy(Row, frozen=True):
    """One deployment: the state of its stream."""

    deploy: str
    version: str
    environment: str
    status: str
    steps: int
    started_at: int
    duration_us: int | None = None


def evolve(row: Deploy | None, event: DeployStarted | DeployStepDone | DeployFinished, record: Record) -> Deploy | None:
    """The row after an event. Pure: no clock, no files, no chance."""
    match event:
        case DeployStarted():
            name = record.stream.partition("-")[2]
            return Deploy(name, event.version, event.environment, "running", 0, record.occurred_at)
        case _ if row is None:
            return None
        case DeployStepDone():
            return msgspec.structs.replace(row, steps=row.steps + 1)
        case DeployFinished():
            status = "live" if event.ok else "failed"
            return msgspec.structs.replace(row, status=status, duration_us=event.duration_us)


class DeployStep(Row, frozen=True):
    """One step of one deployment: a row per event, found by its position."""

    position: int
    deploy: str
    step: str
    duration_us: int
    occurred_at: int


def make_step(event: DeployStepDone, record: Record) -> DeployStep:
    """The row of an event."""
    name = record.stream.partition("-")[2]
    return DeployStep(record.position, name, event.step, event.duration_us, record.occurred_at)


class DeployCount(Row, frozen=True):
    """How many deployments of an environment ended how, by duration. The last two fields are sums."""

    environment: str
    status: str
    duration_bin: int
    deploys: int
    duration_us: int


def contribute(row: Deploy) -> Iterable[tuple[tuple[str, str, int], tuple[int, int]]]:
    """What one row of `deploys` adds to the sums: pairs of a key and its measures."""
    if row.duration_us is None:
        return []
    return [((row.environment, row.status, bin_of(row.duration_us)), (1, row.duration_us))]


projections: tuple[Projection, ...] = (
    Entity(
        "deploys",
        version=1,
        row=Deploy,
        category="deploy",
        types=(DeployStarted, DeployStepDone, DeployFinished),
        evolve=evolve,
        indexes=(("environment", "started_at"),),
    ),
    Journal("deploy_steps", version=1, row=DeployStep, types=(DeployStepDone,), make=make_step, indexes=(("deploy",),)),
    Rollup(
        "deploy_counts",
        version=1,
        row=DeployCount,
        source="deploys",
        measures=("deploys", "duration_us"),
        contribute=contribute,
    ),
)
