"""`log.executions`: programs that were run on problems, with what they wrote."""

from __future__ import annotations

import builtins
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import asdict

from eventlog.clock import now_us
from eventlog.codec import to_json
from eventlog.errors import Conflict, IllegalTransition, InvalidEvent, InvalidInput
from eventlog.events.executions import ExecutionDeleted, ExecutionFinished, ExecutionStarted, ExecutionUpdated
from eventlog.ids import uuid7
from eventlog.redaction import redact
from eventlog.repositories.entities import EntityRepository, Said, begins, check_name, equal
from eventlog.store.base import Filter, Record, Selection
from projections.executions import OUTPUTS, RUNNING, Execution
from projections.executions import projections as _projections

MAX_OUTPUT_BYTES = 480 * 1024
"""Of each output, as JSON: both, and the rest of the event, are within what an event holds."""
MAX_COMMAND = 16 * 1024
_ABOUT = ("problem_name", "language", "problem_id", "contest_id", "container_id", "command", "started_at")
_END = ("status", "finished_at", "exit_code", "duration_us")


class ExecutionHistory(msgspec.Struct, frozen=True, kw_only=True):
    """An execution with what it wrote. Times are µs since the epoch, UTC.

    ``stdout_bytes`` and ``stderr_bytes`` are how long that was; where it was too long for an event, its end is here.
    """

    id: str = msgspec.field(default_factory=uuid7)
    problem_name: str
    language: str
    status: str = RUNNING
    started_at: int = msgspec.field(default_factory=now_us)
    finished_at: int | None = None
    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    duration_us: int | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    problem_id: str | None = None
    contest_id: str | None = None
    container_id: str | None = None
    command: str | None = None


class Kept(NamedTuple):
    """An output as an event holds it, and how long the whole was."""

    text: str
    size_bytes: int


