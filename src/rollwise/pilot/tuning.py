"""The small grid of settings that a pilot tunes over, and the choice among them on the tuning part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rollwise.allocation import split_settings

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "plain": ("temperature",),
    "score": ("rebase", "beam", "dvts"),
    "directions": ("dora", "dora_two_stage"),
    "optimum": ("optimal", "optimal_directions"),
}
"""What a pilot compares, from plain sampling to the optimum: family → its strategies."""
_TEMPERATURES = {"full": (0.1, 0.2, 0.4), "small": (0.1, 0.3)}
_SIMILARITIES = {"full": (0.01, 0.1), "small": (0.1,)}


def settings_grid(size: str, soft: bool, believed: bool) -> tuple[str, ...]:
    """The settings that are tuned over, as a bench writes them, of the grid "full" or "small".

    `soft` says that directions are compared by embeddings, so that T_s matters; `believed` that a belief is at hand,
    which the optimum needs.
    """
    similar = [f",similarity_temperature={value}" for value in _SIMILARITIES[size]] if soft else [""]
    labels = ["temperature"]
    labels += [f"rebase:reward_temperature={value}" for value in _TEMPERATURES[size]]
    labels += [f"dora:reward_temperature={value}{end}" for value in _TEMPERATURES[size] for end in similar]
    if believed:
        labels += ["optimal", "optimal_directions"]
    return tuple(labels)


def family_of(label: str) -> str:
    """The family of a setting. Raises StopIteration for a strategy of none."""
    strategy = split_settings(label)[0]
    return next(family for family, strategies in FAMILIES.items() if strategy in strategies)


@dataclass(frozen=True)
class Score:
    """How a setting did on the tuning part: right answers of all searches, and its mean cost of a search.

    `label` is the strategy with its settings as a bench writes them, `vote` the vote that elects its answers.
    """

    label: str
    vote: str
    right: int
    searches: int
    cost: float

    @property
    def variant(self) -> str:
        """The setting with its vote, as a bench writes them."""
        return f"{self.label}{',' if ':' in self.label else ':'}vote={self.vote}"


def choose(scores: Sequence[Score]) -> Score:
    """The score with the largest share of right answers; of equal ones the cheapest, of these the first."""
    return min(scores, key=lambda score: (-score.right / max(1, score.searches), score.cost))


def best_of_families(scores: Iterable[Score]) -> list[Score]:
    """The chosen score of each family that has any, in the order of FAMILIES."""
    by_family: dict[str, list[Score]] = {family: [] for family in FAMILIES}
    for score in scores:
        by_family[family_of(score.label)].append(score)
    return [choose(several) for several in by_family.values() if several]
