"""How a direction can be weighed and what it can be paid for: THEORY.md's figures, formulas by hand, and limits."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.allocation import STRATEGIES
from rollwise.core import Allocation, Candidates, Directions, Evidence, FloatArray, Path, PathKey
from rollwise.directions import (
    direction_weights,
    from_embeddings,
    from_labels,
    hard_labels,
    lineage_embeddings,
    pool,
    uniqueness,
)
from rollwise.embedders import Lineage
from rollwise.errors import InputError

quick = settings(max_examples=60)
label_lists = st.lists(st.integers(0, 5), min_size=1, max_size=30)


def blocks(labels: list[int], across: float, within: float = 1.0) -> Directions:
    similarity = np.where(np.equal.outer(labels, labels), within, across)
    np.fill_diagonal(similarity, 1.0)
    return Directions(similarity=similarity)


def dora(rewards: FloatArray, directions: Directions, width: int = 64, **options: Any) -> Allocation:
    paths = tuple((index,) for index in range(len(rewards)))
    return STRATEGIES["dora"].bind(options)(Candidates(paths, rewards, directions), width)


# Weights


def test_magnitude_repairs_the_leak() -> None:
    """THEORY.md, section 5: γ gives .997 / .571, magnitude .952 / .952, which is 1 / 1.05."""
    labels = [0] * 60 + [1] * 4
    weights = direction_weights(blocks(labels, 1 + 0.01 * math.log(0.05)), "magnitude")
    np.testing.assert_allclose([weights[:60].sum(), weights[60:].sum()], [1 / 1.05, 1 / 1.05], rtol=1e-6)
    assert np.ptp(weights[:60]) < 1e-9


def test_magnitude_of_equally_close_paths_is_uniqueness() -> None:
    for within in (0.99, 0.98, 0.97):
        directions = blocks([0] * 64, 0.0, within)
        np.testing.assert_allclose(direction_weights(directions, "magnitude"), uniqueness(directions), rtol=1e-6)


@quick
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 20), temperature=st.sampled_from([0.01, 0.1, 1.0]))
def test_magnitude_is_the_nearest_to_one_without_negative_weights(seed: int, size: int, temperature: float) -> None:
    """The conditions of Karush, Kuhn and Tucker: no slope where a weight is free, none downwards where it is at 0."""
    embeddings = np.random.default_rng(seed).normal(size=(size, 3))
    directions = from_embeddings(embeddings)
    assert directions.similarity is not None
    kernel = np.exp((directions.similarity - 1) / temperature)
    weights = direction_weights(directions, "magnitude", temperature)
    slope = kernel @ (kernel @ weights - 1)
    assert weights.min() > 0
    assert slope.min() > -1e-6
    assert np.abs(slope[weights > 1e-6]).max() < 1e-6


def test_plain_solutions_turn_negative_in_few_dimensions() -> None:
    """Why least squares are non-negative: of 64 paths in three dimensions a fifth would weigh less than nothing."""
    shares = []
    for seed in range(10):
        directions = from_embeddings(np.random.default_rng(seed).normal(size=(64, 3)))
        assert directions.similarity is not None
        shares.append(np.mean(np.linalg.solve(np.exp((directions.similarity - 1) / 0.1), np.ones(64)) < 0))
    assert 0.15 <= np.mean(shares) <= 0.25


@quick
@given(labels=label_lists)
def test_all_weights_of_labels_are_one_over_the_size(labels: list[int]) -> None:
    expected = [1 / labels.count(label) for label in labels]
    for kind in ("gamma", "magnitude", "clusters"):
        np.testing.assert_allclose(direction_weights(from_labels(labels), kind), expected)
        np.testing.assert_allclose(direction_weights(blocks(labels, 0.5), kind), expected, rtol=1e-6)


def test_weights_that_are_given_leave_nothing_to_compute() -> None:
    given_weights = Directions(weights=np.array([0.5, 1.0]))
    assert direction_weights(given_weights).tolist() == [0.5, 1.0]
    with pytest.raises(InputError, match="leave nothing to compute"):
        direction_weights(given_weights, "magnitude")
    with pytest.raises(InputError, match="who goes together"):
        direction_weights(given_weights, "clusters")
    with pytest.raises(InputError, match="one of gamma, magnitude, clusters"):
        direction_weights(given_weights, "delta")


# Clusters


@quick
@given(labels=label_lists, seed=st.integers(0, 2**32 - 1))
def test_separated_clusters_are_found_and_numbered_as_they_appear(labels: list[int], seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.02, (len(labels), 6))
    found = hard_labels(from_embeddings(np.eye(6)[labels] + noise))
    order = list(dict.fromkeys(labels))
    assert found.tolist() == [order.index(label) for label in labels]
    assert hard_labels(Directions(labels=np.array(labels))).tolist() == found.tolist()


def test_a_cut_is_a_mean_cosine_distance() -> None:
    similarity = np.array([[1, 0.98, 0.9], [0.98, 1, 0.94], [0.9, 0.94, 1]])  # the third is 0.08 from the pair
    for cut, labels in ((0.019, [0, 1, 2]), (0.02, [0, 0, 1]), (0.079, [0, 0, 1]), (0.08, [0, 0, 0])):
        assert hard_labels(Directions(similarity=similarity), cut).tolist() == labels
    for cut in (-0.1, 2.1, math.nan):
        with pytest.raises(InputError, match="cosine distance"):
            hard_labels(Directions(similarity=similarity), cut)


# Pooling


@quick
@given(labels=label_lists, seed=st.integers(0, 2**32 - 1), pooling=st.sampled_from(["mean", "logit", "max"]))
def test_a_pool_lies_among_its_members(labels: list[int], seed: int, pooling: str) -> None:
    generator = np.random.default_rng(seed)
    mean, concentration = generator.random(len(labels)), 10 ** generator.uniform(-2, 3, len(labels))
    numbers = hard_labels(from_labels(labels))
    pooled, worth = pool(mean, concentration, numbers, pooling)
    for label in range(numbers.max() + 1):
        for value, members in ((pooled, mean[numbers == label]), (worth, concentration[numbers == label])):
            assert members.min() * (1 - 1e-9) <= value[label] <= members.max() * (1 + 1e-9)


def test_pooling_by_hand() -> None:
    mean, labels = np.array([0.2, 0.8, 0.6, 0.5]), np.array([0, 0, 0, 1])
    concentration = np.array([1.0, 2.0, 3.0, 7.0])
    pooled, worth = pool(mean, concentration, labels, "mean")
    np.testing.assert_allclose(pooled, [(0.2 + 1.6 + 1.8) / 6, 0.5])
    np.testing.assert_allclose(worth, [2, 7])
    precision = concentration[:3] * mean[:3] * (1 - mean[:3])
    logit = float(precision @ np.log(mean[:3] / (1 - mean[:3])) / precision.sum())
    np.testing.assert_allclose(pool(mean, concentration, labels, "logit")[0], [1 / (1 + math.exp(-logit)), 0.5])
    assert [part.tolist() for part in pool(mean, concentration, labels, "max")] == [[0.8, 0.5], [2, 7]]
    with pytest.raises(InputError, match="one of mean, logit, max"):
        pool(mean, concentration, labels, "median")


# DORA's options


@quick
@given(labels=label_lists, seed=st.integers(0, 2**32 - 1), exponent=st.floats(0, 1))
def test_the_size_exponent_goes_from_dora_to_rebase(labels: list[int], seed: int, exponent: float) -> None:
    rewards = np.random.default_rng(seed).random(len(labels))
    directions = from_labels(labels)
    plain = dora(rewards, directions)
    rebase = STRATEGIES["rebase"].bind()(Candidates(tuple((i,) for i in range(len(labels))), rewards), 64)
    np.testing.assert_array_equal(dora(rewards, directions, size_exponent=0).weights, plain.weights)
    np.testing.assert_allclose(dora(rewards, directions, size_exponent=1).weights, rebase.weights, rtol=1e-12)
    paid = [math.exp(reward / 0.1) for reward in rewards.tolist()]
    direction = {
        label: labels.count(label) ** (exponent - 1)
        * sum(p for p, other in zip(paid, labels, strict=True) if other == label)
        for label in labels
    }
    made = dora(rewards, directions, size_exponent=exponent).weights
    for label, worth in direction.items():
        assert made[np.equal(labels, label)].sum() == pytest.approx(worth / sum(direction.values()))


@pytest.mark.parametrize("weights", ["gamma", "magnitude"])
def test_soft_directions_go_to_rebase_too(weights: str) -> None:
    generator = np.random.default_rng(3)
    rewards, directions = generator.random(12), from_embeddings(generator.normal(size=(12, 3)))
    made = dora(rewards, directions, size_exponent=1, weights=weights, similarity_temperature=0.1).weights
    np.testing.assert_allclose(made, np.exp(rewards / 0.1) / np.exp(rewards / 0.1).sum())


@quick
@given(labels=label_lists, seed=st.integers(0, 2**32 - 1), quality=st.sampled_from(["max", "logit"]))
def test_a_direction_can_be_paid_as_one(labels: list[int], seed: int, quality: str) -> None:
    rewards = np.random.default_rng(seed).uniform(0.05, 0.95, len(labels))
    made = dora(rewards, from_labels(labels), quality=quality, size_exponent=0.5).weights
    direction = {}
    for label in set(labels):
        members = rewards[np.equal(labels, label)]
        precision = members * (1 - members)
        logit = float((precision * np.log(members / (1 - members))).sum() / precision.sum())
        worth = members.max() if quality == "max" else 1 / (1 + math.exp(-logit))
        direction[label] = len(members) ** 0.5 * math.exp(worth / 0.1)
    for label, worth in direction.items():
        inside = made[np.equal(labels, label)]
        assert inside.sum() == pytest.approx(worth / sum(direction.values()))
        shares = np.exp(rewards[np.equal(labels, label)] / 0.1)
        np.testing.assert_allclose(inside / inside.sum(), shares / shares.sum())


def test_clusters_and_labels_pay_alike() -> None:
    labels = [0, 0, 1, 0, 2, 1]
    rewards = np.array([0.2, 0.9, 0.5, 0.4, 0.7, 0.1])
    for quality in ("mean_exp", "max", "logit"):
        hard = dora(rewards, from_labels(labels), quality=quality)
        soft = dora(rewards, blocks(labels, 0.9, within=0.97), quality=quality, weights="clusters")
        np.testing.assert_allclose(soft.weights, hard.weights)
        assert soft.uniqueness is not None
        np.testing.assert_allclose(soft.uniqueness, [1 / 3, 1 / 3, 1 / 2, 1 / 3, 1, 1 / 2])


@pytest.mark.parametrize("reward_temperature", [0, math.inf])
@pytest.mark.parametrize("quality", ["max", "logit"])
def test_a_direction_paid_as_one_has_limits(quality: str, reward_temperature: float) -> None:
    rewards, labels = np.array([0.9, 0.9, 0.1, 0.4]), from_labels([0, 0, 0, 1])
    made = dora(rewards, labels, quality=quality, reward_temperature=reward_temperature).weights
    np.testing.assert_allclose(made, [0.5, 0.5, 0, 0] if reward_temperature == 0 else [1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_magnitude_pays_the_small_direction_what_the_crowd_gets() -> None:
    labels = [0] * 60 + [1] * 4
    directions = blocks(labels, 1 + 0.01 * math.log(0.05))
    leaking, repaired = (dora(np.full(64, 0.5), directions, weights=kind) for kind in ("gamma", "magnitude"))
    assert leaking.weights[60:].sum() == pytest.approx(0.571 / (0.571 + 0.997), abs=1e-3)
    assert repaired.weights[60:].sum() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "delta"}, "weights is one of gamma, magnitude, clusters"),
        ({"quality": "min"}, "quality is one of mean_exp, max, logit"),
        ({"size_exponent": 1.5}, "lies in"),
        ({"size_exponent": math.nan}, "lies in"),
        ({"cut": 0.1}, "makes no clusters"),
        ({"weights": "clusters", "cut": -1}, "cosine distance"),
        ({"weights": "clusters", "similarity_temperature": 0.1}, "reads a cut"),
    ],
)
def test_options_that_say_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        STRATEGIES["dora"].bind(options)


def test_what_is_paid_as_one_has_to_be_one() -> None:
    rewards = np.array([0.5, 0.4])
    for directions in (blocks([0, 1], 0.5), Directions(weights=np.ones(2))):
        with pytest.raises(InputError, match="who is its member"):
            dora(rewards, directions, quality="max")
    with pytest.raises(InputError, match="reads rewards as chances"):
        dora(np.array([0.5, 1.5]), from_labels([0, 1]), quality="logit")


# Lineage


def test_lineage_is_the_share_of_steps_in_common() -> None:
    keys: list[PathKey] = [(5, 0, 2), (5, 0, 1), (5, 1, 0), (3, 0, 0), (5, 0)]
    similarity = from_embeddings(lineage_embeddings(keys)).similarity
    assert similarity is not None
    pair = 2 / math.sqrt(6)  # all of a path of two steps, of one of three
    expected: list[list[float]] = [
        [1, 2 / 3, 1 / 3, 0, pair],
        [2 / 3, 1, 1 / 3, 0, pair],
        [1 / 3, 1 / 3, 1, 0, pair / 2],
        [0, 0, 0, 1, 0],
        [pair, pair, pair / 2, 0, 1],
    ]
    np.testing.assert_allclose(similarity, np.array(expected), atol=1e-15)


def test_lineage_as_a_direction_finder() -> None:
    keys: list[PathKey] = [(5, 0), (5, 1), (2, 0)]
    nothing: Any = None  # it reads neither the problem nor the policy
    session = Lineage().open(nothing, nothing)
    found = asyncio.run(session.find([Path(key) for key in keys]))
    rows = [evidence.embedding for evidence in found if isinstance(evidence, Evidence)]
    np.testing.assert_array_equal(np.stack([row for row in rows if row is not None]), lineage_embeddings(keys))
    assert session.usage.calls == 0
