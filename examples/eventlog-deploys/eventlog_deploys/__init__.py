"""Events about deployments, and the tables over them."""

from eventlog_deploys.events import DeployFinished, DeployStarted, DeployStepDone

__all__ = ["DeployFinished", "DeployStarted", "DeployStepDone"]
