"""Which of many things a word on the command line means."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def meant(text: str, what: str, ids: Callable[[str | None], Sequence[str]]) -> str:
    """The id meant: ``last`` is the newest one's, the beginning of an id stands for the one it belongs to.

    ``ids`` gives the newest few that begin with a text (None: of all). What is not there is given back as it is, for
    the repository to refuse. Raises NotFound where several begin so, or there is none yet.
    """
    from eventlog.errors import NotFound

    found = ids(None if text == "last" else text)
    if text == "last":
        if not found:
            raise NotFound(f"there are no {what}s yet")
        return found[0]
    if text in found or not found:
        return text
    if len(found) > 1:
        raise NotFound(f"several {what}s' ids begin with {text}: {', '.join(sorted(found)[:2])}, …; give more of it")
    return found[0]
