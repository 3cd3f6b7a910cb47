"""A search of any size with a made-up policy, for pages that have to stay fast."""

import numpy as np

from rollwise.allocation import STRATEGIES
from rollwise.core import Evidence, Problem, Step, Stop
from rollwise.numerics import keyed_generator
from rollwise.report import Account, Told, fold_account
from rollwise.search import Growth, Limits, Search


def large_search(budget: int, rounds: int, strategy: str = "dora") -> Account:
    """The account of a search in which every path takes one of a few directions and ends after `rounds` steps."""
    allocate = STRATEGIES[strategy].bind()
    search = Search(Problem("large", "A large search"), allocate, Limits(budget, rounds))
    axes = np.eye(12)
    while not search.done:
        last = search.round == rounds - 1
        for path in search.ask():
            random = keyed_generator(path.key)
            direction = int(random.integers(12))
            step = Step(
                f"Step {search.round + 1} goes to {direction}. \\boxed{{{direction}}}",
                5,
                Stop.END if last else Stop.STEP,
            )
            embedding = axes[direction] + 0.002 * random.standard_normal(12)
            search.tell(path.key, Growth(step, float(random.random()), Evidence(embedding=embedding)))
    return fold_account(search.events, Told("A large search", strategy, budget, allocate), compare=("rebase", "beam"))
