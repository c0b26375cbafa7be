"""The standard library's logging, into the log: each record becomes ``run.message_logged``."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventlog.recorder.tracked_run import TrackedRun


class RunLogHandler(logging.Handler):
    """Sends log records to a tracked run: the one given, else the one whose block is running.

        logging.getLogger().addHandler(RunLogHandler())

    Messages survive a killed process, not a power cut; they are redacted and cut at 8 KiB. Never raises, and leaves out
    what the event log itself logs while it records.
    """

    def __init__(self, run: TrackedRun | None = None, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._run = run
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Record one message."""
        if getattr(self._busy, "now", False) or record.name.split(".", 1)[0] == "eventlog":
            return
        self._busy.now = True
        try:
            run = self._run
            if run is None:
                from eventlog.recorder.current import current_run

                run = current_run()
            if run is not None:
                run.message(self.format(record), level=record.levelname, logger=record.name)
        except Exception:
            self.handleError(record)
        finally:
            self._busy.now = False

    def handleError(self, record: logging.LogRecord) -> None:
        """A record that cannot be formatted is left out: the program goes on."""
