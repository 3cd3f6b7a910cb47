"""Counts votes for answers so that the order of the votes changes nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rollwise.answers.equality import group


@dataclass(frozen=True)
class Ballot:
    """A group of answers that are the same: its most common text, how many paths gave it, and what they weigh."""

    answer: str
    paths: int
    weight: float


def count_ballots(
    answers: Sequence[str | None], weights: Sequence[float], compare: str = "mathematics"
) -> list[Ballot]:
    """The groups of the answers, the winner of the weighted majority vote first.

    Weights that differ by less than 1e-12, or by less than that share of the heaviest, tie. Ties go to more paths, then
    to the shorter and to the alphabetically earlier text. If no path has any weight, the number of paths decides. None
    stands for a path without an answer and has no vote.
    """
    texts = sorted({answer for answer in answers if answer is not None})
    label_of = dict(zip(texts, group(texts, compare).tolist(), strict=True))
    voters: dict[int, list[int]] = {}
    for voter, answer in enumerate(answers):
        if answer is not None:
            voters.setdefault(label_of[answer], []).append(voter)
    ballots = []
    for members in voters.values():
        spellings = Counter(answers[voter] or "" for voter in members)
        spelling = min(spellings, key=lambda text: (-spellings[text], len(text), text))
        ballots.append(Ballot(spelling, len(members), math.fsum(weights[voter] for voter in members)))
    heaviest = min(1.0, max((ballot.weight for ballot in ballots), default=0.0)) or 1.0
    return sorted(
        ballots,
        key=lambda ballot: (-round(ballot.weight / heaviest, 12), -ballot.paths, len(ballot.answer), ballot.answer),
    )
