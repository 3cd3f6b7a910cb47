"""The strategies that read a belief, compared with every possible allocation."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln, roots_jacobi
from small_problems import compositions

from rollwise.allocation.failure import log_expected_failure
from rollwise.allocation.strategies import STRATEGIES
from rollwise.core import Allocation, Belief, Candidates, Directions, FloatArray, IntArray
from rollwise.directions.kernel import from_labels
from rollwise.errors import InputError

INSTANCES = int(os.environ.get("ROLLWISE_BRUTE_FORCE", "300"))
"""How many random problems each brute-force test solves."""


def allocate(
    name: str, belief: Belief, width: int, labels: Sequence[int] | Directions | None = None, **options: Any
) -> Allocation:
    size = len(belief.mean)
    directions = labels if labels is None or isinstance(labels, Directions) else from_labels(labels)
    paths = tuple((index,) for index in range(size))
    return STRATEGIES[name].bind(options)(Candidates(paths, np.zeros(size), directions, belief=belief), width)


def position(counts: IntArray, among: IntArray) -> int:
    return int(np.flatnonzero(np.all(among == counts, axis=1))[0])


# Brute force


def test_no_allocation_is_better_if_paths_are_independent() -> None:
    generator = np.random.default_rng(0)
    solved = 0
    while solved < INSTANCES:
        size, width = int(generator.integers(1, 6)), int(generator.integers(0, 9))
        floor, cap = int(generator.integers(0, 2)), int(generator.choice([0, 2, 3, 5]))
        every = compositions(size, width)
        allowed = np.all((every >= floor) & (every <= (cap or width)), axis=1)
        if not allowed.any() or 0 < cap < floor:
            continue
        mean = generator.choice([generator.random(size), generator.integers(1, 4, size) / 4])
        concentration = generator.choice([10 ** generator.uniform(-3, 3, size), np.full(size, 2.0)])
        spent = generator.integers(0, 4, size) * int(generator.integers(0, 2))
        a, b = mean * concentration, (1 - mean) * concentration + spent
        table = betaln(a[:, None], b[:, None] + np.arange(width + 1)) - betaln(a, b)[:, None]
        failures = table[np.arange(size), every].sum(axis=1)
        made = allocate("optimal", Belief(mean, concentration, spent=spent), width, floor=floor, cap=cap).counts
        assert failures[position(made, every)] <= failures[allowed].min() + 1e-9
        solved += 1


def direction_failure(
    mean: float, concentration: float, correlation: float, spent: IntArray, every: IntArray
) -> FloatArray:
    """Returns the log failure of each allocation (n, members) to a direction's members, given the spent rollouts.

    It integrates over p_j by quadrature: the integrand is a polynomial in p_j, which 24 nodes integrate exactly up to
    degree 47.
    """
    common = (concentration + 1) / correlation - 1
    nodes, weights = roots_jacobi(24, common * (1 - mean) - 1, common * mean - 1)
    p = (1 + nodes[:, None]) / 2
    most = int(every.max()) + int(spent.max(initial=0)) + 1
    if correlation == 1:
        chances = (1 - p) ** np.arange(most)
    else:
        own = correlation * common / (1 - correlation) - 1
        steps = (own * (1 - p) + np.arange(most - 1)) / (own + np.arange(most - 1))
        chances = np.concatenate([np.ones_like(p), np.cumprod(steps, axis=1)], axis=1)
    together = np.ones((len(p), len(every)))
    for member in range(every.shape[1]):
        together *= chances[:, spent[member] + every[:, member]]
    return np.log(weights @ together)


@pytest.mark.parametrize("correlation", [0.2, 0.7, 1.0])
def test_no_allocation_is_better_if_directions_share(correlation: float) -> None:
    """It compares all allocations to paths, not only to directions, and so tests that the even split is best."""
    generator = np.random.default_rng(1)
    for _ in range(INSTANCES):
        size, width = int(generator.integers(1, 6)), int(generator.integers(1, 9))
        labels = generator.integers(0, 3, size)
        mean = generator.choice([generator.uniform(0.05, 0.95, 3), generator.integers(1, 4, 3) / 4])[labels]
        concentration = 10 ** generator.uniform(-0.5, 1.5, 3)[labels]
        spent = generator.integers(0, 3, size) * int(generator.integers(0, 2))
        every = compositions(size, width)
        failures = np.zeros(len(every))
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            belief_of_all = float(mean[members[0]]), float(concentration[members[0]]), correlation
            failures += direction_failure(*belief_of_all, spent[members], every[:, members])
        belief = Belief(mean, concentration, correlation, spent)
        made = allocate("optimal_directions", belief, width, labels.tolist()).counts
        assert failures[position(made, every)] <= failures.min() + 1e-9


# What the strategies return


def test_optimal_spreads_rollouts_in_doubt_and_concentrates_them_in_certainty() -> None:
    mean = np.array([0.6, 0.3, 0.05])
    unsure = allocate("optimal", Belief(mean, np.full(3, 1.0)), 12)
    sure = allocate("optimal", Belief(mean, np.full(3, 100.0)), 12)
    assert unsure.counts.tolist() == [8, 4, 0]
    assert sure.counts.tolist() == [12, 0, 0]
    np.testing.assert_allclose(unsure.weights, [(0.6 / (0.9 / 14) - 1) / 12, (0.3 / (0.9 / 14) - 1) / 12, 0])
    assert unsure.uniqueness is None


def test_a_direction_is_paid_once_and_its_members_evenly() -> None:
    labels = [0, 0, 0, 1]
    made = allocate("optimal_directions", Belief(np.full(4, 0.5), np.full(4, 4.0)), 10, labels)
    assert made.counts.tolist() == [2, 2, 1, 5]
    np.testing.assert_allclose(made.weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert made.uniqueness is not None
    assert made.uniqueness.tolist() == [1 / 3, 1 / 3, 1 / 3, 1]
    assert made.effective_directions == pytest.approx(2)


@pytest.mark.parametrize("correlation", [0.3, 1.0])
def test_a_direction_divides_its_rollouts_by_its_members_own_beliefs(correlation: float) -> None:
    """Members with different beliefs divide their total as `optimal` would; members with equal beliefs do so evenly."""
    mean, kappa = np.array([0.2, 0.6, 0.4, 0.3, 0.3, 0.3]), np.array([4.0, 4.0, 1.0, 2.0, 2.0, 2.0])
    for spent in (np.zeros(6, dtype=np.int64), np.array([0, 2, 1, 1, 0, 0])):
        belief = Belief(mean, kappa, correlation, spent)
        counts = allocate("optimal_directions", belief, 13, [0, 0, 0, 1, 1, 1]).counts
        alone = Belief(mean[:3], kappa[:3], spent=spent[:3])
        assert counts[:3].tolist() == allocate("optimal", alone, int(counts[:3].sum())).counts.tolist()
        assert np.ptp(counts[3:] + spent[3:]) <= 1
        assert counts.sum() == 13


@pytest.mark.parametrize("correlation", [0.05, 0.5, 1.0])
def test_an_option_overrides_the_correlation_of_the_belief(correlation: float) -> None:
    mean, concentration, labels = np.array([0.5] * 6 + [0.45] * 2), np.full(8, 3.0), [0] * 6 + [1, 2]
    own = allocate("optimal_directions", Belief(mean, concentration, correlation), 16, labels)
    option = allocate("optimal_directions", Belief(mean, concentration, 0.4), 16, labels, correlation=correlation)
    assert own.counts.tolist() == option.counts.tolist()


def test_sharing_goes_from_independent_paths_to_one_chance_for_a_direction() -> None:
    """The crowd's total falls as its members share more."""
    belief, labels = Belief(np.full(8, 0.5), np.full(8, 3.0)), [0] * 6 + [1, 2]
    crowd = [
        int(allocate("optimal_directions", belief, 24, labels, correlation=correlation).counts[:6].sum())
        for correlation in (1e-6, 0.1, 0.3, 0.6, 0.9, 1.0)
    ]
    assert crowd[0] == allocate("optimal", belief, 24).counts[:6].sum() == 18
    assert crowd[-1] == 8
    assert crowd == sorted(crowd, reverse=True)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 12), width=st.integers(0, 60))
