"""The comparison people ask for: the same work by us and by another package, in one run, turn about.

    pip install --group peers && python -m benchmarks.peers [eventsourcing] [mlflow] [jsonlines] [--size small]

Every ratio says how many times as fast ours is; the bar is 1. Where the work cannot be made the same, the other side is
given less of it, and the module says what is left out.
"""
