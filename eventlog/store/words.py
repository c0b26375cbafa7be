"""The words of a text, the same in every database: what an index of words is made of, and what a search looks for.

A word is a run of letters and digits, its case folded, its marks (accents, vowel signs) gone, of 500 characters at
most. Scripts that put no spaces between words are cut into pairs: ``abc`` is ``ab bc c``, so that every character has a
place of its own, and what ends a run is known by standing alone. Of one text 32,000 bytes count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from unicodedata import category, normalize
from zlib import crc32

MAX_BYTES = 32_000
MAX_WORDS = 16_000
"""So many words a text of ASCII of the greatest length has at most."""
MAX_WORD = 500
"""Characters: PostgreSQL takes words of less than 2 KiB."""
MARK = "\ue000"
"""What a term begins with that is no word of a text: no word has such a character."""
DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY, _LAST_DAY = 0, (datetime(2099, 12, 31, tzinfo=UTC) - _EPOCH).days
PAIRED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
PAIRED += "\uff66-\uff9f\U00020000-\U0003ffff"
_NO_WORD = r"\x00-/:-@\[-`{-\x7f"
"""What of ASCII is no letter and no digit."""
_RUN = re.compile(rf"[0-9A-Za-z]*[^\x00-\x7f][^{_NO_WORD}]*")
INDEXED = re.compile(rf"[^{_NO_WORD}]+")
"""A word as FTS5 sees it in what `spaced` gives."""
_ASCII_WORD = re.compile(r"[0-9A-Za-z]+")


@cache
def _word() -> re.Pattern[str]:
    # Ranges as these take 10 ms to compile, and a program that is only started needs none of it.
    return re.compile(rf"(?P<pairs>[{PAIRED}]+)|[^\W_{PAIRED}]+")


class Run(str):
    """A run of characters of a script without spaces."""

    __slots__ = ()


def runs(text: str) -> Iterator[str]:
    """The words of a text before they are paired; those that are to be are `Run`."""
    if text.isascii():
        yield from (word[:MAX_WORD] for word in _ASCII_WORD.findall(text.lower()))
        return
    plain = normalize("NFKD", normalize("NFKD", text).casefold())
    plain = normalize("NFC", "".join([char for char in plain if char.isascii() or category(char)[0] != "M"]))
    for found in _word().finditer(plain):
        yield Run(found[0]) if found["pairs"] else found[0][:MAX_WORD]


def pairs(run: str) -> list[str]:
    """The terms of a run: every two neighbours, and the last one alone."""
    return [run[at : at + 2] for at in range(len(run))]


def words(text: str) -> list[str]:
    """Every word of a text, in order."""
    if len(text) <= MAX_WORD and text.isascii():
        return _ASCII_WORD.findall(text.lower())
    found: list[str] = []
    for run in runs(_counted(text)):
        if type(run) is Run:
            found += pairs(run)
        else:
            found.append(run)
    return found[:MAX_WORDS]


def spaced(text: str) -> str:
    """A text whose runs of ASCII letters and digits and of what is not ASCII are its words, but for the case of ASCII.

    What is ASCII is left as it is, which is most of most texts.
    """
    if len(text) <= MAX_WORD and text.isascii():
        return text
    text = _counted(text)
    if text.isascii():
        if not any(text[at : at + MAX_WORD // 2].isalnum() for at in range(0, len(text) - MAX_WORD, MAX_WORD // 2)):
            return text
        return " ".join(words(text))
    if len(text) * 2 > MAX_WORDS:
        return " ".join(words(text))
    made = _RUN.sub(_plain_run, text)
    return " ".join(words(text)) if _is_long(made) else made


def _is_long(text: str) -> bool:
    return len(text) > 2 * MAX_WORDS or any(
        text[at : at + MAX_WORD // 2].isalnum() for at in range(0, max(0, len(text) - MAX_WORD), MAX_WORD // 2)
    )


def _plain_run(found: re.Match[str]) -> str:
    return f" {' '.join(words(found[0]))} "


def _counted(text: str) -> str:
    if len(text) * 4 <= MAX_BYTES:
        return text
    if text.isascii():
        return text[:MAX_BYTES]
    return text[:MAX_BYTES].encode("utf-8", "replace")[:MAX_BYTES].decode("utf-8", "ignore")


def facet(column: str, value: str) -> str:
    """The term of a value of a column. Two values may share one: whoever finds by it looks at the row, too."""
    return f"{MARK}{column}{crc32(value.encode('utf-8', 'surrogatepass')):08x}"


def day_terms(time_us: int) -> tuple[str, str, str]:
    """The terms of a time: its year, month and day (UTC). Times before 1970 count as its first day, later ones too."""
    return _day_terms(time_us // DAY_US)


@lru_cache(maxsize=4096)
def _day_terms(day: int) -> tuple[str, str, str]:
    date = datetime.fromordinal(_EPOCH.toordinal() + min(max(day, _FIRST_DAY), _LAST_DAY))
    return f"{MARK}y{date:%Y}", f"{MARK}m{date:%Y%m}", f"{MARK}d{date:%Y%m%d}"


def terms_between(first_us: int | None, last_us: int | None) -> list[str]:
    """Terms of which every time from ``first_us`` to ``last_us`` has one: few, by whole years and months."""
    first = _FIRST_DAY if first_us is None else min(max(first_us // DAY_US, _FIRST_DAY), _LAST_DAY)
    last = _LAST_DAY if last_us is None else min(max(last_us // DAY_US, _FIRST_DAY), _LAST_DAY)
    terms: list[str] = []
    while first <= last:
        for term, length in zip(_day_terms(first), _lengths(first), strict=True):
            if length and first + length - 1 <= last:
                terms.append(term)
                first += length
                break
    return terms


def _lengths(day: int) -> tuple[int, int, int]:
    """How many days the year, the month, the day have that begin here; 0 for what does not begin here."""
    date = datetime.fromordinal(_EPOCH.toordinal() + day)
    month_end = datetime(date.year + date.month // 12, date.month % 12 + 1, 1)
    month = (month_end - date).days if date.day == 1 else 0
    year = (datetime(date.year + 1, 1, 1) - date).days if month and date.month == 1 else 0
    return year, month, 1
