"""How fast the log is, as ratios to plain `sqlite3` doing the same work in the same run.

    python -m benchmarks                        everything, size small
    python -m benchmarks append replay          some groups
    python -m benchmarks --size full --json benchmarks/results/mine.local.json

Each group is one module with ``run(bench) -> Iterator[Figure]``. What "raw" does and does not do stands in
`benchmarks.raw`, what the events are in `benchmarks.workload`, what each figure means in docs/benchmarks.md.
``benchmarks.peers`` compares with other packages and needs the dependency group ``peers``.
"""
