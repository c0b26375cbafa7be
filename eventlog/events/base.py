"""What an event is."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from eventlog.errors import InvalidEvent

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""An integer that fits a database column; anything larger is refused when the event is appended."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """A typed, frozen fact in the past tense. Subclass it with a stable tag, ``subject.verb_past``.

        class StepDone(Event, frozen=True, kw_only=True, tag="app.step_done"):
            name: str
            duration_us: int = 0

    The tag is stored, the class's name never is. A field's name carries its unit. To change a class, add a field with a
    default, and never change that: a value that equals it is not stored. For anything else raise ``schema_version`` and
    register an upcaster (`eventlog.codec.Upcaster`).
    """

    schema_version: ClassVar[int] = 1


class UnknownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event whose tag this program does not know: kept, readable, exported, and passed over by projections.

    ``tag`` is the stored type, ``data`` its JSON object as decoded, ``schema`` the stored schema.
    """

    tag: str
    data: object
    schema: int = 1


def event_type(cls: type[Event]) -> str:
    """The tag under which a class's events are stored. Raises InvalidEvent, or TypeError where it has none."""
    if not (isinstance(cls, type) and issubclass(cls, Event)):
        raise InvalidEvent(f"a class of events is a subclass of eventlog.Event, not {cls!r}")
    tag = cls.__struct_config__.tag
    if not isinstance(tag, str) or tag == cls.__name__:
        raise TypeError(f'{cls.__qualname__} needs a tag: class {cls.__name__}(Event, tag="subject.verb_past")')
    return tag
