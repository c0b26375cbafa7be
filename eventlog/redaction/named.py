"""Values whose name says that they are secret: ``--password x``, ``API_KEY=x``, ``"token": "x"``, ``Cookie: x``.

One pass finds the words such names end in; what stands around a word decides. (A single expression for all of it is ten
times slower, and output passes through here while a program runs.)
"""

from __future__ import annotations

import re

MASK = "[redacted]"
HINTS = ("pass", "pwd", "secret", "token", "key", "cred", "auth", "sig", "sess", "cookie", "pin", "otp")

WORDS = (
    r"pass(?:word|wd|phrase|code|wort)?s?|pwd|secrets?|token|key(?:[_-]base)?|credentials?|auth(?:orization)?"
    r"|sig(?:nature)?|sess(?:ion)?[-_]?id|cookie2?|pin|otp"
)
"""In what names of secrets end; a letter behind it, and it is another word."""
_WORD = re.compile(WORDS)
_VALUE = r"""(\\{1,7}["'][^"'\\\n]{1,2000}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|["']?[^\s"'&;,]+)"""
_SEPARATOR = re.compile(r"(?:[_.-]?\d{1,3})?(?:\\{0,7}[\"']|\])?\]?[ \t]?(:=|=>|=(?!=)|:(?!:)|%3[dD])[ \t]{0,3}")
_ANY_VALUE = re.compile(_VALUE)
_SPACED = re.compile(rf"[ \t]{{1,20}}(?!-){_VALUE}")
_LISTED = re.compile(r"""(\\{0,7}["'])[ \t]{0,20},[ \t\r\n]{0,20}\1((?!-)[^"'\\\n]{1,2000})""")
"""The next of arguments in a list: ``"--password", "x"``."""
_BESIDE = re.compile(
    r"""(?:\\{0,7}["'])?[ \t]{0,20},?[ \t\r\n]{1,40}(?:\\{0,7}["'])?value(?:\\{0,7}["'])?[ \t]?:[ \t]{0,3}"""
    rf"{_VALUE}"
)
"""What a name is given beside it: ``{"name": "API_TOKEN", "value": "x"}``, or the same in YAML."""
_FIRST = re.compile(r"""\[[ \t\r\n]{0,20}(?=\\{0,7}["'])""")
_EXPRESSION = re.compile(r"[A-Za-z_]{1,40}(?:\.[A-Za-z_]{1,40}){0,6}[(\[]")
_CHAIN = re.compile(r"[A-Za-z_]{1,40}(?:(?:\??\.|->|::)[A-Za-z_]{1,40}){1,6}[)\]}:?!|]{0,5}")
_NAME = re.compile(r"[A-Za-z]{0,20}(?:_[A-Za-z]{0,20}){0,6}[)\]}:?!|]{0,5}|\d{1,3}[)\]}]{0,5}")
_STANDS_FOR = re.compile(
    r"""\\{0,7}["']?(?:\$\{?[A-Za-z_]{1,60}\}?|\$\([^"']*|\$?\{\{?[^{}"']*\}{0,2}|<[\w -]{0,60}>?|%\(?\w{0,40}\)?s?"""
    r"""|\*{3,}|x{3,}|X{3,}|\.{3}|…)\\{0,7}["')\]}]{0,5}"""
)
"""What is put where a secret will be: ``$TOKEN``, ``${{ secrets.x }}``, ``<token>``, ``%s``, ``***``."""
_NUMBER = re.compile(r"[\"']?-?\d{0,15}(?:\.\d{1,20}(?:e[-+]?\d{1,3})?|\d?e-\d{1,3})[\"')\]}:]{0,5}")
_A_WORD = re.compile(r"[a-z]{1,12}|[A-Z_]{1,12}|[\[{(].*").fullmatch
_SENTENCE = re.compile(r"[a-z]{1,16} [A-Za-z`(]")
_TYPES = frozenset((
    "str", "string", "text", "bytes", "int", "integer", "bool", "boolean", "any", "secret", "optional", "none", "null",
    "undefined", "int64", "varchar",
))  # fmt: skip
_WORDS = re.compile(r"[a-z]{1,16}(?:[-_ ./:][a-z]{1,16}){0,3}")
_HEADER = re.compile(
    r"[\w-]{0,60}(?:\\{0,7}[\"'])?[ \t]{0,3}[:=][ \t]{0,3}(?:\\{0,7}[\"'])?"
    r"((?:(?:bearer|basic|token|digest|negotiate|apikey|key|aws4-hmac-sha256)[ \t]+)?)([^\s\"',][^\s\"'\\]{0,1000})",
    re.IGNORECASE,
)
_REST_OF_LINE = re.compile(r"[^\r\n\"'\\]*")
_OPTION_BEFORE = re.compile(r"(?<![\w-])--?(?:[a-z0-9]{1,40}[-_.]){0,6}(?:[a-z0-9]{1,40})?\Z")
_KEY_BEFORE = re.compile(
    r"(?:api|app|access|account|auth|private|secret|signing|signature|encryption|encrypt|master|license|service|ssh"
    r"|client|webhook|session|storage|hmac|jwt|crypt|functions|subscription|deploy)[_-]?\Z"
)
_HEADER_BEFORE = re.compile(r"(?<![\w-])x-[\w-]{0,60}\Z")
_NO_SECRET = re.compile(
    r"(?:\\{0,7}[\"'])?(?:[\[{(]|(?:required|incorrect|missing|invalid|none|null|true|false|not|is)\b)", re.IGNORECASE
)
_LONG_VALUE = re.compile(r"(?:\\{0,7}[\"'])?[\w\-./+=~!@#$%^*]{8,}")
STRONG = ("password", "passwd", "passphrase", "passcode", "passwort", "secret", "credential")
"""Names whose value is a secret whatever it looks like."""
_LEAST = 6
_BEFORE = 64


