"""The observations that a calibration is fitted on: completed prefixes with their rewards."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from rollwise.core import BoolArray, FloatArray, IntArray
from rollwise.errors import InputError


@dataclass(frozen=True)
class Observations:
    """Completed prefixes; all fields are arrays (k,).

    `reward` is the raw reward in [0, 1], `depth` the number of steps, and `right` counts how many of the `completions`
    ended right. `problem` numbers the problems. `direction` numbers the directions within a problem and depth; -1 means
    that no direction is known. `size` counts the sampled paths that passed through the prefix.

    Raises InputError if the arrays differ in length or a value is out of range.
    """

    reward: FloatArray
    depth: IntArray
    right: IntArray
    completions: IntArray
    problem: IntArray
    direction: IntArray
    size: IntArray

    def __post_init__(self) -> None:
        if len({getattr(self, field.name).shape for field in fields(self)}) > 1:
            names = ", ".join(field.name for field in fields(self))
            raise InputError(f"the arrays of completed prefixes differ in length: give each prefix all of {names}")
        if not np.all((self.right >= 0) & (self.right <= self.completions) & (self.completions > 0)):
            raise InputError("every prefix needs at least 1 completion, and right counts some of its completions")
        if not np.all(self.size >= 1):
            raise InputError("size counts the sampled paths that passed through a prefix: give at least 1")
        if not np.all((self.reward >= 0) & (self.reward <= 1)):
            raise InputError("a raw reward lies in [0, 1]: first map your rewards into it with any increasing function")

    def __len__(self) -> int:
        return len(self.reward)

    def take(self, chosen: BoolArray) -> Observations:
        """The prefixes where `chosen` (k,) is true."""
        return Observations(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def depth_runs(observed: Observations, prefixes: int, problems: int) -> list[tuple[int, int]]:
    """The runs of depths (first, last) that are fitted together.

    From the shallowest depth on, depths join a run until the run holds at least `prefixes` prefixes of at least
    `problems` problems. If the last run holds fewer, it is joined to the run before it.
    """
    runs: list[tuple[int, int]] = []
    first: int | None = None
    for depth in map(int, np.unique(observed.depth)):
        first = depth if first is None else first
        inside = (observed.depth >= first) & (observed.depth <= depth)
        full = int(inside.sum()) >= prefixes and len(np.unique(observed.problem[inside])) >= problems
        if full:
            runs.append((first, depth))
            first = None
        last = depth
    if first is not None:
        runs.append((runs.pop()[0] if runs else first, last))
    return runs


def levels_of(observed: Observations) -> IntArray:
    """Labels (k,) from 0 on, equal for prefixes of the same problem and depth."""
    pairs = np.column_stack([observed.problem, observed.depth])
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