def test_directions_of_one_path_each_are_allocated_as_paths(seed: int, size: int, width: int) -> None:
    generator = np.random.default_rng(seed)
    belief = Belief(generator.random(size), 10 ** generator.uniform(-2, 2, size), spent=generator.integers(0, 4, size))
    apart = allocate("optimal", belief, width)
    together = allocate("optimal_directions", belief, width, list(range(size)))
    assert together.counts.tolist() == apart.counts.tolist()
    np.testing.assert_allclose(together.weights, apart.weights)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    copies=st.integers(1, 40),
    width=st.integers(1, 64),
    correlation=st.sampled_from([0.3, 1.0]),
)
def test_copies_of_a_path_change_nothing_if_they_share_their_chance_wholly(
    seed: int, copies: int, width: int, correlation: float
) -> None:
    generator = np.random.default_rng(seed)
    mean, concentration = generator.random(4), 10 ** generator.uniform(-1, 1, 4)
    index = np.repeat(np.arange(4), [copies, 1, 1, 1])
    single = allocate("optimal_directions", Belief(mean, concentration, correlation), width, [0, 1, 2, 3]).counts
    many = allocate("optimal_directions", Belief(mean[index], concentration[index], correlation), width, index.tolist())
    if correlation == 1:
        assert many.counts[:copies].sum() == single[0]
        assert many.counts[copies:].tolist() == single[1:].tolist()
    else:
        assert many.counts[:copies].sum() >= single[0]  # more members that may be right


