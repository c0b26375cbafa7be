"""``python -m benchmarks.peers [PEER…]``: run, print a table, save JSON."""

from __future__ import annotations

from benchmarks.command import main

PEERS = {
    "eventsourcing": "benchmarks.peers.eventsourcing_peer",
    "mlflow": "benchmarks.peers.mlflow_peer",
    "jsonlines": "benchmarks.peers.jsonlines_peer",
    "huey": "benchmarks.peers.huey_peer",
}

if __name__ == "__main__":
    raise SystemExit(main("python -m benchmarks.peers", PEERS, other="peer"))
