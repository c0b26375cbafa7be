"""What is not looked through has no secret in it: the short way and the whole way say the same of any text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventlog.codec import to_json
from eventlog.importers import tokens
from eventlog.importers.masking import Masker
from tests.importers.planted import planted

_STARTS = tuple(tokens._VENDORS)
PARTS = st.sampled_from((
    "", " ", "-", "_", ".", "/", "=", ":", ": ", '"', "'", "\\", "\n", "\t", "\u2028", "\0", ",", "@", "://", "-u ",
    "x", "a1B2c3D4e5", "Q" * 9, "zz9" * 12, "token", "api_key", "pass", "PASSWORD", "cookie", "sig", "Pin", "otp_1",
    "to\u212aen", "\u0130", "session id", "typing", "keys", "secret", "authorization", "bearer ", "login ", "user",
    "value", "0a1b2c3d-0a1b-4c3d-8a1b-0a1b2c3d4e5f", "private key", ":AA", "hooks.slack.com/", *_STARTS,
))  # fmt: skip
TEXTS = st.lists(PARTS, max_size=8).map("".join)
VALUES: st.SearchStrategy[Any] = st.recursive(
    TEXTS | st.integers(-9, 9) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_a_value_is_masked_the_same_whether_all_its_texts_are_looked_at_or_not(value: Any) -> None:
    for all_of_it in (False, True):
        short, whole = Masker(), Masker()
        short.look(to_json(value), whole=all_of_it)
        whole.look(to_json(value))
        assert short.json(value) == to_json(whole.value(value))
        assert short.count == whole.count


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_secrets_are_masked_the_same_short_or_whole(seed: int) -> None:
    for one in planted(seed):
        short, whole = Masker(), Masker()
        for masker in (short, whole):
            masker.look(to_json(one.value))
        assert short.json(one.value) == to_json(whole.value(one.value))
        assert short.count == whole.count > 0


@pytest.mark.parametrize("before", ["", "curl ", "curl \\\n", "curl\t", "\r\n"])
def test_who_asks_is_masked_wherever_the_option_stands(before: str) -> None:
    text = f"{before}-u admin:hunter2x https://example.org"
    for value in (text, {"command": text}):
        masker = Masker()
        masker.look(to_json(value))
        assert b"hunter2x" not in masker.json(value) and masker.count == 1


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_tokens_are_looked_for_wherever_a_word_begins_as_one_does(value: Any) -> None:
    record = to_json(value)
    words = re.sub(rb"\\(?:[nrtbf]|u[0-9a-fA-F]{4})" if b"\\u" in record else rb"\\[nrt]", b"  ", record)
    found = False
    for word in re.findall(r"[A-Za-z0-9_.-]+", words.decode("latin-1"), re.ASCII):
        found = found or (len(word) >= 12 and word.startswith(_STARTS))
        inside = any(f"{mark}{start}" in word for mark in "-_." for start in _STARTS)
        found = found or (len(word) > 20 and len(word) != 36 and inside)
    assert tokens.holds_token(record) == found
