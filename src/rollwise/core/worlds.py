"""What poses problems, what can also check their steps, and what models can also be trained on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from rollwise.core.protocols import Policy
from rollwise.core.records import Problem


@dataclass(frozen=True)
class Curriculum:
    """How a world's models are trained on it. A kind of demonstration is (level, after how many steps).

    `stages` lists (until which share of the training, kind → share shown). `reward_kinds` maps a kind to its share of
    the reward model's batches. `level_shares` divides the problems over the levels. Sampling gives a solution up after
    `longest` steps. The three texts go into model cards: what the demonstrations are, what an attempt's label means,
    and what is held out.
    """

    stages: tuple[tuple[float, Mapping[tuple[int, int], float]], ...]
    reward_kinds: Mapping[tuple[int, int], float]
    level_shares: Mapping[int, float]
    longest: int
    demonstrations: str
    label: str
    held_out: str


class Problems(Protocol):
    """Poses problems and grades answers. That is all a search needs."""

    name: str
    """Its name."""

    levels: Sequence[int]
    """Its levels, easiest first; empty if it draws no problems."""

    separator: str
    """The text between two steps."""

    checkable: bool
    """Whether an answer can be checked at test time without knowing the gold answer, so that no vote is needed."""

    @abstractmethod
    def problem(self, level: int, seed: int, split: str = "test") -> Problem:
        """The problem that (level, seed) names in a split: "test", "validation" or "train"."""
        ...

    @abstractmethod
    def parse(self, question: str) -> Problem:
        """The problem that a typed question poses. Raises InputError if it does not fit this world."""
        ...

    @abstractmethod
    def remark(self, problem: Problem) -> str | None:
        """What a person should know first, such as that the bundled models never saw a problem like this; or None."""
        ...

    @abstractmethod
    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether an answer is right, checked without the gold answer if the world allows that."""
        ...


@runtime_checkable
class CheckedProblems(Problems, Protocol):
    """Problems whose steps can be checked: the truth about a partial solution is known."""

    @abstractmethod
    def step_is_valid(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether every step follows from the steps before it."""
        ...

    @abstractmethod
    def state(self, problem: Problem, steps: Sequence[str]) -> Hashable:
        """The true direction: equal state, equal chance of success."""
        ...

    @abstractmethod
    def reachable(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether a right answer can still be reached; for a finished solution, whether it is right."""
        ...


@runtime_checkable
class World(CheckedProblems, Protocol):
    """A bundled family of problems: every step can be checked, and models are trained on it."""

    literals: Sequence[str]
    """The strings that its texts are made of, which are its models' tokens."""

    curriculum: Curriculum
    """How its models are trained."""

    @abstractmethod
    def demonstration(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and the steps of one solution; with `after`, what that many steps leave of a problem.

        Raises InputError for a kind that the world does not have; its curriculum names those it has.
        """
        ...

    @abstractmethod
    def attempt(self, rng: np.random.Generator, level: int, after: int = 0) -> tuple[Problem, list[str]]:
        """A training problem and the steps of an attempt that fails more often than not, for a reward model."""
        ...

    @abstractmethod
    def demonstrator(self) -> Policy | None:
        """A policy that demonstrates with known chances; None if the world has none."""
        ...

    @abstractmethod
    def worth(self, problem: Problem, steps: Sequence[str]) -> float:
        """The exact chance that the demonstrator, continuing after these steps, ends right. Raises InputError if the
        world has no demonstrator.
        """
        ...
