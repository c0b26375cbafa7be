"""What a worker and its child processes say to each other: JSON, one message after another on a socket."""

from __future__ import annotations

from typing import Any

import msgspec

from eventlog.worker.outcome import Crashed, Failed, Snoozed, Stopped, Succeeded
from projections.jobs import Job


class Work(msgspec.Struct, frozen=True, kw_only=True, tag="work"):
    """To the child: do this job. ``main``: the program whose handlers are meant by ``__main__``, (module, path)."""

    job: Job
    reference: str
    environment: dict[str, str]
    main: tuple[str | None, str | None]
    log: tuple[str | None, str | None]
    """The log's address and its data directory, for runs that the handler records."""


class Told(msgspec.Struct, frozen=True, tag="told"):
    """To the child: the attempt should end."""


class Stopping(msgspec.Struct, frozen=True, tag="stopping"):
    """To the child: the worker stops."""


class Progressed(msgspec.Struct, frozen=True, tag="progressed"):
    """From the child: how far it is."""

    done: int
    total: int | None = None
    message: str = ""


FromChild = Progressed | Succeeded | Failed | Crashed | Snoozed | Stopped
ToChild = Work | Told | Stopping
_to_child: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ToChild)
_from_child: msgspec.json.Decoder[Any] = msgspec.json.Decoder(FromChild)
encode = msgspec.json.encode


def decode_work(data: bytes) -> ToChild:
    """A message to the child."""
    message: ToChild = _to_child.decode(data)
    return message


def decode_answer(data: bytes) -> FromChild:
    """A message from the child."""
    message: FromChild = _from_child.decode(data)
    return message
