"""The words of a text, and what is searched for: the same in Python, in SQLite's FTS5 and in PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventlog.errors import InvalidQuery
from eventlog.store.searching import Phrase, Search, fts5, has_words, needles, parse, tsquery, tsvector
from eventlog.store.words import DAY_US, MAX_BYTES, MAX_WORD, MAX_WORDS, day_terms, spaced, terms_between, words
from tests import postgres

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    "aB1 é\u0301-ßİ東京ไทก็が\0\ue000😀½…", max_size=20
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The quick_brown fox-2", ["the", "quick", "brown", "fox", "2"]),
        ("Straße ÉCOLE naïve", ["strasse", "ecole", "naive"]),
        ("東京都", ["東京", "京都", "都"]),
        ("v2東京!", ["v2", "東京", "京"]),
        ("서울에서", ["서울", "울에", "에서", "서"]),
        ("हिन्दी", ["हनद"]),
        ("½ﬁ x²", ["1", "2fi", "x2"]),
        ("\0a\0b\ue000c😀d", ["a", "b", "c", "d"]),
        ("x" * 600, ["x" * MAX_WORD]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@settings(deadline=None)
@given(TEXTS)
@example("x" * 1200)
@example("é" + "x" * 1200)
@example(" ".join("é" * 20_000))
@example("\ufdfa" * 3_000)
@example("a " * 40_000)
def test_fts5_takes_a_text_for_the_words_that_python_does(text: str) -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(words, content='', tokenize='ascii')")
        connection.execute("INSERT INTO t(rowid, words) VALUES (1, ?)", (spaced(text),))
        connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, instance)")
        found = connection.execute("SELECT term FROM v ORDER BY offset").fetchall()
    connection.close()
    assert [term for (term,) in found] == words(text)
    assert len(found) <= MAX_WORDS


def test_what_is_looked_at_has_an_end() -> None:
    assert len(words("ab " * MAX_BYTES)) == MAX_BYTES // 3 + 1
    assert words("é " * MAX_BYTES)[-1] == "e"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("One two", Search(((Phrase(("one",)),), (Phrase(("two",)),)))),
        ('"one two"', Search(((Phrase(("one", "two")),),))),
        ("tim* -out", Search(((Phrase(("tim",), True),),), (Phrase(("out",)),))),
        ("a OR b c", Search(((Phrase(("a",)), Phrase(("b",))), (Phrase(("c",)),)))),
        ("foo.bar(baz)", Search(((Phrase(("foo", "bar", "baz")),),))),
        ('"OR" or', Search(((Phrase(("or",)),), (Phrase(("or",)),)))),
        ('"one tw"*', Search(((Phrase(("one", "tw"), True),),))),
        ("都", Search(((Phrase(("都",), True),),))),
        ("東京都", Search(((Phrase(("東京", "京都")),),))),
        ('"東京 x"', Search(((Phrase(("東京", "京", "x")),),))),
        ("it's *** - fine", Search(((Phrase(("it", "s")),), (Phrase(("fine",)),)))),
        ('say"hi"', Search(((Phrase(("say",)),), (Phrase(("hi",)),)))),
    ],
)
def test_what_is_typed(query: str, expected: Search) -> None:
    assert parse(query) == expected


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "needs a word"),
        ("***", "needs a word"),
        ("-only", "needs a word"),
        ('"open', 'not closed: "open'),
        ("OR a", "OR stands between"),
        ("a OR", "OR stands between"),
        ("a OR OR b", "OR stands between"),
        ("a OR -b", "cannot stand beside OR"),
        ("a*", "at least 2"),
        ("a " * 51, "at most 50"),
        ("a" * 1001, "at most 1000 characters"),
    ],
)
def test_what_cannot_be_searched_for_is_said(query: str, says: str) -> None:
    with pytest.raises(InvalidQuery, match=says):
        parse(query)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[sqlite3.Connection, object]]:
    """A connection to either database."""
    connection = sqlite3.connect(":memory:")
    server = postgres.connect()
    yield connection, server
    connection.close()
    server.close()


@settings(deadline=None)
@given(
    text=st.lists(
        st.sampled_from(["red", "Rédtail", "fox", "東京都", "京都", "x2", "the", "--", "\0", "😀"]), max_size=12
    ).map(" ".join)
    | TEXTS,
    query=st.lists(
        st.sampled_from(
            [
                "red",
                "red*",
                "fox",
                "-fox",
                '"red fox"',
                "東京",
                "都",
                '"都 fox"',
                "京都 OR the",
                '-"the red"',
                "x2",
                "'; --",
            ]
        ),
        min_size=1,
        max_size=4,
    ).map(" ".join)
    | TEXTS,
)
@example(text="a \\ b", query="'a' & b | !c \\ :*")
@example(text="red fox the", query='NEAR(red fox) AND "the"')
def test_both_databases_find_the_same(both: tuple[sqlite3.Connection, object], text: str, query: str) -> None:
    connection, server = both
    try:
        search = parse(query)
    except InvalidQuery:
        return
    connection.execute("DROP TABLE IF EXISTS t")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(words, content='', tokenize='ascii')")
    terms = day_terms(5)
    connection.execute("INSERT INTO t(rowid, words) VALUES (1, ?)", (" ".join((*terms, spaced(text))),))
    for asked in ((), [[terms[2]]], [["\ue000other"]], [[terms[0], "\ue000other"]]):
        here = connection.execute("SELECT count(*) FROM t WHERE words MATCH ?", (fts5(search, asked),)).fetchone()
        there = server.execute(  # type: ignore[attr-defined]
            "SELECT count(*) WHERE %s::tsvector @@ %s::tsquery", (tsvector(terms, words(text)), tsquery(search, asked))
        ).fetchone()
        assert here == there
        assert has_words(" ".join((*terms, spaced(text))), needles(search, asked)) == bool(here[0])


@given(st.integers(-(2**60), 2**60), st.integers(-400 * DAY_US, 4000 * DAY_US), st.integers(-(2**60), 2**60))
def test_a_time_between_two_has_one_of_their_terms(first: int, length: int, other: int) -> None:
    terms = set(terms_between(first, first + length))
    inside = [first, first + length // 2, first + length] if length >= 0 else []
    assert all(terms & set(day_terms(time)) for time in inside)
    days = range(47_482)
    if terms & set(day_terms(other)) and 0 <= other // DAY_US < 47_482 and 0 <= (first + length) // DAY_US in days:
        assert first // DAY_US <= other // DAY_US <= (first + length) // DAY_US
    assert len(terms) < 220
