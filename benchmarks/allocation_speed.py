"""Measures how many milliseconds an allocation takes with each strategy, from embeddings and rewards to counts.

    python benchmarks/allocation_speed.py --candidates 256 --dimensions 1024

For `dora` that includes the cosine, the kernel, the order by average linkage, and the rounding. Processor time is that
of the whole process. Set OPENBLAS_NUM_THREADS=1 if other work holds the cores, since a second thread would wait for a
core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import turns

from rollwise.allocation.strategies import STRATEGIES
from rollwise.core import Belief, Candidates, Evidence, FloatArray
from rollwise.directions.kernel import from_evidence

GOAL = {"dora": 5.0}


def embeddings_of(generator: np.random.Generator, count: int, dimensions: int, groups: int) -> FloatArray:
    """Returns rows (count, dimensions) around one centre a group, like embeddings of solutions in few directions."""
    centres = generator.normal(size=(groups, dimensions))
    return centres[generator.integers(groups, size=count)] + 0.3 * generator.normal(size=(count, dimensions))


def contender(name: str, given: argparse.Namespace) -> Callable[[], None]:
    """Returns a call that makes one allocation with a strategy, starting from the evidence of a direction finder."""
    generator = np.random.default_rng(0)
    rows = embeddings_of(generator, given.candidates, given.dimensions, given.groups)
    rewards = generator.uniform(size=given.candidates)
    evidence = [Evidence(embedding=row) for row in rows]
    strategy = STRATEGIES[name]
    allocate = strategy.bind()

    def run() -> None:
        candidates = Candidates(
            paths=tuple((index,) for index in range(given.candidates)),
            rewards=rewards,
            directions=from_evidence(evidence) if "directions" in strategy.needs else None,
            lineage=np.arange(given.candidates),
            question="benchmark",
            belief=Belief(rewards, np.full(given.candidates, 4.0), correlation=0.5),
        )
        allocate(candidates, given.candidates)

    return run


def main(arguments: Sequence[str] | None = None) -> None:
    numbers = {"candidates": 256, "dimensions": 1024, "groups": 40}
    given = turns.parser(__doc__, 40, numbers).parse_args(arguments)
    runs = {name: contender(name, given) for name in STRATEGIES}
    turns.report(turns.measure(runs, given, [*numbers, "repeats"]), GOAL, given.json)


if __name__ == "__main__":
    main()
