"""``NAME=VALUE`` words, as tags and as parameters."""

from __future__ import annotations

import click


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """``("k=v", …)`` as a dict. Raises a usage error for anything without a name and ``=``."""
    found: dict[str, str] = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param_hint=f"'{option}'")
        found[name.strip()] = rest
    return found


def parameters(values: tuple[str, ...], option: str = "--param") -> dict[str, str | int | float | bool | None]:
    """``("lr=0.1", "deep=true")`` as scalars: what reads as a JSON number, true, false or null is one."""
    return {name: _scalar(text) for name, text in pairs(values, option).items()}


def _scalar(text: str) -> str | int | float | bool | None:
    words: dict[str, bool | None] = {"true": True, "false": False, "null": None}
    if text in words:
        return words[text]
    if text.strip() != text or "_" in text:
        return text
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if isinstance(value, int):
            return value if -(2**63) <= value < 2**63 and str(value) == text.removeprefix("+") else text
        return value if value - value == 0 else text  # inf and nan stay words
    return text