def redact_named_values(text: str, lowered: str) -> str:
    """``text`` without the values of such names. ``lowered`` is the same text in lower case, of the same length."""
    pieces: list[str] = []
    done = at = 0
    while (word := _WORD.search(lowered, at)) is not None:
        at = word.end()
        if lowered[at : at + 1].isalpha():
            continue
        span = _secret_after(text, lowered, word)
        if span is not None and span[1] > span[0] >= done:
            pieces += (text[done : span[0]], MASK)
            done = at = span[1]
    return "".join((*pieces, text[done:])) if pieces else text


def _secret_after(text: str, lowered: str, word: re.Match[str]) -> tuple[int, int] | None:
    start, end = word.span()
    name = word[0]
    before = lowered[max(0, start - _BEFORE) : start]
    if name in ("authorization", "cookie", "cookie2") or (before.rfind("x-") >= 0 and _HEADER_BEFORE.search(before)):
        header = _HEADER.match(text, end)
        if header is not None and (name == "authorization" or ":" in text[end : header.start(2)]):
            if _is_no_header(header[2]):
                return None
            rest = _REST_OF_LINE.match(text, header.end())
            return header.start(2), rest.end() if rest else header.end()
    separator = _SEPARATOR.match(text, end)
    if separator is not None:
        # Nothing long is looked at before it is certain that it goes: hostile text must not cost its length squared.
        if not _is_secret_name(name, before):
            return None
        at, name_of_one = separator.end(), name
        if (first := _FIRST.match(text, at)) is not None:
            at, name_of_one = first.end(), ""
        if separator[1] == ":" and not _is_field_value(name, text, at):
            return None
        value = _ANY_VALUE.match(text, at)
        if value is None or not _may_be_one(name_of_one, value[0]) or _STANDS_FOR.fullmatch(value[0]):
            return None
        is_code = not _is_of_a_shell(text, start, separator) and _is_code(name, text, separator[1], value)
        return None if is_code else value.span()
    if "-" in before and (option := _OPTION_BEFORE.search(before)) is not None and _is_option_name(name, option[0]):
        if (spaced := _SPACED.match(text, end)) is not None:
            return spaced.span(1)
        listed = _LISTED.match(text, end)
        return None if listed is None or _WORDS.fullmatch(listed[2]) else listed.span(2)
    if (beside := _BESIDE.match(text, end)) is not None and _is_secret_name(name, before):
        value_at = beside.start(1)
        return beside.span(1) if _is_field_value("", text, value_at) and _may_be_one("", beside[1]) else None
    return None


