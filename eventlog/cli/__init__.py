"""The command line: thin edges that parse, make one call, and print. The entry point is `main`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in `eventlog`: nothing is imported before an interrupt is handled
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line with ``args`` (default: this process's) and exit.

    0 fine, 1 a told failure, 2 usage, 130 interrupted.
    """
    try:
        from eventlog.cli.root import cli

        cli.main(args)
    except KeyboardInterrupt:  # in an import: the root handles every other
        sys.exit(130)
