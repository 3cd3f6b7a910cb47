"""Clusters, pooled beliefs, and DORA's size exponent, against formulas by hand and limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.allocation.strategies import STRATEGIES
from rollwise.core import Allocation, Candidates, Directions, FloatArray
from rollwise.directions.kernel import from_embeddings, from_labels, hard_labels, pool
from rollwise.errors import InputError

quick = settings(max_examples=60)
label_lists = st.lists(st.integers(0, 5), min_size=1, max_size=30)


def dora(rewards: FloatArray, directions: Directions, width: int = 64, **options: Any) -> Allocation:
    paths = tuple((index,) for index in range(len(rewards)))
    return STRATEGIES["dora"].bind(options)(Candidates(paths, rewards, directions), width)


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
    similarity = np.array(
        [[1, 0.98, 0.9], [0.98, 1, 0.94], [0.9, 0.94, 1]]
    )  # the third is at a mean distance of 0.08 from the pair
    for cut, labels in ((0.019, [0, 1, 2]), (0.02, [0, 0, 1]), (0.079, [0, 0, 1]), (0.08, [0, 0, 0])):
        assert hard_labels(Directions(similarity=similarity), cut).tolist() == labels
    for cut in (-0.1, 2.1, math.nan):
        with pytest.raises(InputError, match="cosine distance"):
            hard_labels(Directions(similarity=similarity), cut)


# Pooling


@quick
@given(labels=label_lists, seed=st.integers(0, 2**32 - 1))
def test_a_pool_lies_among_its_members(labels: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    mean, concentration = generator.random(len(labels)), 10 ** generator.uniform(-2, 3, len(labels))
    numbers = hard_labels(from_labels(labels))
    pooled, worth = pool(mean, concentration, numbers)
    for label in range(numbers.max() + 1):
        for value, members in ((pooled, mean[numbers == label]), (worth, concentration[numbers == label])):
            assert members.min() * (1 - 1e-9) <= value[label] <= members.max() * (1 + 1e-9)


def test_pooling_by_hand() -> None:
    mean, labels = np.array([0.2, 0.8, 0.6, 0.5]), np.array([0, 0, 0, 1])
    concentration = np.array([1.0, 2.0, 3.0, 7.0])
    pooled, worth = pool(mean, concentration, labels)
    np.testing.assert_allclose(pooled, [(0.2 + 1.6 + 1.8) / 6, 0.5])
    np.testing.assert_allclose(worth, [2, 7])


# DORA's option


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


def test_soft_directions_go_to_rebase_too() -> None:
    generator = np.random.default_rng(3)
    rewards, directions = generator.random(12), from_embeddings(generator.normal(size=(12, 3)))
    made = dora(rewards, directions, size_exponent=1, similarity_temperature=0.1).weights
    np.testing.assert_allclose(made, np.exp(rewards / 0.1) / np.exp(rewards / 0.1).sum())


@pytest.mark.parametrize("exponent", [1.5, -0.1, math.nan])
def test_a_size_exponent_lies_between_dora_and_rebase(exponent: float) -> None:
    with pytest.raises(InputError, match="lies in"):
        STRATEGIES["dora"].bind({"size_exponent": exponent})
