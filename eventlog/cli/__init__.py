"""The command line: thin edges that parse, make one call, and print. The entry point is `main`."""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line with ``args`` (default: this process's) and exit: 0 fine, 1 a told failure, 2 usage."""
    from eventlog.cli.root import cli

    cli.main(args)
