"""The least failure of a search over a tree of known worths: exact for small trees, and a bound for all."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rollwise.core import FloatArray, IntArray

MOST_ALLOCATIONS = 20_000
"""The dynamic programme runs only if it looks at no more allocations than this from a state."""


@dataclass(frozen=True)
class Tree:
    """A tree of known worths, level by level.

    `chances` hold for each depth the chances of the nodes' children, (nodes, branches). `worths` hold for each depth
    the worths of the nodes, (nodes,), and have one depth more. Child c of node n is node n · branches + c of the next
    depth. A node's worth is the mean of its children's worths, weighted by their chances.
    """

    chances: tuple[FloatArray, ...]
    worths: tuple[FloatArray, ...]

    @property
    def depth(self) -> int:
        """The number of steps from the root to the leaves."""
        return len(self.chances)


def can_plan(depth: int, branches: int, width: int) -> bool:
    """Whether a tree is small enough for `least_failure`.

    It has two or three steps, or four with two branches, and there are few ways to hand out the width.
    """
    nodes = branches ** (depth - 2)
    return (depth <= 3 or (depth == 4 and branches == 2)) and (
        math.comb(width + nodes - 1, nodes - 1) * 2**nodes <= MOST_ALLOCATIONS
    )


def least_failure(tree: Tree, width: int) -> float:
    """Returns the least chance that no path ends right, over all policies that know the worths: dynamic programming.

    After a step only the set A of reached nodes matters: a policy may hand any of its N = `width` copies to any of
    them, and copies at one node are alike. With V_d(A) the least failure from there on,
    V_{D-1}(A) = (1 - max worth in A)^N, since Π (1 - v_n)^{B_n} is least with all N on the best; and
    V_d(A) = min over B with ΣB = N of E[V_{d+1}(A') | B], where A' are the children that some copy reached. At D - 2
    only the best of A' matters, and P(best ≤ x) = Π_n P(a child of n is worth at most x)^{B_n}. Random policies, and
    policies that remember more, do no better, since the state is Markov and the objective an expectation.
    """
    known: dict[tuple[int, ...], float] = {}

    def value(depth: int, reached: tuple[int, ...]) -> float:
        if depth == tree.depth - 1:
            return float((1 - tree.worths[depth][list(reached)].max()) ** width)
        key = (depth, *reached)
        if key not in known:
            counts = compositions(len(reached), width)
            if depth == tree.depth - 2:
                known[key] = float(_failures_of_best(tree, depth, reached, counts, width).min())
            else:
                known[key] = min(_expected(tree, depth, reached, row, value) for row in counts.tolist())
        return known[key]

    return _expected(tree, 0, (0,), [width], value)


def _failures_of_best(tree: Tree, depth: int, reached: tuple[int, ...], counts: IntArray, width: int) -> FloatArray:
    """Returns E[(1 - best)^N] for each row of counts; best is the largest worth among the children that copies reach.

    With worths x_1 < ... < x_T and f(x) = (1 - x)^N, it is f(x_T) + Σ_t (f(x_t) - f(x_{t+1})) P(best ≤ x_t).
    """
    chances = tree.chances[depth][list(reached)]
    worths = tree.worths[depth + 1].reshape(tree.chances[depth].shape)[list(reached)]
    levels = np.unique(worths)
    below = (chances[:, :, None] * (worths[:, :, None] <= levels)).sum(axis=1)
    failures = (1 - levels) ** width
    best_below = np.prod(below[None, :, :-1] ** counts[:, :, None], axis=1)
    return failures[-1] + best_below @ -np.diff(failures)


def _expected(
    tree: Tree,
    depth: int,
    reached: tuple[int, ...],
    counts: Sequence[int],
    value: Callable[[int, tuple[int, ...]], float],
) -> float:
    """Returns E[V(A')] over every set A' of children that the copies may reach; `counts` copies leave each node."""
    branches = tree.chances[depth].shape[1]
    hits = [_hits(tree.chances[depth][node], copies) for node, copies in zip(reached, counts, strict=True)]
    total = 0.0
    for picks in itertools.product(*hits):
        chance = math.prod(hit_chance for _, hit_chance in picks)
        if chance > 0:
            children = [node * branches + child for node, (hit, _) in zip(reached, picks, strict=True) for child in hit]
            total += chance * value(depth + 1, tuple(children))
    return total


def _hits(chances: FloatArray, copies: int) -> list[tuple[tuple[int, ...], float]]:
    """Returns each set of children with the chance that `copies` copies reach just that set (inclusion-exclusion)."""
    bits = _subsets(len(chances))
    exact = (bits @ chances).clip(0, 1) ** copies
    for child in range(len(chances)):
        has = np.flatnonzero(bits[:, child])
        exact[has] -= exact[has - (1 << child)]
    sets = [tuple(np.flatnonzero(row).tolist()) for row in bits]
    return list(zip(sets, exact.clip(min=0.0).tolist(), strict=True))


def reachability_bound(tree: Tree, width: int) -> float:
    """Returns a chance of failure that no policy can undercut: each reached node grows as if it had the whole width.

    Proof. Let A_d be the nodes that a policy's paths reach at depth d, and R_d those reached if every reached node
    sends out N copies. A policy sends at most N out of each, so by giving copy i of a node the same branch in both,
    A_d ⊆ R_d for all d by induction. At the last allocation the policy fails with chance
    Π (1 - v_n)^{B_n} ≥ (1 - max of A_{D-1})^N ≥ (1 - max of R_{D-1})^N; take means. With one allocation (D = 2) the
    bound is the optimum.

    R branches independently, so Q_n(x) = P(no node worth more than x is reached from n) obeys
    Q_n(x) = E[Π over reached children c of Q_c(x)] = Σ_U P(no child in U is reached) Π_{c in U} (1 - Q_c) Π_{c not in
    U} Q_c, summed over the sets U of children.
    """
    levels = np.unique(tree.worths[-2])
    quiet = (tree.worths[-2][:, None] <= levels).astype(np.float64)
    for chances in reversed(tree.chances[: tree.depth - 1]):
        quiet = np.stack(
            [_quiet(row, children, width) for row, children in zip(chances, _by_parent(quiet, chances), strict=True)]
        )
    failures = (1 - levels) ** width
    return float(failures[-1] + quiet[0, :-1] @ -np.diff(failures))


def _by_parent(values: FloatArray, chances: FloatArray) -> FloatArray:
    """Returns values of children (children, levels) as (nodes, branches, levels)."""
    return values.reshape(*chances.shape, values.shape[1])


def _quiet(chances: FloatArray, children: FloatArray, width: int) -> FloatArray:
    """Returns Q (levels,) of a node from Q of its children (branches, levels)."""
    bits, missed = _subsets(len(chances)), (1 - _subsets(len(chances)) @ chances).clip(0, 1) ** width
    inside = np.where(bits[:, :, None] == 1, 1 - children, children).prod(axis=1)
    return missed @ inside


@functools.cache
def _subsets(count: int) -> IntArray:
    """Returns every subset of `count` children as a row of bits (2^count, count); child c is bit c of the row index."""
    return (np.arange(2**count)[:, None] >> np.arange(count)) & 1


@functools.lru_cache(maxsize=256)
def compositions(parts: int, total: int) -> IntArray:
    """Returns every way to write `total` as a sum of `parts` whole numbers of at least 0: (ways, parts)."""
    bars = list(itertools.combinations(range(total + parts - 1), parts - 1))
    edges = np.array(bars, dtype=np.int64).reshape(len(bars), parts - 1)
    ends = np.full((len(edges), 1), total + parts - 1)
    return np.diff(np.concatenate([np.full((len(edges), 1), -1), edges, ends], axis=1), axis=1) - 1
