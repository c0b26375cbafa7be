"""Secrets in what is imported are masked before it is appended, and counted: the log cannot forget.

Transcripts are full of long ids and of the word token, so the patterns of `eventlog.redaction` are tried only
on texts that hold something no id has: the prefix of a vendor's token, or another of their hints.
"""

from __future__ import annotations

from typing import Any

from eventlog.redaction import LONG, PATTERNS, redact
from eventlog.redaction.named import HINTS, MASK

_VENDORS = (
    "akia", "asia", "abia", "acca", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat", "gldt", "glrt",
    "glcbt", "glptt", "glft", "glimt", "glagent", "glsoat", "gloas", "glsa", "xox", "xapp-", "aiza", "ya29.", "gocspx-",
    "sk-", "gsk_", "xai-", "pplx-", "hf_", "r8_", "k_live_", "k_test_", "whsec_", "npm_", "pypi-", "dckr_pat_", "sg.",
    "key-", "o_v1_", "p_v1_", "r_v1_", "hvs.", "hvb.", "hvr.", "dapi", "tskey-", "sbp_", "shpat_", "shpca_", "shppa_",
    "shpss_", "nrak-", "lin_api_", "ntn_", "secret_", "pmak-", "atatt", "atctt", "cfpat-", "figd_", "sntrys_",
    "age-secret-key-",
)  # fmt: skip
_PRECISE = {
    "user": ("--user", "--proxy-user"),
    "://": ("hooks.slack.com/", "/api/webhooks/", "webhook.office.com/"),
    "-u ": (" -u ",),
}
"""What stands here for a hint that ordinary text is full of; a URL is looked at where it has an @, too."""
_GIVEN = ("=", '":', "':", ": ")
"""Where something with a name is given a value, one of these is."""


class Masker:
    """Masks text and counts what it masked."""

    def __init__(self) -> None:
        self.count = 0
        hints = {hint for pattern in PATTERNS for hint in pattern.hints if hint != LONG}
        self._sure = tuple(sorted({*_VENDORS, *(one for hint in hints for one in _PRECISE.get(hint, (hint,)))}))

    def text(self, text: str) -> str:
        """``text`` with what looks like a secret replaced by ``[redacted]``."""
        if len(text) < 6:
            return text
        lowered = text.lower()
        if not (
            any(hint in lowered for hint in self._sure)
            or ("@" in lowered and "://" in lowered)
            or (any(mark in lowered for mark in _GIVEN) and any(hint in lowered for hint in HINTS))
        ):
            return text
        masked = redact(text)
        if masked is not text and masked != text:
            self.count += max(1, masked.count(MASK) - text.count(MASK))
        return masked

    def value(self, value: Any) -> Any:
        """A JSON value with each text in it masked; the very object where nothing was."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            made: dict[str, Any] | None = None
            for name, item in value.items():
                clean = self._named_value(name, item) if isinstance(item, str) else self.value(item)
                if clean is not item:
                    made = dict(value) if made is None else made
                    made[name] = clean
            return value if made is None else made
        if isinstance(value, list):
            items = [self.value(item) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        return value

    def _named_value(self, name: str, text: str) -> str:
        lowered = name.lower()
        if text and lowered in _SECRET_NAMES and text != MASK:
            self.count += 1
            return MASK
        return self.text(text)


_SECRET_NAMES = frozenset((
    "password", "passwd", "passphrase", "api_key", "apikey", "api-key", "secret", "client_secret", "access_token",
    "auth_token", "refresh_token", "private_key", "secret_key", "authorization", "cookie", "set-cookie",
))  # fmt: skip
