"""A search told as plain data: every path with what became of it, and every round with its directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rollwise.core import Allocator, FloatArray, IntArray, PathKey
from rollwise.search import Allocated, Ballot, Limits

GroupAnswers = Callable[[Sequence[str | None]], IntArray]
"""Answers (n) → labels (n,): equal label, same answer; -1 for no answer."""


class Fate(StrEnum):
    """What became of a path after the step that it grew last."""

    CONTINUED = "continued"
    PRUNED = "pruned"
    FINISHED = "finished"
    FAILED = "failed"
    LEFT = "left"
    """The search was over before this path's rollouts were handed out."""


@dataclass(frozen=True)
class Node:
    """A path at the end of one round.

    `score` is the reward of the whole path as the strategy saw it, `direction` the number of its direction in the
    round, `place` its position among the round's candidates, `share` its part of the width before rounding, and `count`
    the rollouts that it got. `chance` and `worth` are the belief's mean and concentration. `answer`, `vote` (what it
    weighs) and `right` belong to finished paths. `reason` says why a rollout was lost. `wrote` is what the policy
    wrote, if the step's text was put right since. None stands for what is unknown.
    """

    key: PathKey
    round: int
    fate: Fate
    text: str = ""
    score: float | None = None
    direction: int | None = None
    place: int | None = None
    uniqueness: float | None = None
    chance: float | None = None
    worth: float | None = None
    share: float | None = None
    count: int = 0
    answer: str | None = None
    vote: float | None = None
    right: bool | None = None
    cut: bool = False
    reason: str | None = None
    wrote: str | None = None


@dataclass(frozen=True)
class Group:
    """The candidates of one direction: `words` is the last step of the most typical of them, its medoid."""

    label: int
    words: str
    paths: int
    score: float
    uniqueness: float | None
    share: float
    count: int


@dataclass(frozen=True)
class Stage:
    """One round: how many paths grew, finished and failed, and how the width was handed out.

    `groups` are its directions, the largest first; `others` the counts (k,) of other strategies on the same candidates;
    `order` (k,) lists the candidates with those of one direction side by side; `similarity` (k, k) is known if the
    directions are soft. `allocated` is None if nothing was handed out. `stopped` says why the search ended here, if it
    ended before its budget was spent. `repeatable` says whether the strategy hands out the same counts again; only
    then is it told what would have changed them.
    """

    index: int
    grown: int
    finished: int
    failed: int
    groups: tuple[Group, ...] = ()
    others: Mapping[str, IntArray] | None = None
    order: IntArray | None = None
    similarity: FloatArray | None = None
    allocated: Allocated | None = None
    stopped: str | None = None
    repeatable: bool = False

    @property
    def effective(self) -> float | None:
        """The effective number of directions, Σγ; None if the strategy reads no directions."""
        return None if self.allocated is None else self.allocated.allocation.effective_directions


@dataclass(frozen=True)
class Account:
    """A search: its question, strategy and budget, its nodes by key, its rounds, and the votes.

    `by_strategy` is false if the strategy reads no directions; equal last steps then stand in. `allocate` hands out the
    width again, for candidates that differ; None if the strategy is not at hand. `digested` says that only digests of
    the texts were kept, so that nothing is known of the answers of single paths.
    """

    question: str
    strategy: str
    budget: int
    nodes: Mapping[PathKey, Node]
    stages: tuple[Stage, ...]
    ballots: tuple[Ballot, ...]
    by_strategy: bool
    allocate: Allocator | None = None
    beam_width: int = 4
    digested: bool = False


@dataclass(frozen=True)
class Told:
    """What the events of a search do not say, and its account needs.

    `allocate` is the strategy with its options. `aggregate`, `form` and `vote` are the config's; `weights` are what
    finished paths weigh in the vote, if that is known better than by their rewards. `group` tells which answers are the
    same, as `rollwise.answers.group` does. `digested` says that the events hold digests in the place of texts.
    """

    question: str
    strategy: str
    budget: int = Limits.budget
    allocate: Allocator | None = None
    beam_width: int = 4
    aggregate: str = Limits.aggregate
    form: str = "auto"
    vote: str = "weighted_majority"
    weights: Mapping[PathKey, float] | None = None
    rights: Mapping[PathKey, bool] | None = None
    group: GroupAnswers | None = None
    digested: bool = False
