"""What is shown of sessions, without secrets: what came by an import has none, what came by the interface may."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from eventlog.redaction import redact, redact_named
from eventlog.redaction.named import MASK

T = TypeVar("T")
_TEXTS = frozenset(("title", "status_reason", "text", "uri", "task", "output"))
_VALUES = frozenset(("metadata", "arguments", "result", "data"))
_PARTS = frozenset(("message", "parts"))


def shown(item: T) -> T:
    """A row, a message with its parts, or a list of them, with what looks like a secret masked in all that was said.

    Ids, names and numbers are left alone; what has nothing to mask is the very object.
    """
    if isinstance(item, (list, tuple)) and type(item) in (list, tuple):
        return type(item)(shown(one) for one in item)
    if not isinstance(item, msgspec.Struct):
        return item
    changes: dict[str, Any] = {}
    for name in item.__struct_fields__:
        value = getattr(item, name)
        if value is None or not value:
            continue
        if name in _TEXTS and isinstance(value, str):
            masked: Any = redact(value)
        elif name in _VALUES:
            masked = masked_value(value)
        elif name in _PARTS:
            masked = shown(value)
        else:
            continue
        if masked != value:
            changes[name] = masked
    return msgspec.structs.replace(item, **changes) if changes else item


def masked_value(value: Any, name: str = "") -> Any:
    """A JSON value with its secrets masked: each text by itself, and whatever has a name that says it is one."""
    try:
        return _masked(value, name)
    except RecursionError:
        return MASK


def _masked(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {redact(key): _masked(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_masked(one, name) for one in value]
    if name and value not in (None, "") and not isinstance(value, bool) and _is_secret(name):
        return MASK
    return redact(value) if isinstance(value, str) else value


@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    # Ids of sessions are no secrets here.
    return not name.lower().endswith("id") and redact_named(name, "x") == MASK
