"""Finding the installed projections: entry points of the group ``eventlog.projections``, ours and other packages'."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module

from eventlog.errors import ProjectionError
from eventlog.projection.kinds import Projection

GROUP = "eventlog.projections"


@cache
def installed() -> tuple[Projection, ...]:
    """Every installed projection. An entry point names one projection, or a tuple of them: ``module:name``.

    One that cannot be loaded is left out with a warning: it must not keep the others from working.
    """
    found: list[Projection] = []
    for name, value in sorted(declared(GROUP)):
        try:
            module, _, attribute = value.partition(":")
            loaded = getattr(import_module(module), attribute)
            projections: Iterable[object] = loaded if isinstance(loaded, (tuple, list)) else (loaded,)
            for projection in projections:
                if not isinstance(projection, Projection):
                    raise ProjectionError(f"{projection!r} is no projection")
                found.append(projection)
        except Exception as error:
            warnings.warn(f"the projection {name} ({value}) cannot be loaded: {error}", stacklevel=2)
    return tuple(found)


def declared(group: str) -> Iterator[tuple[str, str]]:
    """The entry points of a group: name and value, from the installed distributions' ``entry_points.txt``.

    Read here because importing ``importlib.metadata`` takes longer than all the rest of recording a short command.
    """
    seen: set[str] = set()
    for place in sys.path:
        try:
            folders = [name for name in os.listdir(place or ".") if name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue
        for folder in folders:
            distribution = folder.partition("-")[0].lower()
            if distribution not in seen:
                seen.add(distribution)
                yield from _entries(os.path.join(place, folder, "entry_points.txt"), group)


def _entries(path: str, group: str) -> Iterator[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return
    section = f"\n{text}".partition(f"\n[{group}]\n")[2].partition("\n[")[0]
    for line in section.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            yield name.strip(), value.partition("[")[0].strip()
