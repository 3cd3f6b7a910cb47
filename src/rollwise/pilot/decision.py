"""The rule that turns a gain into advice. It is fixed before any result is seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rollwise.pilot.gain import CONFIDENCE, Gain
from rollwise.pilot.power import detectable_gain, questions_needed

WORTHWHILE = 0.02
"""The smallest gain in accuracy worth having, as a share, unless the user gives another."""
LEVEL = (1 - CONFIDENCE) / 2
"""The largest chance of the exact test that still counts as a gain."""


class Answer(StrEnum):
    """What a pilot advises."""

    INTRODUCE = "introduce"
    NO_GAIN = "no gain worth having"
    HARM = "it hurts"
    UNDECIDED = "not enough questions to tell"


@dataclass(frozen=True)
class Decision:
    """The advice with its gain.

    `detectable` is the true gain for which a comparison of this size advises introduction with a chance of 80 %; None
    if no gain would. `needed` is how many questions a comparison needs in all to find a gain of `worthwhile` with that
    chance, and `needed_for_measured` the same for a gain as large as the one measured; None if the measured gain is not
    positive. Both are None above 100 000 questions.
    """

    answer: Answer
    gain: Gain
    worthwhile: float
    detectable: float | None
    needed: int | None
    needed_for_measured: int | None


def decide(gain: Gain, worthwhile: float = WORTHWHILE) -> Decision:
    """The decision on a gain.

    - "it hurts" if the whole interval lies below 0;
    - "no gain worth having" if it lies below `worthwhile`;
    - "introduce" if it lies above 0 and the exact sign test agrees at the same level;
    - "not enough questions to tell" otherwise.

    If nothing was gained, at most 2.5 % of the decisions should be "introduce", as the two-sided interval has 95 %. In
    simulated pilots up to 2.8 % were (docs/results/pilot.md).
    """
    return Decision(
        answer=answer_of(gain, worthwhile),
        gain=gain,
        worthwhile=worthwhile,
        detectable=detectable_gain(gain.questions, gain.lost_rate, worthwhile, gain.design),
        needed=questions_needed(worthwhile, gain.lost_rate, worthwhile, gain.design),
        needed_for_measured=(questions_needed(gain.mean, gain.lost_rate, 0.0, gain.design) if gain.mean > 0 else None),
    )


def answer_of(gain: Gain, worthwhile: float) -> Answer:
    """The advice alone, without what else a decision tells."""
    if gain.high < 0:
        return Answer.HARM
    if gain.high < worthwhile:
        return Answer.NO_GAIN
    if gain.low > 0 and gain.chance <= LEVEL:
        return Answer.INTRODUCE
    return Answer.UNDECIDED
