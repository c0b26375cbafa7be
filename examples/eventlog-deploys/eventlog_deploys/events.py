"""What can happen to a deployment. Stream: ``deploy-<name>``."""

from __future__ import annotations

from eventlog import Event


class DeployStarted(Event, frozen=True, kw_only=True, tag="deploy.started"):
    """A version is on its way to an environment."""

    version: str
    environment: str


class DeployStepDone(Event, frozen=True, kw_only=True, tag="deploy.step_done"):
    """One step is done."""

    step: str
    duration_us: int


class DeployFinished(Event, frozen=True, kw_only=True, tag="deploy.finished"):
    """It is live, or it is not."""

    ok: bool
    duration_us: int
