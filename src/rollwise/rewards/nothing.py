"""No reward: every path counts the same, and nothing is computed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rollwise.core import Failure, Path, PathKey, Problem, RewardModel, RewardSession, Usage

EVEN = 0.5
"""The reward of every path."""


class NoReward(RewardModel):
    """A reward model that gives every path the same reward and computes nothing, for plain sampling and majorities."""

    reads_certainty = False
    parameters = 0

    def open(self, problem: Problem, seed: int) -> RewardSession:
        """A session for one question."""
        return _NoRewardSession()


class _NoRewardSession(RewardSession):
    in_process = True
    at_once = 1

    def __init__(self) -> None:
        self.usage = Usage()

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [EVEN] * len(paths)

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass
