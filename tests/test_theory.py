"""The paper's statements, as we read them, reproduced or refuted: each test checks a claim of docs/theory.md.

The tests compute chances to fail from their factors or by quadrature, and optima by comparing every allocation.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import betaln, roots_jacobi
from scipy.stats import betabinom
from small_problems import blocks, compositions

from rollwise.allocation.exact_counts import greedy_counts, optimal_counts
from rollwise.allocation.rounding import divisor, largest_remainder
from rollwise.allocation.strategies import STRATEGIES
from rollwise.core import Candidates, Directions, FloatArray, IntArray
from rollwise.directions.kernel import from_labels, uniqueness
from rollwise.numerics import softmax


def log_failures(mean: float, concentration: float, width: int) -> FloatArray:
    """Returns log E[(1 - p)^B] for B = 0 to `width`, from its factors (κ(1 - m) + s) / (κ + s)."""
    steps = np.arange(width)
    with np.errstate(divide="ignore"):
        return np.append(0.0, np.cumsum(np.log1p(-concentration * mean / (concentration + steps))))


def best_of_all(failures: Sequence[FloatArray], width: int) -> IntArray:
    """Returns every allocation (n, k) whose log failure is the least, up to rounding errors."""
    every = compositions(len(failures), width)
    total = np.sum([failure[every[:, index]] for index, failure in enumerate(failures)], axis=0)
    return every[total <= total.min() + 1e-12 * max(1.0, abs(float(total.min())))]


def best_for(means: Sequence[float], concentration: float, width: int) -> IntArray:
    return best_of_all([log_failures(mean, concentration, width) for mean in means], width)


def contains(among: IntArray, counts: IntArray) -> bool:
    return bool(np.any(np.all(among == counts, axis=1)))


def directed(name: str, rewards: Sequence[float], labels: Sequence[int], width: int, **options: object) -> IntArray:
    """Returns how many rollouts a strategy gives each direction in total."""
    paths = tuple((index,) for index in range(len(labels)))
    among = Candidates(paths, np.array(rewards, dtype=np.float64), from_labels(labels))
    return np.bincount(labels, STRATEGIES[name].bind(options)(among, width).counts).astype(np.int64)


# Greedy is optimal


@pytest.mark.parametrize("seed", range(20))
def test_failure_is_log_convex_for_any_prior_so_that_greedy_is_optimal(seed: int) -> None:
    """The priors have random weights on five random points of [0, 1]; they are not Beta distributions."""
    generator, width = np.random.default_rng(seed), 9
    failures = []
    for _ in range(4):
        points, weights = generator.random(5), generator.dirichlet(np.full(5, 0.5))
        failures.append(np.log([float(weights @ (1 - points) ** count) for count in range(width + 2)]))
        assert np.all(np.diff(failures[-1], 2) > -1e-12)
    greedy = greedy_counts([iter(failure.tolist()) for failure in failures], width)
    assert contains(best_of_all(failures, width), greedy)


# Proposition 1


@pytest.mark.parametrize("width", range(1, 9))
def test_low_confidence_is_adams_and_not_proportional(width: int) -> None:
    """κ → 0 gives every path a rollout before any gets two. The rest follow m / B, which is Adams' method."""
    means = [0.6, 0.2, 0.15, 0.05]
    best = best_for(means, 1e-6, width)
    assert contains(best, divisor(np.array(means), width, 0.0))
    proportional = largest_remainder(np.array(means) * width, width)
    if width >= len(means):
        assert best.min() >= 1
    if width >= 3:
        assert proportional.min() == 0
        assert not contains(best, proportional)


def test_low_confidence_with_as_many_paths_as_rollouts_is_plain_sampling() -> None:
    rewards = [0.95, 0.8, 0.6, 0.3, 0.1]
    assert best_for(rewards, 1e-6, 5).tolist() == [[1, 1, 1, 1, 1]]
    rebase = directed("rebase", rewards, range(5), 5)
    assert rebase.tolist() == [4, 1, 0, 0, 0]


def test_low_confidence_is_proportional_for_few_units() -> None:
    """For three units and 300 rollouts, Adams is within one of proportional shares, as Proposition 1 says."""
    shares = np.array([0.62, 0.27, 0.11])
    best = best_for(shares.tolist(), 1e-6, 300)
    assert np.abs(best - 300 * shares).max() <= 1


