"""Runs that are imported: a run's number is given in the transaction that its first event is in."""

from __future__ import annotations

from typing import NamedTuple

from eventlog.errors import InvalidInput
from eventlog.events.runs import RunDeleted
from eventlog.log import EventLog, Tx
from eventlog.repositories.runs import next_number

MAX_GAP = 1000
"""So many numbers at once are passed over, because where the runs come from they were given away."""


class RunOf(NamedTuple):
    """The stream of a run whose first event has this key. ``number``: its number where it comes from, if it has one."""

    key: str
    number: int | None = None
    source: str = ""
    """Where it comes from, as a word that a person reads."""


class Numbers:
    """The numbers of runs in one transaction."""

    def __init__(self, log: EventLog, tx: Tx) -> None:
        self._log = log
        self._tx = tx
        self._given: dict[str, str] = {}
        self._next: int | None = None

    def stream(self, run: RunOf) -> str:
        """The stream of a run: the one it has, or a new one.

        It keeps the number that it had where nobody here has it; numbers that its source had given away before are
        passed over, so that no run of this log gets one. Else it gets the next free one.
        """
        if run.key in self._given:
            return self._given[run.key]
        row = self._tx.reader.record_with_key(run.key)
        if row is not None:
            if not row[1].startswith("run-"):
                raise InvalidInput("the key of a run is that of something else")
            stream = row[1]
        else:
            stream = f"run-{self._number(run)}"
        self._given[run.key] = stream
        return stream

    def _number(self, run: RunOf) -> int:
        if self._next is None:
            self._next = next_number(self._tx)
        number = self._next
        if run.number is not None and number < run.number <= number + MAX_GAP:
            for passed in range(number, run.number):
                self._tx.append(f"run-{passed}", RunDeleted(reason=f"not in {run.source} any more"), expect=0)
            number = run.number
        self._next = number + 1
        return number
