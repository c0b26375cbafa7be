"""Events to JSON bytes and back. Nothing else knows JSON.

What is encoded is decoded again before it is accepted, so a record that its own class would refuse cannot be stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import msgspec

from eventlog.allowed import with_allowed
from eventlog.errors import DecodeError, EventTooLarge, InvalidEvent
from eventlog.events import EVENTS, Event, UnknownEvent, event_type
from eventlog.integers import beyond_64_bits, test_of

MAX_EVENT_BYTES = 1 << 20
MAX_TYPE_LENGTH = 200
_SHIPPED = frozenset(EVENTS)

to_json = msgspec.json.Encoder().encode
from_json = msgspec.json.Decoder().decode


class Upcaster(NamedTuple):
    """How a record of an older schema becomes one of the next: ``convert(data) -> data``, one step at a time.

    Runs only for records whose stored schema is ``from_schema``; the result has schema ``from_schema + 1``.
    """

    tag: str
    from_schema: int
    convert: Callable[[dict[str, Any]], dict[str, Any]]


Encoded = tuple[str, bytes, int, bytes, Event | UnknownEvent]
"""An event ready to be stored: tag, tag in UTF-8, schema, JSON bytes, and the event as reading it will give it back."""


class _Kind(NamedTuple):
    cls: type[Event]
    tag: str
    tag_bytes: bytes
    schema: int
    decode: Callable[[bytes | str], Event]
    own: bool
    """Not a shipped class: those bound their integers themselves."""


class Codec:
    """Knows a set of event classes: the shipped ones, those given, and those it has been handed to encode."""

    default: ClassVar[Codec]

    def __init__(self, events: Iterable[type[Event]] = (), upcasters: Iterable[Upcaster] = ()) -> None:
        self._by_class: dict[type, _Kind] = {}
        self._by_tag: dict[str, _Kind] = {}
        self.current: dict[str, tuple[int, Callable[[bytes | str], Event]]] = {}
        self._upcasters = {(step.tag, step.from_schema): step.convert for step in upcasters}
        for cls in (*EVENTS, *events):
            self.learn(cls)

    def learn(self, cls: type[Event]) -> None:
        """Make a class of events known. Two classes cannot share a tag."""
        kind = self._by_class.get(cls)
        if kind is not None:
            return
        tag = event_type(cls)
        known = self._by_tag.get(tag)
        if known is not None and (known.cls.__module__, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
            raise InvalidEvent(
                f"the tag {tag!r} belongs to {_full_name(known.cls)}, not to {_full_name(cls)}; one needs another"
            )
        _check_tag(tag)
        decode = msgspec.json.Decoder(cls).decode
        kind = _Kind(cls, tag, tag.encode(), cls.schema_version, decode, cls not in _SHIPPED)
        self._by_class[cls] = kind
        self._by_tag[tag] = kind
        self.current[tag] = (kind.schema, kind.decode)

    def knows(self, tag: str) -> bool:
        """Whether a class is known for this tag."""
        return tag in self._by_tag

    def is_plain(self, classes: Iterable[type[Event]]) -> bool:
        """Whether any codec that knows these classes reads their records as this one does: no upcaster takes part."""
        known = self._by_tag
        return not self._upcasters and all((k := known.get(event_type(cls))) and k.cls is cls for cls in classes)

    def encode(self, event: Event | UnknownEvent) -> Encoded:
        """The bytes to store. Raises InvalidEvent (with the field's path) or EventTooLarge."""
        kind = self._by_class.get(type(event))
        if kind is None:
            if isinstance(event, UnknownEvent):
                return self._encode_unknown(event)
            if not isinstance(event, Event):
                raise InvalidEvent(f"an event is a subclass of eventlog.Event, not {type(event).__name__}")
            self.learn(type(event))
            kind = self._by_class[type(event)]
        cls, tag, tag_bytes, schema, decode, own = kind
        try:
            data = to_json(event)
            decoded = decode(data)
        except (msgspec.ValidationError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise _refusal(tag, event, error) from error
        if b"null" in data and (path := find_non_finite(event)):
            raise InvalidEvent(f"{tag}: a number that JSON cannot hold (NaN or infinite) at `{path}`", path=path)
        if own:
            _check_integers(cls, tag, decoded)
        if len(data) > MAX_EVENT_BYTES:
            raise _too_large(tag, len(data))
        return tag, tag_bytes, schema, data, decoded

    def _encode_unknown(self, event: UnknownEvent) -> Encoded:
        _check_tag(event.tag)
        if not isinstance(event.data, Mapping):
            raise InvalidEvent(f"{event.tag}: the data of an event is a JSON object")
        try:
            data = to_json(event.data)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise _refusal(event.tag, event.data, error) from error
        if b"null" in data and (path := find_non_finite(event.data)):
            raise InvalidEvent(f"{event.tag}: a number that JSON cannot hold (NaN or infinite) at `{path}`", path=path)
        return self.encode_raw(event.tag, event.schema, data)

    def encode_raw(self, tag: str, schema: int, data: bytes) -> Encoded:
        """JSON bytes from outside, kept byte for byte. Where the tag is known they must decode, within 64 bits."""
        encoded = self._kept(tag, schema, data)
        event = encoded[4]
        kind = self._by_class.get(type(event))
        if kind is not None and kind.own:
            _check_integers(kind.cls, tag, event)
        return encoded

    def _kept(self, tag: str, schema: int, data: bytes) -> Encoded:
        _check_tag(tag)
        if len(data) > MAX_EVENT_BYTES:
            raise _too_large(tag, len(data))
        try:
            text = data.decode()
            event = self.decode(tag, schema, text)
        except (DecodeError, UnicodeDecodeError) as error:
            raise InvalidEvent(f"{tag}: {error}", tag=tag) from error
        return tag, tag.encode(), schema, data, event

    def check(self, tag: str, schema: int, text: str) -> Event | UnknownEvent:
        """The event of another log's record, as `encode_raw` takes it; integers of any size, as old records have them.

        Fast where there is nothing to say against it.
        """
        kind = self.current.get(tag)
        if kind is not None and kind[0] == schema and len(text) <= MAX_EVENT_BYTES // 4:
            try:
                return kind[1](text)
            except (msgspec.DecodeError, ValueError, RecursionError):
                pass  # told below
        return self._kept(tag, schema, text.encode())[4]

    def decode(self, tag: str, schema: int, data: str | bytes) -> Event | UnknownEvent:
        """The event of a stored record; UnknownEvent where the tag, or its schema, is not known here."""
        kind = self._by_tag.get(tag)
        try:
            if kind is None or schema > kind.schema:
                return UnknownEvent(tag=tag, data=from_json(data), schema=schema)
            if schema == kind.schema:
                return kind.decode(data)
            return self._upcast(kind, schema, data)
        except (msgspec.DecodeError, ValueError, TypeError, KeyError, RecursionError) as error:
            told = str(error) if kind is None else with_allowed(kind.cls, error)
            raise DecodeError(f"{tag} (schema {schema}): {told}", tag=tag, schema=schema) from error

    def _upcast(self, kind: _Kind, schema: int, data: str | bytes) -> Event:
        value = from_json(data)
        for step in range(schema, kind.schema):
            convert = self._upcasters.get((kind.tag, step))
            if convert is None:
                raise DecodeError(
                    f"no upcaster takes {kind.tag} from schema {step} to {step + 1}", tag=kind.tag, schema=step
                )
            try:
                value = convert(value)
            except Exception as error:
                raise DecodeError(
                    f"the upcaster of {kind.tag} from schema {step}: {type(error).__name__}: {error}", tag=kind.tag
                ) from error
        return msgspec.convert(value, kind.cls)

    def gaps(self) -> list[str]:
        """Schemas below a class's own that no upcaster lifts, as sentences."""
        return [
            f"no upcaster takes {kind.tag} from schema {step} to {step + 1}"
            for kind in self._by_tag.values()
            for step in range(1, kind.schema)
            if (kind.tag, step) not in self._upcasters
        ]


def _full_name(cls: type[Event]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _check_tag(tag: str) -> None:
    if not tag or len(tag) > MAX_TYPE_LENGTH or not tag.isprintable() or " " in tag or "." not in tag:
        raise InvalidEvent(f"an event's type is subject.verb_past, at most {MAX_TYPE_LENGTH} characters, not {tag!r}")


def _too_large(tag: str, size: int) -> EventTooLarge:
    return EventTooLarge(
        f"{tag}: {size:,} bytes, the limit is {MAX_EVENT_BYTES:,}; save big content as an artifact and refer to it",
        size_bytes=size,
        limit_bytes=MAX_EVENT_BYTES,
    )


def _check_integers(cls: type[Event], tag: str, event: object) -> None:
    """Raises InvalidEvent where an integer is beyond 64 bits, or nested too deeply to be looked at."""
    try:
        if (too_big := test_of(cls)) is None or not too_big(event):
            return
        path = _find(event, beyond_64_bits) or "$"
    except RecursionError as error:
        raise _refusal(tag, event, error) from error
    raise InvalidEvent(f"{tag}: an integer beyond 64 bits at `{path}`", path=path)


def _refusal(tag: str, value: object, error: Exception) -> InvalidEvent:
    if isinstance(error, RecursionError):
        return InvalidEvent(f"{tag}: nested too deeply", tag=tag)
    if isinstance(error, UnicodeEncodeError):
        path = _find(value, _lone_surrogate) or "$"
        return InvalidEvent(f"{tag}: text with a lone surrogate (not valid Unicode) at `{path}`", path=path)
    kind = type(value)
    return InvalidEvent(f"{tag}: {with_allowed(kind, error) if issubclass(kind, Event) else error}", tag=tag)


def find_non_finite(value: object) -> str | None:
    """The path of the first NaN or infinity in a value. Raises InvalidEvent when it is nested too deeply to look."""
    try:
        return _find(value, _non_finite)
    except RecursionError as error:
        raise InvalidEvent("nested too deeply") from error


def _non_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _lone_surrogate(value: object) -> bool:
    return isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value)


def _find(value: object, wrong: Callable[[object], bool], path: str = "$") -> str | None:
    """The path of the first value for which ``wrong`` holds."""
    if wrong(value):
        return path
    children: Iterable[tuple[str, object]] = ()
    if isinstance(value, msgspec.Struct):
        children = ((f"{path}.{name}", getattr(value, name)) for name in value.__struct_fields__)
    elif hasattr(type(value), "__dataclass_fields__"):
        import dataclasses  # slow to import, and in no event of ours

        children = ((f"{path}.{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value))  # type: ignore[arg-type]
    elif isinstance(value, Mapping):
        if any(wrong(key) for key in value):
            return f"{path} (a key)"
        children = ((f"{path}.{key}", item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        children = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    return next((found for name, item in children if (found := _find(item, wrong, name))), None)


Codec.default = Codec()
