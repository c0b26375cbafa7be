"""Finding the installed projections: entry points of the group ``eventlog.projections``, ours and other packages'."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points

from eventlog.errors import ProjectionError
from eventlog.projection.kinds import Projection

GROUP = "eventlog.projections"


@cache
def installed() -> tuple[Projection, ...]:
    """Every installed projection. An entry point names one projection, or a tuple of them.

    One that cannot be loaded is left out with a warning: it must not keep the others from working.
    """
    found: list[Projection] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            loaded = point.load()
            projections: Iterable[object] = loaded if isinstance(loaded, (tuple, list)) else (loaded,)
            for projection in projections:
                if not isinstance(projection, Projection):
                    raise ProjectionError(f"{projection!r} is no projection")
                found.append(projection)
        except Exception as error:
            warnings.warn(f"the projection {point.name} ({point.value}) cannot be loaded: {error}", stacklevel=2)
    return tuple(found)
