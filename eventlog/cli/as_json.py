"""Answers as JSON: keys are the Structs' fields, and no control character stands in the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventlog.cli.sanitise import clean_json

if TYPE_CHECKING:
    from msgspec import Raw

    from eventlog.store.base import Record
    from eventlog.store.lines import Line


def to_json(item: object, indent: bool = False) -> str:
    """One JSON value, in one line unless ``indent``; hashes in hexadecimal; no control character in it."""
    import msgspec

    text = msgspec.json.encode(json_ready(item)).decode()
    if indent:
        text = msgspec.json.format(text, indent=2)
    return clean_json(text)


def json_ready(item: object) -> object:
    """``item`` with bytes as hexadecimal and a record's stored JSON as the object it is; keys are the fields' names."""
    import msgspec

    if isinstance(item, msgspec.Struct):
        names = item.__struct_fields__
        if "data" in names and "hash" in names:
            return _record(item)  # type: ignore[arg-type]
        return {name: json_ready(value) for name, value in struct_fields(item).items()}
    if isinstance(item, bytes):
        return item.hex()
    if isinstance(item, dict):
        return {key: json_ready(value) for key, value in item.items()}
    if isinstance(item, list | tuple) and not hasattr(item, "_fields"):
        return [json_ready(value) for value in item]
    if hasattr(item, "_asdict"):
        return {key: json_ready(value) for key, value in item._asdict().items()}
    if hasattr(item, "__dataclass_fields__") and not isinstance(item, type):
        return {name: json_ready(getattr(item, name)) for name in item.__dataclass_fields__}
    return item


def struct_fields(item: Any) -> dict[str, Any]:
    """A Struct's fields by name, as they are."""
    return {name: getattr(item, name) for name in item.__struct_fields__}


def _record(record: Record) -> Line:
    from eventlog.store.lines import NULL, Line

    return Line(
        position=record.position,
        stream=record.stream,
        version=record.version,
        type=record.type,
        schema=record.schema,
        occurred_at=record.occurred_at,
        recorded_at=record.recorded_at,
        key=record.key,
        actor=record.actor,
        correlation=record.correlation,
        causation=record.causation,
        data=_raw(record.data),
        metadata=NULL if record.metadata is None else _raw(record.metadata),
        hash=record.hash.hex(),
    )


def _raw(stored: str) -> Raw:
    import msgspec

    if "\n" in stored or "\r" in stored or "\t" in stored:
        stored = msgspec.json.format(stored, indent=-1)
    return msgspec.Raw(stored.encode())
