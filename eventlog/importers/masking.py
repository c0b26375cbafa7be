"""Secrets in what is imported are masked before it is appended, and counted: the log cannot forget.

Transcripts are full of long ids, so the patterns of `eventlog.redaction` are tried only on the texts of a record in
which a word begins as a vendor's token does, or another of their hints stands. Values of names are looked for where the
text has one of the plainer names.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from eventlog.codec import to_json
from eventlog.importers.tokens import holds_token, one_of
from eventlog.redaction import LONG, PATTERNS, Pattern, redact, redact_argv
from eventlog.redaction.fields import holds_secrets, paired, says_secret
from eventlog.redaction.named import HINTS, MASK, WORDS, redact_named_values

_COVERED = {
    "eyj": (),
    "password": ("login ",),
    "\\n": (),
    "\\r": (),
    "\\t": (),
    "\\u": (),
    "://": ("hooks.slack.com/", "/api/webhooks/", "webhook.office.com/"),
    "user": ("--user", "--proxy-user"),
    "-u ": (" -u ", '"-u ', "\\n-u ", "\\r-u ", "\\t-u "),
    "basic ": ("authorization: basic ", "authorization:basic "),
}
"""What is looked for instead of a hint that ordinary text is full of; a URL is suspicious where it has an @, too."""
_GATES = (b"-u", b"hook")
"""What hints have in common is looked for before they are."""
_NAMED = (
    "passw", "passphrase", "secret", "token", "_key", "-key", "apikey", "credential", "authoriz", "cookie", "pass=",
    "pass:", "pwd", "key=", "key:", "key'", 'key"', "sig=", "otp=", "otp:", 'otp"', "pin=", "auth=", "auth:",
    "auth\\", 'auth"', "auth'", "key\\", "otp\\", "sessionid", "session_id", "session-id", "sessid",
)  # fmt: skip
"""Where a text gives a value to a name that is a secret's, one of these is."""
_FLAT = 200
"""What has more in it is looked through, where it may turn out to be nested too deeply."""
_WORDS_IN_TEXT = re.compile(f"(?:{WORDS})(?![a-z])")
_NAMES = re.compile(_WORDS_IN_TEXT.pattern.encode())
_NAME = re.compile(one_of([hint.encode() for hint in HINTS]))
"""One of these is in every name, and where it is not, no other name has to be looked for."""
_KELVIN, _DOTTED = "\u212a".encode(), "\u0130".encode()
"""In lower case these two are letters of ASCII."""


Gates = tuple[tuple[bytes, list[bytes]], ...]


@lru_cache(maxsize=4)
def _gates(patterns: tuple[Pattern, ...]) -> tuple[Gates, Gates]:
    """What is looked for in a record, with the hints that are looked for where it is; those with no name in them."""
    found = {hint for pattern in patterns for hint in pattern.hints if hint != LONG}
    hints = sorted({one.encode() for hint in found for one in _COVERED.get(hint, (hint,))})
    gates: dict[bytes, list[bytes]] = {}
    for hint in hints:
        gates.setdefault(next((gate for gate in _GATES if gate in hint), hint), []).append(hint)
    return tuple(gates.items()), tuple(gate for gate in gates.items() if not _NAME.search(gate[0]))


