"""The command line that both `benchmarks` and `benchmarks.peers` have."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from benchmarks.harness import SIZES, Figure, as_json, filesystem, surroundings, table
from benchmarks.logs import Bench


def main(program: str, groups: Mapping[str, str], *, other: str, arguments: list[str] | None = None) -> int:
    """Run the groups asked for, print a table, save JSON. Exit status 0 whether or not the bars are met."""
    parser = argparse.ArgumentParser(prog=program, description=f"groups: {', '.join(groups)} (default: all)")
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save every figure")
    parser.add_argument("--dir", type=Path, help="where files are made and removed again (default: a temporary folder)")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.groups) - set(groups)):
        parser.error(f"no such group: {', '.join(unknown)}")

    size = SIZES[options.size]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="eventlog-bench-", dir=options.dir) as name:
        folder = Path(name)
        on = surroundings(folder)
        if filesystem(folder) in ("tmpfs", "ramfs"):
            print("in memory: an fsync costs nothing here; give --dir on a disk", file=sys.stderr)
        bench = Bench(size, folder)
        for group in options.groups or groups:
            print(group, file=sys.stderr)
            for figure in import_module(groups[group]).run(bench):
                figures.append(figure)
                print(f"  {figure.id}: {figure.ours:,.3g} {figure.unit}", file=sys.stderr)
        if options.json:
            options.json.write_text(as_json(figures, size, folder))

    print(table(figures, other))
    print(f"\nsize {size.name}; " + ", ".join(f"{key} {value}" for key, value in on.items()))
    if size.name != "full":
        print("The bars are stated for the full size.")
    return 0
