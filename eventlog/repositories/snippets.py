"""Where in a text what was searched for stands, and the piece of it that is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from eventlog.store.searching import Phrase, Search
from eventlog.store.words import PAIRED, words

BEFORE = 60
"""Characters that are shown before the first match."""
LENGTH = 240
_ASCII = re.compile(r"[0-9A-Za-z]+")
_MARKS = r"[^\w\s\x00-\u02ff\u2000-\U0010ffff]"
"""Characters of scripts that are neither letters nor digits: what is put on top of those, for the most part."""


@cache
def _token() -> re.Pattern[str]:
    return re.compile(rf"[{PAIRED}]{_MARKS}*|[^\W_{PAIRED}](?:[^\W_{PAIRED}]|{_MARKS})*")


@cache
def _pair() -> re.Pattern[str]:
    return re.compile(rf"[{PAIRED}]{{2}}")


class Snippet(NamedTuple):
    """A piece of a text on one line, and the places (first, end) of what was found in it, in characters."""

    text: str
    marks: list[tuple[int, int]]


def snippet(text: str, search: Search) -> Snippet:
    """The piece around the first match; of a text in which nothing stands as it was asked for, its beginning."""
    text = " ".join(text.split())
    marks = matches(text, search)
    start = max(0, marks[0][0] - BEFORE) if marks else 0
    if start:
        space = text.find(" ", start, marks[0][0])
        start = start if space < 0 else space + 1
    end = min(len(text), start + LENGTH)
    if end < len(text):
        space = text.rfind(" ", start + LENGTH // 2, end)
        end = end if space < 0 else space
    before, after = "…" if start else "", "…" if end < len(text) else ""
    shift = len(before) - start
    inside = [(first + shift, min(last, end) + shift) for first, last in marks if start <= first < end]
    return Snippet(f"{before}{text[start:end]}{after}", inside)


def matches(text: str, search: Search) -> list[tuple[int, int]]:
    """The places of every phrase that was asked for, in order; none within another."""
    tokens = list(_tokens(text))
    phrases = [(_units(phrase), phrase.prefix) for phrase in search.wanted]
    places: list[tuple[int, int]] = []
    for at, (word, start, _) in enumerate(tokens):
        for units, prefix in phrases:
            single = prefix and len(units) == 1
            if not (word.startswith(units[0]) if single else word == units[0]):
                continue
            run = tokens[at : at + len(units)]
            if len(run) == len(units) and _are(run, units, prefix):
                places.append((start, run[-1][2]))
    return _apart(places)


def _are(run: list[tuple[str, int, int]], units: list[str], prefix: bool) -> bool:
    last = run[-1][0]
    if not (last.startswith(units[-1]) if prefix else last == units[-1]):
        return False
    return all(token[0] == unit for token, unit in zip(run[:-1], units, strict=False))


def _apart(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for start, end in sorted(places, key=lambda place: (place[0], -place[1])):
        if kept and start < kept[-1][1]:
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
        else:
            kept.append((start, end))
    return kept


def _tokens(text: str) -> Iterable[tuple[str, int, int]]:
    """The words of a text with their places; what is kept in pairs, character by character."""
    for found in (_ASCII if text.isascii() else _token()).finditer(text):
        if found[0].isascii():
            yield found[0].lower(), found.start(), found.end()
            continue
        for word in words(found[0]):
            yield word, found.start(), found.end()


def _units(phrase: Phrase) -> list[str]:
    """The words of a phrase, its pairs taken apart again."""
    units: list[str] = []
    after = ""
    for word in phrase.words:
        if after and word[0] == after:
            units[-1] = word[0]
        else:
            units.append(word if not _is_pair(word) else word[0])
        after = ""
        if _is_pair(word):
            units.append(word[1])
            after = word[1]
    return units


def _is_pair(word: str) -> bool:
    return len(word) == 2 and not word.isascii() and _pair().fullmatch(word) is not None
