"""PostgreSQL's text cannot hold NUL: it is written as two characters 1, and 1 as 1 and 2, which keeps the order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

NUL, ESCAPE = "\0", "\1"
_PAIR = re.compile(f"{ESCAPE}(.)", re.DOTALL)


def held(values: Sequence[Any]) -> Sequence[Any]:
    """Values as PostgreSQL can hold them."""
    if any(isinstance(value, str) and (NUL in value or ESCAPE in value) for value in values):
        return [_hold(value) if isinstance(value, str) else value for value in values]
    return values


def plain(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Values as they were before they were `held`."""
    if any(type(value) is str and ESCAPE in value for value in values):
        return tuple([_plain(value) if type(value) is str else value for value in values])
    return values


def _hold(text: str) -> str:
    return text.replace(ESCAPE, f"{ESCAPE}\2").replace(NUL, f"{ESCAPE}{ESCAPE}")


def _plain(text: str) -> str:
    return _PAIR.sub(lambda pair: NUL if pair[1] == ESCAPE else ESCAPE, text)


class _Encoders(dict[type, Callable[[Any], bytes]]):
    """How values are written as text, by their type."""

    def __missing__(self, kind: type) -> Callable[[Any], bytes]:
        for known in (bool, int, float, str, bytes):
            if issubclass(kind, known):
                self[kind] = self[known]
                return self[known]
        raise psycopg.ProgrammingError(f"cannot adapt type {kind.__name__!r}")


_ENCODERS = _Encoders(
    {
        bool: lambda value: b"t" if value else b"f",
        int: b"%d".__mod__,
        float: lambda value: float.__repr__(value).encode(),
        str: str.encode,
        bytes: lambda value: b"\\x" + value.hex().encode(),
    }
)


def cells(values: Sequence[Any]) -> list[bytes | None]:
    """Values as text, `held`; None is NULL."""
    encoders = _ENCODERS
    encoded = [None if value is None else encoders[value.__class__](value) for value in values]
    every = b"".join(filter(None, encoded))
    if 0 in every or 1 in every:  # looked for as bytes, which are no numbers, they take ten times as long
        return [None if value is None else encoders[value.__class__](value) for value in held(values)]
    return encoded
