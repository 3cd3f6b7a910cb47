"""Completed prefixes: what calibration observes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from rollwise.core import BoolArray, FloatArray, IntArray
from rollwise.errors import InputError


@dataclass(frozen=True)
class Observations:
    """Completed prefixes, all arrays (k,): the raw reward, how many steps, of `completions` how many ended `right`.

    `problem` numbers the problems; `direction` the directions, -1 where none is known: equal only within a problem and
    depth; `size` counts the sampled paths that stood at the prefix.
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
            raise InputError("every completed prefix needs each of: " + ", ".join(one.name for one in fields(self)))
        if not np.all((self.right >= 0) & (self.right <= self.completions) & (self.completions > 0)):
            raise InputError("every prefix needs at least 1 completion, and right ones among those")
        if not np.all(self.size >= 1):
            raise InputError("size says how many of the sampled paths stood at a prefix: at least 1")
        if not np.all((self.reward >= 0) & (self.reward <= 1)):
            raise InputError("a raw reward lies in [0, 1]; map yours into it by any increasing function first")

    def __len__(self) -> int:
        return len(self.reward)

    def take(self, chosen: BoolArray) -> Observations:
        """Some of the prefixes."""
        return Observations(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def depth_runs(seen: Observations, prefixes: int, problems: int) -> list[tuple[int, int]]:
    """Runs of depths (first, last) that are fitted together.

    From the shallowest on, depths join a run until it holds at least so many prefixes of at least so many problems; a
    last run that does not is joined to the one before.
    """
    runs: list[tuple[int, int]] = []
    first: int | None = None
    full = False
    for depth in map(int, np.unique(seen.depth)):
        first = depth if first is None else first
        inside = (seen.depth >= first) & (seen.depth <= depth)
        full = int(inside.sum()) >= prefixes and len(np.unique(seen.problem[inside])) >= problems
        if full:
            runs.append((first, depth))
            first = None
        last = depth
    if first is not None:
        runs.append((runs.pop()[0] if runs else first, last))
    return runs


def levels_of(seen: Observations) -> IntArray:
    """Which prefixes (k,) are of one problem and one depth, as labels from 0 on."""
    pairs = np.column_stack([seen.problem, seen.depth])
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
