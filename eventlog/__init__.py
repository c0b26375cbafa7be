"""An event-sourced execution log: programs record what they do, tables are computed from it, and any table can be
rebuilt, explained, verified or rolled back to any version.

    import eventlog

    with eventlog.open("log.db") as log, log.runs.track("train", project="demo") as run:
        run.metric("loss", 0.1, step=1)
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers know the name: `typing` is imported where `main` handles Ctrl-C
if TYPE_CHECKING:
    from typing import Any

    from eventlog import errors
    from eventlog.app import Log, open
    from eventlog.codec import Upcaster
    from eventlog.committer import Appended
    from eventlog.events import Event, UnknownEvent
    from eventlog.log import ANY, EXISTS, NO_STREAM, Append
    from eventlog.store.base import Record

__version__ = "0.1.0"
__all__ = [
    "ANY",
    "EXISTS",
    "NO_STREAM",
    "Append",
    "Appended",
    "Event",
    "Log",
    "Record",
    "UnknownEvent",
    "Upcaster",
    "errors",
    "open",
]
_HOMES = {
    "Log": "app",
    "open": "app",
    "Upcaster": "codec",
    "Appended": "committer",
    "Event": "events",
    "UnknownEvent": "events",
    "ANY": "log",
    "EXISTS": "log",
    "NO_STREAM": "log",
    "Append": "log",
    "Record": "store.base",
}


def __getattr__(name: str) -> Any:
    # Names are fetched when first used, so that `import eventlog` costs next to nothing.
    if name == "errors":
        return import_module("eventlog.errors")
    if name in _HOMES:
        value = getattr(import_module(f"eventlog.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'eventlog' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