class Masker:
    """Masks text and counts what it masked."""

    def __init__(self) -> None:
        self.count = 0
        self._gates, self._gates_unnamed = _gates(tuple(PATTERNS))
        self._suspicious = self._names = self._options = True

    def look(self, record: bytes, *, whole: bool = False) -> None:
        """What the next texts stand in, as JSON: where nothing in it could be a secret, nothing in them is.

        ``whole``: nothing is masked before the next look but what it has, fields by their names and all.
        """
        lowered = record.lower()
        named = _NAME.search(lowered) is not None
        self._suspicious = self._may_hold_one(record, lowered, named)
        self._names = not whole or self._suspicious or _may_name_one(record, lowered, named)
        self._options = self._names or _may_be_more(record)

    def _may_hold_one(self, record: bytes, lowered: bytes, named: bool) -> bool:
        # Not any(): this is asked of every record, and a generator costs more than what it asks.
        for gate, hints in self._gates if named else self._gates_unnamed:
            if gate in lowered and any(hint in lowered for hint in hints):
                return True
        return (b"@" in lowered and b"://" in lowered) or b":AA" in record or holds_token(record)

    def json(self, value: Any) -> bytes:
        """A value as JSON, masked. What has nothing in it that could be a secret is not looked through text by text."""
        data = to_json(value)
        if not self._options:
            return data
        if not self._suspicious and not _may_be_more(data):
            lowered = data.lower()
            if not self._names or not _may_name_one(data, lowered, _NAME.search(lowered) is not None):
                return data
        masked = self.value(value)
        return data if masked is value else to_json(masked)

    def text(self, text: str) -> str:
        """``text`` with what looks like a secret replaced by ``[redacted]``."""
        if len(text) < 6 or not self._names:
            return text
        masked = text
        if self._suspicious:
            masked = redact(text)
        else:
            lowered = text.lower()
            if len(lowered) == len(text) and _WORDS_IN_TEXT.search(lowered) is None:
                return text
            for hint in _NAMED:
                if hint in lowered:
                    masked = redact_named_values(text, lowered) if len(lowered) == len(text) else redact(text)
                    break
        if masked is not text and masked != text:
            self.count += max(1, masked.count(MASK) - text.count(MASK))
        return masked

    def again(self, text: str) -> str:
        """A text that stands elsewhere, too: masked, and what is masked is counted there."""
        counted = self.count
        masked = self.text(text)
        self.count = counted
        return masked

    def value(self, value: Any) -> Any:
        """A JSON value with each text in it masked; the very object where nothing was."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list):
            return self._list(value)
        return value

    def _object(self, value: dict[str, Any]) -> dict[str, Any]:
        made: dict[Any, Any] | None = None
        said = paired(value) if "value" in value else None
        for name, item in value.items():
            if isinstance(item, str):
                clean: Any = self._named(said if said is not None and name == "value" else name, item)
            elif isinstance(item, list) and item and isinstance(item[0], str) and holds_secrets(name):
                clean = [self._named(name, one) if isinstance(one, str) else self.value(one) for one in item]
            else:
                clean = self.value(item)
            if clean is not item:
                made = dict(value) if made is None else made
                made[name] = clean
        if any(len(name) > _LONGEST_NAME for name in value):
            names = {name: self.text(name) for name in value}
            if any(name != clean for name, clean in names.items()):
                return {names[name]: item for name, item in (value if made is None else made).items()}
        return value if made is None else made

    def _list(self, value: list[Any]) -> list[Any]:
        items = [self.value(item) for item in value]
        if any(isinstance(item, str) and item[:1] == "-" for item in items):
            # Arguments: what follows --password is one.
            texts = [item if isinstance(item, str) else "" for item in items]
            clean = redact_argv(texts)
            for place, (old, new) in enumerate(zip(texts, clean, strict=True)):
                if old != new:
                    self.count += 1
                    items[place] = new
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value

    def _named(self, name: str, text: str) -> str:
        if says_secret(name, text):
            self.count += 1
            return MASK
        return self.text(text)


def _may_name_one(data: bytes, lowered: bytes, named: bool) -> bool:
    """Whether a name of a secret is in JSON: of a field, or in a text. Names are letters, which it never escapes."""
    if named and _NAMES.search(lowered) is not None:
        return True
    return not data.isascii() and (_KELVIN in data or _DOTTED in data)


def _may_be_more(data: bytes) -> bool:
    """Whether JSON has to be looked through anyway: for an option with a secret behind it, or because it is deep."""
    return b'"-' in data or (len(data) > 2 * _FLAT and data.count(b"[") + data.count(b"{") > _FLAT)


_LONGEST_NAME = 12
"""A longer name may have a secret in it."""
