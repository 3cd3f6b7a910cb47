"""Which candidates share a reasoning direction, and how a policy, a world or an embedder shows it."""

from rollwise.directions.finders import (
    KNOWN,
    EmbeddingSession,
    EqualSteps,
    HiddenStates,
    MiniLM,
    TrueStates,
    embedded,
    step_label,
    window,
)
from rollwise.directions.kernel import (
    check_cut,
    check_directions,
    contiguous_order,
    from_embeddings,
    from_evidence,
    from_labels,
    hard_labels,
    kernel_groups,
    pool,
    take,
    uniqueness,
)

__all__ = [
    "KNOWN",
    "EmbeddingSession",
    "EqualSteps",
    "HiddenStates",
    "MiniLM",
    "TrueStates",
    "check_cut",
    "check_directions",
    "contiguous_order",
    "embedded",
    "from_embeddings",
    "from_evidence",
    "from_labels",
    "hard_labels",
    "kernel_groups",
    "pool",
    "step_label",
    "take",
    "uniqueness",
    "window",
]
