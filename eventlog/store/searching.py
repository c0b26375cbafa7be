"""What is searched for: parsed from what a person types, and told to each database in its own words.

``error timeout`` finds what has both words, ``"connection reset"`` both beside each other, ``time*`` every word that
begins so, ``error OR warning`` either (OR binds closer than what stands beside it), ``-test`` leaves out what has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from eventlog.codec import from_json, to_json
from eventlog.errors import InvalidQuery
from eventlog.store.words import INDEXED, Run, pairs, runs

MAX_CHARACTERS = 1000
MAX_PHRASES = 50
SHORTEST_PREFIX = 2
_TOKEN = re.compile(r'\s*(?P<minus>-?)(?:"(?P<phrase>[^"]*)(?P<end>"?)(?P<star>\*?)|(?P<bare>[^\s"]+))')


class Phrase(NamedTuple):
    """Words that follow one another; ``prefix``: the last one may go on."""

    words: tuple[str, ...]
    prefix: bool = False


class Search(NamedTuple):
    """What a text must have: of each of ``every`` one phrase at least, and none of ``without``."""

    every: tuple[tuple[Phrase, ...], ...]
    without: tuple[Phrase, ...] = ()

    @property
    def wanted(self) -> list[Phrase]:
        """The phrases that are looked for."""
        return [phrase for either in self.every for phrase in either]


def parse(text: str) -> Search:
    """What somebody typed. Raises InvalidQuery, which says what is wrong with it."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidQuery(f"a search has at most {MAX_CHARACTERS} characters, not {len(text)}")
    every: list[tuple[Phrase, ...]] = []
    without: list[Phrase] = []
    either = False
    for minus, phrase in _phrases(text):
        if phrase is None:
            if not every or either:
                raise InvalidQuery("OR stands between two words; in quotes it is a word itself")
            either = True
        elif minus:
            if either:
                raise InvalidQuery("what is left out (-word) cannot stand beside OR")
            without.append(phrase)
        elif either:
            every[-1] += (phrase,)
            either = False
        else:
            every.append((phrase,))
    if either:
        raise InvalidQuery("OR stands between two words; in quotes it is a word itself")
    if not every:
        raise InvalidQuery("a search needs a word to look for: letters or digits, and not only what to leave out")
    if len(every) + len(without) > MAX_PHRASES or sum(map(len, every)) > MAX_PHRASES:
        raise InvalidQuery(f"a search has at most {MAX_PHRASES} words and phrases")
    return Search(tuple(every), tuple(without))


def _phrases(text: str) -> Iterable[tuple[bool, Phrase | None]]:
    """The parts of a search, whether each is to be left out; OR is None. What has no word in it is passed over."""
    at = 0
    while found := _TOKEN.match(text, at):
        at = found.end()
        bare = found["bare"]
        if bare == "OR" and not found["minus"]:
            yield False, None
            continue
        if bare is None and not found["end"]:
            raise InvalidQuery(f"a quotation mark is not closed: {text[found.start() :].strip()[:40]}")
        star = bool(found["star"]) if bare is None else bare.endswith("*")
        phrase = phrase_of(found["phrase"] if bare is None else bare, prefix=star)
        if phrase is not None:
            yield bool(found["minus"]), phrase


def phrase_of(text: str, *, prefix: bool = False) -> Phrase | None:
    """A text as the words to find beside each other; None where it has none. Raises InvalidQuery."""
    found = list(runs(text))
    if not found:
        return None
    last = found[-1]
    words: list[str] = []
    for run in found[:-1]:
        words += pairs(run) if type(run) is Run else [run]
    if type(last) is Run:
        # Where the run ends is not said, so the pair that its last character is in may be any.
        words += pairs(last)[: max(1, len(last) - 1)]
        return Phrase(tuple(words), len(last) == 1)
    if prefix and len(last) < SHORTEST_PREFIX:
        raise InvalidQuery(f"before * there are at least {SHORTEST_PREFIX} letters or digits")
    return Phrase((*words, last), prefix)


Terms = Iterable[Iterable[str]]
"""Of each of these one must be there, too: see `eventlog.store.words.facet`."""


def fts5(search: Search, terms: Terms = ()) -> str:
    """As SQLite's FTS5 is asked."""
    every = [" OR ".join(_fts5_phrase(phrase) for phrase in either) for either in search.every]
    every += [" OR ".join(f'"{term}"' for term in either) for either in terms]
    asked = " AND ".join(f"({one})" for one in every)
    if search.without:
        return f"({asked}) NOT ({' OR '.join(map(_fts5_phrase, search.without))})"
    return asked


def _fts5_phrase(phrase: Phrase) -> str:
    return f'"{" ".join(phrase.words)}"{"*" if phrase.prefix else ""}'


def needles(search: Search, terms: Terms = ()) -> str:
    """As `has_words` is asked."""
    every = [[_needle(phrase) for phrase in either] for either in search.every]
    every += [[f" {term} " for term in either] for either in terms]
    return to_json([every, [_needle(phrase) for phrase in search.without]]).decode()


def _needle(phrase: Phrase) -> str:
    return f" {' '.join(phrase.words)}{'' if phrase.prefix else ' '}"


def has_words(indexed: str, asked: str) -> bool:
    """Whether a text, as FTS5 would get it, has what is searched for: the same answer without an index."""
    every, without = _asked(asked)
    words = f" {' '.join([word.lower() if word.isascii() else word for word in INDEXED.findall(indexed)])} "
    return all(any(needle in words for needle in either) for either in every) and not any(
        needle in words for needle in without
    )


@lru_cache(maxsize=64)
def _asked(asked: str) -> tuple[list[list[str]], list[str]]:
    every, without = from_json(asked)
    return every, without


def tsquery(search: Search, terms: Terms = ()) -> str:
    """As PostgreSQL is asked."""
    every = [" | ".join(_tsquery_phrase(phrase) for phrase in either) for either in search.every]
    every += [" | ".join(f"'{term}'" for term in either) for either in terms]
    asked = [f"({one})" for one in every]
    asked += [f"!{_tsquery_phrase(phrase)}" for phrase in search.without]
    return " & ".join(asked)


def _tsquery_phrase(phrase: Phrase) -> str:
    words = [f"'{word}'" for word in phrase.words]
    if phrase.prefix:
        words[-1] += ":*"
    return f"({' <-> '.join(words)})"


def tsvector(terms: Sequence[str], words: Sequence[str]) -> str:
    """What PostgreSQL keeps of a text: terms without places, and each word with the places where it stands."""
    if len(set(words)) == len(words):
        parts = [f"'{word}':{place}" for place, word in enumerate(words, 1)]
    else:
        places: dict[str, list[int]] = {}
        for place, word in enumerate(words, 1):
            places.setdefault(word, []).append(place)
        parts = [f"'{word}':{','.join(map(str, at[:256]))}" for word, at in places.items()]
    if terms:
        parts.append("'" + "' '".join(terms) + "'")
    return " ".join(parts)