# What a direction is worth


def test_a_direction_is_allocated_as_a_path_with_its_members_pooled_pseudo_counts() -> None:
    """The members have mean 0.2 with κ = 1 and mean 0.8 with κ = 3."""
    pooled = Belief(np.array([(0.2 * 1 + 0.8 * 3) / 4, 0.5]), np.array([2.0, 2.0]))
    members = Belief(np.array([0.2, 0.8, 0.5]), np.array([1.0, 3.0, 2.0]))
    made = allocate("optimal_directions", members, 20, [0, 0, 1])
    expected = allocate("optimal", pooled, 20)
    assert made.counts[2] == expected.counts[1]
    np.testing.assert_allclose([made.weights[:2].sum(), made.weights[2]], expected.weights)


def test_pooling_accepts_certain_members() -> None:
    belief = Belief(np.array([0.0, 1.0, 0.3, 0.3, 0.0, 0.0]), np.array([2.0, 2.0, 1.0, math.inf, 5.0, 5.0]))
    made = allocate("optimal_directions", belief, 9, [0, 0, 1, 1, 2, 2])
    assert made.counts[4:].sum() == 0
    assert np.all(np.isfinite(made.weights))


def test_the_size_exponent_adds_to_the_log_odds() -> None:
    """Relative to the geometric mean of the sizes, these directions are larger by √3 and by 1/√3."""
    mean, labels = np.array([0.3, 0.3, 0.3, 0.4]), [0, 0, 0, 1]
    odds = np.array([0.3 / 0.7, 0.4 / 0.6]) * np.array([3**0.5, 3**-0.5]) ** 0.5
    expected = allocate("optimal", Belief(odds / (1 + odds), np.full(2, 5.0)), 30)
    for crowd, options in (
        (Belief(mean, np.full(4, 5.0)), {"size_exponent": 0.5}),
        (Belief(mean, np.full(4, 5.0), size_exponent=0.5), {}),
        (Belief(mean, np.full(4, 5.0), size_exponent=3.0), {"size_exponent": 0.5}),
    ):
        made = allocate("optimal_directions", crowd, 30, labels, **options)
        np.testing.assert_allclose([made.weights[:3].sum(), made.weights[3]], expected.weights)


