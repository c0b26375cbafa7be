from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.cli.as_json import to_json
from eventlog.cli.sanitise import clean, clean_json, clean_line

HOSTILE = {
    "csi": "\x1b[31mred\x1b[0m",
    "csi clear": "\x1b[2J\x1b[Hgone",
    "osc title": "\x1b]0;owned\x07text",
    "osc link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "osc clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "osc unfinished": "\x1b]0;never ends",
    "dcs": "\x1bPq#0;2;0;0;0\x1b\\after",
    "c1 csi": "\x9b31mred",
    "c1 osc": "\x9d0;owned\x9ctext",
    "nel": "one\x85two",
    "bell and backspace": "a\x07b\x08c",
    "carriage return": "rm -rf /\rls -la  ",
    "bidi override": "abc\u202edef\u202c",
    "bidi isolate": "a\u2066b\u2069",
    "marks": "a\u200e\u200f\u061cb",
    "separators": "a\u2028b\u2029c",
    "invisible": "a\u200b\ufeff\u2060b",
    "tags": "a\U000e0041b",
    "nul": "a\x00b",
    "del": "a\x7fb",
    "surrogate": "a\ud800b",
    "lone escape": "\x1b",
}
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    assert CONTROL.search(clean(text)) is None
    assert CONTROL.search(clean_line(text)) is None
    assert "\n" not in clean_line(text)
    clean(text).encode()


@given(st.text(alphabet=st.characters()))
def test_no_text_at_all_leaves_a_control_character(text: str) -> None:
    assert CONTROL.search(clean(text)) is None
    assert not set(clean_line(text)) & {"\n", "\t"}
    assert CONTROL.search(clean_line(text)) is None


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_means_the_same_and_has_no_control_character(value: object) -> None:
    printed = to_json(value)
    assert json.loads(printed) == value
    assert CONTROL.search(printed) is None
    assert "\n" not in printed


def test_words_stay_words() -> None:
    text = "naïve café 日本語 👩\u200d🔬 \u0639\u0631\u0628\u064a tab\there\nline"
    assert clean(text) == text


def test_colours_go_and_their_text_stays() -> None:
    assert clean("\x1b[1;31mError:\x1b[0m no") == "Error: no"


def test_what_overwrote_a_line_shows_both() -> None:
    assert clean("10%\r20%\r\ndone\n") == "10%\n20%\ndone\n"
    assert clean_line("rm -rf /\rls") == "rm -rf /\\rls"


def test_what_is_not_removed_is_shown() -> None:
    assert clean_line("a\x00b\u202ec\x9fd\U000e0041\n\t") == "a\\x00b\\u202ec\\x9fd\\U000e0041\\n\\t"


def test_escapes_in_json_outside_the_first_plane_are_pairs() -> None:
    assert clean_json('"\U000e0041"') == '"\\udb40\\udc41"'
    assert json.loads(clean_json('"\U000e0041"')) == "\U000e0041"
