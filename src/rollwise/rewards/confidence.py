"""The policy's own confidence as a reward, for a search without a reward model."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from rollwise.core import Failure, Path, PathKey, Problem, RewardModel, RewardSession, Step, Usage
from rollwise.errors import InputError


def confidence(step: Step) -> float:
    """How sure the policy was of a step, in [0, 1].

    c / (1 + c) for the step's certainty c (see `rollwise.core.Step`) if the policy reports its likeliest tokens, else
    exp(mean log-probability of the step's tokens). Neither is a probability of being right: only order and distances
    mean something, and only among steps of the same policy. Raises InputError if the policy reports neither.
    """
    if math.isfinite(step.certainty):
        return step.certainty / (1.0 + step.certainty)
    if math.isfinite(step.logprob):
        return min(1.0, math.exp(step.logprob / max(1, step.tokens)))
    raise InputError("this policy gives no log-probabilities, so its confidence is unknown: choose another --reward")


class Confidence(RewardModel):
    """A reward model that reads the policy's confidence in each step."""

    parameters = 0

    def open(self, problem: Problem, seed: int) -> RewardSession:
        """A session for one question."""
        return _ConfidenceSession()


class _ConfidenceSession(RewardSession):
    in_process = True
    at_once = 1

    def __init__(self) -> None:
        self.usage = Usage()

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [confidence(path.steps[-1]) for path in paths]

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass
