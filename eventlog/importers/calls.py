"""Calls of language models that an import tells of: which accounts count, and what is said where there are several.

Transcripts tell of a call again and again while its answer grows, and replay it beside the conversation. Of accounts
under one key the fullest counts, a later one amends it; of one response that was told of under several keys one counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from eventlog.committer import Prepared
from eventlog.events import Event
from eventlog.events.agents import LlmCallAmended, LlmCallCompleted, LlmCallRetracted, Usage
from eventlog.log import EventLog, Tx
from eventlog.projection.manager import Projections
from eventlog.store.base import Filter
from projections.llm_calls import LlmCall
from projections.llm_calls import projections as _calls

CALLS = _calls[0]
MAX_REMEMBERED = 100_000
"""Responses; with more of them the table is brought to the head instead."""


class Call(NamedTuple):
    """A call of a language model that a record tells of; of several accounts with one key the fullest counts."""

    stream: str
    event: LlmCallCompleted
    key: str
    occurred_at: int | None = None


class _Account(NamedTuple):
    """A call that is in the log, and counts."""

    stream: str
    call_id: str
    sidechain: bool
    usage: Usage


class Calls:
    """What an import has to know of calls to say each once.

    Which response has been told of is asked of the table of calls, which is brought to the head for it where it is not
    kept there. What this import adds itself is remembered, so that this need not be done for every batch: as long as
    nobody else appends, the table as it was and what is remembered are all that there is.
    """

    def __init__(self, log: EventLog, projections: Projections | None) -> None:
        self._log = log
        self._projections = projections
        self._sidechains: bool | None = None
        self._head: int | None = None
        """Where the log ends, if the table and what is remembered say all of it."""
        self._main: set[str] = set()
        self._side: dict[str, list[_Account]] = {}

    def look(self, calls: dict[str, Call]) -> None:
        """Before a transaction: where any call is a sidechain's, here or in the log, all of them have to be known."""
        if calls and self._sidechains is None:
            self._bring()
            with self._log.reader() as reader:
                self._sidechains = bool(reader.select(CALLS.table, [Filter("sidechain", "=", True)], limit=1))
        if any(call.event.sidechain for call in calls.values()):
            self._sidechains = True
        if self._sidechains and (len(self._main) > MAX_REMEMBERED or self._log.head().position != self._head):
            self._head = self._log.head().position
            self._bring()
            self._main.clear()
            self._side.clear()

    def _bring(self) -> None:
        if self._projections is not None:
            self._projections.ensure(CALLS.name)

    def told(self, tx: Tx, calls: dict[str, Call], known: set[str]) -> dict[str, list[Prepared]]:
        """What is to be appended for each call, by its key, where these keys are in the log."""
        copies = self._copies(tx, calls, known) if self._sidechains else {}
        retracted = {(one.stream, one.call_id) for one in copies.values() if one is not None}
        made: dict[str, list[Prepared]] = {}
        for key, call in calls.items():
            if key in copies:
                asked = _of_copy(call, copies[key])
            elif key in known:
                asked = self._amended(tx, call, retracted)
            else:
                asked = [(call.stream, call.event, key)]
            at = time_of(call.occurred_at)
            made[key] = [self._log.prepare(stream, event, key=own, occurred_at=at) for stream, event, own in asked]
        return made

    def remember(self, calls: dict[str, Call], told: dict[str, list[Prepared]], before: int, after: int) -> None:
        """What was told is in the log now, between these positions."""
        if self._head != before:
            self._head = None  # somebody appended meanwhile
            return
        self._head = after
        for key, made in told.items():
            for one in made:
                call = calls[key]
                if one[3] != key:
                    self._head = None  # what is remembered of another call may not be true any more
                elif call.event.response_id is not None and not call.event.sidechain:
                    self._main.add(call.event.response_id)
                elif call.event.response_id is not None:
                    account = _Account(call.stream, call.event.call_id, True, call.event.usage)
                    self._side.setdefault(call.event.response_id, []).append(account)

    def _amended(self, tx: Tx, call: Call, retracted: set[tuple[str, str]]) -> list[tuple[str, Event, str]]:
        """More of a call that is in the log already, where this account is fuller than all before, and it counts."""
        row = tx.reader.record_with_key(call.key)
        if row is None:  # it was there a moment ago, and nothing takes it away
            return []
        first = self._log.codec.decode(row[3], row[4], row[11])
        if not isinstance(first, LlmCallCompleted) or call.event.usage.total <= first.usage.total:
            return []
        if (row[1], first.call_id) in retracted:
            return []
        current: Usage = first.usage
        for record in tx.read_stream(row[1], types=(LlmCallAmended, LlmCallRetracted)):
            event = record.event
            if isinstance(event, LlmCallAmended) and event.call_id == first.call_id:
                current = event.usage
            elif isinstance(event, LlmCallRetracted) and event.call_id == first.call_id:
                return []
        if call.event.usage.total <= current.total:
            return []
        amended = _amendment(call.event, first.call_id, current)
        return [(row[1], amended, f"{call.key}+{call.event.usage.total}")]

    def _copies(self, tx: Tx, calls: dict[str, Call], known: set[str]) -> dict[str, _Account | None]:
        """Calls that are replays of others: an agent beside the conversation repeats its calls with other request ids.

        Of two accounts of one response, one of which is a sidechain's, the other counts. The account is the one that is
        to be retracted, None where it is this call that does not count.
        """
        responses: dict[str, list[Call]] = {}
        for call in calls.values():
            if call.event.response_id is not None:
                responses.setdefault(call.event.response_id, []).append(call)
        stored: dict[str, list[_Account]] = {response: [*self._side.get(response, ())] for response in responses}
        for row in tx.reader.select(CALLS.table, [Filter("response_id", "in", tuple(responses))]):
            if row.status == "completed":
                stored[row.response_id].append(_account(row))
        copies: dict[str, _Account | None] = {}
        for response, accounts in responses.items():
            new = [call for call in accounts if call.key not in known]
            main = [call for call in new if not call.event.sidechain]
            side = [call for call in new if call.event.sidechain]
            old = stored[response]
            counts = response in self._main or any(not one.sidechain for one in old)
            for call in side if main or old or counts else side[1:]:
                copies[call.key] = None
            if main and old and not counts:
                copies[main[0].key] = old[0]
        return copies


def fullest(calls: Iterable[Call]) -> dict[str, Call]:
    """Of the accounts under each key the one with the most tokens."""
    best: dict[str, Call] = {}
    for call in calls:
        held = best.get(call.key)
        if held is None or call.event.usage.total > held.event.usage.total:
            best[call.key] = call
    return best


def time_of(at: int | None) -> int | None:
    """A time, if it can be stored."""
    return at if at is None or 0 <= at < 2**53 else None


def _account(row: LlmCall) -> _Account:
    usage = Usage(row.input, row.cache_read, row.cache_write_5m, row.cache_write_1h, row.output, row.reasoning)
    return _Account(row.stream, row.call_id, row.sidechain, usage)


def _of_copy(call: Call, replaced: _Account | None) -> list[tuple[str, Event, str]]:
    if replaced is None:
        return []
    event = LlmCallRetracted(call_id=replaced.call_id, reason="replayed by a sidechain", replaced=replaced.usage)
    return [(replaced.stream, event, f"{call.key}-retracts"), (call.stream, call.event, call.key)]


def _amendment(event: LlmCallCompleted, call_id: str, replaced: Usage) -> LlmCallAmended:
    return LlmCallAmended(
        call_id=call_id,
        usage=event.usage,
        replaced=replaced,
        quality=event.quality,
        finish_reasons=event.finish_reasons,
        reported_cost_micro_usd=event.reported_cost_micro_usd,
        raw_usage=event.raw_usage,
    )
