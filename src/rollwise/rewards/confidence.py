"""The policy's own confidence as a reward: what there is where nobody serves a reward model."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from rollwise.core import Failure, Path, PathKey, Problem, RewardSession, Step, Usage
from rollwise.errors import InputError


def confidence(step: Step) -> float:
    """How sure the policy was of a step, in [0, 1].

    c / (1 + c) of the step's certainty c (see `rollwise.core.Step`) where the policy tells its likeliest tokens, else
    exp(mean log-probability of the step's tokens). Neither is a chance of being right: only the order and the distances
    mean something, and those only among steps of one policy. Raises InputError where the policy tells neither.
    """
    if math.isfinite(step.certainty):
        return step.certainty / (1.0 + step.certainty)
    if math.isfinite(step.logprob):
        return min(1.0, math.exp(step.logprob / max(1, step.tokens)))
    raise InputError("this policy gives no log-probabilities, so its confidence is not known: choose another --reward")


class Confidence:
    """A reward model that asks the policy itself."""

    parameters = 0

    def open(self, problem: Problem, seed: int) -> RewardSession:
        """A session for one question."""
        return _ConfidenceSession()


class _ConfidenceSession:
    def __init__(self) -> None:
        self.usage = Usage()

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [confidence(path.steps[-1]) for path in paths]

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass
