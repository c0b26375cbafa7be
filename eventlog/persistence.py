"""Jobs that survive a restart: where they are kept, what is recovered when it is opened, and how long history stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from eventlog.app import Log, open
from eventlog.errors import InvalidInput
from eventlog.target import Target
from eventlog.worker.recovery import RecoveryManager, RecoveryResult
from eventlog.worker.retention import Retention

FILES = {"json": "jobs.jsonl", "sqlite": "jobs.db"}
Seconds = Annotated[int, Meta(ge=1)]
Days = Annotated[int, Meta(ge=0, le=36_500)]


class PersistenceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How jobs are kept. Every event is on the disk when the call that made it returns: ``auto_save_interval`` seconds,
    the longest time that a change may wait to be saved, is kept for programs that set it, and always met.
    """

    enabled: bool = False
    storage_path: Path = Path("./data")
    backend: Literal["json", "sqlite"] = "json"
    auto_save_interval: Seconds = 30
    retention_days: Days = 30

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "storage_path", Path(self.storage_path))

    @property
    def file(self) -> Path:
        """The file that holds the log."""
        return self.storage_path / FILES[self.backend]

    @property
    def retention(self) -> Retention:
        """How long jobs stay in the tables; those that failed stay a year at least."""
        return Retention.after(self.retention_days, max(365, self.retention_days))


class Persistent(msgspec.Struct, frozen=True):
    """An open log, what was recovered when it was opened, and how many old jobs left its tables."""

    log: Log
    recovered: RecoveryResult
    purged: int


def config_of(
    persist: bool,
    data_dir: str | os.PathLike[str] | None = None,
    retention_days: int | None = None,
    *,
    backend: str | None = None,
) -> PersistenceConfig:
    """What ``--persist --data-dir PATH --retention-days N`` mean. Raises InvalidInput."""
    given: dict[str, Any] = {"enabled": persist, "retention_days": retention_days, "backend": backend}
    values = {name: value for name, value in given.items() if value is not None}
    if data_dir is not None:
        values["storage_path"] = os.fspath(data_dir)
    try:
        return msgspec.convert(values, PersistenceConfig, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        raise InvalidInput(f"persistence: {error}") from error


def open_persistent(config: PersistenceConfig, target: Target = None, **options: Any) -> Persistent:
    """Open the log of jobs that a configuration means, recover what a crash left, and let old jobs go.

    Where persistence is not enabled that is the log at ``target`` (default: as `eventlog.open` finds it), with nothing
    recovered and nothing purged. ``options`` are those of `eventlog.open`.
    """
    if not config.enabled:
        return Persistent(open(target, **options), RecoveryResult(0, 0, 0), 0)
    try:
        config.storage_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"cannot make {config.storage_path}: {error.strerror}") from error
    log = open(config.file, **options)
    try:
        return Persistent(log, RecoveryManager(log).recover_on_startup(), config.retention.apply(log))
    except BaseException:
        log.close()
        raise
