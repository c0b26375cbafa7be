"""A child of a fold in several processes: ``python -m eventlog.projection.part``, see `parallel`.

It reads one `Task` as a line of JSON, and prints the positions up to which its share is folded, a line each; the last
position only when all is written. It leaves at once when its stdin closes: then nobody waits for it any more.
"""

from __future__ import annotations

import sys
import threading
from contextlib import closing

import msgspec

from eventlog.children import leave_with_the_parent
from eventlog.codec import Codec
from eventlog.projection.discovery import installed
from eventlog.projection.folder import Folder
from eventlog.projection.kinds import groups_of
from eventlog.projection.parallel import Task
from eventlog.store.base import Store
from eventlog.store.sqlite_schema import open_store
from eventlog.target import parse_target


def main() -> None:
    """Do what stdin says. Whatever is raised ends in an exit status other than 0."""
    sys.stdout, out = sys.stderr, sys.stdout  # a projection's module may print
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    threading.Thread(target=leave_with_the_parent, daemon=True).start()
    groups = groups_of(installed())
    codec = Codec(cls for group in groups.values() for cls in group.root.types)
    shadows = [groups[name].shadow(task.suffix) for name in task.groups]
    with closing(_open(task.url)) as store, closing(store.builder()) as builder:
        folder = Folder(builder, codec, shadows, builder.writing, task.part)

        def told(position: int) -> None:
            if folder.failures:
                raise SystemExit(1)
            if position < task.to:
                print(position, file=out, flush=True)

        folder.fold(0, task.to, told)
        if folder.failures:
            raise SystemExit(1)
    print(task.to, file=out, flush=True)


def _open(url: str) -> Store:
    place = parse_target(url)
    if place.server is not None:
        from eventlog.store.postgres_schema import open_store as open_postgres

        return open_postgres(place.server, create=False)
    if place.path is None:
        raise ValueError(f"{place} is no log that processes share")
    return open_store(place.path, writable=True, create=False)


if __name__ == "__main__":
    main()
