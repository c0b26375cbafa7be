"""Secrets are taken out before anything is appended: the log cannot forget.

Most text holds none, and a program may write a lot of it, so each pattern is tried only where it can match: where one
of its hints is, or (for the tokens that vendors hand out) where many token characters stand in a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from eventlog.redaction.named import HINTS, MASK, redact_named_values

LONG = "\n"
"""A hint of its own: 18 or more letters, digits, hyphens and underscores in a row."""

_RUN = 18
_RUN_TEXT = re.compile(r"[A-Za-z0-9_-]{18}")
_TOKEN_CHARACTERS = bytes(
    97 if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"_-") else 32 for byte in range(256)
)
_FLAG = re.compile(
    r"(?i)--?(?:[a-z0-9]{1,40}[-_.]){0,6}(?:[a-z0-9]*(?:pass(?:word|wd|phrase|code)|token|secrets?|credentials?)"
    r"|pass|pwd|o?auth|signature|session-?_?id|cookie|bearer|pin|otp"
    r"|(?:api|app|access|account|auth|private|secret|signing|encryption|master|license|storage|ssh|client"
    r"|session|service)[-_]?key)"
)
_VENDORS = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",  # AWS
    r"gh[pousr]_\w{16,}|github_pat_\w{20,}",
    r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat|oas|sa)[-_][\w.-]{16,}",  # GitLab, Grafana
    r"xox[a-z](?:\.xox[a-z])?-[\w-]{8,}|xapp-\d-[\w-]{8,}",  # Slack
    r"AIza[\w-]{30,}|ya29\.[\w-]{10,}|GOCSPX-[\w-]{20,}",  # Google
    r"sk-[\w-]{16,}|gsk_\w{20,}|xai-\w{20,}|pplx-\w{20,}|hf_\w{20,}|r8_\w{20,}",  # models
    r"[srp]k_(?:live|test)_\w{10,}|whsec_[\w+/=]{16,}",  # Stripe
    r"npm_\w{20,}|pypi-[\w-]{20,}|dckr_pat_[\w-]{20,}",  # package registries
    r"SG\.[\w-]{10,}\.[\w-]{10,}|SK[0-9a-f]{32}|key-[0-9a-f]{32}|\d{8,10}:[\w-]{35}\b",  # mail and messages
    r"do[opr]_v1_[0-9a-f]{32,}|hv[sbr]\.[\w-]{20,}|dapi[0-9a-f]{32}|tskey-[\w-]{10,}|sbp_[0-9a-f]{20,}",  # clouds
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{20,}|NRAK-\w{20,}|lin_api_\w{20,}|ntn_\w{20,}|secret_\w{32,}|PMAK-[\w-]{20,}"
    r"|ATATT[\w-]{20,}|ATCTT[\w-]{20,}|CFPAT-[\w-]{20,}|figd_[\w-]{20,}|sntrys_[\w-]{20,}",  # services
    r"AGE-SECRET-KEY-1[0-9A-Z]{20,}",
)


_ESCAPED = r"(?:(?<=\\[nrt])|(?<=\\u[0-9a-fA-F]{4}))"
"""After a line break, a tab or another character as JSON writes it in a text: no part of the word that follows."""
_ESCAPES = ("\\n", "\\r", "\\t", "\\u")


_TOKEN = (
    # Where one begins in the middle of a run of its characters not much is looked at: each of a run may be one.
    rf"(?:(?:(?<![\w-])|{_ESCAPED})eyJ[\w-]{{6,}}+|(?<=-)eyJ[\w-]{{6,500}}+)"
    r"\.[\w-]{4,}(?:\.[\w-]*){0,3}"
)


class Pattern(NamedTuple):
    """What a kind of secret looks like. ``hints``: lower-case strings, one of which every match contains, or LONG."""

    name: str
    regex: str
    replacement: str
    hints: tuple[str, ...]


PATTERNS: list[Pattern] = [
    Pattern(
        "private key",
        r"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----[\s\S]*?(?:-----END \1-----|\Z)",
        MASK,
        ("private key",),
    ),
    Pattern("JSON web token", _TOKEN, MASK, ("eyj",)),
    Pattern("vendor token", rf"(?<![A-Za-z0-9])(?:{'|'.join(_VENDORS)})", MASK, (LONG,)),
    Pattern("vendor token in JSON", rf"{_ESCAPED}(?:{'|'.join(_VENDORS)})", MASK, _ESCAPES),
    Pattern(
        "webhook",
        r"(?<=hooks\.slack\.com/)(?:services|workflows)/[\w/]+|(?<=/api/webhooks/)\d+/[\w-]+"
        r"|(?<=webhook\.office\.com/)\w\S{10,}",
        MASK,
        ("://",),
    ),
    Pattern(
        "user and password in a URL",
        r"(?<=://)([^\s/@:'\"]{0,200}):([^\s/'\"]{1,500})(?=@)",
        rf"\1:{MASK}",
        ("://",),
    ),
    Pattern("token in a URL", r"(?<=://)[\w\-.~%]{18,500}(?=@)", MASK, ("://",)),
    Pattern("netrc", r"(\blogin\s{1,20}\S{1,200}\s{1,20}password\s{1,20})\S+", rf"\1{MASK}", ("password",)),
    Pattern(
        "bearer",
        r"\b((?i:bearer)\s+)(?=[\w\-.~+/=]{0,100}[\d._\-+/=A-Z])[\w\-.~+/]{8,}=*",
        rf"\1{MASK}",
        (LONG, "bearer "),
    ),
    Pattern(
        "basic",
        # Base64 as it comes of a user and a password, and not the next word of a sentence.
        r"\b((?i:basic)\s+)(?=[A-Za-z0-9+/]{0,100}[A-Z0-9+/=])(?:[A-Za-z0-9+/]{4}){2,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
        r"(?![\w.\-=+/])",
        rf"\1{MASK}",
        ("basic ",),
    ),
    Pattern(
        "user option",
        r"((?:^|(?<=\s))(?:-u|--user|--proxy-user|--userpwd)[ =][\"']?[^\s:\"'/]{1,200}:)[^\s\"'/][^\s\"']*",
        rf"\1{MASK}",
        ("-u ", "user", "-u="),
    ),
]


def add_pattern(name: str, regex: str, replacement: str = MASK, hints: Iterable[str] = ("",)) -> None:
    """Redact one more kind of secret, from now on, in this process.

    ``hints``: lower-case strings, one of which every match contains; the default tries the pattern on every text.
    Raises re.error when ``regex`` is not one.
    """
    _compiled(regex)
    PATTERNS.append(Pattern(name, regex, replacement, tuple(hints)))
    _hints.cache_clear()


def take_patterns(patterns: Iterable[Pattern]) -> None:
    """Redact these kinds of secrets, and no others, from now on, in this process."""
    PATTERNS[:] = patterns
    _hints.cache_clear()


@lru_cache(maxsize=256)
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex, re.ASCII)


@lru_cache(maxsize=1)
def _hints() -> tuple[tuple[str, bytes], ...]:
    """Every hint but LONG, without those that another one covers."""
    every = {hint for pattern in PATTERNS for hint in pattern.hints if hint != LONG} | set(HINTS)
    least = sorted(hint for hint in every if not any(other in hint for other in every if other != hint))
    return tuple((hint, hint.encode()) for hint in least)


def redact(text: str) -> str:
    """``text`` with what looks like a secret replaced by ``[redacted]``."""
    lowered = text.lower()
    long = _RUN_TEXT.search(text) is not None
    if not long:
        for hint, _ in _hints():  # not any(): most texts are short, and a generator takes longer than looking at one
            if hint in lowered:
                break
        else:
            return text
    for pattern in PATTERNS:
        if any((long if hint == LONG else hint in lowered) for hint in pattern.hints):
            text = _compiled(pattern.regex).sub(pattern.replacement, text)
    lowered = text.lower()
    if len(lowered) != len(text):
        # A few characters have a longer lower case; ASCII alone decides here.
        lowered = "".join(char.lower() if char.isascii() else char for char in text)
    return redact_named_values(text, lowered)


def redact_bytes(data: bytes) -> bytes:
    """The same for whole lines of a stream, in any encoding that keeps ASCII; the very object when nothing is found."""
    lowered = data.lower()
    lines: dict[int, int] = {}
    for _, hint in _hints():
        _mark(lines, lowered, hint, data)
    _mark(lines, data.translate(_TOKEN_CHARACTERS), b"a" * _RUN, data)
    if not lines:
        return data
    pieces: list[bytes] = []
    done = 0
    for start, end in _merged(lines):
        segment = data[start:end].decode("latin-1")
        clean = redact(segment)
        if clean != segment:
            pieces += (data[done:start], clean.encode("latin-1"))
            done = end
    return b"".join((*pieces, data[done:])) if pieces else data


def _mark(lines: dict[int, int], haystack: bytes, needle: bytes, data: bytes) -> None:
    """Note the start and end of every line that holds the needle."""
    if not needle:
        lines.update({0: len(data)})
        return
    at = haystack.find(needle)
    while at >= 0:
        start = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end + 1
        lines[start] = end
        at = haystack.find(needle, end)


def _merged(lines: Mapping[int, int]) -> list[tuple[int, int]]:
    """Neighbouring lines as one piece: a private key spans many."""
    merged: list[tuple[int, int]] = []
    for start in sorted(lines):
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], lines[start])
        else:
            merged.append((start, lines[start]))
    return merged


_USER_ARGUMENTS = ("-u", "--user", "--proxy-user", "--userpwd")


def redact_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """Arguments without secrets: each by itself, and the one after ``--password``, ``--token`` and the like."""
    kept: list[str] = []
    after_secret = after_user = False
    for argument in argv:
        if after_secret and not argument.startswith("-"):
            kept.append(MASK)
        elif after_user and ":" in argument and "://" not in argument:
            kept.append(f"{argument.partition(':')[0]}:{MASK}")
        else:
            kept.append(_redact_argument(argument))
        after_secret = argument.startswith("-") and _FLAG.fullmatch(argument) is not None
        after_user = argument in _USER_ARGUMENTS
    return tuple(kept)


def _redact_argument(argument: str) -> str:
    """One argument: the whole value of ``--password=…`` and ``NAME_TOKEN=…``, whatever characters it is made of."""
    name, equals, value = argument.partition("=")
    if equals and value and "://" not in name and not any(char.isspace() for char in name) and _names_a_secret(name):
        return f"{name}={MASK}"
    return redact(argument)


def _names_a_secret(name: str) -> bool:
    probe = f"{name}=1a2B3c4D"
    return redact_named_values(probe, probe.lower()) != probe


def redact_named(name: str, value: str) -> str:
    """A value that has a name (an environment variable, a parameter): gone when the name says that it is a secret."""
    return MASK if value and _names_a_secret(name) else redact(value)


def redact_mapping(values: Mapping[str, str]) -> dict[str, str]:
    """`redact_named` for each entry."""
    return {redact(name): redact_named(name, value) for name, value in values.items()}