def test_a_huge_size_exponent_makes_crowds_certain() -> None:
    belief, labels = Belief(np.array([0.3, 0.3, 0.9, 0.0, 0.0]), np.full(5, 5.0)), [0, 0, 1, 2, 2]
    crowds = allocate("optimal_directions", belief, 6, labels, size_exponent=1e300)
    loners = allocate("optimal_directions", belief, 6, labels, size_exponent=-1e300)
    for made, mean in ((crowds, [1.0, 0.0, 0.0]), (loners, [0.0, 1.0, 0.0])):
        certain = allocate("optimal", Belief(np.array(mean), np.full(3, 5.0)), 6).counts.tolist()
        assert [made.counts[:2].sum(), made.counts[2], made.counts[3:].sum()] == certain


def test_a_similarity_is_cut_into_directions() -> None:
    similarity = np.array([[1, 0.97, 0.5], [0.97, 1, 0.5], [0.5, 0.5, 1]])
    belief = Belief(np.full(3, 0.5), np.full(3, 4.0))
    for cut, labels in ((0.0, [0, 1, 2]), (0.02, [0, 1, 2]), (0.05, [0, 0, 1]), (0.6, [0, 0, 0])):
        soft = allocate("optimal_directions", belief, 11, Directions(similarity=similarity), cut=cut)
        assert soft.counts.tolist() == allocate("optimal_directions", belief, 11, labels).counts.tolist()


# Errors


def test_missing_or_unusable_evidence_is_refused() -> None:
    bare = Candidates(((0,),), np.array([0.5]), from_labels([0]))
    for name in ("optimal", "optimal_directions"):
        with pytest.raises(InputError, match=r"needs a belief: .*--belief FILE"):
            STRATEGIES[name].bind()(bare, 1)
    belief = Belief(np.array([0.5]), np.array([1.0]))
    with pytest.raises(InputError, match="needs directions"):
        allocate("optimal_directions", belief, 1)
    with pytest.raises(InputError, match="do not say who goes together"):
        allocate("optimal_directions", belief, 1, Directions(weights=np.array([0.5])))
    with pytest.raises(InputError, match="calibrate"):
        allocate("rebase", Belief(np.array([1.5]), np.array([1.0])), 1)
    with pytest.raises(InputError, match="set correlation to 1"):
        allocate("optimal_directions", belief, 10**6 + 1, [0], correlation=0.5)
    assert allocate("optimal_directions", belief, 10**8, [0]).counts.tolist() == [10**8]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("optimal", {"floor": -1}, "at least 0"),
        ("optimal", {"cap": -1}, "at least 0"),
        ("optimal", {"floor": 3, "cap": 2}, "below the floor"),
        ("optimal", {"cap": 1.5}, "takes a whole number"),
        ("optimal_directions", {"correlation": 1.5}, "correlation"),
        ("optimal_directions", {"correlation": -0.1}, "correlation"),
        ("optimal_directions", {"correlation": math.nan}, "correlation"),
        ("optimal_directions", {"pooling": "max"}, "has no option 'pooling'"),
        ("optimal_directions", {"size_exponent": math.inf}, "finite"),
        ("optimal_directions", {"cut": 3}, "cosine distance"),
        ("optimal_directions", {"cap": 3}, "has no option 'cap'"),
    ],
)
def test_unusable_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        STRATEGIES[name].bind(options)


def test_sampled_rollouts_fail_as_often_as_the_objective_says() -> None:
    """In sampled worlds, the share without a right rollout is the objective's value, and REBASE's share is higher."""
    generator = np.random.default_rng(2)
    mean, concentration = np.array([0.5, 0.3, 0.3, 0.1, 0.02, 0.02]), np.array([1.0, 6.0, 0.3, 2.0, 9.0, 1.0])
    counts = allocate("optimal", Belief(mean, concentration), 8).counts
    p = generator.beta(mean * concentration, (1 - mean) * concentration, (200_000, 6))
    failed = np.prod((1 - p) ** counts, axis=1)
    expected = math.exp(float(log_expected_failure(mean, concentration, counts).sum()))
    assert failed.mean() == pytest.approx(expected, abs=4 * failed.std() / math.sqrt(len(failed)))
    rebase = STRATEGIES["rebase"].bind()(Candidates(tuple((index,) for index in range(6)), mean), 8).counts
    assert np.prod((1 - p) ** rebase, axis=1).mean() > expected + 0.005
