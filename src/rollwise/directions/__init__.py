"""Which candidates share a reasoning direction, and what a policy, a world or an embedder knows about it."""

from rollwise.directions.finders import (
    KNOWN,
    EmbeddingSession,
    EqualSteps,
    HiddenStates,
    Lineage,
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
    pool,
    take,
    uniqueness,
)

__all__ = [
    "KNOWN",
    "EmbeddingSession",
    "EqualSteps",
    "HiddenStates",
    "Lineage",
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
    "pool",
    "step_label",
    "take",
    "uniqueness",
    "window",
]
