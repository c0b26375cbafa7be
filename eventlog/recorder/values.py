"""What a program hands over becomes something the log can hold: never an exception, never a secret, never endless."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Literal

from eventlog.errors import InvalidInput
from eventlog.events.runs import Scalar
from eventlog.redaction import redact, redact_named

MAX_TEXT = 16 * 1024
MAX_MESSAGE = 8 * 1024
MAX_NAME = 200
MAX_ENTRIES = 1000
_MAX_INTEGER = 2**53

Metric = float | Literal["nan", "inf", "-inf"]


def plain(text: str) -> str:
    r"""Text that UTF-8 can hold: bytes of a file name that are not UTF-8 become ``\xNN``, surrogates ``\uNNNN``."""
    if text.isascii():
        return text
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else char


def clip(text: str, limit: int, whole: int = 0) -> str:
    """At most ``limit`` characters; a cut is said at the end, with how long the whole was."""
    whole = max(whole, len(text))
    if len(text) <= limit and whole == len(text):
        return text
    told = f"… ({whole:,} characters)"
    return text[: max(0, limit - len(told))] + told


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Any object as text: valid Unicode, redacted, bounded."""
    return bounded(value, limit)[0]


def bounded(value: object, limit: int) -> tuple[str, bool]:
    """The same, and whether it was cut. Redacted before it is cut, so that no half secret stays."""
    try:
        shown = value if isinstance(value, str) else str(value)
    except Exception as error:
        shown = f"<{type(value).__name__} without text: {type(error).__name__}>"
    if len(shown) <= limit:
        return clip(redact(plain(shown)), limit), False
    return clip(redact(plain(shown[: 4 * limit])), limit, len(shown)), True


def number_text(value: float) -> Literal["nan", "inf", "-inf"]:
    """How a number that JSON does not know is written."""
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def metric(value: object) -> Metric:
    """A number, or its word when it is not finite. Raises TypeError or ValueError when it is no number at all."""
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else number_text(number)


def scalar(name: str, value: object) -> Scalar:
    """A parameter's value: a number that JSON keeps exactly, a boolean, None, or text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return (
            int(value)
            if abs(value) <= _MAX_INTEGER
            else clip(str(value) if abs(value) < 10**1000 else "huge", MAX_TEXT)
        )
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else number_text(value)
    return redact_named(name, text(value))


def parameters(values: Mapping[str, object]) -> dict[str, Scalar]:
    """Parameters as the log holds them: the first 1,000. Raises InvalidInput."""
    if not isinstance(values, Mapping):
        raise InvalidInput(f"parameters are a mapping of names to values, not {type(values).__name__}")
    pairs = list(values.items())[:MAX_ENTRIES]
    return {text(name, MAX_NAME): scalar(str(name), value) for name, value in pairs}


def tags(values: Mapping[str, object]) -> dict[str, str]:
    """Tags as the log holds them: the first 1,000. Raises InvalidInput."""
    if not isinstance(values, Mapping):
        raise InvalidInput(f"tags are a mapping of names to text, not {type(values).__name__}")
    pairs = list(values.items())[:MAX_ENTRIES]
    return {text(name, MAX_NAME): redact_named(str(name), text(value, 1024)) for name, value in pairs}


def paths(values: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Files to keep, as paths. Raises InvalidInput."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidInput(f"inputs are a list of paths, not {type(values).__name__}")
    try:
        return [os.fsdecode(one) for one in values]
    except TypeError as error:
        raise InvalidInput(f"an input is a path: {error}") from error
