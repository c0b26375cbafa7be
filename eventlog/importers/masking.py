"""Secrets in what is imported are masked before it is appended, and counted: the log cannot forget.

Transcripts are full of long ids, so the patterns of `eventlog.redaction` are tried only on the texts of a record in
which a word begins as a vendor's token does, or another of their hints stands. Values of names are looked for where the
text has one of the plainer names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from eventlog.codec import to_json
from eventlog.redaction import LONG, PATTERNS, redact, redact_argv
from eventlog.redaction.fields import holds_secrets, paired, says_secret
from eventlog.redaction.named import MASK, WORDS, redact_named_values

_VENDORS = (
    "AKIA", "ASIA", "ABIA", "ACCA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat", "gldt", "glrt",
    "glcbt", "glptt", "glft", "glimt", "glagent", "glsoat", "gloas", "glsa", "xox", "xapp-", "AIza", "ya29.", "GOCSPX-",
    "sk-", "gsk_", "xai-", "pplx-", "hf_", "r8_", "sk_live_", "rk_live_", "pk_live_", "sk_test_", "rk_test_",
    "pk_test_", "whsec_", "npm_", "pypi-", "dckr_pat_", "SG.", "SK", "key-", "doo_v1_", "dop_v1_", "dor_v1_", "hvs.",
    "hvb.", "hvr.", "dapi", "tskey-", "sbp_", "shpat_", "shpca_", "shppa_", "shpss_", "NRAK-", "lin_api_", "ntn_",
    "secret_", "PMAK-", "ATATT", "ATCTT", "CFPAT-", "figd_", "sntrys_", "AGE-SECRET-KEY-", "eyJ",
)  # fmt: skip
"""How the tokens begin that vendors hand out: a word of a text begins so, or it holds none."""
_STARTS = tuple(vendor.encode() for vendor in _VENDORS)
_HEADS = frozenset(start[:2] for start in _STARTS)
_LEAST = 12
_INSIDE = re.compile(rb"[-_.](?:%s)" % b"|".join(map(re.escape, _STARTS)))
"""A token behind something that hangs on it: ``x-ghp_…``."""
_LONG, _UUID = 20, 36
_WORDS = bytes(byte if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"_-.") else 32 for byte in range(256))
_PARTS = bytes(32 if byte in b"_-." else byte for byte in _WORDS)
_ESCAPE = re.compile(rb"\\(?:[nrtbf]|u[0-9a-fA-F]{4})")
_COVERED = {
    "eyj": (),
    "password": ("login ",),
    "\\n": (),
    "\\r": (),
    "\\t": (),
    "\\u": (),
    "://": ("hooks.slack.com/", "/api/webhooks/", "webhook.office.com/"),
    "user": ("--user", "--proxy-user"),
    "-u ": (" -u ",),
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
_NAMES = re.compile(rb"(?:%s)(?![a-z])" % WORDS.encode())
_NOT_CLEAN = (
    b'"-',  # it may be an option, and what follows it a secret
    b"\xe2\x84\xaa", b"\xc4\xb0",  # in lower case these two are letters of ASCII
)  # fmt: skip


class Masker:
    """Masks text and counts what it masked."""

    def __init__(self) -> None:
        self.count = 0
        found = {hint for pattern in PATTERNS for hint in pattern.hints if hint != LONG}
        hints = sorted({one.encode() for hint in found for one in _COVERED.get(hint, (hint,))})
        gates: dict[bytes, list[bytes]] = {}
        for hint in hints:
            gates.setdefault(next((gate for gate in _GATES if gate in hint), hint), []).append(hint)
        self._gates = tuple(gates.items())
        self._suspicious = True

    def look(self, record: bytes) -> None:
        """What the next texts stand in, as JSON: where nothing in it could be a secret, nothing in them is."""
        self._suspicious = self._may_hold_one(record)

    def _may_hold_one(self, record: bytes) -> bool:
        lowered = record.lower()
        for gate, hints in self._gates:  # not any(): this is asked of every record, and a generator costs more
            if gate in lowered and any(hint in lowered for hint in hints):
                return True
        return b":AA" in record or (b"://" in lowered and b"@" in lowered) or _holds_token(record)

    def json(self, value: Any) -> bytes:
        """A value as JSON, masked. What has nothing in it that could be a secret is not looked through text by text."""
        data = to_json(value)
        if self._suspicious or _may_name_one(data) or data.count(b"[") + data.count(b"{") > _FLAT:
            masked = self.value(value)
            return data if masked is value else to_json(masked)
        return data

    def text(self, text: str) -> str:
        """``text`` with what looks like a secret replaced by ``[redacted]``."""
        if len(text) < 6:
            return text
        masked = text
        if self._suspicious:
            masked = redact(text)
        else:
            lowered = text.lower()
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


def _begin_of_one() -> re.Pattern[bytes]:
    """Where something begins as a token does, in a record of which only letters and digits are left.

    A word of most records begins with two letters as tokens do, and of few with three: so they are asked one by one.
    """
    starts = sorted({start.translate(_PARTS) for start in _STARTS})
    first, second = (b"".join(sorted({start[place : place + 1] for start in starts})) for place in (0, 1))
    return re.compile(b" (?=[%s][%s])%s" % (first, second, _one_of(starts)))


def _one_of(starts: Sequence[bytes]) -> bytes:
    """An expression for any of these, which looks at each letter once."""
    if b"" in starts:
        return b""
    rest: dict[bytes, list[bytes]] = {}
    for start in starts:
        rest.setdefault(start[:1], []).append(start[1:])
    return b"(?:%s)" % b"|".join(re.escape(letter) + _one_of(more) for letter, more in rest.items())


_BEGIN = _begin_of_one()


def _holds_token(record: bytes) -> bool:
    """Whether a word of a record is a vendor's token, perhaps."""
    plain = record
    if b"\\" in record:
        # A backslash and what belongs to it are no part of the word that follows.
        if b"\\u" in record:
            plain = _ESCAPE.sub(b" ", record)
        else:
            plain = record.replace(b"\\n", b"  ").replace(b"\\t", b"  ").replace(b"\\r", b"  ")
    if _BEGIN.search((b" " + plain).translate(_PARTS)) is None:
        return False
    words = plain.translate(_WORDS).split()
    if any(len(word) >= _LEAST and word[:2] in _HEADS and word.startswith(_STARTS) for word in words):
        return True
    return any(len(word) > _LONG and len(word) != _UUID and _INSIDE.search(word) for word in words)


def _may_name_one(data: bytes) -> bool:
    """Whether a name of a secret is in JSON: of a field, or in a text. Names are letters, which it never escapes."""
    for one in _NOT_CLEAN:
        if one in data:
            return True
    return _NAMES.search(data.lower()) is not None


_LONGEST_NAME = 12
"""A longer name may have a secret in it."""
