"""The records and protocols that a plug-in's author reads. Records are frozen and hold no tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rollwise.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

PathKey = tuple[int, ...]
"""A path's name: the root copy it descends from, then which copy it was at each allocation.

A path that has grown d steps has a key of length d; while it waits to grow its next step, d + 1. The key never depends
on the order in which replies arrive, so it seeds randomness and breaks ties.
"""


class Stop(StrEnum):
    """Why a step ended."""

    STEP = "step"
    END = "end"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, and what is known about it: the gold answer, the world and level it was drawn from.

    `instruction` is what a policy is told beside the question, where it has to be told anything.
    """

    id: str
    question: str
    answer: str | None = None
    world: str | None = None
    level: int | None = None
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One grown step: its text with the separator that closed it, its tokens, and why it stopped.

    `logprob` is the sum over the step of the log-probability under the policy at temperature 1; `ids` are the tokens
    themselves where the policy tells them, an end-of-text token left out. `certainty` is the mean over the step's
    tokens of how far the policy's next-token distribution was from uniform over its k likeliest tokens,
    -1/k Σ log(k p), at or above 0, where the policy tells those: Kang et al.'s self-certainty (2502.18581) where k is
    the whole vocabulary.
    """

    text: str
    tokens: int
    stop: Stop
    logprob: float = float("nan")
    ids: tuple[int, ...] = ()
    certainty: float = float("nan")


@dataclass(frozen=True, slots=True)
class Path:
    """A partial or finished solution: its key, its steps, and the reward after each scored step."""

    key: PathKey
    steps: tuple[Step, ...] = ()
    rewards: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """The solution so far, as generated."""
        return "".join(step.text for step in self.steps)

    @property
    def tokens(self) -> int:
        """Tokens generated along this path, counted once each."""
        return sum(step.tokens for step in self.steps)

    @property
    def ended(self) -> bool:
        """Whether the last step ended the text."""
        return bool(self.steps) and self.steps[-1].stop is Stop.END

    def copy(self, index: int) -> Path:
        """Copy number `index` of this path, waiting to grow its next step."""
        return Path((*self.key, index), self.steps, self.rewards)

    def grown(self, step: Step) -> Path:
        """This path with one more step."""
        return Path(self.key, (*self.steps, step), self.rewards)

    def scored(self, reward: float) -> Path:
        """This path with the reward of its last step."""
        return Path(self.key, self.steps, (*self.rewards, reward))


def whole_steps(text: str, separator: str, ended: bool = False) -> list[str]:
    """The steps of a solution so far, blank ones left out. What follows the last separator is a step only if the text
    ended there; else it was cut off and its sense is not known yet.
    """
    parts = text.split(separator)
    return [part for part in (parts if ended else parts[:-1]) if part.strip()]


def key_text(key: PathKey) -> str:
    """A path key as people read it: (5, 0, 2) is `5.0.2`."""
    return ".".join(map(str, key))


@dataclass(frozen=True, slots=True)
class Failure:
    """A rollout that was lost, and why. It costs one rollout of the width and nothing else."""

    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a direction finder knows of one path: a label (equal label, same direction) or an embedding (d,).

    `unplaced` says why there is neither, where nothing can be found out about this path, as of a text that no embedder
    takes: it is then a direction of its own. A finder that breaks down gives a Failure.
    """

    label: Hashable = None
    embedding: FloatArray | None = None
    unplaced: str | None = None


@dataclass(frozen=True)
class Directions:
    """Who goes together among k candidates: hard labels (k,), a cosine similarity (k, k), or weights (k,) that stand
    for 1 / (size of the direction). Exactly one is given; `rollwise.directions` turns each into uniqueness.
    """

    labels: IntArray | None = None
    similarity: FloatArray | None = None
    weights: FloatArray | None = None


@dataclass(frozen=True)
class Belief:
    """What is believed of each candidate's chance p that one completion of it ends right: p ~ Beta(κm, κ(1 - m)).

    `mean` m (k,) lies in [0, 1] and is calibrated: no share of anything; `concentration` κ (k,), above 0, is how much
    that mean is worth, in completions seen. `correlation` ρ in (0, 1] is how much of the doubt about p is common to the
    candidates of one direction: 1 where they share one p. `spent` (k,) are rollouts that a path has had already, none
    of them known to be right; None where there are none. `size_exponent` α is how much a direction's log-odds rise with
    the log of its size, among the directions at hand.
    """

    mean: FloatArray
    concentration: FloatArray
    correlation: float = 1.0
    spent: IntArray | None = None
    size_exponent: float = 0.0


Believe = Callable[[FloatArray, IntArray], Belief]
"""(rewards (k,), depths (k,)) → belief: what a calibration makes of raw rewards."""


@dataclass(frozen=True)
class Candidates:
    """The k active paths that an allocator chooses among, and the evidence about them.

    `rewards` (k,) are raw rewards in [0, 1]; `lineage` (k,) is the index of the root copy each path descends from;
    `depth` (k,) counts grown steps. A field is None where nothing is known. `seed` is all the randomness there is.
    `belief` is what a calibration makes of the rewards.
    """

    paths: tuple[PathKey, ...]
    rewards: FloatArray
    directions: Directions | None = None
    lineage: IntArray | None = None
    depth: IntArray | None = None
    question: str | None = None
    seed: int = 0
    belief: Belief | None = None

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Allocation:
    """How many copies of each candidate go on: `counts` (k,) sum to the width.

    `weights` (k,) are the shares before rounding and sum to 1 (all 0 where a width of 0 leaves none); `uniqueness` (k,)
    is what the directions contributed, or None; `first_counts` (k,) are the counts before a second stage, where there
    is one.
    """

    counts: IntArray
    weights: FloatArray
    uniqueness: FloatArray | None = None
    first_counts: IntArray | None = None

    @property
    def effective_directions(self) -> float | None:
        """Σγ: how many directions the candidates amount to."""
        return None if self.uniqueness is None else float(self.uniqueness.sum())


Allocator = Callable[[Candidates, int], Allocation]
"""A strategy with its options bound: (candidates, width) → Allocation."""


@dataclass
class Usage:
    """Tokens of one role: generated anew, read anew, and served from a cache; and the calls that did it."""

    generated: int = 0
    prefilled: int = 0
    cached: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a policy samples: temperature 0 is greedy, `max_step_tokens` cuts a step, `max_tokens` a path. `certainty`
    says whether anybody reads a step's certainty; where nobody does, a policy may leave it unknown.
    """

    temperature: float = 0.8
    top_p: float = 1.0
    max_step_tokens: int = 256
    max_tokens: int = 2048
    seed: int = 0
    certainty: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf") or not 0 < self.top_p <= 1:
            raise InputError(
                f"a temperature is 0 or above and top_p lies above 0 and up to 1, not {self.temperature}, {self.top_p}"
            )
        if min(self.max_step_tokens, self.max_tokens) < 1:
            raise InputError("a step and a path take at least 1 token: raise max_step_tokens and max_tokens")


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


@dataclass(frozen=True, slots=True)
class Judgement:
    """A reward in [0, 1] of a model that tells how sure it is: p ~ Beta(κm, κ(1 - m)), m the reward, κ its
    concentration.
    """

    reward: float
    concentration: float

    def __float__(self) -> float:
        return self.reward


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
