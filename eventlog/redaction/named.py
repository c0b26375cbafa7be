"""Values whose name says that they are secret: ``--password x``, ``API_KEY=x``, ``"token": "x"``, ``Cookie: x``.

One pass finds the words such names end in; what stands around a word decides. (A single expression for all of it is ten
times slower, and output passes through here while a program runs.)
"""

from __future__ import annotations

import re

MASK = "[redacted]"
HINTS = ("pass", "pwd", "secret", "token", "key", "cred", "auth", "sig", "sess", "cookie", "pin", "otp")

_WORD = re.compile(
    r"pass(?:word|wd|phrase|code|wort)?s?|pwd|secrets?|token|key(?:[_-]base)?|credentials?|auth(?:orization)?"
    r"|sig(?:nature)?|sess(?:ion)?[-_]?id|cookie2?|pin|otp"
)
_VALUE = r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|["']?[^\s"'&;,]+)"""
_SEPARATOR = re.compile(r"(?:[_.-]?\d{1,3})?(?:\\?[\"']|\])?\]?[ \t]?(:=|=>|=(?!=)|:(?!:)|%3[dD])[ \t]{0,3}")
_ANY_VALUE = re.compile(_VALUE)
_SPACED = re.compile(rf"[ \t]{{1,20}}(?!-){_VALUE}")
_HEADER = re.compile(
    r"[\w-]{0,60}[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?"
    r"((?:(?:bearer|basic|token|digest|negotiate|apikey|key|aws4-hmac-sha256)[ \t]+)?)([^\s\"',][^\r\n\"']*)",
    re.IGNORECASE,
)
_OPTION_BEFORE = re.compile(r"(?<![\w-])--?(?:[a-z0-9]{1,40}[-_.]){0,6}(?:[a-z0-9]{1,40})?\Z")
_KEY_BEFORE = re.compile(
    r"(?:api|app|access|account|auth|private|secret|signing|signature|encryption|encrypt|master|license|service|ssh"
    r"|client|webhook|session|storage|hmac|jwt|crypt|functions|subscription|deploy)[_-]?\Z"
)
_HEADER_BEFORE = re.compile(r"(?<![\w-])x-[\w-]{0,60}\Z")
_NO_SECRET = re.compile(
    r"[\"']?(?:[\[{(]|(?:required|incorrect|missing|invalid|none|null|true|false|not|is)\b)", re.IGNORECASE
)
_LONG_VALUE = re.compile(r"[\"']?[\w\-./+=~!@#$%^*]{8,}")
_STRONG = ("password", "passwd", "passphrase", "passcode", "passwort", "secret", "credential")
_BEFORE = 64


def redact_named_values(text: str, lowered: str) -> str:
    """``text`` without the values of such names. ``lowered`` is the same text in lower case, of the same length."""
    pieces: list[str] = []
    done = at = 0
    while (word := _WORD.search(lowered, at)) is not None:
        at = word.end()
        if lowered[at : at + 1].isalpha():
            continue
        span = _secret_after(text, lowered, word)
        if span is not None and span[1] > span[0] >= done:
            pieces += (text[done : span[0]], MASK)
            done = at = span[1]
    return "".join((*pieces, text[done:])) if pieces else text


def _secret_after(text: str, lowered: str, word: re.Match[str]) -> tuple[int, int] | None:
    start, end = word.span()
    name = word[0]
    before = lowered[max(0, start - _BEFORE) : start]
    if name in ("authorization", "cookie", "cookie2") or (before.rfind("x-") >= 0 and _HEADER_BEFORE.search(before)):
        header = _HEADER.match(text, end)
        if header is not None and (name == "authorization" or ":" in text[end : header.start(2)]):
            return header.span(2)
    separator = _SEPARATOR.match(text, end)
    if separator is not None:
        # Nothing long is looked at before it is certain that it goes: hostile text must not cost its length squared.
        if not _is_secret_name(name, before) or (
            separator[1] == ":" and not _is_field_value(name, text, separator.end())
        ):
            return None
        value = _ANY_VALUE.match(text, separator.end())
        return None if value is None else value.span()
    if "-" in before and (option := _OPTION_BEFORE.search(before)) is not None and _is_option_name(name, option[0]):
        spaced = _SPACED.match(text, end)
        return None if spaced is None else spaced.span(1)
    return None


def _is_secret_name(name: str, before: str) -> bool:
    last = before[-1:]
    if last in ("/", "\\"):
        # The end of a path: /etc/passwd: Permission denied.
        return False
    if name.startswith("key"):
        return _KEY_BEFORE.search(before) is not None
    if name in ("pass", "pwd"):
        return last in ("_", ".", "-") or before.endswith(("pg", "db", "--"))
    if name in ("pin", "otp"):
        return last in ("_", "-")
    if name in ("auth", "sig", "signature") or name.startswith("sess"):
        return not last.isalpha() or before.endswith("oauth") or (before.endswith("o") and not before[-2:-1].isalpha())
    return name not in ("cookie2", "passs") and (name != "cookie" or "-" in before[-8:])


def _is_option_name(name: str, option: str) -> bool:
    if name.startswith("key"):
        return _KEY_BEFORE.search(option) is not None
    return not option[-1:].isalnum() or name in _STRONG or name == "token"


def _is_field_value(name: str, text: str, at: int) -> bool:
    """After a colon prose may follow: ``unexpected token: ;`` and ``password: incorrect`` tell no secret."""
    if name.rstrip("s").startswith(_STRONG) or name in ("pass", "pwd"):
        return _NO_SECRET.match(text, at) is None
    return _LONG_VALUE.match(text, at) is not None
