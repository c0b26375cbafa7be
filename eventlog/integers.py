"""Integers beyond 64 bits: JSON and Python hold them, a column of integers does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, get_origin

from msgspec import inspect

Test = Callable[[Any], bool]
_ITEMS = (list, tuple, set, frozenset)


def beyond_64_bits(value: object) -> bool:
    """Whether this is such an integer."""
    return isinstance(value, int) and not -(2**63) <= value < 2**63


@cache
def test_of(cls: type) -> Test | None:
    """Whether an instance of a class has such an integer where the class says that an integer stands.

    None: it says so nowhere. What stands in a field of `typing.Any` is somebody's JSON, and kept as it is.
    """
    return _test(inspect.type_info(cls), {})


def _test(kind: Any, known: dict[type, Test]) -> Test | None:
    """``known``: the classes that are being looked at, for those that hold themselves."""
    if isinstance(kind, inspect.IntType):
        return beyond_64_bits
    if isinstance(kind, inspect.StructType | inspect.DataclassType | inspect.NamedTupleType | inspect.TypedDictType):
        return known[kind.cls] if kind.cls in known else _of_fields(kind, known)
    if isinstance(kind, inspect.UnionType):
        return _any(kind.types, known)
    if isinstance(kind, inspect.DictType):
        keys, values = _any((kind.key_type,), known), _any((kind.value_type,), known)
        if keys is None and values is None:
            return None
        return lambda value: (
            isinstance(value, dict)
            and bool((keys and any(map(keys, value))) or (values and any(map(values, value.values()))))
        )
    held = (kind.item_type,) if hasattr(kind, "item_type") else getattr(kind, "item_types", ())
    item = _any(held, known)
    return None if item is None else lambda value: isinstance(value, _ITEMS) and any(map(item, value))


def _any(kinds: tuple[Any, ...], known: dict[type, Test]) -> Test | None:
    tests = [test for kind in kinds if (test := _test(kind, known))]
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda value: any(test(value) for test in tests)


def _of_fields(kind: Any, known: dict[type, Test]) -> Test | None:
    parts: list[tuple[str, Test]] = []
    cls = get_origin(kind.cls) or kind.cls  # ``Box`` of a ``Box[int]``

    def of_attributes(value: Any) -> bool:
        if isinstance(value, cls):
            for name, test in parts:
                if test(getattr(value, name)):
                    return True
        return False

    def of_entries(value: Any) -> bool:
        return isinstance(value, dict) and any(test(value.get(name)) for name, test in parts)

    known[kind.cls] = of_entries if isinstance(kind, inspect.TypedDictType) else of_attributes
    parts += [(field.name, test) for field in kind.fields if (test := _test(field.type, known))]
    return known[kind.cls] if parts else None
