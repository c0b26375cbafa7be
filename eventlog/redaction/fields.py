"""Secrets in JSON values: what the name of a field says is one, or the argument before it, or a name beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from eventlog.redaction import redact_named
from eventlog.redaction.named import MASK, STRONG

_PAIRED = ("name", "key", "Name", "Key", "variable")
"""Beside ``value`` one of these says what it is the value of."""
_LONG_VALUE = re.compile(r"\S{8,}")
_WORDS = re.compile(r"[a-z]{1,16}(?:[-_ ./:][a-z]{1,16}){0,3}")
_ALWAYS = frozenset((
    "api_key", "apikey", "api-key", "access_token", "auth_token", "refresh_token", "private_key", "authorization",
    "cookie", "set-cookie",
))  # fmt: skip


def says_secret(name: str, value: str) -> bool:
    """Whether a field of this name has a secret for its value."""
    kind = _kind(name)
    if kind is None or not value or value == MASK:
        return False
    return kind or (_LONG_VALUE.fullmatch(value) is not None and _WORDS.fullmatch(value) is None)


def holds_secrets(name: str) -> bool:
    """Whether all that is in a list of this name is secret."""
    return _kind(name) is not None


def paired(value: Mapping[str, Any]) -> str | None:
    """What ``value`` is the value of: ``{"name": "API_TOKEN", "value": …}``."""
    if isinstance(value.get("value"), str):
        for name in _PAIRED:
            if isinstance(said := value.get(name), str) and _kind(said) is not None:
                return said
    return None


@lru_cache(maxsize=4096)
def _kind(name: str) -> bool | None:
    """Whether any value of a name is a secret (True), only what looks like one (False), or none (None)."""
    lowered = name.lower()
    if lowered in _ALWAYS:
        return True
    # Ids of sessions are no secrets here, and the signature of a thought is none.
    if len(name) > 200 or lowered.endswith(("id", "signature")) or redact_named(name, "x") != MASK:
        return None
    return lowered.rstrip("s").endswith(STRONG)
