"""Embeddings by a server's /v1/embeddings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rollwise.core import DirectionSession, Failure, FloatArray, PolicySession, Problem
from rollwise.embedders import EmbeddingSession, window
from rollwise.engines.http.asker import Asker
from rollwise.engines.http.client import Endpoint, Fleet, LostError, Patience
from rollwise.engines.http.probe import model_card
from rollwise.engines.http.replies import BrokenReplyError
from rollwise.engines.http.servers import addresses
from rollwise.errors import EngineError, InputError

BATCH = 64
"""Texts a request."""


class HttpEmbedder:
    """Directions by the embeddings of a server, `URL` or `URL#model`, or of several that serve one model.

    `part` names a window of the solution. Raises InputError where nothing there embeds.
    """

    parameters = 0

    def __init__(self, urls: str, part: str = "whole", concurrency: int = 8, patience: Patience | None = None) -> None:
        self.window = window(part)
        self.given = addresses(urls)
        self.fleet = Fleet(self.given, concurrency, patience or Patience())
        asker = Asker(self.given[0])
        try:
            listed = (asker.get("/v1/models") or {}).get("data") or []
            self.model = self.given[0].model or model_card(listed, "embed")["id"]
            self.size = read_embeddings(asker.post("/v1/embeddings", self.body(["1 + 1 = 2"])), 1)[0].shape[1]
        except EngineError as error:
            raise InputError(f"{self.given[0].url} does not embed: {error}") from None
        finally:
            asker.close()

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        """The request for the embeddings of some texts."""
        return {"input": list(texts)} | ({"model": self.model} if self.model else {})

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return EmbeddingSession(_Served(self, problem.id), self.window)


class _Served:
    in_process = False

    def __init__(self, embedder: HttpEmbedder, question: str) -> None:
        self.embedder, self.question = embedder, question
        self.entered = False

    async def __call__(self, texts: Sequence[str]) -> tuple[Sequence[FloatArray | Failure], int]:
        if not self.entered:
            self.embedder.fleet.enter()
            self.entered = True
        found, tokens = list[FloatArray | Failure](), 0
        for first in range(0, len(texts), BATCH):
            embeddings, read = await self._embedded(texts[first : first + BATCH])
            found += embeddings
            tokens += read
        return found, tokens

    async def _embedded(self, texts: Sequence[str]) -> tuple[Sequence[FloatArray | Failure], int]:
        """Where the server refuses the texts together each is asked for alone, so that a bad one costs itself only."""
        try:
            embeddings, tokens = await self._ask(texts)
        except LostError as error:
            if not error.refused or len(texts) == 1:
                return [Failure(str(error))] * len(texts), 0
            alone = await asyncio.gather(*(self._embedded([text]) for text in texts))
            return [one for found, _ in alone for one in found], sum(read for _, read in alone)
        return list(embeddings), tokens

    async def _ask(self, texts: Sequence[str]) -> tuple[FloatArray, int]:
        fleet, body = self.embedder.fleet, self.embedder.body(texts)

        async def read(endpoint: Endpoint, seconds: float) -> tuple[FloatArray, int]:
            return read_embeddings(await fleet.post(endpoint, "/v1/embeddings", body, seconds), len(texts))

        return await fleet.ask(self.question, (self.question, *texts), read)

    async def close(self) -> None:
        if self.entered:
            self.entered = False
            await self.embedder.fleet.leave()


def read_embeddings(reply: Any, count: int) -> tuple[FloatArray, int]:
    """Embeddings (count, d) in the order of the texts, and the tokens read. Raises BrokenReplyError for all else."""
    try:
        rows = sorted(reply["data"], key=lambda one: one["index"])
        embeddings = np.array([row["embedding"] for row in rows], dtype=np.float64)
        tokens = int((reply.get("usage") or {}).get("prompt_tokens") or 0)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenReplyError(f"the server replied no embeddings: {type(error).__name__}") from None
    if embeddings.ndim != 2 or len(embeddings) != count or not math.isfinite(float(np.abs(embeddings).sum())):
        raise BrokenReplyError(f"the server replied {embeddings.shape} embeddings for {count} texts")
    return embeddings, tokens
