"""A search over a tree in which every node has a known worth: strategies allocate at every step and vote at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollwise.answers import weighted_majority
from rollwise.core import Allocator, Belief, Candidates, Directions, FloatArray, IntArray, PathKey
from rollwise.errors import InputError
from rollwise.numerics import chances_of, keyed_generator
from rollwise.simulation.planning import Tree, can_plan, least_failure, reachability_bound
from rollwise.simulation.play import Outcome, check_chance, check_noise, check_told, noisy, zipf

LARGEST_TREE, MOST_BRANCHES = 20_000, 8
"""The most nodes that a tree may have at its last depth, and the most children of a node."""


@dataclass(frozen=True)
class Branching:
    """The world that searches a tree of `depth` steps; a node has `branches` children, and is a direction.

    A path goes to a node's children with the chances of Zipf's law with exponent `imbalance`, in an order drawn for
    each node. The root has the log-odds of `worth`; a child's log-odds are its parent's plus `spread` · a standard
    normal + `popularity` · log(its chance · branches). A leaf is right with the chance of its log-odds. The worth of a
    node is the chance that a path through it ends right, computed exactly from the leaves up.

    A score is clip(worth + bias + noise · (√shared · z_node + √(1 - shared) · z_path), 0, 1). Leaves have scores too,
    which are the weights of the vote. A wrong path gives its leaf's wrong answer: one of `answers` many, drawn by
    Zipf's law with exponent `agreement`. The belief has the score as its mean, with `told_concentration` and
    `told_correlation`. The true concentration is infinite, since worths are known chances.
    """

    depth: int = 4
    branches: int = 4
    imbalance: float = 1.0
    worth: float = 0.001
    spread: float = 1.5
    popularity: float = 0.0
    noise: float = 0.1
    shared: float = 1.0
    bias: float = 0.0
    answers: int = 8
    agreement: float = 1.0
    told_concentration: float = 8.0
    told_correlation: float = 1.0

    def __post_init__(self) -> None:
        if self.depth < 2 or not 2 <= self.branches <= MOST_BRANCHES or self.answers < 1:
            raise InputError(
                f"a tree has a depth of at least 2, 2 to {MOST_BRANCHES} branches, and at least 1 wrong answer"
            )
        if self.depth * math.log(self.branches) > math.log(LARGEST_TREE):
            raise InputError(f"{self.branches} branches to a depth of {self.depth} are too many; give fewer of either")
        if min(self.imbalance, self.agreement, self.spread) < 0 or not 0 < self.worth < 1:
            raise InputError("imbalance, agreement and spread are at least 0, and worth lies between 0 and 1")
        if not all(map(math.isfinite, (self.imbalance, self.agreement, self.spread, self.popularity))):
            raise InputError("imbalance, agreement, spread and popularity are finite numbers")
        check_chance("shared", self.shared)
        check_noise(self.noise, self.shared, self.bias)
        check_told(self.told_concentration, self.told_correlation)

    def ceiling(self, width: int) -> str:
        """Returns the name of the ceiling that regret is measured against."""
        planned = can_plan(self.depth, self.branches, width)
        return "the best policy that knows the worths" if planned else "the reachability bound, which none may attain"

    def play(self, seed: int, indices: Sequence[int], width: int, allocators: Sequence[Allocator]) -> list[Outcome]:
        """Plays instances under every allocator. The chance of failure is exact, given the last allocation."""
        instances = {index: TreeInstance.draw(self, seed, index, width) for index in indices}
        results = [
            [search(self, instance, allocate, width, seed, index) for index, instance in instances.items()]
            for allocate in allocators
        ]
        least = least_failure if can_plan(self.depth, self.branches, width) else reachability_bound
        return [
            Outcome(
                failure=np.array([result.failure for result in each]),
                least=least(instance.tree, width),
                right_share=np.array([result.right_share for result in each]),
                voted=np.array([result.voted for result in each], dtype=np.float64),
            )
            for instance, each in zip(instances.values(), zip(*results, strict=True), strict=True)
        ]


@dataclass(frozen=True)
class TreeInstance:
    """Everything that an instance draws, so that every strategy meets the same luck.

    `tree`, and `answers` (leaves,), the wrong answer of each leaf. `node_noise` (nodes,) of each depth and `path_noise`
    (depth + 1, N) are the standard normals of the scores. The path in place n takes its branches by the uniform numbers
    `branch` (depth, N), and `right` (N,) decides whether it ends right.
    """

    tree: Tree
    answers: IntArray
    node_noise: tuple[FloatArray, ...]
    path_noise: FloatArray
    branch: FloatArray
    right: FloatArray

    @classmethod
    def draw(cls, world: Branching, seed: int, index: int, width: int) -> TreeInstance:
        """Draws instance `index` of a world for `width` rollouts."""
        generator = keyed_generator(seed, "branching", index)
        tree = grow_tree(world, generator)
        leaves = len(tree.worths[-1])
        wrong = np.cumsum(zipf(world.answers, world.agreement))[:-1]
        return cls(
            tree,
            1 + np.searchsorted(wrong, generator.random(leaves), side="right"),
            tuple(generator.standard_normal(len(worth)) for worth in tree.worths),
            generator.standard_normal((world.depth + 1, width)),
            generator.random((world.depth, width)),
            generator.random(width),
        )


def grow_tree(world: Branching, generator: np.random.Generator) -> Tree:
    """Draws a tree of the world: log-odds from the root down, then worths from the leaves up."""
    shares, log_odds = zipf(world.branches, world.imbalance), np.array([math.log(world.worth / (1 - world.worth))])
    chances = []
    for _ in range(world.depth):
        order = np.argsort(generator.random((len(log_odds), world.branches)), axis=1)
        chances.append(shares[order])
        steps = world.spread * generator.standard_normal(order.shape)
        steps += world.popularity * np.log(shares[order] * world.branches)
        log_odds = (log_odds[:, None] + steps).ravel()
    worths = [chances_of(log_odds)]
    for chance in reversed(chances):
        worths.insert(0, (worths[0].reshape(chance.shape) * chance).sum(axis=1))
    return Tree(tuple(chances), tuple(worths))


@dataclass(frozen=True)
class SearchResult:
    """The result of a search: `failure`, the chance that no path ends right, and `right_share`, the expected share that
    does, both exact given the last allocation; and `voted`, whether the vote of the drawn paths was right.
    """

    failure: float
    right_share: float
    voted: bool


def search(
    world: Branching, instance: TreeInstance, allocate: Allocator, width: int, seed: int, index: int
) -> SearchResult:
    """Runs a search of `width` rollouts: grow a step, allocate, and so on to the leaves."""
    nodes = np.zeros(width, dtype=np.int64)
    keys: list[PathKey] = [(root,) for root in range(width)]
    nodes = _grown(instance, nodes, 0)
    for depth in range(1, world.depth):
        scores = _scores(world, instance, nodes, depth)
        counts = allocate(_candidates(world, keys, nodes, scores, depth, seed, index), width).counts
        worths = instance.tree.worths[depth][nodes]
        keys = [(*key, copy) for key, count in zip(keys, counts.tolist(), strict=True) for copy in range(count)]
        nodes = _grown(instance, np.repeat(nodes, counts), depth)
    right = instance.right < instance.tree.worths[-1][nodes]
    labels = np.where(right, 0, instance.answers[nodes])
    verdict = weighted_majority(labels, _scores(world, instance, nodes, world.depth))
    return SearchResult(float(np.prod((1 - worths) ** counts)), float(worths @ counts) / width, verdict.label == 0)


def _grown(instance: TreeInstance, nodes: IntArray, depth: int) -> IntArray:
    """Returns the node (N,) that each path reaches from its node (N,) at this depth."""
    chances = instance.tree.chances[depth]
    edges = np.cumsum(chances, axis=1)[:, :-1]
    return nodes * chances.shape[1] + (instance.branch[depth][:, None] >= edges[nodes]).sum(axis=1)


def _scores(world: Branching, instance: TreeInstance, nodes: IntArray, depth: int) -> FloatArray:
    common, own = instance.node_noise[depth][nodes], instance.path_noise[depth]
    return noisy(instance.tree.worths[depth][nodes], common, own, world.noise, world.shared, world.bias)


def _candidates(
    world: Branching, keys: Sequence[PathKey], nodes: IntArray, scores: FloatArray, depth: int, seed: int, index: int
) -> Candidates:
    count = len(nodes)
    return Candidates(
        paths=tuple(keys),
        rewards=scores,
        directions=Directions(labels=nodes),
        lineage=np.array([key[0] for key in keys]),
        depth=np.full(count, depth),
        question=str(index),
        seed=seed,
        belief=Belief(scores, np.full(count, world.told_concentration), world.told_correlation),
    )
