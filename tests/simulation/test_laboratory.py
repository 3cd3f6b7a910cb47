"""The laboratory against Monte Carlo, quadrature, brute force, and an enumeration of policies."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.allocation.failure import log_failures, shared_log_failures
from rollwise.allocation.strategies import STRATEGIES
from rollwise.core import Allocator, Candidates, FloatArray, IntArray
from rollwise.directions.kernel import from_labels
from rollwise.errors import InputError
from rollwise.simulation.branching import Branching, TreeInstance, grow_tree, search
from rollwise.simulation.failure import allocation_failures, even_log_failures, least_failure
from rollwise.simulation.informed import expected_log_failures, informed_counts, spread_evenly
from rollwise.simulation.instances import Instance, draw
from rollwise.simulation.oneshot import CALIBRATION, OneShot, fitted
from rollwise.simulation.planning import Tree, can_plan, compositions, reachability_bound
from rollwise.simulation.planning import least_failure as least_tree_failure

ALLOCATORS = tuple(strategy.bind() for strategy in STRATEGIES.values())


# The exact chance of failure


def test_failure_equals_the_sampled_failure() -> None:
    generator = np.random.default_rng(0)
    mean, concentration, correlation, labels = np.array([0.3, 0.6]), 3.0, 0.4, np.array([0, 0, 1])
    counts = np.array([[2, 1, 1], [0, 3, 0], [1, 1, 2]])
    joint, own = (concentration + 1) / correlation - 1, concentration / (1 - correlation)
    joined: FloatArray = np.array(generator.beta(joint * mean, joint * (1 - mean), (200_000, 2)))
    shared = joined[:, labels]
    chances: FloatArray = np.array(generator.beta(own * shared, own * (1 - shared)))
    assert chances[:, 0].var() == pytest.approx(0.3 * 0.7 / (concentration + 1), rel=0.02)
    assert np.asarray(np.corrcoef(chances[:, :2].T))[0, 1] == pytest.approx(correlation, abs=0.01)
    exact = allocation_failures(counts, labels, mean, concentration, correlation)
    for row, failure in zip(counts, exact, strict=True):
        failed = np.prod((1 - chances) ** row, axis=1)
        assert abs(failed.mean() - failure) < 5 * failed.std() / math.sqrt(len(failed))


def test_failure_equals_the_quadrature() -> None:
    from scipy.integrate import quad
    from scipy.special import betaln

    mean, concentration, correlation = 0.15, 6.0, 0.3
    joint, own = (concentration + 1) / correlation - 1, concentration / (1 - correlation)
    a, b = joint * mean, joint * (1 - mean)

    def density(p: float) -> float:
        inside = sum(betaln(own * p, own * (1 - p) + count) - betaln(own * p, own * (1 - p)) for count in (7, 2, 30))
        return math.exp((a - 1) * math.log(p) + (b - 1) * math.log1p(-p) - betaln(a, b) + inside)

    counts, labels = np.array([[7, 2, 30]]), np.zeros(3, dtype=np.int64)
    exact = allocation_failures(counts, labels, np.array([mean]), concentration, correlation)[0]
    assert exact == pytest.approx(quad(density, 0, 1, limit=200)[0], rel=1e-7)


@pytest.mark.parametrize("correlation", [0.0, 0.05, 0.4, 0.95, 1.0])
def test_the_even_split_fails_as_its_allocation_and_as_the_failure_of_a_belief(correlation: float) -> None:
    mean, sizes, concentration, most = np.array([0.02, 0.5, 0.9]), np.array([1, 3, 5]), 4.0, 40
    table = even_log_failures(mean, sizes, concentration, correlation, most)
    labels = np.repeat(np.arange(3), sizes)
    for direction, size in enumerate(sizes):
        for total in (0, 1, size, size + 1, most):
            counts = np.zeros((1, len(labels)), dtype=np.int64)
            counts[0, np.flatnonzero(labels == direction)] = total // size + (np.arange(size) < total % size)
            failure = allocation_failures(counts, labels, mean, concentration, correlation)[0]
            assert table[direction, total] == pytest.approx(math.log(failure), rel=1e-11, abs=1e-13)
        if correlation > 0:
            believed = shared_log_failures(float(mean[direction]), concentration, correlation, [0] * int(size))
            assert table[direction] == pytest.approx(list(itertools.islice(believed, most + 1)), rel=1e-9, abs=1e-12)


def test_certain_means_and_long_runs() -> None:
    assert np.exp(log_failures(np.array([0.0, 1.0]), 5.0, 2)).tolist() == [[1, 1, 1], [1, 0, 0]]
    labels, mean = np.array([0, 1]), np.array([0.0, 1.0])
    assert least_failure(mean, np.array([1, 1]), 3, 5.0, 0.5) == 0
    assert allocation_failures(np.array([[3, 0], [2, 1]]), labels, mean, 5.0, 0.5).tolist() == [1, 0]
    whole = even_log_failures(np.array([0.1]), np.array([7]), 8.0, 1 - 1e-9, 600)
    assert whole[0] == pytest.approx(log_failures(np.array([0.1]), 8.0, 600)[0], rel=1e-6)


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.7, 1.0])
def test_the_least_failure_is_that_of_all_allocations(correlation: float) -> None:
    generator = np.random.default_rng(1)
    for _ in range(40):
        count, width = int(generator.integers(1, 6)), int(generator.integers(1, 7))
        labels = np.unique(generator.integers(3, size=count), return_inverse=True)[1]
        mean, concentration = generator.beta(0.5, 1, labels.max() + 1), float(np.exp(generator.normal(1, 1.5)))
        every = allocation_failures(compositions(count, width), labels, mean, concentration, correlation)
        best = least_failure(mean, np.bincount(labels), width, concentration, correlation)
        assert best == pytest.approx(every.min(), rel=1e-10)


# One-shot worlds


@settings(max_examples=25)
@given(
    st.sampled_from([0, 1, 5, 12]),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.floats(0, 0.5),
    st.floats(-0.3, 0.3),
    st.floats(0.01, 50),
    st.integers(0, 10**6),
)
def test_no_strategy_beats_the_optimum(
    candidates: int, width: int, correlation: float, noise: float, bias: float, told: float, seed: int
) -> None:
    world = OneShot(
        candidates, correlation=correlation, noise=noise, shared=0.5, bias=bias, merge=0.2, split=0.2,
        told_concentration=told, told_correlation=0.6,
    )  # fmt: skip
    played = world.play(seed, [0], width, ALLOCATORS)[0]
    assert np.all(played.failure >= played.least * (1 - 1e-12))
    assert np.all((played.failure >= 0) & (played.failure <= 1))


@pytest.mark.parametrize(
    ("name", "correlation"), [("optimal", 0.0), ("optimal_directions", 1.0), ("optimal_directions", 0.4)]
)
def test_the_optimum_of_true_beliefs_has_no_regret(name: str, correlation: float) -> None:
    world = OneShot(correlation=correlation, noise=0, imbalance=1.5)
    for candidates, width in ((0, 24), (6, 24)):
        for index in range(20):
            sized = dataclasses.replace(world, candidates=candidates)
            played = sized.play(3, [index], width, [STRATEGIES[name].bind()])[0]
            assert played.failure[0] == pytest.approx(played.least, rel=1e-11)


def test_an_instance_has_the_drawn_means_scores_and_sizes() -> None:
    world = OneShot(worth=0.2, spread=3, noise=0.02, shared=1, directions=5)
    drawn = [draw(world, 0, "instance", index, 64) for index in range(400)]
    means = np.concatenate([instance.means for instance in drawn])
    assert means.mean() == pytest.approx(0.2, abs=0.02)
    assert means.var() == pytest.approx(0.2 * 0.8 / 4, rel=0.1)
    first = drawn[0]
    assert len({(label, score) for label, score in zip(first.labels, first.scores, strict=True)}) == len(first.means)
    own = draw(dataclasses.replace(world, shared=0), 0, "instance", 0, 64)
    assert np.array_equal(own.labels, first.labels)
    assert np.array_equal(own.means, first.means)
    assert len(set(own.scores)) > 40
    shares = np.mean([np.sort(np.bincount(instance.labels))[::-1][0] / 64 for instance in drawn])
    assert shares == pytest.approx(1 / sum(1 / rank for rank in range(1, 6)), abs=0.02)


def test_a_crowd_and_popularity() -> None:
    world = OneShot(crowd=0.5, popularity=1)
    sizes = [np.bincount(draw(world, 0, "instance", index, 20).labels) for index in range(10)]
    assert all(sorted(crowd)[-2:] == [1, 10] and len(crowd) == 11 for crowd in sizes)
    crowds = [draw(world, 0, "instance", index, 20) for index in range(600)]
    big = np.mean([instance.means[np.argmax(np.bincount(instance.labels))] for instance in crowds])
    small = np.mean([np.delete(instance.means, np.argmax(np.bincount(instance.labels))).mean() for instance in crowds])
    assert big > 3 * small


def test_seen_labels_are_split_and_merged() -> None:
    plain = draw(OneShot(), 0, "instance", 0, 64)
    assert np.array_equal(plain.seen_labels, plain.labels)
    split = draw(OneShot(split=1), 0, "instance", 0, 64)
    assert len(set(split.seen_labels)) == 64
    merged = draw(OneShot(merge=1), 0, "instance", 0, 64)
    assert not np.any(merged.seen_labels == merged.labels)
    assert len(set(zip(merged.labels, merged.seen_labels, strict=True))) == len(merged.means)
    some = [draw(OneShot(merge=0.25), 0, "instance", index, 64) for index in range(300)]
    moved = sum(len(set(instance.labels[instance.seen_labels != instance.labels])) for instance in some)
    assert moved / sum(len(instance.means) for instance in some) == pytest.approx(0.25, abs=0.03)


def test_a_fitted_belief_is_the_truth_where_scores_are() -> None:
    found = fitted(OneShot(noise=0, worth=0.3, spread=2, correlation=0.4, concentration=8), 0, 16)
    assert found.concentration == pytest.approx(8, rel=1e-2)
    assert found.correlation == pytest.approx(0.4, rel=1e-3)
    assert found.of(np.array([0.2, 0.7])).mean == pytest.approx([0.2, 0.7], abs=0.01)


def test_a_fitted_belief_has_the_moments_of_sampled_chances() -> None:
    world = OneShot(noise=0.2, shared=0.5, bias=0.1, worth=0.3, spread=2, correlation=0.4, concentration=8)
    found, generator = fitted(world, 0, 16), np.random.default_rng(5)
    square, spread, product, paired = 0.0, 0.0, 0.0, 0.0
    joint, own = (8 + 1) / 0.4 - 1, 8 / 0.6
    for index in range(8 * CALIBRATION):
        instance = draw(world, 1, "instance", index, 16)
        shared = generator.beta(joint * instance.means, joint * (1 - instance.means))[instance.labels].clip(
            1e-9, 1 - 1e-9
        )
        mean = found.of(instance.scores).mean
        error = generator.beta(own * shared, own * (1 - shared)) - mean
        square, spread = square + float(error @ error), spread + float((mean * (1 - mean)).sum())
        both = (instance.labels[:, None] == instance.labels) & ~np.eye(16, dtype=bool)
        product += float((np.outer(error, error) * both).sum())
        paired += float((error**2 * both.sum(axis=1)).sum())
    assert found.concentration == pytest.approx(spread / square - 1, rel=0.06)
    assert found.correlation == pytest.approx(product / paired, rel=0.06)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"worth": 1.0}, "worth"),
        ({"noise": -1.0}, "noise"),
        ({"noise": math.nan}, "noise"),
        ({"shared": 1.5}, "shared"),
        ({"correlation": -0.1}, "correlation"),
        ({"concentration": 0.0}, "concentration"),
        ({"told": "guessed"}, "fitted"),
        ({"told": "fitted", "told_concentration": 3.0}, "leave told_"),
        ({"told_correlation": 0.0}, "told_correlation"),
        ({"crowd": 0.5, "directions": 3}, "crowd"),
        ({"popularity": math.inf}, "popularity"),
        ({"imbalance": math.nan}, "imbalance"),
    ],
)
def test_impossible_worlds_are_refused(fields: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        OneShot(**fields)  # type: ignore[arg-type]


# The best by scores


def informed_failure(world: OneShot, instance: Instance, width: int) -> float:
    counts = informed_counts(world, instance, width)
    truth = instance.means, world.concentration, world.correlation
    return float(allocation_failures(counts[None], instance.labels, *truth)[0])


def test_the_best_by_scores_knows_all_without_noise_and_only_the_prior_in_much_noise() -> None:
    for correlation in (1.0, 0.4):
        still = OneShot(noise=0, candidates=9, correlation=correlation)
        for index in range(5):
            instance = draw(still, 0, "instance", index, 9)
            truth = least_failure(instance.means, np.bincount(instance.labels), 12, 8.0, still.correlation)
            assert informed_failure(still, instance, 12) == pytest.approx(truth, rel=1e-12)
    loud = OneShot(noise=1e6, shared=0, directions=4)
    instance = draw(loud, 0, "instance", 0, 12)
    instance = dataclasses.replace(instance, scores=np.full(12, 0.5))
    directions = len(instance.means)
    even = spread_evenly(np.full(directions, 12 // directions), instance.labels)
    assert even.sum() == 12
    expected = allocation_failures(even[None], instance.labels, instance.means, 8.0, 1.0)[0]
    assert informed_failure(loud, instance, 12) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("shared", "correlation", "popularity"), [(1.0, 1.0, 0.0), (0.0, 0.4, 1.0)])
def test_the_posterior_is_that_of_sampled_worlds(shared: float, correlation: float, popularity: float) -> None:
    """The posterior E[F(S) | scores] equals likelihood weighting of means from the prior; one of three is clipped."""
    world = OneShot(worth=0.3, spread=2, noise=0.2, shared=shared, correlation=correlation, popularity=popularity)
    scores = np.array([0.8, 0.35, 0.35, 0.35]) if shared else np.array([0.8, 0.35, 0.0, 0.55])
    means = np.random.default_rng(0).beta(0.6, 1.4, 20_000)
    odds = (3 / 2) ** popularity * means / (1 - means)
    means = odds / (1 + odds)
    weights = np.exp(-0.5 * ((scores[1] - means) / 0.2) ** 2)
    if not shared:
        weights *= np.exp(-0.5 * ((scores[3] - means) / 0.2) ** 2)
        weights *= np.array([0.5 * math.erfc(mean / 0.2 / math.sqrt(2)) for mean in means])
    failures = np.exp(even_log_failures(means, np.full(len(means), 3), 8.0, correlation, 6))
    found = expected_log_failures(world, scores, np.array([0, 1, 1, 1]), 6)
    assert found[1] == pytest.approx(np.log(weights @ failures / weights.sum()), abs=0.02)
    assert found[0, 6] < found[1, 6]


def test_no_strategy_beats_the_best_by_scores_on_average() -> None:
    for world in (OneShot(noise=0.2, shared=0), OneShot(noise=0.2, candidates=6, told="fitted")):
        played = world.play(0, range(250), 16, ALLOCATORS)
        gaps = np.stack([outcome.failure - np.float64(outcome.informed or math.nan) for outcome in played])
        assert np.all(gaps.mean(axis=0) > -3 * gaps.std(axis=0) / math.sqrt(len(gaps)))
        assert all((outcome.informed or math.nan) >= outcome.least * (1 - 1e-12) for outcome in played)
    assert OneShot(shared=0.5).play(0, [0], 8, ALLOCATORS[:1])[0].informed is None


# Trees


def worths_of_paths(tree: Tree, depth: int, nodes: Sequence[int]) -> FloatArray:
    return tree.worths[depth][list(nodes)]


def outcomes(tree: Tree, depth: int, nodes: Sequence[int]) -> list[tuple[float, tuple[int, ...]]]:
    """Returns every way in which paths at these nodes may grow, path by path, with its chance."""
    branches = tree.chances[depth].shape[1]
    found = []
    for picks in itertools.product(range(branches), repeat=len(nodes)):
        chance = math.prod(float(tree.chances[depth][node, pick]) for node, pick in zip(nodes, picks, strict=True))
        found.append((chance, tuple(node * branches + pick for node, pick in zip(nodes, picks, strict=True))))
    return found


Choose = Callable[[int, tuple[int, ...]], Sequence[IntArray]]


def written_out(tree: Tree, width: int, choose: Choose, depth: int = 0, nodes: tuple[int, ...] | None = None) -> float:
    """Returns the failure of a search over single paths that takes the best of the counts that `choose` offers."""
    total = 0.0
    for chance, children in outcomes(tree, depth, (0,) * width if nodes is None else nodes):
        worths, best = worths_of_paths(tree, depth + 1, children), math.inf
        for counts in choose(depth + 1, children):
            if depth + 2 == tree.depth:
                best = min(best, float(np.prod((1 - worths) ** counts)))
            else:
                copies = tuple(np.repeat(children, counts).tolist())
                best = min(best, written_out(tree, width, choose, depth + 1, copies))
        total += chance * best
    return total


def tree_of(seed: int, **fields: float) -> Tree:
    return grow_tree(Branching(**{"worth": 0.2, **fields}), np.random.default_rng(seed))  # type: ignore[arg-type]


def offering(counts: IntArray) -> Choose:
    return lambda depth, nodes: list(counts)


@pytest.mark.parametrize(("depth", "branches", "width"), [(2, 3, 3), (3, 2, 3), (3, 3, 2), (4, 2, 2)])
def test_dynamic_programming_over_sets_equals_the_best_over_single_paths(depth: int, branches: int, width: int) -> None:
    for seed in range(2):
        tree = tree_of(seed, depth=depth, branches=branches)
        every = compositions(width, width)
        best = written_out(tree, width, offering(every))
        assert least_tree_failure(tree, width) == pytest.approx(best, rel=1e-10)


def test_dynamic_programming_is_the_best_of_all_policies() -> None:
    """For two rollouts, three steps and two branches, it evaluates all 2187 policies from reached nodes to counts."""
    tree, width = tree_of(4, depth=3, branches=2, worth=0.1), 2
    shares = [(2, 0), (1, 1), (0, 2)]
    pairs = list(itertools.combinations(range(4), 2))
    failures = []
    for first in shares:
        for later in itertools.product(shares, repeat=len(pairs)):
            plan = dict(zip(pairs, later, strict=True))
            failures.append(policy_failure(tree, first, plan, width))
    assert len(failures) == 2187
    assert least_tree_failure(tree, width) == pytest.approx(min(failures), rel=1e-10)
    assert len({round(failure, 12) for failure in failures}) > 100


def policy_failure(
    tree: Tree, first: tuple[int, int], later: dict[tuple[int, int], tuple[int, int]], width: int
) -> float:
    total = 0.0
    for chance, children in outcomes(tree, 0, (0, 0)):
        reached = sorted(set(children))
        copies = np.repeat(reached, first if len(reached) == 2 else (2,))
        for further, grandchildren in outcomes(tree, 1, copies.tolist()):
            at = tuple(sorted(set(grandchildren)))
            counts = np.array(later[at[0], at[1]] if len(at) == 2 else (width,))
            total += chance * further * float(np.prod((1 - worths_of_paths(tree, 2, at)) ** counts))
    return total


def exactly(tree: Tree, allocate: Allocator, width: int) -> float:
    """Returns a strategy's failure on a tree with scores without noise, over every way in which its paths may grow."""

    def choose(depth: int, nodes: tuple[int, ...]) -> Sequence[IntArray]:
        worths = worths_of_paths(tree, depth, nodes)
        keys = tuple((path,) * depth for path in range(width))
        belief = OneShot(noise=0, told_concentration=8.0, told_correlation=1.0).belief(0, width, worths)
        labels, lineage = from_labels(list(nodes)), np.arange(width)
        return [allocate(Candidates(keys, worths, labels, lineage, belief=belief), width).counts]

    return written_out(tree, width, choose)


