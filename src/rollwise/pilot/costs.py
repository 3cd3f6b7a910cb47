"""What searches cost: money at the user's prices, or computed tokens without them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from rollwise.bench import Outcome, Prices, Result

TOKENS = "tokens"
"""The unit of costs without prices."""
CostOf = Callable[[Outcome], float]


def computed_tokens(outcome: Outcome) -> float:
    """The tokens that models generated or read anew in a search; those from a cache cost nothing."""
    return float(sum(usage.generated + usage.prefilled for usage in outcome.usage.values()))


def cost_by(prices: Prices | None) -> tuple[CostOf, str]:
    """What a search costs, and the unit: the currency of the prices, or TOKENS without prices."""
    return (computed_tokens, TOKENS) if prices is None else (prices.money, prices.currency)


@dataclass(frozen=True)
class Searches:
    """The searches of one setting at one budget, by (question, seed)."""

    label: str
    budget: int
    outcomes: Mapping[tuple[str, int], Outcome]

    @property
    def ran(self) -> list[Outcome]:
        """The searches that did not raise."""
        return [outcome for outcome in self.outcomes.values() if outcome.error is None]

    def right(self, vote: str | None = None) -> dict[tuple[str, int], bool]:
        """Whether the answer is right, by (question, seed): of the search's own vote, or of a further one."""
        return {
            trial: outcome.right if vote is None else bool(outcome.votes.get(vote, False))
            for trial, outcome in self.outcomes.items()
        }

    def accuracy(self) -> float:
        """The share of searches whose answer is right."""
        return float(np.mean([outcome.right for outcome in self.outcomes.values()])) if self.outcomes else 0.0

    def cost(self, of: CostOf) -> float:
        """The mean cost of a search, over those that did not raise."""
        return float(np.mean([of(outcome) for outcome in self.ran])) if self.ran else 0.0

    def within(self, trials: Iterable[tuple[str, int]]) -> Searches:
        """Those of the given questions and seeds."""
        wanted = set(trials)
        return Searches(
            self.label, self.budget, {trial: one for trial, one in self.outcomes.items() if trial in wanted}
        )


def searches_of(results: Iterable[Result]) -> dict[tuple[str, int], Searches]:
    """The searches of results, by (label, budget), in the order of the results."""
    found: dict[tuple[str, int], dict[tuple[str, int], Outcome]] = {}
    for result in results:
        cell = result.cell
        found.setdefault((cell.label, cell.budget), {})[result.problem, cell.seed] = result.outcome
    return {(label, budget): Searches(label, budget, outcomes) for (label, budget), outcomes in found.items()}
