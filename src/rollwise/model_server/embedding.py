"""Embeddings for `POST /v1/embeddings`: from a sentence model, or from the policy's hidden states."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rollwise.core import FloatArray
from rollwise.directions import MiniLM
from rollwise.engines.local import Batcher, Decoder, Prefixes
from rollwise.model_server.inputs import token_lists
from rollwise.model_server.jobs import CompletionJob, CompletionOptions
from rollwise.model_server.schemas import EmbeddingBody
from rollwise.openai_format import bad_request


@dataclass(frozen=True)
class Embedded:
    """Unit embeddings (n, d), how many tokens the texts have, and how many of these were cached."""

    vectors: FloatArray
    tokens: int
    cached: int = 0


class Embedder(Protocol):
    """Embeds the texts of a request; reads up to `context` tokens of each text."""

    name: str
    context: int

    async def embed(self, body: EmbeddingBody) -> Embedded:
        """The embeddings. Raises RequestError if the texts cannot be embedded."""
        ...


class HiddenEmbedder:
    """The policy's last hidden state after a text's last token, on the policy's kept prefixes."""

    def __init__(self, policy: Decoder, prefixes: Prefixes, name: str) -> None:
        self.policy, self.prefixes, self.name = policy, prefixes, name
        self.context = policy.context

    async def embed(self, body: EmbeddingBody) -> Embedded:
        """See Embedder."""
        vocabulary = len(self.policy.stops.pieces)
        texts = token_lists(self.policy.tokenizer, body.input, vocabulary, body.add_special_tokens, "input")
        longest = max(map(len, texts))
        if longest > self.context:
            raise bad_request(f"a text takes {longest} tokens and {self.name} reads {self.context}: cut it", "input")
        jobs = [CompletionJob(text, CompletionOptions(limit=0), self.prefixes) for text in texts]
        self.policy.submit(jobs)
        read = await asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs))
        vectors = np.stack([text.hidden.double().cpu().numpy() for text in read if text.hidden is not None])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embedded(vectors, sum(map(len, texts)), sum(text.cached for text in read))


class MiniLMEmbedder:
    """all-MiniLM-L6-v2, which reads the last 256 word pieces of a text. It takes text only."""

    name = "minilm"

    def __init__(self) -> None:
        self.model = MiniLM()
        self.context = int(self.model.model.max_seq_length)
        self.batcher = Batcher(self._embed, "rollwise-embed")

    async def embed(self, body: EmbeddingBody) -> Embedded:
        """See Embedder."""
        texts = [body.input] if isinstance(body.input, str) else list(body.input)
        strings = [text for text in texts if isinstance(text, str)]
        if not strings or len(strings) < len(texts):
            raise bad_request(f"{self.name} reads text, not tokens: send a string or several strings", "input")
        if not body.add_special_tokens:
            raise bad_request(
                f"{self.name} needs its special tokens: leave 'add_special_tokens' out", "add_special_tokens"
            )
        return await self.batcher.run(tuple(strings))

    def _embed(self, requests: Sequence[tuple[str, ...]]) -> list[Embedded]:
        """The embeddings of each request's texts; equal texts are read once."""
        unique = list(dict.fromkeys(text for texts in requests for text in texts))
        by_text = dict(zip(unique, self.model.embed(unique), strict=True))
        return [Embedded(np.stack([by_text[text] for text in texts]), self.model.tokens(texts)) for texts in requests]