def test_bound_is_below_dynamic_programming_is_below_every_strategy() -> None:
    gaps = []
    for seed, (depth, branches, width) in enumerate([(2, 3, 3), (3, 2, 3), (3, 3, 2)]):
        tree = tree_of(seed, depth=depth, branches=branches, worth=0.1)
        bound, least = reachability_bound(tree, width), least_tree_failure(tree, width)
        assert bound <= least * (1 + 1e-12)
        if depth == 2:
            assert bound == pytest.approx(least, rel=1e-11)
        gaps.append(least - bound)
        for allocate in ALLOCATORS:
            assert exactly(tree, allocate, width) >= least * (1 - 1e-12)
    assert max(gaps) > 1e-4


@settings(max_examples=20)
@given(st.integers(2, 4), st.integers(2, 3), st.integers(1, 8), st.integers(0, 10**6))
def test_the_bound_is_below_dynamic_programming_on_every_small_tree(
    depth: int, branches: int, width: int, seed: int
) -> None:
    if can_plan(depth, branches, width):
        tree = tree_of(seed, depth=depth, branches=branches, worth=0.05)
        assert reachability_bound(tree, width) <= least_tree_failure(tree, width) * (1 + 1e-10)


def test_searches_fail_as_often_as_the_enumeration_says() -> None:
    world, width = Branching(depth=3, branches=2, worth=0.1, noise=0, spread=1), 3
    instance, allocate = TreeInstance.draw(world, 0, 0, width), STRATEGIES["dora"].bind()
    generator, ends = np.random.default_rng(2), []
    for _ in range(1500):
        drawn = dataclasses.replace(instance, branch=generator.random((3, width)), right=generator.random(width))
        ends.append(search(world, drawn, allocate, width, 0, 0).failure)
    assert abs(np.mean(ends) - exactly(instance.tree, allocate, width)) < 5 * np.std(ends) / math.sqrt(len(ends))


