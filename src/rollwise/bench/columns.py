"""The results of a bench as columns of numbers, which a summary of many results is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rollwise.core import BoolArray, FloatArray, IntArray, Usage

if TYPE_CHECKING:
    from rollwise.bench.store import Outcome, Result

Arm = tuple[str, int]
"""(strategy, budget)."""
COUNTS = tuple(Usage.__dataclass_fields__)
FIGURES = ("right", "covered", "right_paths", "failed", "unplaced", "unread", "cut", "rounds", "seconds", "flops")
"""The figures of an outcome that a summary reads, beside its votes, its error and its usage."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Spent:
    """What a role used in the searches of an arm on one level that did not raise: the sums of COUNTS."""

    arm: int
    level: int | None
    role: str
    counts: tuple[float, ...]


@dataclass(frozen=True)
class Columns:
    """Results, one in each entry of the arrays. `arm` and `problem` are places in `arms` and among the problems.

    `figures` holds FIGURES by name, `votes` for each further vote whether its answer was right. `computed` counts
    the tokens that all models generated or read anew. `unknown` says that the FLOPs of a search are not known. `errors`
    are the texts of the searches that `raised`, each once.
    """

    arms: tuple[Arm, ...]
    arm: IntArray
    problem: IntArray
    seed: IntArray
    level: IntArray
    leveled: BoolArray
    figures: Mapping[str, FloatArray]
    votes: Mapping[str, FloatArray]
    computed: FloatArray
    unknown: BoolArray
    raised: BoolArray
    errors: tuple[str, ...]
    spent: tuple[Spent, ...]

    def __len__(self) -> int:
        return len(self.arm)

    @property
    def levels(self) -> list[int]:
        """The levels of the problems, in order."""
        return [int(level) for level in np.unique(self.level[self.leveled])]

    @property
    def trial(self) -> IntArray:
        """A number for each problem and seed: two strategies are compared on the same ones."""
        return np.asarray(self.problem * (self.seed.max(initial=0) + 1) + self.seed, dtype=np.int64)


def columns_of(results: Sequence[Result]) -> Columns:
    """The columns of results. Of several of one cell and problem the last counts."""
    kept = list({(each.cell, each.problem): each for each in results}.values())
    arms, problems = Numbering[Arm](), Numbering[str]()
    outcomes = [each.outcome for each in kept]
    arm = whole([arms.number((each.cell.label, each.cell.budget)) for each in kept])
    spent: dict[tuple[int, int | None, str], list[float]] = {}
    for place, each in zip(arm.tolist(), kept, strict=True):
        for role, usage in each.outcome.usage.items() if each.outcome.error is None else ():
            sums = spent.setdefault((place, each.level, role), [0] * len(COUNTS))
            sums[:] = [total + getattr(usage, name) for total, name in zip(sums, COUNTS, strict=True)]
    return Columns(
        arms=arms.seen,
        arm=arm,
        problem=whole([problems.number(each.problem) for each in kept]),
        seed=whole([each.cell.seed for each in kept]),
        level=whole([each.level or 0 for each in kept]),
        leveled=np.array([each.level is not None for each in kept], dtype=bool),
        figures={name: numbers([getattr(outcome, name) for outcome in outcomes]) for name in FIGURES},
        votes=votes_of(outcomes, lambda outcome: outcome.votes),
        computed=numbers([sum(map(_computed, outcome.usage.values())) for outcome in outcomes]),
        unknown=np.array([not flops_known(outcome) for outcome in outcomes], dtype=bool),
        raised=np.array([outcome.error is not None for outcome in outcomes], dtype=bool),
        errors=distinct([outcome.error for outcome in outcomes]),
        spent=tuple(Spent(*key, tuple(sums)) for key, sums in spent.items()),
    )


class Numbering(dict[Value, int]):
    """Numbers values from 0 on in the order in which they are first seen."""

    def number(self, value: Value) -> int:
        """The number of a value."""
        return self.setdefault(value, len(self))

    @property
    def seen(self) -> tuple[Value, ...]:
        """The values in the order of their numbers."""
        return tuple(self)


def whole(values: Sequence[int]) -> IntArray:
    """Whole numbers as an array."""
    return np.array(values, dtype=np.int64)


def numbers(values: Sequence[Any]) -> FloatArray:
    """Numbers and truth values as an array."""
    return np.array(values, dtype=np.float64)


def votes_of(values: Sequence[Value], votes: Callable[[Value], Mapping[str, bool]]) -> dict[str, FloatArray]:
    """For each vote that any value holds, whether it was right in each of them; one that lacks it counts as wrong."""
    names = dict.fromkeys(name for value in values for name in votes(value))
    return {name: numbers([votes(value).get(name, False) for value in values]) for name in names}


def distinct(errors: Sequence[str | None]) -> tuple[str, ...]:
    """The texts of errors, each once, in their order."""
    return tuple(dict.fromkeys(error for error in errors if error is not None))


def _computed(used: Usage) -> int:
    return used.generated + used.prefilled


def flops_known(outcome: Outcome) -> bool:
    """Whether each role that computed has its FLOPs. An older version stored their sum only."""
    if not outcome.flops_of:
        return outcome.flops > 0
    return all(role in outcome.flops_of for role, used in outcome.usage.items() if _computed(used))
