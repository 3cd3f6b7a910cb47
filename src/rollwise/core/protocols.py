"""The protocols of the parts of a search: policy, reward model, direction finder, and their sessions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from rollwise.core.records import (
    Allocation,
    Belief,
    Candidates,
    Evidence,
    Failure,
    FloatArray,
    IntArray,
    Judgement,
    Path,
    PathKey,
    Problem,
    Sampling,
    Step,
    Usage,
)

Believe = Callable[[FloatArray, IntArray], Belief]
"""(rewards (k,), depths (k,)) → belief: what a calibration makes of raw rewards."""


Allocator = Callable[[Candidates, int], Allocation]
"""A strategy with its options bound: (candidates, width) → Allocation."""


class PolicySession(Protocol):
    """One question's hold on a policy and its caches.

    A session that has to ask someone first has `async prepare()` too; it is awaited once, before `room` is read. One
    that can tell a step before the others are done has `as_grown(paths)`, an async iterator of (path, step or Failure)
    in whatever order they come. `in_process` is true where it computes in this process.
    """

    @property
    def usage(self) -> Usage:
        """Tokens spent so far."""
        ...

    @property
    def room(self) -> int:
        """How many tokens a solution may have before the model's context is full."""
        ...

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """Grow each path by one step; results in the order given."""
        ...

    def hidden(self, key: PathKey) -> FloatArray:
        """The policy's hidden state (d,) after the last token of a grown path."""
        ...

    def retain(self, keys: Collection[PathKey]) -> None:
        """Keep the caches of these grown paths; all others may go."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


class Policy(Protocol):
    """A language model that grows solutions step by step."""

    @property
    def parameters(self) -> int:
        """How many parameters compute a token; 0 where that is unknown or nothing is computed."""
        ...

    def open(self, problem: Problem, sampling: Sampling) -> PolicySession:
        """A session for one question."""
        ...


class RewardSession(Protocol):
    """One question's hold on a reward model and its caches.

    A session that takes the paths of a round in parts, in whatever order, has `at_once`: how many calls of `score`
    beside each other; else it is asked once a round. `in_process` is true where it computes in this process.
    """

    @property
    def usage(self) -> Usage:
        """Tokens spent so far."""
        ...

    async def score(self, paths: Sequence[Path]) -> Sequence[float | Judgement | Failure]:
        """The reward in [0, 1] after each path's last step; results in the order given."""
        ...

    def retain(self, keys: Collection[PathKey]) -> None:
        """Keep the caches of these paths; all others may go."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


class RewardModel(Protocol):
    """A process reward model. One whose attribute `reads_certainty` is False does not read `Step.certainty`."""

    @property
    def parameters(self) -> int:
        """How many parameters compute a token; 0 where that is unknown or nothing is computed."""
        ...

    def open(self, problem: Problem, seed: int) -> RewardSession:
        """A session for one question."""
        ...


class DirectionSession(Protocol):
    """One question's hold on a direction finder; `at_once` and `in_process` as with a reward session, for `find`."""

    @property
    def usage(self) -> Usage:
        """Tokens spent so far."""
        ...

    async def find(self, paths: Sequence[Path]) -> Sequence[Evidence | Failure]:
        """Evidence on each grown path; results in the order given."""
        ...


class DirectionFinder(Protocol):
    """Says who goes together."""

    @property
    def parameters(self) -> int:
        """How many parameters compute a token; 0 where that is unknown or nothing is computed."""
        ...

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        ...
