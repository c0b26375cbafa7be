"""`log.schedules`: jobs that are enqueued again and again, at the times of a cron expression."""

from __future__ import annotations

import builtins
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from eventlog.clock import now_us
from eventlog.errors import Conflict, InvalidInput, KeyReused, NotFound
from eventlog.events import Event
from eventlog.events.workers import ScheduleFired, SchedulePaused, ScheduleRemoved, ScheduleSet
from eventlog.log import Tx
from eventlog.repositories import cron as _cron
from eventlog.repositories.base import Repository
from eventlog.repositories.jobs import JobsRepository, NewJob, event_of
from projections.workers import Schedule
from projections.workers import projections as _workers

SCHEDULES = _workers[2]


class Fired(NamedTuple):
    """A schedule fired: for which time (µs), the job it enqueued, and how many earlier times nobody looked at."""

    schedule: str
    fire_time: int
    job_id: str
    missed: int


class SchedulesRepository(Repository):
    """Schedules. Any number of processes may call `fire_due`, each second or so; each time fires once."""

    @cached_property
    def _next(self) -> dict[str, tuple[Schedule, int | None]]:
        """When each fires next, as it was computed for this row."""
        return {}

    def set(
        self,
        schedule: str,
        cron: str,
        kind: str,
        args: dict[str, Any] | None = None,
        *,
        queue: str = "default",
        time_zone: str = "UTC",
        by: str = "api",
        **options: Any,
    ) -> Schedule:
        """Set a schedule, or change it: from now on, at the times of ``cron`` in its time zone, a job is enqueued.

        ``options`` are further fields of `NewJob`; with a ``unique_key`` no job is added while the last one has not
        ended. Times that lie before now do not fire. Raises InvalidInput.
        """
        _check_name(schedule)
        _cron.check(cron, time_zone)
        if refused := {"key", "schedule", "run_at", "expires_at"} & set(options):
            raise InvalidInput(f"a schedule's jobs have no {sorted(refused)[0]} of their own")
        options = self._check_job(kind, args or {}, queue, options)
        event = ScheduleSet(
            cron=cron, kind=kind, queue=queue, args=args or {}, time_zone=time_zone, options=options, by=by
        )
        self._log.append(_stream(schedule), event)
        return self.get(schedule)

    def _check_job(self, kind: str, args: dict[str, Any], queue: str, options: dict[str, Any]) -> dict[str, Any]:
        """The options as plain values. What could not be enqueued is told now, not at night."""
        if unknown := sorted(set(options) - set(NewJob.__struct_fields__)):
            raise InvalidInput(f"a job has no field {unknown[0]!r}; there are {', '.join(NewJob.__struct_fields__)}")
        try:
            plain: dict[str, Any] = msgspec.to_builtins(options)
            new = msgspec.convert({"kind": kind, "args": args, "queue": queue, **plain}, NewJob)
            self._log.codec.encode(event_of(new))
        except (msgspec.ValidationError, TypeError, InvalidInput) as error:
            raise InvalidInput(f"the schedule's job: {error}") from error
        return plain

    def pause(self, schedule: str, by: str = "api") -> Schedule:
        """Do not fire any more until it is resumed. Raises NotFound."""
        return self._tell(schedule, SchedulePaused(by=by))

    def resume(self, schedule: str, by: str = "api") -> Schedule:
        """Fire again; times that went by meanwhile do not count as missed. Raises NotFound."""
        return self._tell(schedule, SchedulePaused(by=by, paused=False))

    def remove(self, schedule: str, by: str = "api", reason: str = "") -> None:
        """Forget a schedule; its jobs stay. Raises NotFound."""
        self._append(schedule, ScheduleRemoved(by=by, reason=reason))

    def _tell(self, schedule: str, event: Event) -> Schedule:
        self._append(schedule, event)
        return self.get(schedule)

    def _append(self, schedule: str, event: Event) -> None:
        def work(tx: Tx) -> None:
            self._row(tx, schedule)
            tx.append(_stream(schedule), event)

        self._log.decide(work)

    # questions

    def find(self, schedule: str) -> Schedule | None:
        """A schedule, or None."""
        table = self._fresh(SCHEDULES)
        with self._source.reader() as reader:
            return reader.load(table, [(schedule,)]).get((schedule,))

    def get(self, schedule: str) -> Schedule:
        """A schedule. Raises NotFound."""
        found = self.find(schedule)
        if found is None:
            raise _no_schedule(schedule)
        return found

    def list(self) -> builtins.list[Schedule]:
        """Every schedule, by name."""
        table = self._fresh(SCHEDULES)
        with self._source.reader() as reader:
            return reader.select(table, order=("schedule",))

    def next_time(self, schedule: Schedule) -> int | None:
        """When it fires next, µs; None: it is paused, or its time does not come within 50 years."""
        return None if schedule.paused else _cron.next_after(schedule.cron, schedule.time_zone, schedule.since)

    # firing

    def fire_due(self, now: int | None = None) -> builtins.list[Fired]:
        """Fire every schedule whose time has come, each once for the latest of its times; costs a query when none has.

        `ScheduleFired` and the job are appended in one transaction, under a key of schedule and time. What is wrong
        with a schedule is raised when the others have fired.
        """
        now = now_us() if now is None else now
        found: builtins.list[Fired] = []
        wrong: InvalidInput | None = None
        for schedule in self.list():
            try:
                if self._is_due(schedule, now) and (fired := self._fire(schedule.schedule, now)) is not None:
                    found.append(fired)
            except NotFound:
                continue  # somebody removed it just now
            except (InvalidInput, Conflict) as error:
                wrong = wrong or InvalidInput(f"schedule {schedule.schedule!r} cannot fire: {error}")
        if wrong is not None:
            raise wrong
        return found

    def _is_due(self, schedule: Schedule, now: int) -> bool:
        if schedule.paused:
            return False
        row, at = self._next.get(schedule.schedule, (None, None))
        if row != schedule:
            at = _cron.next_after(schedule.cron, schedule.time_zone, schedule.since)
            self._next[schedule.schedule] = (schedule, at)
        return at is not None and at <= now

    def _fire(self, name: str, now: int) -> Fired | None:
        # Counted before others are kept from writing; looked at again there.
        before = self.find(name)
        if before is None or (due := _cron.due(before.cron, before.time_zone, before.since, now)) is None:
            return None
        jobs = JobsRepository(self._source, self._projections)

        def work(tx: Tx) -> Fired | None:
            if self._row(tx, name) != before:
                return None  # somebody fired, paused or changed it
            try:
                job_id = jobs.enqueue(
                    before.kind, before.args, queue=before.queue, schedule=name, run_at=due.at, **before.options
                ).job_id
            except KeyReused:
                raise
            except Conflict as error:
                # Its unique key is held by the job of last time, which has not ended.
                job_id = str(error.job_id)
            event = ScheduleFired(fire_time=due.at, job_id=job_id, missed=due.missed)
            tx.append(_stream(name), event, key=f"schedule {name} {due.at}")
            return Fired(name, due.at, job_id, due.missed)

        return self._log.decide(work)

    def _row(self, tx: Tx, schedule: str) -> Schedule:
        assert self._projections is not None  # noqa: S101
        self._projections.bring(tx, "schedules")
        row: Schedule | None = self._projections.row(tx, SCHEDULES, schedule)
        if row is None:
            raise _no_schedule(schedule)
        return row


def _stream(schedule: str) -> str:
    return f"schedule-{schedule}"


def _no_schedule(schedule: str) -> NotFound:
    return NotFound(f"there is no schedule {schedule!r}", schedule=schedule)


def _check_name(name: str) -> None:
    if not name or len(name) > 200 or not name.isprintable():
        raise InvalidInput(f"a schedule's name is 1 to 200 printable characters, not {name[:80]!r}")