@pytest.mark.parametrize(("concentration", "offset"), [(0.5, 0.5), (1.0, 1.0)])
@pytest.mark.parametrize("seed", range(5))
def test_one_half_is_webster_and_one_is_d_hondt(concentration: float, offset: float, seed: int) -> None:
    means = np.random.default_rng(seed).uniform(0.05, 0.95, 4)
    for width in range(1, 10):
        assert contains(best_for(means.tolist(), concentration, width), divisor(means, width, offset))


def test_the_shifted_rule_goes_negative_and_cut_off_at_zero_it_is_not_optimal() -> None:
    """(N + kκ)w - κ has to become water-filling: no count below 0, and λ chosen after that."""
    shares, width, kappa = np.array([0.4, 0.3, 0.2, 0.07, 0.03]), 16, 5.0
    shifted = (width + 5 * kappa) * shares - kappa
    assert shifted == pytest.approx([11.4, 7.3, 3.2, -2.13, -3.77], abs=1e-9)
    kept = np.maximum(shifted, 0)
    best = best_for(shares.tolist(), kappa, width)
    assert best.tolist() == [[9, 5, 2, 0, 0]]
    assert kept.sum() == pytest.approx(21.9)  # nearly six rollouts more than the width
    scaled = largest_remainder(kept * width / kept.sum(), width)
    assert scaled.tolist() == [8, 5, 3, 0, 0]
    table = [log_failures(share, kappa, width) for share in shares.tolist()]
    lost, least = (sum(float(row[n]) for row, n in zip(table, counts, strict=True)) for counts in (scaled, best[0]))
    assert 1.002 < math.exp(lost - least) < 1.02