def test_a_worth_is_the_weighted_mean_of_the_children() -> None:
    tree = tree_of(0, depth=4, branches=3, imbalance=1.5)
    for depth, chances in enumerate(tree.chances):
        assert chances.sum(axis=1) == pytest.approx(np.ones(3**depth))
        children = tree.worths[depth + 1].reshape(chances.shape)
        assert tree.worths[depth] == pytest.approx((chances * children).sum(axis=1))


def test_a_vote_of_equals_is_the_binomial() -> None:
    """If all leaves are worth w and there is one wrong answer, three rollouts vote right in 3w² - 2w³."""
    world = Branching(depth=2, branches=2, worth=0.4, spread=0, noise=0, answers=1)
    played = world.play(0, range(3000), 3, [STRATEGIES["temperature"].bind()])
    votes = np.array([outcome.voted for outcome in played])
    assert {round(float(outcome.failure[0]), 12) for outcome in played} == {round(0.6**3, 12)}
    assert {round(float(outcome.right_share[0]), 12) for outcome in played} == {0.4}
    assert votes.mean() == pytest.approx(3 * 0.4**2 - 2 * 0.4**3, abs=0.035)


def test_compositions_are_complete() -> None:
    assert compositions(1, 4).tolist() == [[4]]
    assert len(compositions(3, 5)) == math.comb(7, 2)
    assert all(row.sum() == 5 and row.min() >= 0 for row in compositions(3, 5))


def test_a_ceiling_says_whether_it_is_a_bound() -> None:
    assert "best policy" in Branching(depth=3).ceiling(8)
    assert "bound" in Branching(depth=4).ceiling(64)
    outcome = Branching(depth=4).play(0, [0], 16, [STRATEGIES["rebase"].bind()])[0]
    assert 0 <= outcome.least <= outcome.failure[0] + 0.5


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"depth": 1}, "depth"),
        ({"branches": 9}, "branches"),
        ({"depth": 8, "branches": 8}, "too many"),
        ({"told_concentration": math.inf}, "told_concentration"),
        ({"spread": -1.0}, "spread"),
        ({"popularity": math.nan}, "popularity"),
    ],
)
def test_impossible_trees_are_refused(fields: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Branching(**fields)  # type: ignore[arg-type]
