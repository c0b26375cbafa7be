"""Where a record may hold a token of a vendor's: found fast, because every record is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
_OFTEN = (b"key-", b"npm_")
"""Of them those of which ordinary text has what is left without its last character."""
_LEAST = 12
_INSIDE = re.compile(rb"[-_.](?:%s)" % b"|".join(map(re.escape, _STARTS)))
"""A token behind something that hangs on it: ``x-ghp_…``."""
_LONG, _UUID = 20, 36
_WORDS = bytes(byte if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"_-.") else 32 for byte in range(256))
_PARTS = bytes(32 if byte in b"_-." else byte for byte in _WORDS)
_ESCAPE = re.compile(rb"\\(?:[nrtbf]|u[0-9a-fA-F]{4})")


def one_of(starts: Sequence[bytes]) -> bytes:
    """An expression for any of these, which looks at each letter once."""
    if b"" in starts:
        return b""
    rest: dict[bytes, list[bytes]] = {}
    for start in starts:
        rest.setdefault(start[:1], []).append(start[1:])
    return b"(?:%s)" % b"|".join(re.escape(letter) + one_of(more) for letter, more in rest.items())


def _begin() -> re.Pattern[bytes]:
    """Where something begins as a token does, in a record of which only letters and digits are left.

    The first two letters are those of tokens in many words, one by one in few: so they are asked before the others.
    """
    starts = [start.translate(_PARTS) for start in _STARTS if start not in _OFTEN]
    first, second = (b"".join(sorted({start[place : place + 1] for start in starts})) for place in (0, 1))
    return re.compile(b" (?=[%s][%s])%s" % (first, second, one_of(starts)))


_BEGIN = _begin()
_ESCAPED = re.compile(_ESCAPE.pattern + one_of(_STARTS))


def holds_token(record: bytes) -> bool:
    """Whether a word of a record, which is JSON, is a vendor's token, perhaps."""
    for start in _OFTEN:
        if start in record:
            break
    else:
        if _BEGIN.search((b" " + record).translate(_PARTS)) is None and _ESCAPED.search(record) is None:
            return False
    plain = record
    if b"\\" in record:
        # A backslash and what belongs to it are no part of the word that follows.
        if b"\\u" in record:
            plain = _ESCAPE.sub(b" ", record)
        else:
            plain = record.replace(b"\\n", b"  ").replace(b"\\t", b"  ").replace(b"\\r", b"  ")
    words = plain.translate(_WORDS).split()
    if any(word.startswith(_STARTS) for word in words if len(word) >= _LEAST):
        return True
    return any(_INSIDE.search(word) for word in words if len(word) > _LONG and len(word) != _UUID)
