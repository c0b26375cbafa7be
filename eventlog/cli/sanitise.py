"""Whatever was logged is hostile when shown: nothing of it may steer a terminal or change how a line reads."""

from __future__ import annotations

import re

SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC with their whole payload
    r"|\x1b[ -/]+[0-~]"  # character sets
    r"|\x1b[@-Z\\^_a-z=>78]"  # two-character escapes
    r"|\x9b[0-?]*[ -/]*[@-~]"  # CSI in its one-character form
)
"""Complete control sequences of ECMA-48: removed, they carry no text."""

# C0 without \t and \n, DEL, C1; bidi marks, embeddings, overrides, isolates; line and paragraph separators; invisible
# spaces; interlinear annotation; the invisible tag characters; surrogates, which no terminal's encoding can write.
_UNSAFE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"
    r"\u061c\u200b\u200e\u200f\u202a-\u202e\u2028\u2029\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f\ud800-\udfff"
)
UNSAFE = re.compile(f"[{_UNSAFE}]")
UNSAFE_OR_BREAK = re.compile(f"[{_UNSAFE}\\t\\n]")


def clean(text: str) -> str:
    """``text`` with its lines and tabs, control sequences removed and every other control character shown escaped."""
    if _is_plain(text) or UNSAFE.search(text) is None:
        return text
    text = SEQUENCES.sub("", text.replace("\r\n", "\n")).replace("\r", "\n")
    return UNSAFE.sub(_visible, text)


def clean_line(text: str) -> str:
    """``text`` on one line: breaks, tabs and control characters shown escaped, control sequences removed."""
    if is_clean_line(text):
        return text
    return UNSAFE_OR_BREAK.sub(_visible, SEQUENCES.sub("", text))


def is_clean_line(text: str) -> bool:
    """Whether `clean_line` leaves ``text`` as it is. Of texts put together: whether it leaves each of them."""
    return _is_plain(text) or UNSAFE_OR_BREAK.search(text) is None


def _is_plain(text: str) -> bool:
    # Most texts are, and the expressions take several times as long to find that out.
    return text.isascii() and text.isprintable()


def clean_json(text: str) -> str:
    r"""JSON ``text`` that means the same and holds no control character: they are written ``\uXXXX``.

    Outside of strings JSON has none but white space, so every hit is inside a string.
    """
    if _is_plain(text) or UNSAFE.search(text) is None:
        return text
    return UNSAFE.sub(lambda match: json_escape(match[0]), text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    named = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return named or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")


def json_escape(character: str) -> str:
    """A character as it may stand in a string of JSON, in ASCII."""
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
