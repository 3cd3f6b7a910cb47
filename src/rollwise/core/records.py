"""The records that flow through a search. They are frozen and hold no tensors."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from rollwise.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

PathKey = tuple[int, ...]
"""A path's name: the root copy it descends from, then its copy number at each allocation.

A path that has grown d steps has a key of length d, and of length d + 1 while it waits to grow its next step. The key
never depends on the order in which replies arrive, so it seeds randomness and breaks ties.
"""


MOST_BEFORE = 4000
"""The most characters of a chat before its question that a model of one question reads."""


class Stop(StrEnum):
    """Why a step ended."""

    STEP = "step"
    END = "end"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, and what is known about it: the gold answer, and the world and level it was drawn from.

    `instruction` goes to the policy together with the question. `turns` are what a chat said before the question:
    (role, text), oldest first, with its system messages.
    """

    id: str
    question: str
    answer: str | None = None
    world: str | None = None
    level: int | None = None
    instruction: str | None = None
    turns: tuple[tuple[str, str], ...] = ()

    @property
    def conversation(self) -> str:
        """The question after what the chat said before it, as one text for models that read one question.

        Half of MOST_BEFORE characters are for the system messages, half for the latest other turns. Older turns and the
        beginning of the one that no longer fits are left out.
        """
        system = [place for place, (role, _) in enumerate(self.turns) if role == "system"]
        others = [place for place in reversed(range(len(self.turns))) if place not in system]
        kept: dict[int, str] = {}
        for places, room in ((system, MOST_BEFORE // 2), (others, MOST_BEFORE // 2)):
            for place in places:
                role, text = self.turns[place]
                if room > 0:
                    kept[place] = f"{role}: {text[-room:]}"
                    room -= len(text)
        before = [kept[place] for place in sorted(kept)]
        return "\n\n".join([*before, f"user: {self.question}"]) if before else self.question


@dataclass(frozen=True, slots=True)
class Step:
    """One grown step: its text with the separator that closed it, the number of its tokens, and why it stopped.

    `logprob` is the step's total log-probability under the policy at temperature 1. `ids` are its tokens without an
    end-of-text token, if the policy reports them. `certainty` is the mean over the tokens of -1/k Σ log(k p), p the
    probabilities of the k likeliest next tokens: 0 for a uniform distribution, larger the more certain. With k the
    whole vocabulary it is the self-certainty of Kang et al. (2502.18581). NaN stands for an unknown value. `wrote` is
    what the policy wrote, if its text was put right since.
    """

    text: str
    tokens: int
    stop: Stop
    logprob: float = float("nan")
    ids: tuple[int, ...] = ()
    certainty: float = float("nan")
    wrote: str | None = None


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
    """The steps of a solution so far, without blank steps.

    The text after the last separator counts as a step only if the text ended there; otherwise it is cut off.
    """
    parts = text.split(separator)
    return [part for part in (parts if ended else parts[:-1]) if part.strip()]


def is_unicode(text: str) -> bool:
    """Whether a text holds whole characters only, so that it can be encoded; half of a surrogate pair is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def key_text(key: PathKey) -> str:
    """A path key as people read it: (5, 0, 2) is `5.0.2`."""
    return ".".join(map(str, key))


@dataclass(frozen=True, slots=True)
class Failure:
    """A rollout that was lost, and why. It costs one rollout of the width and nothing else."""

    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a direction finder knows about a path: a label (equal label, same direction) or an embedding (d,).

    If it can find out neither, as for a text that the embedder rejects, `unplaced` says why, and the path becomes a
    direction of its own. A finder that fails returns a Failure instead.
    """

    label: Hashable = None
    embedding: FloatArray | None = None
    unplaced: str | None = None


@dataclass(frozen=True)
class Directions:
    """Which of k candidates share a direction: labels (k,), a cosine similarity (k, k), or weights (k,) that stand for
    1 / (size of the direction). Exactly one is given; `rollwise.directions` turns each into uniqueness.
    """

    labels: IntArray | None = None
    similarity: FloatArray | None = None
    weights: FloatArray | None = None


@dataclass(frozen=True)
class Belief:
    """A belief about each candidate's chance p that one completion of it ends right: p ~ Beta(κm, κ(1 - m)).

    `mean` m (k,) in [0, 1] is a calibrated chance, not a share. `concentration` κ (k,) above 0 says how many
    completions that mean is worth. `correlation` ρ in (0, 1] is the part of the doubt about p that the candidates of a
    direction have in common; at 1 they share one p. `spent` (k,) counts rollouts that a path has had already, none
    known to be right; None stands for zeros. `size_exponent` α says how much a direction's log-odds rise with the log
    of its size, among the directions at hand.
    """

    mean: FloatArray
    concentration: FloatArray
    correlation: float = 1.0
    spent: IntArray | None = None
    size_exponent: float = 0.0


@dataclass(frozen=True)
class Candidates:
    """The k active paths that an allocator chooses among, and the evidence about them.

    `rewards` (k,) are raw rewards in [0, 1]. `lineage` (k,) is the index of the root copy that each path descends from.
    `depth` (k,) counts grown steps. `belief` is what a calibration makes of the rewards. A field is None if nothing is
    known. `seed` is the only source of randomness.
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

    `weights` (k,) are the shares before rounding and sum to 1 (all 0 for a width of 0). `uniqueness` (k,) is what the
    directions contributed. `directions` (k,) numbers the direction that the strategy put each candidate in. Both are
    None for a strategy that reads no directions. `first_counts` (k,) are the counts of a two-stage strategy's first
    stage.
    """

    counts: IntArray
    weights: FloatArray
    uniqueness: FloatArray | None = None
    first_counts: IntArray | None = None
    directions: IntArray | None = None

    @property
    def effective_directions(self) -> float | None:
        """Σγ: the effective number of directions."""
        return None if self.uniqueness is None else float(self.uniqueness.sum())


@dataclass
class Usage:
    """Tokens of one role (generated, read anew, and served from a cache) and the number of calls."""

    generated: int = 0
    prefilled: int = 0
    cached: int = 0
    calls: int = 0


@dataclass(frozen=True)
class Sampling:
    """How a policy samples: temperature 0 is greedy, `max_step_tokens` cuts a step, `max_tokens` a path.

    `certainty` says whether a step's certainty will be read; if not, a policy may leave it unknown.
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
                f"a temperature is at least 0 and top_p lies in (0, 1], not {self.temperature} and {self.top_p}"
            )
        if min(self.max_step_tokens, self.max_tokens) < 1:
            raise InputError("a step and a path need at least 1 token: raise max_step_tokens and max_tokens")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A reward m in [0, 1] with its concentration κ, from a model that says how sure it is: p ~ Beta(κm, κ(1 - m))."""

    reward: float
    concentration: float

    def __float__(self) -> float:
        return self.reward
