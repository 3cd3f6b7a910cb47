"""Turns labels, cosine similarity or weights into uniqueness, clusters, and an order for rounding."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from rollwise.core import Directions, Evidence, FloatArray, IntArray
from rollwise.errors import InputError
from rollwise.numerics import cosine_similarity


def from_labels(labels: Sequence[Hashable]) -> Directions:
    """Returns hard directions: equal labels, same direction. Labels are numbered in order of appearance."""
    return Directions(labels=_numbered(labels))


def _numbered(labels: Iterable[Hashable]) -> IntArray:
    """Returns labels as numbers from 0 on, in order of appearance; faster than np.unique for a few hundred labels."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)


def from_embeddings(embeddings: FloatArray) -> Directions:
    """Returns soft directions: the cosine of embeddings (k, d)."""
    return Directions(similarity=cosine_similarity(embeddings))


def from_evidence(evidence: Sequence[Evidence]) -> Directions | None:
    """Returns the directions of the candidates that the evidence (k) is about; None if all evidence is empty.

    If some paths have a label, a path without a label is a direction of its own. An unplaced path is a direction of its
    own too; its cosine with every other path is 0. Raises InputError if some paths have an embedding and others have
    neither an embedding nor a reason to be unplaced, or if embeddings differ in length.
    """
    if all(item.embedding is None and item.label is None and item.unplaced is None for item in evidence):
        return None
    placed = [index for index, item in enumerate(evidence) if item.embedding is not None]
    if not placed:
        alone_or_label = [("alone", i) if item.label is None else (item.label,) for i, item in enumerate(evidence)]
        return from_labels(alone_or_label)
    embeddings = [item.embedding for item in evidence if item.embedding is not None]
    unplaced = sum(item.embedding is None and item.unplaced is not None for item in evidence)
    if len(placed) + unplaced != len(evidence) or len({embedding.shape for embedding in embeddings}) > 1:
        raise InputError("a direction finder has to embed every path, all in the same number of dimensions")
    directions = from_embeddings(np.stack(embeddings))
    if not unplaced:
        return directions
    similarity = np.eye(len(evidence))
    similarity[np.ix_(placed, placed)] = directions.similarity
    return Directions(similarity=similarity)


def hard_labels(directions: Directions, cut: float = 0.05) -> IntArray:
    """Returns the directions as labels (k,), numbered in order of appearance.

    Labels keep their groups. A similarity is clustered by average linkage on 1 - S: two clusters are joined if the mean
    distance of their members is at most `cut`. Raises InputError for weights, which name no groups.
    """
    if directions.weights is not None:
        raise InputError("direction weights do not say who goes together; give labels, embeddings or similarity")
    labels = directions.labels
    if labels is None:
        labels = _clusters(_similarity(directions), cut)
    return _numbered(labels.tolist())


def kernel_groups(directions: Directions, similarity_temperature: float = 0.01) -> IntArray | None:
    """The groups (k,) that a kernel with temperature T_s amounts to, numbered as they appear.

    Labels stay as they are. For a similarity S, clusters of average linkage on 1 - S are joined up to the distance
    T_s log 2, at which the kernel exp((S - 1) / T_s) is one half. None for weights, which name no groups.
    """
    if directions.weights is not None:
        return None
    return hard_labels(directions, min(2.0, similarity_temperature * math.log(2)))


def _clusters(similarity: FloatArray, cut: float) -> IntArray:
    check_cut(cut)
    if len(similarity) < 2:
        return np.zeros(len(similarity), dtype=np.int64)
    from scipy.cluster.hierarchy import fcluster

    return np.asarray(fcluster(_linkage(similarity), cut, criterion="distance"), dtype=np.int64)


def check_cut(cut: float) -> None:
    """Raises InputError unless `cut` is a cosine distance, in [0, 2]."""
    if not 0 <= cut <= 2:
        raise InputError(f"a cut is a cosine distance between 0 and 2, not {cut}")


def pool(mean: FloatArray, concentration: FloatArray, labels: IntArray) -> tuple[FloatArray, FloatArray]:
    """Returns the mean and the concentration of each direction (J,), pooled from its members (k,).

    `labels` (k,) are 0 to J - 1. The mean is Σκm / Σκ, the average of the members' pseudo-counts; if some members have
    an infinite κ, it is the average over those. The concentration is the average of the members': many members that say
    the same are no new evidence.
    """
    largest = np.zeros(int(labels.max()) + 1)
    np.maximum.at(largest, labels, concentration)
    if largest.max() < np.inf:
        weights = concentration / largest[labels]
    else:
        with np.errstate(invalid="ignore"):
            weights = np.where(np.isinf(largest)[labels], np.isinf(concentration), concentration / largest[labels])
    average = np.bincount(labels, mean * weights) / np.bincount(labels, weights)
    worth = np.bincount(labels, concentration / np.bincount(labels)[labels]).astype(np.float64)
    return np.minimum(np.maximum(average, 0.0), 1.0), worth


def uniqueness(directions: Directions, similarity_temperature: float = 0.01) -> FloatArray:
    """Returns γ (k,): 1 for a candidate alone in its direction, less if others share it; Σγ counts the directions.

    For a similarity S, γ_i = 1 / Σ_j exp((S_ij - 1) / T_s), which is the diagonal of row-softmax(S / T_s), as S_ii = 1
    (DORA, arXiv 2506.15707, section 4). T_s → 0 merges only equal candidates, T_s = inf merges all. For labels, γ_i =
    1 / the size of i's direction: the limit T_s → 0 of a block similarity. Weights are returned as they are.
    """
    if directions.weights is not None:
        return directions.weights
    if directions.labels is not None:
        labels = _numbered(directions.labels.tolist())
        return 1.0 / np.bincount(labels)[labels]
    return 1.0 / _kernel(_similarity(directions), similarity_temperature).sum(axis=1)


def _kernel(similarity: FloatArray, similarity_temperature: float) -> FloatArray:
    if similarity_temperature == 0:
        kernel = (similarity >= 1.0 - 1e-12).astype(np.float64)
    else:
        kernel = np.exp((np.minimum(similarity, 1.0) - 1.0) / similarity_temperature)
    np.fill_diagonal(kernel, 1.0)
    return kernel


def contiguous_order(directions: Directions | None, count: int) -> IntArray:
    """Returns an order (k,) of the candidates in which those of one direction stand side by side.

    Labels are grouped, and the groups are ordered by their first members. For a similarity, it is the leaf order of
    average linkage on 1 - S. For weights, and without directions, it is the order given. Candidates come sorted by path
    key, so ties follow the key.
    """
    if directions is None or directions.weights is not None or (count < 3 and directions.labels is None):
        return np.arange(count)
    if directions.labels is not None:
        return np.argsort(_numbered(directions.labels.tolist()), kind="stable")
    from scipy.cluster.hierarchy import leaves_list

    return leaves_list(_linkage(_similarity(directions))).astype(np.int64)


def _linkage(similarity: FloatArray) -> FloatArray:
    from scipy.cluster.hierarchy import average
    from scipy.spatial.distance import squareform

    return average(squareform(np.round(1.0 - similarity, 9), checks=False))


def take(directions: Directions | None, order: IntArray) -> Directions | None:
    """Returns the directions of the candidates at the indices `order`, in that order."""
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
