"""Uniqueness against worked figures and its definition, and orders against contiguity itself."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax as reference_softmax
from small_problems import blocks

from rollwise.core import Directions, Evidence, FloatArray, IntArray
from rollwise.directions.kernel import (
    check_directions,
    contiguous_order,
    from_embeddings,
    from_evidence,
    from_labels,
    hard_labels,
    take,
    uniqueness,
)
from rollwise.errors import InputError
from rollwise.numerics import cosine_similarity

quick = settings(max_examples=60)
label_lists = st.lists(st.integers(0, 9), min_size=1, max_size=50)
temperatures = st.sampled_from([0.0, 1e-300, 1e-9, 0.001, 0.01, 0.1, 1.0, 1e6, math.inf])


def embeddings_of(seed: int, size: int) -> FloatArray:
    """Returns embeddings (size, 3) with few distinct values, so that some coincide."""
    return np.random.default_rng(seed).integers(-1, 2, (size, 3)) + np.array([0.5, 0.0, 0.0])


def is_contiguous(labels: list[int], order: IntArray) -> bool:
    runs = [label for label, _ in groupby(labels[index] for index in order)]
    return sorted(order.tolist()) == list(range(len(labels))) and len(runs) == len(set(labels))


# Uniqueness


@pytest.mark.parametrize(("cosine", "together"), [(0.99, 2.65), (0.98, 6.7), (0.97, 15.5)])
def test_near_duplicates_weigh_more_than_one(cosine: float, together: float) -> None:
    gamma = uniqueness(Directions(similarity=blocks([0] * 64, 0.0, within=cosine)))
    assert gamma.sum() == pytest.approx(together, rel=5e-3)
    assert gamma.sum() == pytest.approx(64 / (1 + 63 * math.exp((cosine - 1) / 0.01)))


def test_uniqueness_leaks_across_directions() -> None:
    """60 paths and 4 paths, with a kernel of 0.05 between the two directions."""
    labels = [0] * 60 + [1] * 4
    gamma = uniqueness(Directions(similarity=blocks(labels, 1 + 0.01 * math.log(0.05))))
    assert gamma[:60].sum() == pytest.approx(0.997, abs=5e-4)
    assert gamma[60:].sum() == pytest.approx(0.571, abs=5e-4)


@quick
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 40), temperature=st.sampled_from([0.01, 0.1, 1.0, 1e6]))
def test_uniqueness_is_the_diagonal_of_the_row_softmax(seed: int, size: int, temperature: float) -> None:
    directions = from_embeddings(embeddings_of(seed, size))
    assert directions.similarity is not None
    expected = np.diagonal(reference_softmax(directions.similarity / temperature, axis=1))
    np.testing.assert_allclose(uniqueness(directions, temperature), expected, rtol=1e-9)


@quick
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 40), temperature=temperatures)
def test_uniqueness_counts_between_one_and_all(seed: int, size: int, temperature: float) -> None:
    gamma = uniqueness(from_embeddings(embeddings_of(seed, size)), temperature)
    assert 1 / size - 1e-12 <= gamma.min()
    assert gamma.max() <= 1 + 1e-12
    assert 1 - 1e-9 <= gamma.sum() <= size + 1e-9


@quick
@given(labels=label_lists)
def test_labels_are_the_limit_of_a_block_similarity(labels: list[int]) -> None:
    hard = uniqueness(from_labels(labels))
    assert hard.tolist() == [1 / labels.count(label) for label in labels]
    assert hard.sum() == pytest.approx(len(set(labels)))
    soft = Directions(similarity=blocks(labels, across=0.9))
    for temperature in (0.0, 1e-6, 0.002):
        np.testing.assert_allclose(uniqueness(soft, temperature), hard, rtol=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 1e-9, 0.01])
def test_a_diagonal_that_is_one_up_to_rounding_counts_as_one(temperature: float) -> None:
    similarity = np.diag([1.0, 1 - 5e-7, 1 - 1e-7])  # what float32 embeddings give
    directions = Directions(similarity=similarity)
    check_directions(directions, 3)
    np.testing.assert_allclose(uniqueness(directions, temperature), [1, 1, 1], rtol=1e-3)


def test_the_uniqueness_of_weights_is_the_weights() -> None:
    assert uniqueness(Directions(weights=np.array([0.2, 0.7])), 0.5).tolist() == [0.2, 0.7]


# Order


@quick
@given(labels=label_lists)
def test_the_order_of_labels_is_contiguous_and_stable(labels: list[int]) -> None:
    order = contiguous_order(from_labels(labels), len(labels))
    assert is_contiguous(labels, order)
    assert order.tolist() == sorted(range(len(labels)), key=lambda index: (labels.index(labels[index]), index))
    renamed = Directions(labels=np.array([9 - label for label in labels]))
    assert contiguous_order(renamed, len(labels)).tolist() == order.tolist()


@quick
@given(labels=label_lists, seed=st.integers(0, 2**32 - 1))
def test_the_order_of_separated_clusters_is_contiguous(labels: list[int], seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.02, (len(labels), 10))
    directions = from_embeddings(np.eye(10)[labels] + noise)
    assert is_contiguous(labels, contiguous_order(directions, len(labels)))


@pytest.mark.parametrize("directions", [None, Directions(weights=np.array([0.5, 0.1, 0.4]))])
def test_without_groups_the_order_stays_as_given(directions: Directions | None) -> None:
    assert contiguous_order(directions, 3).tolist() == [0, 1, 2]


# Building and checking


def test_labels_are_numbered_as_they_appear() -> None:
    labels = from_labels([(3, 8), "x", (3, 8), "y"]).labels
    assert labels is not None
    assert labels.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("shape", [(1, 3), (7, 2), (64, 192), (70, 700), (90, 4000)])
def test_cosine_of_many_rows_is_that_of_each_pair(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).normal(size=shape)
    expected = [[row @ other / math.sqrt((row @ row) * (other @ other)) for other in rows] for row in rows]
    similarity = cosine_similarity(rows)
    np.testing.assert_allclose(similarity, expected, atol=1e-12, rtol=0)
    assert np.array_equal(similarity, similarity.T)


def test_cosine_ignores_length() -> None:
    similarity = from_embeddings(np.array([[2.0, 0.0], [1e-9, 0.0], [3.0, 3.0], [-1.0, 0.0]])).similarity
    assert similarity is not None
    half = math.sqrt(0.5)
    expected = [[1, 1, half, -1], [1, 1, half, -1], [half, half, 1, -half], [-1, -1, -half, 1]]
    np.testing.assert_allclose(similarity, expected, atol=1e-15)


def test_evidence_becomes_labels_or_similarity_or_nothing() -> None:
    assert from_evidence([]) is None
    assert from_evidence([Evidence(), Evidence()]) is None
    labelled = from_evidence([Evidence("a"), Evidence("b"), Evidence("a")])
    assert labelled is not None
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [0, 1, 0]
    embedded = from_evidence([Evidence(embedding=np.array([1.0, 0.0])), Evidence(embedding=np.array([0.0, 1.0]))])
    assert embedded is not None
    assert embedded.similarity is not None
    assert embedded.similarity.tolist() == [[1, 0], [0, 1]]
    with pytest.raises(InputError, match="embed every path"):
        from_evidence([Evidence("a"), Evidence(embedding=np.ones(2))])


def test_an_unplaced_path_is_a_direction_of_its_own() -> None:
    lost, east, north = (
        Evidence(unplaced="too long"),
        Evidence(embedding=np.eye(2)[0]),
        Evidence(embedding=np.eye(2)[1]),
    )
    mixed = from_evidence([lost, east, east, lost, north])
    assert mixed is not None
    assert hard_labels(mixed).tolist() == [0, 1, 1, 2, 3]
    assert uniqueness(mixed).tolist() == pytest.approx([1, 0.5, 0.5, 1, 1])
    check_directions(mixed, 5)
    for others in ([lost, lost], [lost, Evidence("a")]):
        found = from_evidence(others)
        assert found is not None
        assert hard_labels(found).tolist() == [0, 1]
    with pytest.raises(InputError, match="embed every path"):
        from_evidence([lost, east, Evidence()])


def test_an_embedding_of_zeros_is_refused() -> None:
    with pytest.raises(InputError, match="all zeros"):
        from_embeddings(np.array([[1.0, 0.0], [0.0, 0.0]]))


def test_take_keeps_the_directions_of_the_taken_candidates() -> None:
    order = np.array([2, 0])
    assert take(None, order) is None
    labels = take(from_labels(["a", "b", "c"]), order)
    similarity = take(Directions(similarity=np.array([[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]])), order)
    weights = take(Directions(weights=np.array([0.1, 0.2, 0.3])), order)
    assert labels is not None
    assert labels.labels is not None
    assert labels.labels.tolist() == [2, 0]
    assert similarity is not None
    assert similarity.similarity is not None
    assert similarity.similarity.tolist() == [[1, 0.2], [0.2, 1]]
    assert weights is not None
    assert weights.weights is not None
    assert weights.weights.tolist() == [0.3, 0.1]


@pytest.mark.parametrize(
    ("directions", "message"),
    [
        (Directions(), "exactly one"),
        (Directions(labels=np.array([0, 1]), weights=np.array([1.0, 1.0])), "exactly one"),
        (Directions(labels=np.array([0, 1, 2])), "2 direction labels"),
        (Directions(weights=np.array([1.0])), "2 direction weights"),
        (Directions(weights=np.array([1.0, 0.0])), "above zero"),
        (Directions(weights=np.array([1.0, math.nan])), "finite"),
        (Directions(similarity=np.eye(3)), "2 x 2"),
        (Directions(similarity=np.array([[1, math.nan], [math.nan, 1]])), "finite"),
        (Directions(similarity=np.array([[1, 1.5], [1.5, 1]])), "cosine"),
        (Directions(similarity=np.array([[0.9, 0], [0, 1]])), "diagonal"),
        (Directions(similarity=np.array([[1, 0.2], [0.3, 1]])), "symmetric"),
    ],
)
def test_unusable_directions_are_refused(directions: Directions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_directions(directions, 2)
