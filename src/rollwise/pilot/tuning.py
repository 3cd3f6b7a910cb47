"""The small grid of settings that a pilot tunes over, and the choice among them on the tuning part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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


def choose(scores: Sequence[Score]) -> Score:
    """The score with the largest share of right answers; of equal ones the cheapest, of these the first."""
    return min(scores, key=lambda score: (-score.right / max(1, score.searches), score.cost))
