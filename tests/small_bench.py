"""A small bench with the events of its searches, for whatever shows benches."""

from pathlib import Path

from rollwise.bench import begin
from rollwise.search import run_to_end


def small_bench(out: Path, **fields: object) -> Path:
    """Run two strategies on a few questions of the numbers game in the folder `out`, and return it."""
    grid = {"strategies": ["rebase", "dora"], "budgets": [4], "levels": [3, 4], "limit": 2, "events": True}
    bench = begin(out, grid | fields)
    run_to_end(bench.run())
    return out
