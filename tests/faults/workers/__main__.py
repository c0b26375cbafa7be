"""Run one function of these modules; it prints one line for each event the log has acknowledged."""

from __future__ import annotations

import sys
from importlib import import_module

for name in ("writers", "starved", "forks", "intruders", "versions", "timed", "clients", "interrupted"):
    function = getattr(import_module(f"workers.{name}"), sys.argv[1], None)
    if function is not None:
        function(*sys.argv[2:])
        break
else:
    sys.exit(f"no worker is called {sys.argv[1]}")
