"""`log.tasks`: what an agent does in a task. Calls and compactions count in the task's row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from msgspec import UNSET

from eventlog.errors import Conflict
from eventlog.events import Event
from eventlog.events.agents import (
    ContextCompacted,
    LlmCallCompleted,
    MessageAdded,
    Origin,
    Outcome,
    Part,
    Role,
    SummaryAdded,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)
from eventlog.ids import uuid7
from eventlog.log import Tx, When
from eventlog.projection.kinds import Entity
from eventlog.repositories.base import Repository
from eventlog.repositories.session_base import LLM_CALLS, MESSAGES, TOOL_CALLS, as_raw, at_least_zero, checked_id
from eventlog.repositories.session_calls import as_usage
from eventlog.repositories.session_messages import as_parts
from eventlog.repositories.task_values import as_time
from eventlog.store.base import Filter
from projections.tasks import Task
from projections.tasks import projections as _tasks

TASKS = _tasks[0]
T = TypeVar("T")


class TaskCalls(Repository):
    """Messages, calls and compactions: commands. Each gives the id under which it is in its table, or None where there
    is no such task.
    """

    def llm_call(
        self,
        uuid: str,
        usage: Usage | Mapping[str, int] | None = None,
        *,
        model: str | None = None,
        provider: str | None = None,
        call_id: str | None = None,
        message_id: str | None = None,
        context_length: int | None = None,
        duration_us: int | None = None,
        cost_micro_usd: int | None = None,
        occurred_at: When | str = None,
    ) -> str | None:
        """A language model answered. ``usage`` is in lanes that share no token (`Usage`, or a mapping of its fields).

        ``model`` and ``provider`` are the task's where they are not given. Raises Conflict where the task has a call of
        this id, InvalidInput, InvalidEvent.
        """
        lanes = as_usage(usage)
        at = as_time("occurred_at", occurred_at)
        new_id = checked_id("call", uuid7() if call_id is None else call_id)
        at_least_zero(duration_us=duration_us, context_length=context_length, cost_micro_usd=cost_micro_usd)

        def work(tx: Tx, task: Task) -> str:
            self._must_be_new(tx, LLM_CALLS, uuid, new_id)
            told = LlmCallCompleted(
                call_id=new_id,
                usage=lanes,
                provider=task.llm_provider if provider is None else provider,
                response_model=task.model if model is None else model,
                message_id=message_id,
                duration_us=duration_us,
                context_length=context_length,
                reported_cost_micro_usd=cost_micro_usd,
            )
            tx.append(stream_of(uuid), told, occurred_at=at)
            return new_id

        return self._with(uuid, work, LLM_CALLS.name)

    def tool_call(
        self,
        uuid: str,
        name: str,
        arguments: Any = UNSET,
        outcome: Outcome = "ok",
        result: Any = UNSET,
        *,
        tool_call_id: str | None = None,
        message_id: str | None = None,
        exit_code: int | None = None,
        duration_us: int | None = None,
        error_type: str | None = None,
        occurred_at: When | str = None,
    ) -> str | None:
        """A tool was called and answered: ``outcome`` is ok, error, cancelled or unknown; arguments and result are
        whatever JSON can hold. ``occurred_at`` is when it began. Raises Conflict where the task has a call of this id,
        InvalidInput, InvalidEvent.
        """
        new_id = checked_id("tool call", uuid7() if tool_call_id is None else tool_call_id)
        at_least_zero(duration_us=duration_us)
        began = as_time("occurred_at", occurred_at)
        asked = ToolCallStarted(
            tool_call_id=new_id,
            name=name,
            arguments=UNSET if arguments is UNSET else as_raw("arguments", arguments),
            message_id=message_id,
        )
        answered = ToolCallFinished(
            tool_call_id=new_id,
            outcome=outcome,
            result=UNSET if result is UNSET else as_raw("result", result),
            exit_code=exit_code,
            duration_us=0 if duration_us is None else duration_us,
            error_type=error_type,
        )

        def work(tx: Tx, task: Task) -> str:
            self._must_be_new(tx, TOOL_CALLS, uuid, new_id)
            tx.append(stream_of(uuid), asked, occurred_at=began)
            ended = None if began is None else began + (duration_us or 0)
            tx.append(stream_of(uuid), answered, occurred_at=ended)
            return new_id

        return self._with(uuid, work, TOOL_CALLS.name)

    def compaction(
        self,
        uuid: str,
        summary: str | None = None,
        *,
        trigger: str | None = None,
        tokens_before: int | None = None,
        tokens_after: int | None = None,
        covers_to_message_id: str | None = None,
        model: str | None = None,
        occurred_at: When | str = None,
    ) -> bool:
        """The conversation was shortened for the model, with the summary that is in its place from here on. Sizes are
        tokens. False where there is no such task. Raises InvalidInput, InvalidEvent.
        """
        at_least_zero(tokens_before=tokens_before, tokens_after=tokens_after)
        at = as_time("occurred_at", occurred_at)
        told: list[Event] = [
            ContextCompacted(
                trigger=trigger,
                tokens_before=tokens_before,
                tokens_after=tokens_after,
                covers_to_message_id=covers_to_message_id,
            )
        ]
        if summary is not None:
            told.append(SummaryAdded(text=summary, leaf_message_id=covers_to_message_id, model=model))

        def work(tx: Tx, task: Task) -> bool:
            tx.append(stream_of(uuid), told, occurred_at=at)
            return True

        return self._with(uuid, work) or False

    def message(
        self,
        uuid: str,
        role: Role,
        text: str | None = None,
        *,
        parts: Iterable[Part | Mapping[str, Any]] | None = None,
        message_id: str | None = None,
        parent_id: str | None = None,
        origin: Origin | None = None,
        name: str | None = None,
        occurred_at: When | str = None,
    ) -> str | None:
        """Something was said: some text, or parts (`eventlog.events.agents`, or the same as mappings). It follows
        ``parent_id``, else the newest message of the task. Raises Conflict where the task has a message of this id,
        InvalidInput, InvalidEvent.
        """
        said = as_parts(text, parts)
        at = as_time("occurred_at", occurred_at)
        new_id = checked_id("message", uuid7() if message_id is None else message_id)

        def work(tx: Tx, task: Task) -> str:
            own = [Filter("stream", "=", stream_of(uuid))]
            table = MESSAGES.table
            if message_id is not None and tx.reader.select(table, [*own, Filter("message_id", "=", new_id)], limit=1):
                raise Conflict(f"task {uuid} has a message {new_id!r} already", uuid=uuid, id=new_id)
            last = tx.reader.select(table, own, order=("-position",), limit=1) if parent_id is None else []
            told = MessageAdded(
                message_id=new_id,
                role=role,
                parts=said,
                parent_id=last[0].message_id if last else parent_id,
                origin=origin,
                name=name,
            )
            tx.append(stream_of(uuid), told, occurred_at=at)
            return new_id

        return self._with(uuid, work, MESSAGES.name)

    # a task inside a transaction

    def _row(self, tx: Tx, uuid: str, *needs: str) -> Task | None:
        assert self._projections is not None  # noqa: S101 - only the past has none, and it takes no commands
        self._projections.bring(tx, TASKS.name, *needs)
        row: Task | None = self._projections.row(tx, TASKS, str(uuid))
        return row

    def _with(self, uuid: str, work: Callable[[Tx, Task], T], *needs: str) -> T | None:
        """Do something with a task that there is; None where there is none."""

        def decided(tx: Tx) -> T | None:
            row = self._row(tx, uuid, *needs)
            return None if row is None else work(tx, row)

        return self._log.decide(decided)

    def _must_be_new(self, tx: Tx, root: Entity[Any], uuid: str, part: str) -> None:
        assert self._projections is not None  # noqa: S101
        if self._projections.row(tx, root, (stream_of(uuid), part)) is not None:
            raise Conflict(f"task {uuid} has a call {part!r} already", uuid=uuid, id=part)


def stream_of(uuid: str) -> str:
    """The stream of a task."""
    return f"task-{uuid}"
