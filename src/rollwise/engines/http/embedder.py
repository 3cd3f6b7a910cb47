"""Embeddings by a server's /v1/embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rollwise.core import DirectionSession, Evidence, Failure, FloatArray, PolicySession, Problem
from rollwise.directions import KNOWN, EmbeddingSession, embedded, window
from rollwise.engines.http.asker import Asker
from rollwise.engines.http.client import Endpoint, Fleet, Patience
from rollwise.engines.http.probe import model_card
from rollwise.engines.http.replies import BrokenReplyError
from rollwise.engines.http.servers import addresses
from rollwise.errors import EngineError, InputError

BATCH = 64
"""Texts a request."""
AGAIN = 2
"""How often texts are asked for that were lost together, or while the server is lost."""


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
            self.size = read_embeddings(asker.post("/v1/embeddings", self.body([KNOWN])), 1)[0].shape[1]
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

    async def __call__(self, texts: Sequence[str]) -> tuple[Sequence[Evidence | Failure], int]:
        if not self.entered:
            self.embedder.fleet.enter()
            self.entered = True
        found, tokens, down = list[Evidence | Failure](), 0, False
        for first in range(0, len(texts), BATCH):
            batch, read = await embedded(self._ask, texts[first : first + BATCH], down)
            found += batch
            tokens += read
            down = isinstance(batch[-1], Failure)
        return found, tokens

    async def _ask(self, texts: Sequence[str], again: bool) -> tuple[Sequence[FloatArray], int]:
        fleet, body = self.embedder.fleet, self.embedder.body(texts)

        async def read(endpoint: Endpoint, seconds: float) -> tuple[FloatArray, int]:
            return read_embeddings(await fleet.post(endpoint, "/v1/embeddings", body, seconds), len(texts))

        rows, tokens = await fleet.ask(self.question, (self.question, *texts), read, AGAIN if again else None)
        return list(rows), tokens

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
