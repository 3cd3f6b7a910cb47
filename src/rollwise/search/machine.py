"""The search as a pure state machine: `ask` says which paths to grow by one step, `tell` takes what came back.

It does no input or output and knows no clock. Local batches, HTTP, replay and resume are different drivers of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rollwise.core import (
    Allocator,
    Belief,
    Believe,
    Candidates,
    Evidence,
    Failure,
    FloatArray,
    Path,
    PathKey,
    Problem,
    Step,
    Stop,
)
from rollwise.directions import from_evidence
from rollwise.errors import InputError
from rollwise.search.events import Allocated, Event, Failed, Finished, Grown, Span, Stopped


@dataclass(frozen=True, slots=True)
class Growth:
    """A path grown by one step: the step, the reward after it, the direction finder's evidence, and the concentration κ
    of the reward (NaN if the reward model reports none).
    """

    step: Step
    reward: float
    evidence: Evidence = field(default_factory=Evidence)
    concentration: float = math.nan


STEP_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda rewards: rewards[-1],
    "min": min,
    "product": math.prod,
    "mean": lambda rewards: math.fsum(rewards) / len(rewards),
}
"""How the rewards of a path's steps become the path's reward."""


@dataclass(frozen=True)
class Limits:
    """The budget N of rollouts, and the steps or tokens after which a path ends.

    `constant_width` follows the paper: N paths stay active until N have finished, and the first N vote.

    `wave` spends the budget in parts: that many rollouts first, and as many again when those have ended. Each part is a
    search of its own, and all their finished paths vote together. None spends all at once. Raises InputError for values
    that make no sense.
    """

    budget: int = 64
    max_steps: int = 40
    max_tokens: int = 2048
    constant_width: bool = False
    aggregate: str = "last"
    wave: int | None = None

    def __post_init__(self) -> None:
        for name in ("budget", "max_steps", "max_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} has to be at least 1, not {getattr(self, name)}")
        if self.wave is not None and (self.wave < 1 or self.constant_width):
            raise InputError("a wave is at least 1 rollout, and the paper's constant width takes all at once")
        if self.aggregate not in STEP_AGGREGATES:
            raise InputError(f"no step aggregate is called {self.aggregate!r}; there are: {', '.join(STEP_AGGREGATES)}")


class Search:
    """One question's search. Replies may come in any order; a second reply for the same path is ignored.

    `believe` makes a belief of the rewards, for strategies that read a belief. Without it, the belief is the reward
    model's own if its scores carry a concentration.
    """

    def __init__(
        self, problem: Problem, allocate: Allocator, limits: Limits, seed: int = 0, believe: Believe | None = None
    ) -> None:
        self.problem, self.allocate, self.limits, self.seed = problem, allocate, limits, seed
        self.believe = believe
        self.round = 0
        self.events: list[Event] = []
        self.finished: list[Path] = []
        self.failed: list[PathKey] = []
        self._begun = self._left = 0
        self._waiting: dict[PathKey, Path] = {}
        self._grown: list[tuple[Path, Growth]] = []
        self._begin_wave()

    @property
    def done(self) -> bool:
        """Whether there is nothing left to ask."""
        return not self._waiting

    @property
    def voters(self) -> list[Path]:
        """The finished paths that vote, each once: the first N to finish."""
        return self.finished[: self.limits.budget]

    @property
    def remaining(self) -> int:
        """How many votes may still come: the rollouts that have neither finished nor failed.

        With a constant width, failed rollouts are replaced, so only finished ones count.
        """
        spent = len(self.finished) + (0 if self.limits.constant_width else len(self.failed))
        return max(0, self.limits.budget - spent)

    def ask(self) -> list[Path]:
        """The paths of this round that still have to grow by one step."""
        return list(self._waiting.values())

    def tell(self, key: PathKey, outcome: Growth | Failure, spans: Mapping[str, Span] | None = None) -> None:
        """Take the result of growing a path, with the spans of "generating", "scoring" and "embedding" if known.

        The last reply of a round allocates the next round.
        """
        path = self._waiting.pop(key, None)
        if path is None:
            return
        if isinstance(outcome, Growth) and not np.isfinite(outcome.reward):
            outcome = Failure(f"the reward model returned {outcome.reward}")
        if isinstance(outcome, Failure):
            self.failed.append(key)
            self.events.append(Failed(self.round, key, outcome.reason, spans or {}))
        else:
            grown = path.grown(outcome.step).scored(outcome.reward)
            self._grown.append((grown, outcome))
            unplaced = outcome.evidence.unplaced
            self.events.append(Grown(self.round, key, outcome.step, outcome.reward, unplaced, spans or {}))
        if not self._waiting:
            self._close_round()

    def leave(self, keys: Collection[PathKey]) -> None:
        """Give up paths of this round that still have to grow, so that the round closes without them. They count
        neither as finished nor as failed, and their rollouts as not spent. Only `stop` may follow the last round.
        """
        for key in keys:
            self._left += self._waiting.pop(key, None) is not None
        if not self._waiting and self._grown:
            self._close_round()

    def reward(self, path: Path) -> float:
        """A path's reward, aggregated over its steps."""
        return STEP_AGGREGATES[self.limits.aggregate](path.rewards)

    def stop(self, reason: str) -> None:
        """End the search here: paths that ended vote, and no path grows further. A search that is done stays as it is,
        unless paths were given up.

        It may be called between rounds or within one; replies that come later are ignored.
        """
        if self.done and not self._left:
            return
        within = bool(self.events) and self.events[-1].round == self.round
        self._end_paths()
        self._waiting = {}
        self.round += within
        self.events.append(Stopped(max(0, self.round - 1), reason, self.remaining))

    def _close_round(self) -> None:
        active = self._end_paths()
        ended = 0 if self.limits.constant_width else len(self.finished) + len(self.failed)
        width = self._begun - self._left - ended
        if active and width > 0 and not (self.limits.constant_width and len(self.finished) >= self.limits.budget):
            self._allocate(active, width)
        elif self._begun < self.limits.budget:
            self._begin_wave()
        self.round += 1

    def _begin_wave(self) -> None:
        first, budget = self._begun, self.limits.budget
        self._begun = min(budget, first + (self.limits.wave or budget))
        self._waiting = {(index,): Path((index,)) for index in range(first, self._begun)}

    def _end_paths(self) -> list[tuple[Path, Growth]]:
        """Move the grown paths that ended to the finished ones; return those that can go on."""
        grown, self._grown = sorted(self._grown, key=lambda item: item[0].key), []
        active: list[tuple[Path, Growth]] = []
        for path, growth in grown:
            stop = self._stop(path, growth.step)
            if stop is None:
                active.append((path, growth))
            else:
                self.finished.append(path)
                self.events.append(Finished(self.round, path.key, stop))
        return active

    def _stop(self, path: Path, step: Step) -> Stop | None:
        if step.stop is Stop.END:
            return Stop.END
        limited = len(path.steps) >= self.limits.max_steps or path.tokens >= self.limits.max_tokens
        return Stop.LENGTH if limited else None

    def _allocate(self, active: Sequence[tuple[Path, Growth]], width: int) -> None:
        paths = [path for path, _ in active]
        rewards = np.array([self.reward(path) for path in paths])
        depth = np.array([len(path.steps) for path in paths])
        candidates = Candidates(
            paths=tuple(path.key for path in paths),
            rewards=rewards,
            directions=from_evidence([growth.evidence for _, growth in active]),
            lineage=np.array([path.key[0] for path in paths]),
            depth=depth,
            question=self.problem.id,
            seed=self.seed,
            belief=self.believe(rewards, depth) if self.believe else _own_belief(rewards, active),
        )
        allocation = self.allocate(candidates, width)
        self.events.append(Allocated(self.round, width, candidates, allocation))
        copies = [
            path.copy(index) for path, count in zip(paths, allocation.counts, strict=True) for index in range(count)
        ]
        self._waiting = {copy.key: copy for copy in copies}


def _own_belief(rewards: FloatArray, active: Sequence[tuple[Path, Growth]]) -> Belief | None:
    """The reward model's own belief about the candidates; None if a score carries no concentration."""
    concentration = np.array([growth.concentration for _, growth in active], dtype=np.float64)
    if not np.all(concentration > 0) or rewards.min() < 0 or rewards.max() > 1:
        return None
    return Belief(rewards, concentration)
