"""What a field takes, told beside the message of msgspec that a word is none of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

_NO_WORD = re.compile(r"Invalid enum value .* - at `\$(?P<path>[^`]*)`", re.DOTALL)
_STEP = re.compile(r"\.(\w+)|\[[^\]]*\]")


def with_allowed(kind: Any, error: Exception) -> str:
    """The message of an error of decoding a ``kind``, with the words that could stand there where one is wrong."""
    told = str(error)
    found = _NO_WORD.fullmatch(told) if isinstance(error, msgspec.ValidationError) else None
    if found is None:
        return told
    kinds = list(_each([inspect.type_info(kind)]))
    for step in _STEP.finditer(found["path"]):
        kinds = list(_each(_under(kinds, step[1])))
    words = {str(value) for one in kinds if isinstance(one, inspect.LiteralType) for value in one.values}
    return f"{told}: it is one of {', '.join(sorted(words))}" if words else told


def _each(kinds: Iterable[Any]) -> Iterator[Any]:
    for kind in kinds:
        if isinstance(kind, inspect.UnionType):
            yield from _each(kind.types)
        else:
            yield kind


def _under(kinds: Iterable[Any], name: str | None) -> Iterator[Any]:
    """The types of the field of a name, or (None) of the items."""
    for kind in kinds:
        if name is None:
            items = getattr(kind, "item_type", None) or getattr(kind, "value_type", None)
            yield from (items,) if items is not None else getattr(kind, "item_types", ())
        elif isinstance(kind, inspect.StructType):
            yield from (field.type for field in kind.fields if field.encode_name == name)