@pytest.mark.parametrize("seed", range(10))
def test_if_it_is_not_negative_the_shifted_rule_is_within_one_of_the_optimum(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for kappa in (0.2, 1.0, 3.0):
        shares = generator.dirichlet(np.full(4, 8.0))
        shifted = (12 + 4 * kappa) * shares - kappa
        if shifted.min() >= 0:
            assert np.abs(best_for(shares.tolist(), kappa, 12) - shifted).max() < 1.5


@pytest.mark.parametrize(("first", "second"), [(0.9, 0.89), (0.5, 0.4), (0.1, 0.02)])
def test_confidence_above_a_bound_gives_every_rollout_to_the_best_path(first: float, second: float) -> None:
    """Giving all to the best is optimal exactly from κ = (N - 1) m₂ / (m₁ - m₂) on; for .90 against .89 that is 980."""
    width = 12
    bound = (width - 1) * second / (first - second)
    assert best_for([first, second, second / 2], bound * 1.001, width).tolist() == [[width, 0, 0]]
    assert best_for([first, second, second / 2], bound * 0.999, width)[0, 0] < width


def test_a_softmax_share_is_not_a_chance_to_be_right() -> None:
    """64 paths of reward 0.95 have share 1/64 each; read as chances, these shares lose one question in three."""
    shares = softmax(np.full(64, 0.95), 0.1)
    assert 1 - (1 - shares).prod() == pytest.approx(0.635, abs=1e-3)
    assert 1 - (1 - np.full(64, 0.95)).prod() == pytest.approx(1)


# Proposition 2 and Theorem 1: 16 rollouts for 16 paths of equal score, 12 in one direction and four each alone.

CROWD = [0] * 12 + [1, 2, 3, 4]


def shared_failure(mean: float, concentration: float, correlation: float, counts: Sequence[int]) -> float:
    """Returns the chance that all rollouts of a direction's members fail, by Gauss-Jacobi quadrature over p_j."""
    common, own = (concentration + 1) / correlation - 1, concentration / (1 - correlation)
    nodes, weights = roots_jacobi(80, common * (1 - mean) - 1, common * mean - 1)
    chance = (1 + nodes) / 2
    each = [np.exp(betaln(own * chance, own * (1 - chance) + count) - betaln(own * chance, own * (1 - chance)))
            for count in counts]  # fmt: skip
    return float(weights @ np.prod(each, axis=0) / weights.sum())


def crowd_failure(concentration: float, correlation: float, totals: IntArray, mean: float = 0.3) -> float:
    """Returns the chance that all rollouts fail if the crowd's total is spread evenly over its 12 paths."""
    even = [int(totals[0]) // 12 + (member < totals[0] % 12) for member in range(12)]
    alone = [math.exp(log_failures(mean, concentration, 16)[count]) for count in totals[1:]]
    return shared_failure(mean, concentration, correlation, even) * math.prod(alone)


def test_paths_that_share_their_chance_are_overpaid_by_solution_level_shares() -> None:
    """Proposition 2, if a direction's paths share p: REBASE pays 12 : 1, while the optimum and DORA pay 4 : 3."""
    rebase, dora = (directed(name, [0.95] * 16, CROWD, 16) for name in ("rebase", "dora"))
    assert rebase.tolist() == [12, 1, 1, 1, 1]
    for kappa in (1.0, 4.0, 20.0):
        best = best_for([0.3] * 5, kappa, 16)
        assert contains(best, dora)
        assert not contains(best, rebase)


def test_rebase_and_dora_pay_alike_if_directions_have_equal_sizes() -> None:
    labels = from_labels([0, 0, 0, 1, 1, 1, 2, 2, 2])
    rewards = np.array([0.9] * 3 + [0.85] * 3 + [0.7] * 3)
    among = Candidates(tuple((index,) for index in range(9)), rewards, labels)
    rebase, dora = (STRATEGIES[name].bind()(among, 90).weights for name in ("rebase", "dora"))
    assert rebase == pytest.approx(dora)


def test_paths_that_share_nothing_are_underpaid_by_direction_level_shares() -> None:
    """Proposition 2 depends on sharing, not on size: if paths are independent, REBASE's one each is the optimum."""
    one_each = math.exp(16 * float(log_failures(0.3, 1.0, 16)[1]))
    dora = math.exp(4 * float(log_failures(0.3, 1.0, 16)[1]) + 4 * float(log_failures(0.3, 1.0, 16)[3]))
    assert 1 - one_each == pytest.approx(0.9967, abs=1e-4)
    assert 1 - dora == pytest.approx(0.980, abs=1e-3)


@pytest.mark.parametrize(("concentration", "low", "high"), [(1.0, 0.3, 0.5), (4.0, 0.2, 0.3), (20.0, 0.1, 0.3)])
def test_direction_level_wins_above_a_correlation_that_falls_with_confidence(
    concentration: float, low: float, high: float
) -> None:
    rebase, dora = np.array([12, 1, 1, 1, 1]), np.array([4, 3, 3, 3, 3])
    loses = crowd_failure(concentration, low, dora) - crowd_failure(concentration, low, rebase)
    wins = crowd_failure(concentration, high, dora) - crowd_failure(concentration, high, rebase)
    assert loses > 0 > wins


def test_neither_level_is_optimal_between() -> None:
    """At ρ = 0.3 and κ = 1 the best total for the crowd of 12 is 8 of 16: less than REBASE gives, more than DORA."""
    totals = [np.array([crowd, *divisor(np.ones(4), 16 - crowd, 0.5)]) for crowd in range(17)]
    failures = [crowd_failure(1.0, 0.3, each) for each in totals]
    assert int(np.argmin(failures)) == 8


def test_direction_level_shares_are_optimal_with_equal_scores_and_little_confidence() -> None:
    """Theorem 1 needs a p for each direction, equal scores in it, few directions, κ → 0, and means that are shares."""
    labels = [0] * 10 + [1] * 3 + [2]
    rewards = [0.80] * 10 + [0.85] * 3 + [0.9]
    worth = softmax(np.array([0.80, 0.85, 0.9]), 0.1)
    dora = directed("dora", rewards, labels, 60)
    best = best_for(worth.tolist(), 1e-6, 60)
    assert np.abs(best - dora).max() <= 1
    assert np.abs(best - 60 * worth).max() <= 1
    assert directed("rebase", rewards, labels, 60)[0] > 2 * best[0, 0]


def test_direction_level_shares_are_not_optimal_with_more_confidence() -> None:
    """For the same directions, the optimum gives the best 35 of 60 at κ = 10 and all at κ = 300; DORA gives 30."""
    worth = softmax(np.array([0.80, 0.85, 0.9]), 0.1)
    best = best_for(worth.tolist(), 10.0, 60)
    dora = directed("dora", [0.80] * 10 + [0.85] * 3 + [0.9], [0] * 10 + [1] * 3 + [2], 60)
    assert best.tolist() == [[7, 18, 35]]
    assert best_for(worth.tolist(), 300.0, 60).tolist() == [[0, 0, 60]]
    assert dora.tolist() == [11, 19, 30]


def test_as_many_directions_as_rollouts_make_direction_level_shares_wrong_too() -> None:
    """If each path is a direction and κ → 0, one each is optimal; DORA equals REBASE and gives three paths nothing."""
    rewards = [0.95, 0.8, 0.6, 0.3, 0.1]
    assert directed("dora", rewards, range(5), 5).tolist() == [4, 1, 0, 0, 0]
    assert best_for(softmax(np.array(rewards), 0.1).tolist(), 1e-6, 5).tolist() == [[1, 1, 1, 1, 1]]


def test_unequal_scores_in_a_direction_are_paid_by_their_luckiest_member() -> None:
    """Of two directions with mean score 0.7, mean exp(R / T_b) pays the uneven direction 3.8 times as much (Jensen)."""
    rewards, labels = [0.9, 0.5, 0.7, 0.7], [0, 0, 1, 1]
    expected = (math.exp(9) + math.exp(5)) / 2 / math.exp(7)
    assert expected == pytest.approx(3.76, abs=0.01)
    given = directed("dora", rewards, labels, 1000)
    assert given[0] / given[1] == pytest.approx(expected, rel=0.01)
    assert best_for([0.7, 0.7], 5.0, 100).tolist() == [[50, 50]]


# Uniqueness


@pytest.mark.parametrize(("cosine", "together"), [(1.0, 1.0), (0.99, 2.65), (0.98, 6.72), (0.97, 15.5)])
def test_the_bandwidth_merges_near_duplicates_only(cosine: float, together: float) -> None:
    """64 paths of one direction weigh 64 / (1 + 63 exp((s - 1) / 0.01)) directions together."""
    assert 64 / (1 + 63 * math.exp((cosine - 1) / 0.01)) == pytest.approx(together, rel=3e-3)
    gamma = uniqueness(Directions(similarity=blocks([0] * 64, 0.0, cosine)))
    assert gamma.sum() == pytest.approx(together, rel=3e-3)


def test_uniqueness_leaks_between_directions_and_the_magnitude_would_not() -> None:
    """For 60 and 4 paths with kernel 0.05 between them, γ weighs the small direction 0.57; K w = 1 is fair to both."""
    directions = Directions(similarity=blocks([0] * 60 + [1] * 4, 1 + 0.01 * math.log(0.05)))
    gamma = uniqueness(directions)
    assert [60 * gamma[0], 4 * gamma[-1]] == pytest.approx([60 / 60.2, 4 / 7.0])
    solved = np.linalg.solve([[60, 4 * 0.05], [60 * 0.05, 4]], np.ones(2)) * [60, 4]
    assert solved == pytest.approx([0.952, 0.952], abs=1e-3)


# Rounding


def test_rounding_path_by_path_undoes_dora() -> None:
    """For 64 paths in directions of Zipf sizes, it counts the rollouts that each rounding moves between directions."""
    generator = np.random.default_rng(0)
    moved: dict[str, list[float]] = {"cumulative": [], "largest_remainder": [], "paper": []}
    worst = 0.0
    for _ in range(30):
        labels = generator.choice(16, size=64, p=(1 / np.arange(1, 17)) / (1 / np.arange(1, 17)).sum())
        labels = np.unique(labels, return_inverse=True)[1]
        quality = generator.beta(5, 2, labels.max() + 1)
        deserved = 64 * softmax(quality, 0.1)
        for rounding, amounts in moved.items():
            given = directed("dora", quality[labels], labels.tolist(), 64, rounding=rounding)
            amounts.append(float(np.abs(given - deserved).sum() / 2))
            if rounding == "cumulative":
                worst = max(worst, float(np.abs(given - deserved).max()))
    mean = {rounding: float(np.mean(amounts)) for rounding, amounts in moved.items()}
    assert worst <= 1
    assert mean["cumulative"] < 3
    assert mean["largest_remainder"] > 2 * mean["cumulative"]
    assert mean["paper"] > 2 * mean["cumulative"]


@pytest.mark.parametrize(("width", "low", "high"), [(16, -1.3, -0.3), (64, -4.3, -2.3), (256, -15.5, -10.5)])
def test_published_rounding_loses_rollouts(width: int, low: float, high: float) -> None:
    """Half to even rounds shares below a half to 0: for Beta(5, 2) scores it loses about 0.8, 3 and 13 rollouts."""
    generator = np.random.default_rng(0)
    shares = [softmax(generator.beta(5, 2, width), 0.1) * width for _ in range(200)]
    assert low < np.mean([np.round(row).sum() - width for row in shares]) < high


# The confidence that softmax implies


@pytest.mark.parametrize(("units", "low", "high"), [(64, 5, 22), (8, 40, 250)])
def test_softmax_trusts_scores_with_a_large_concentration(units: int, low: float, high: float) -> None:
    """The κ whose optimum for m = R is closest to N softmax(R / 0.1); see experiments/softmax_confidence.py."""
    generator, grid = np.random.default_rng(1), np.geomspace(1, 1000, 16)
    apart = np.zeros(len(grid))
    for _ in range(4):
        rewards = generator.beta(8, 2, units)
        rebase = largest_remainder(softmax(rewards, 0.1) * 64, 64)
        apart += [np.abs(optimal_counts(rewards, np.full(units, kappa), 64) - rebase).sum() for kappa in grid]
    assert low <= grid[int(np.argmin(apart))] <= high


# Coverage and the vote


def vote_right(means: Sequence[float], concentration: float, counts: Sequence[int]) -> float:
    """Returns P(more rollouts are right than wrong) if all wrong rollouts agree: a convolution of beta-binomials."""
    right = np.ones(1)
    for mean, count in zip(means, counts, strict=True):
        of_path = betabinom(count, concentration * mean, concentration * (1 - mean)).pmf(np.arange(count + 1))
        right = np.convolve(right, of_path)
    return float(right[sum(counts) // 2 + 1 :].sum())


def test_rollouts_with_one_shared_chance_are_beta_binomial() -> None:
    """Both formulas give P(no rollout is right) of fractions by hand, for m = 3/5, κ = 5 and two rollouts."""
    by_hand = Fraction(2, 5) * Fraction(3, 6)
    assert float(betabinom(2, 3, 2).pmf(0)) == pytest.approx(float(by_hand))
    assert math.exp(log_failures(0.6, 5.0, 2)[2]) == pytest.approx(float(by_hand))


def test_the_best_coverage_is_not_the_best_vote() -> None:
    """For means 0.6 and 0.4, κ = 4, nine rollouts, one wrong answer: coverage needs both paths, the vote the better."""
    means, kappa, width = [0.6, 0.4], 4.0, 9
    coverage = best_for(means, kappa, width)
    votes = {counts: vote_right(means, kappa, counts) for counts in map(tuple, compositions(2, width).tolist())}
    assert coverage.tolist() == [[6, 3]]
    assert max(votes, key=lambda counts: votes[counts]) == (9, 0)
    assert votes[9, 0] > votes[6, 3] + 0.05


# Functions of the experiments


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "experiments"))
    return importlib.import_module


@pytest.mark.parametrize("rollouts", range(7))
def test_observed_failure_is_unbiased(load: Any, rollouts: int) -> None:
    """The mean of C(n - c, S) / C(n, S) over c ~ Bin(6, p) is (1 - p)^S."""
    part, chance = load("predicted_gain"), 0.3
    total = 0.0
    for right in range(7):
        log = part.log_none_right(np.array([6]), np.array([right]), np.array([rollouts]))
        total += math.comb(6, right) * chance**right * (1 - chance) ** (6 - right) * math.exp(log)
    assert total == pytest.approx((1 - chance) ** rollouts)


def test_drawn_votes_are_right_as_often_as_computed(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all wrong rollouts agree, 20,000 drawn scenarios match the convolution and find the best vote."""
    part = load("vote_objective")
    monkeypatch.setitem(part.WORLDS, "one", (1.0, 0.0))
    question = part.Question(np.array([0, 1]), np.array([0.6, 0.4]))
    tallies = part.draw_tallies(question, 4.0, "one", "majority", 9, 20_000, np.random.default_rng(0))
    for counts in ([9, 0], [6, 3], [4, 5]):
        tally = part.together(tallies, np.array(counts))
        assert part.voted(tally) == pytest.approx(vote_right([0.6, 0.4], 4.0, counts), abs=0.015)
        none = math.exp(sum(log_failures(m, 4.0, 9)[n] for m, n in zip([0.6, 0.4], counts, strict=True)))
        assert np.mean(tally[:, part.RIGHT] == 0) == pytest.approx(none, abs=0.01)
    assert part.vote_local(tallies, part.vote_greedy(tallies, 9)).tolist() == [9, 0]