def _is_no_header(first: str) -> bool:
    """Whether the first word of it is code that makes a header, or of a sentence about one."""
    return bool(_STANDS_FOR.fullmatch(first) or _EXPRESSION.match(first) or _CHAIN.fullmatch(first) or _A_WORD(first))


def _is_of_a_shell(text: str, start: int, separator: re.Match[str]) -> bool:
    """Whether it is ``--token=x`` or ``API_TOKEN=x``: the value is no program's variable then."""
    option = text.rfind("-", max(0, start - _BEFORE), start)
    if option > 0 and text[option - 1] == "-" and " " not in text[option:start]:
        return True
    return separator[0] == "=" and text[start : separator.start()].isupper()


def _is_code(name: str, text: str, separator: str, value: re.Match[str]) -> bool:
    """Whether a value is a variable, a call, a type, or the next word of a sentence.

    Of a password only what cannot be anything else.
    """
    given = value[0]
    if _EXPRESSION.match(given) or _CHAIN.fullmatch(given):
        return True
    if not name.rstrip("s").startswith(STRONG):
        return (_NAME.fullmatch(given) or _NUMBER.fullmatch(given)) is not None
    lowered = given.lower().rstrip(")]}:?!|")
    if lowered in _TYPES or (_NAME.fullmatch(given) and any(word in lowered for word in (*STRONG, "token", "pwd"))):
        return True
    return separator == ":" and name != "passphrase" and _SENTENCE.match(text, value.start()) is not None


def _may_be_one(name: str, value: str) -> bool:
    """Words in quotes, and what is very short, are no secret but where they are a password: ``SORT_KEY = 'name'``."""
    if name.rstrip("s").startswith(STRONG):
        return True
    bare = value.strip("\\")
    if bare[:1] not in ("'", '"'):
        return True
    bare = bare.strip("\"'")
    return _WORDS.fullmatch(bare) is None and (len(bare) >= _LEAST or name in ("pin", "otp", "pass", "pwd"))


def _is_secret_name(name: str, before: str) -> bool:
    last = before[-1:]
    if last in ("/", "\\"):
        # The end of a path: /etc/passwd: Permission denied.
        return False
    if name.startswith("key"):
        return _KEY_BEFORE.search(before) is not None
    if name in ("pass", "pwd"):
        return last in ("_", ".", "-") or before.endswith(("pg", "db", "--"))
    if name in ("pin", "otp"):
        return last in ("_", "-")
    if name in ("auth", "sig", "signature") or name.startswith("sess"):
        return not last.isalpha() or before.endswith("oauth") or (before.endswith("o") and not before[-2:-1].isalpha())
    return name not in ("cookie2", "passs") and (name != "cookie" or "-" in before[-8:])


def _is_option_name(name: str, option: str) -> bool:
    if name.startswith("key"):
        return _KEY_BEFORE.search(option) is not None
    return not option[-1:].isalnum() or name in STRONG or name == "token"


def _is_field_value(name: str, text: str, at: int) -> bool:
    """After a colon prose may follow: ``unexpected token: ;`` and ``password: incorrect`` tell no secret."""
    if name.rstrip("s").startswith(STRONG) or name in ("pass", "pwd"):
        return _NO_SECRET.match(text, at) is None
    return _LONG_VALUE.match(text, at) is not None
