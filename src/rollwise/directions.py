"""Who goes together: from labels, cosine similarity or weights to uniqueness, and to an order for rounding."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from rollwise.core import Directions, Evidence, FloatArray, IntArray
from rollwise.errors import InputError
from rollwise.numerics import cosine_similarity


def from_labels(labels: Sequence[Hashable]) -> Directions:
    """Hard directions: equal label, same direction. Labels are numbered in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return Directions(labels=np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64))


def from_embeddings(embeddings: FloatArray) -> Directions:
    """Soft directions by the cosine of embeddings (k, d)."""
    return Directions(similarity=cosine_similarity(embeddings))


def from_evidence(evidence: Sequence[Evidence]) -> Directions | None:
    """Directions of the candidates that the evidence is about; None where there is none.

    A path without evidence among labelled ones is a direction of its own. Raises InputError where some paths have an
    embedding and others do not, or where embeddings differ in length.
    """
    if not evidence or all(item.embedding is None and item.label is None for item in evidence):
        return None
    embeddings = [item.embedding for item in evidence if item.embedding is not None]
    if not embeddings:
        return from_labels(
            [("alone", index) if item.label is None else (item.label,) for index, item in enumerate(evidence)]
        )
    if len(embeddings) != len(evidence) or len({embedding.shape for embedding in embeddings}) > 1:
        raise InputError("a direction finder has to embed every path, all in the same number of dimensions")
    return from_embeddings(np.stack(embeddings))


def uniqueness(directions: Directions, similarity_temperature: float = 0.01) -> FloatArray:
    """γ (k,): how little each candidate's direction is shared; Σγ is an effective number of directions.

    For a similarity S, γ_i = 1 / Σ_j exp((S_ij - 1) / T_s), the diagonal of row-softmax(S / T_s) where S_ii = 1 (DORA,
    arXiv 2506.15707, section 4). T_s → 0 merges only equals, T_s = inf all. For labels γ_i = 1 / size of i's direction,
    which is the limit T_s → 0 of a block similarity. Weights are taken as they are.
    """
    if directions.weights is not None:
        return directions.weights
    if directions.labels is not None:
        _, inverse, sizes = np.unique(directions.labels, return_inverse=True, return_counts=True)
        return 1.0 / sizes[inverse]
    similarity = _similarity(directions)
    if similarity_temperature == 0:
        kernel = (similarity >= 1.0 - 1e-12).astype(np.float64)
    else:
        kernel = np.exp((np.minimum(similarity, 1.0) - 1.0) / similarity_temperature)
    np.fill_diagonal(kernel, 1.0)
    return 1.0 / kernel.sum(axis=1)


def contiguous_order(directions: Directions | None, count: int) -> IntArray:
    """An order (k,) of the candidates with those of one direction side by side.

    Labels: grouped, the group whose first member comes first leading. Similarity: the leaf order of average linkage on
    1 - S. Otherwise, or without directions, the order given. Candidates come sorted by path key, so ties follow it.
    """
    if directions is None or directions.weights is not None or (count < 3 and directions.labels is None):
        return np.arange(count)
    if directions.labels is not None:
        _, first, inverse = np.unique(directions.labels, return_index=True, return_inverse=True)
        return np.lexsort((np.arange(count), first[inverse]))
    from scipy.cluster.hierarchy import average, leaves_list
    from scipy.spatial.distance import squareform

    distance = np.round(1.0 - _similarity(directions), 9)
    return leaves_list(average(squareform(distance, checks=False))).astype(np.int64)


def take(directions: Directions | None, order: IntArray) -> Directions | None:
    """The directions of some candidates, in the order of their indices."""
    if directions is None:
        return None
    return Directions(
        labels=None if directions.labels is None else directions.labels[order],
        similarity=None if directions.similarity is None else directions.similarity[np.ix_(order, order)],
        weights=None if directions.weights is None else directions.weights[order],
    )


def check_directions(directions: Directions, count: int) -> None:
    """Raises InputError unless the directions are of one kind, finite, and about `count` candidates."""
    kinds = [directions.labels, directions.similarity, directions.weights]
    if sum(kind is not None for kind in kinds) != 1:
        raise InputError("give directions as exactly one of labels, similarity or weights")
    if directions.labels is not None and directions.labels.shape != (count,):
        raise InputError(f"{count} scores need {count} direction labels, not {directions.labels.shape}")
    if directions.weights is not None:
        if directions.weights.shape != (count,):
            raise InputError(f"{count} scores need {count} direction weights, not {directions.weights.shape}")
        if not np.all(np.isfinite(directions.weights)) or np.any(directions.weights <= 0):
            raise InputError("direction weights have to be finite and above zero")
    similarity = directions.similarity
    if similarity is None:
        return
    if similarity.shape != (count, count):
        raise InputError(f"{count} scores need a similarity of {count} x {count}, not {similarity.shape}")
    if not np.all(np.isfinite(similarity)):
        raise InputError("a similarity is not a finite number; replace NaN and infinity")
    if np.abs(similarity).max(initial=0) > 1 + 1e-9 or np.abs(np.diagonal(similarity) - 1).max(initial=0) > 1e-6:
        raise InputError("a similarity is a cosine: every entry in [-1, 1] and 1 on the diagonal")
    if np.abs(similarity - similarity.T).max(initial=0) > 1e-6:
        raise InputError("a similarity is symmetric; give (S + S') / 2 if yours is not")


def _similarity(directions: Directions) -> FloatArray:
    if directions.similarity is None:
        raise InputError("these directions hold no similarity")
    return directions.similarity