class ExecutionsRepository(EntityRepository[Execution]):
    """Executions: start, finish, save, find. ``running`` until it ended, then whatever the verdict is called."""

    entity = _projections[0]
    noun = "execution"
    way_out = "`eventlog executions list` shows those there are"

    # from start to end

    def start(
        self,
        problem_name: str,
        language: str,
        *,
        problem_id: str | None = None,
        contest_id: str | None = None,
        container_id: str | None = None,
        command: str | None = None,
        id: str | None = None,
        started_at: int | None = None,
    ) -> ExecutionHistory:
        """Begin an execution, under a new id or the one given; ``running`` at once. Raises Conflict if it is taken."""
        key = uuid7() if id is None else id
        event = _start(problem_name, language, problem_id, contest_id, container_id, command)

        def work(held: Execution | None) -> Sequence[Said]:
            if held is not None:
                raise Conflict(f"there is an execution {key!r} already; it is {held.status}", id=key)
            return [Said(event, started_at)]

        self._decide(key, work)
        return self.get(key)

    def finish(
        self,
        id: str,
        status: str,
        *,
        exit_code: int | None = None,
        stdout: str = "",
        stderr: str = "",
        duration_us: int | None = None,
        finished_at: int | None = None,
    ) -> ExecutionHistory:
        """End an execution: ``status`` is the verdict. Secrets are taken out of what it wrote before it is stored, and
        of an output above 480 KiB the end is kept. Raises NotFound, IllegalTransition when it has ended already.
        """
        event = _end(status, exit_code, kept("stdout", stdout), kept("stderr", stderr), duration_us)

        def work(held: Execution | None) -> Sequence[Said]:
            now = self._must_be(id, held).status
            if now != RUNNING:
                raise IllegalTransition(
                    f"execution {id} has ended already ({now}); in Python, log.executions.save corrects it",
                    id=id,
                    status=now,
                )
            return [Said(event, finished_at)]

        self._decide(id, work)
        return self.get(id)

    def save(self, execution: ExecutionHistory) -> ExecutionHistory:
        """Record an execution, or what differs from what is recorded of this id; nothing where it is so already.

        The sizes of the outputs are not looked at: they are those of the texts. Raises InvalidInput.
        """
        now = now_us()
        _checked(execution, now)

        def work(held: Execution | None) -> Sequence[Said]:
            # Whoever does not say when it ended does not say that it ended at another time either.
            ended_at = now if held is None or held.finished_at is None else held.finished_at
            given = _checked(execution, ended_at)
            return _inserted(given) if held is None else self._changed(held, given)

        self._decide(execution.id, work)
        return self.get(execution.id)

    def _changed(self, held: Execution, given: ExecutionHistory) -> Sequence[Said]:
        about = {name: value for name in _ABOUT if (value := getattr(given, name)) != getattr(held, name)}
        if held.status == RUNNING:
            changed = [Said(ExecutionUpdated(**about))] if about else []
            return changed if given.status == RUNNING else [*changed, _ended(given)]
        changes: dict[str, Any] = about | {
            name: value for name in _END if (value := getattr(given, name)) != getattr(held, name)
        }
        for name in OUTPUTS:
            text = getattr(given, name)
            if text != (before := self._output(held, name)) and (now := kept(name, text)).text != before:
                changes |= {name: now.text, f"{name}_bytes": now.size_bytes}
        return [Said(ExecutionUpdated(**changes))] if changes else []

    def delete(self, id: str, reason: str | None = None) -> None:
        """Take an execution out of the tables; its events stay. Raises NotFound."""

        def work(held: Execution | None) -> Sequence[Said]:
            self._must_be(id, held)
            return [Said(ExecutionDeleted(reason=reason))]

        self._decide(id, work)

    # questions

    def find(self, id: str) -> ExecutionHistory | None:
        """An execution with what it wrote, or None."""
        row = self._found(id)
        if row is None:
            return None
        fields = {name: value for name, value in asdict(row).items() if not name.endswith("_position")}
        return ExecutionHistory(**fields, stdout=self._output(row, "stdout"), stderr=self._output(row, "stderr"))

    def get(self, id: str) -> ExecutionHistory:
        """An execution with what it wrote. Raises NotFound."""
        if (found := self.find(id)) is None:
            raise self._missing(id)
        return found

    def find_all(
        self,
        *,
        problem_name: str | None = None,
        problem_id: str | None = None,
        contest_id: str | None = None,
        container_id: str | None = None,
        language: str | None = None,
        status: str | None = None,
        from_at: int | None = None,
        to_at: int | None = None,
        text: str | None = None,
        prefix: str | None = None,
        limit: int | None = 50,
        offset: int = 0,
    ) -> builtins.list[Execution]:
        """Executions, newest first, without what they wrote. ``from_at`` ≤ started_at < ``to_at`` in µs; ``text``
        occurs in the problem's name or the command, ``prefix`` begins the id.
        """
        where = _filters(
            problem_name, problem_id, contest_id, container_id, language, status, from_at, to_at, text, prefix
        )
        return self._rows(where, ("-started_at", "-id"), limit, offset)

    def count(
        self,
        *,
        problem_name: str | None = None,
        problem_id: str | None = None,
        contest_id: str | None = None,
        container_id: str | None = None,
        language: str | None = None,
        status: str | None = None,
        from_at: int | None = None,
        to_at: int | None = None,
        text: str | None = None,
        prefix: str | None = None,
    ) -> int:
        """How many executions `find_all` would give without a limit."""
        return self._number(
            _filters(problem_name, problem_id, contest_id, container_id, language, status, from_at, to_at, text, prefix)
        )

    def _output(self, row: Execution, name: str) -> str:
        position = row.stdout_position if name == "stdout" else row.stderr_position
        if position is None:
            return ""
        with self._source.reader() as reader:
            found = reader.records(position - 1, position, Selection())
        event = Record(*found[0]).event if found else None
        text = getattr(event, name) if isinstance(event, (ExecutionFinished, ExecutionUpdated)) else ""
        return text if isinstance(text, str) else ""


