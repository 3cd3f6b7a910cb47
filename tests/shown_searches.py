"""Searches with made-up policies, for pages: a large one, and one whose texts try to break out of the page."""

import numpy as np

from rollwise.allocation import STRATEGIES
from rollwise.core import Evidence, Problem, Step, Stop
from rollwise.numerics import keyed_generator
from rollwise.report import Account, Told, fold_account
from rollwise.search import Growth, Limits, Search

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    r"$\text{</script><script>alert(1)</script>}$",
    r"\(\href{javascript:alert(1)}{x}\)",
    "<!--<script>",
    "\u2028\u2029\x00 & \" ' `",
]


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


def hostile_account() -> Account:
    """A search in which every text tries to break out of its page."""
    search = Search(Problem("x", HOSTILE[0]), STRATEGIES["rebase"].bind(), Limits(len(HOSTILE), 2))
    while not search.done:
        for path in search.ask():
            text = HOSTILE[path.key[0]]
            search.tell(path.key, Growth(Step(text, 1, Stop.END if search.round else Stop.STEP), 0.5))
    return fold_account(search.events, Told(HOSTILE[0], "<b>own</b>", len(HOSTILE)))
