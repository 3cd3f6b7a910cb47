"""The protocol of a bundled world, and how its models are trained."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rollwise.core.protocols import Policy
from rollwise.core.records import Problem


@dataclass(frozen=True)
class Curriculum:
    """How a world's models are trained on it. A kind of demonstration is (level, after how many steps).

    `stages`: until which share of the training which kinds are shown, kind → share. `reward_kinds`: kind → share of the
    reward model's batches. `level_shares`: how problems are divided where all levels are wanted. `longest`: after how
    many steps a sampled solution is given up. The texts say in a model card what the demonstrations are, what an
    attempt's label means, and what is held out.
    """

    stages: tuple[tuple[float, Mapping[tuple[int, int], float]], ...]
    reward_kinds: Mapping[tuple[int, int], float]
    level_shares: Mapping[int, float]
    longest: int
    demonstrations: str
    label: str
    held_out: str


class World(Protocol):
    """A bundled family of problems where everything can be checked."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def levels(self) -> Sequence[int]:
        """Its levels, easiest first."""
        ...

    @property
    def separator(self) -> str:
        """What stands between two steps."""
        ...

    @property
    def literals(self) -> Sequence[str]:
        """The strings that its texts are made of, which are its models' tokens."""
        ...

    @property
    def checkable(self) -> bool:
        """Whether an answer can be checked at test time without knowing the gold one, so that no vote is needed."""
        ...

    @property
    def curriculum(self) -> Curriculum:
        """How its models are trained."""
        ...

    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        """The problem that (level, seed) names in a split: "test", "validation" or "train"."""
        ...

    def parse(self, question: str) -> Problem:
        """A question typed by hand. Raises InputError where it is not one of this world."""
        ...

    def remark(self, problem: Problem) -> str | None:
        """What a person should know first, such as that the bundled models never saw a problem like this; or None."""
        ...

    def demonstration(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and the steps of one solution; with `after`, what so many steps leave of a problem.

        Raises InputError where a world has nothing of the kind; its curriculum names what it has.
        """
        ...

    def attempt(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and the steps of an attempt that fails more often than not, for a reward model."""
        ...

    def demonstrator(self) -> Policy | None:
        """Whoever demonstrates, as a policy whose chances are known; None where the world has no such policy."""
        ...

    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether every step follows from the ones before."""
        ...

    def state(self, problem: Problem, steps: Sequence[str]) -> Hashable:
        """The true direction: equal state, equal chance of success."""
        ...

    def reachable(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether a right answer can still be reached; for a finished solution, whether it is right."""
        ...

    def worth(self, problem: Problem, steps: Sequence[str]) -> float:
        """The exact chance that the demonstrator, going on after these steps, ends right. Raises InputError where the
        world has no demonstrator.
        """
        ...

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether an answer is right, checked without knowing the gold one where the world allows it."""
        ...