def kept(name: str, text: str) -> Kept:
    """An output as an event holds it: without secrets, and not more of its end than fits. Raises InvalidInput."""
    if not isinstance(text, str):
        raise InvalidInput(f"{name} is text, not {type(text).__name__}; decode it")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"{name} is not valid Unicode; decode what was written with errors='replace'") from error
    # Far more than is kept: what the cut leaves of a secret at its beginning is not.
    text = redact(text[-4 * MAX_OUTPUT_BYTES :])
    if len(text) * 6 > MAX_OUTPUT_BYTES and len(to_json(text)) > MAX_OUTPUT_BYTES:
        text = text[-MAX_OUTPUT_BYTES:]
        cut = bisect_left(range(len(text)), -MAX_OUTPUT_BYTES, key=lambda at: -len(to_json(text[at:])))
        text = text[cut:]
    return Kept(text, size)


def _start(
    problem_name: str,
    language: str,
    problem_id: str | None,
    contest_id: str | None,
    container_id: str | None,
    command: str | None,
) -> ExecutionStarted:
    check_name("the name of a problem", problem_name)
    check_name("a language", language)
    if command is not None and len(command) > MAX_COMMAND:
        raise InvalidInput(f"a command is at most {MAX_COMMAND:,} characters, not {len(command):,}")
    return ExecutionStarted(
        problem_name=problem_name,
        language=language,
        problem_id=problem_id,
        contest_id=contest_id,
        container_id=container_id,
        command=None if command is None else redact(command),
    )


def _end(status: str, exit_code: int | None, stdout: Kept, stderr: Kept, duration_us: int | None) -> ExecutionFinished:
    check_name("a status", status)
    if status == RUNNING:
        raise InvalidInput("an execution ends with a verdict, like accepted or wrong_answer, not with 'running'")
    return ExecutionFinished(
        status=status,
        exit_code=exit_code,
        stdout=stdout.text,
        stderr=stderr.text,
        stdout_bytes=stdout.size_bytes,
        stderr_bytes=stderr.size_bytes,
        duration_us=duration_us,
    )


def _checked(given: ExecutionHistory, ended_at: int) -> ExecutionHistory:
    """What was given, as it would be recorded, all but its outputs; ``ended_at`` where that is not said.

    Raises InvalidInput.
    """
    start = _start(
        given.problem_name, given.language, given.problem_id, given.contest_id, given.container_id, given.command
    )
    check_name("a status", given.status)
    finished_at, duration_us = given.finished_at, given.duration_us
    if given.status == RUNNING:
        if finished_at is not None or given.stdout or given.stderr or given.exit_code is not None:
            raise InvalidInput("an execution that runs has no end yet: no finished_at, exit_code, stdout or stderr")
        duration_us = None
    else:
        finished_at = ended_at if finished_at is None else finished_at
        duration_us = max(0, finished_at - given.started_at) if duration_us is None else duration_us
        if finished_at < given.started_at:
            raise InvalidInput(f"execution {given.id!r} ends before it starts")
    fields = asdict(given) | asdict(start)
    return ExecutionHistory(**fields | {"finished_at": finished_at, "duration_us": duration_us})


def _inserted(given: ExecutionHistory) -> Sequence[Said]:
    start = ExecutionStarted(**{name: getattr(given, name) for name in ExecutionStarted.__struct_fields__})
    begun = Said(start, given.started_at)
    return [begun] if given.status == RUNNING else [begun, _ended(given)]


def _ended(given: ExecutionHistory) -> Said:
    stdout, stderr = kept("stdout", given.stdout), kept("stderr", given.stderr)
    return Said(_end(given.status, given.exit_code, stdout, stderr, given.duration_us), given.finished_at)


def _filters(
    problem_name: str | None,
    problem_id: str | None,
    contest_id: str | None,
    container_id: str | None,
    language: str | None,
    status: str | None,
    from_at: int | None,
    to_at: int | None,
    text: str | None,
    prefix: str | None,
) -> builtins.list[Filter]:
    where = equal(
        problem_name=problem_name,
        problem_id=problem_id,
        contest_id=contest_id,
        container_id=container_id,
        language=language,
        status=status,
    )
    where += begins("id", prefix)
    where += [] if from_at is None else [Filter("started_at", ">=", from_at)]
    where += [] if to_at is None else [Filter("started_at", "<", to_at)]
    return where + ([] if text is None else [Filter("problem_name|command", "text", text)])
