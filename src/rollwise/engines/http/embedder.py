"""Embeddings from a server's /v1/embeddings, for directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rollwise.core import DirectionFinder, DirectionSession, Evidence, Failure, FloatArray, PolicySession, Problem
from rollwise.directions import KNOWN, EmbeddingSession, embedded, window
from rollwise.engines.http.client import Endpoint, Fleet, Patience
from rollwise.engines.http.identity import model_for
from rollwise.engines.http.servers import addresses
from rollwise.engines.http.shapes import BrokenReplyError, checked, listed_cards, possible
from rollwise.engines.http.sync_client import SyncClient
from rollwise.errors import EngineError, InputError

BATCH = 64
"""The most texts in one request."""
REPEATED_ATTEMPTS = 2
"""The attempts for texts that failed before as part of a larger batch, or while the server seems to be lost."""


class HttpEmbedder(DirectionFinder):
    """Directions from the embeddings of a server, `URL` or `URL#model`, or of several servers that serve one model.

    `part` names the window of the solution that is embedded. Raises InputError if no server there embeds.
    """

    parameters = 0

    def __init__(self, urls: str, part: str = "whole", concurrency: int = 8, patience: Patience | None = None) -> None:
        self.window = window(part)
        self.addresses = addresses(urls)
        self.fleet = Fleet(self.addresses, concurrency, patience or Patience())
        first = self.addresses[0]
        client = SyncClient(first)
        try:
            listed = listed_cards(client.get("/v1/models"))
            self.model = first.model or model_for("embed", listed)["id"]
            self.size = read_embeddings(client.post("/v1/embeddings", self.body([KNOWN])), 1)[0].shape[1]
        except EngineError as error:
            raise InputError(f"{first.url} does not embed: {error}; give the URL of a server that does") from None
        finally:
            client.close()

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        """The request for the embeddings of some texts."""
        return {"input": list(texts)} | ({"model": self.model} if self.model else {})

    def open(self, problem: Problem, policy: PolicySession) -> DirectionSession:
        """A session for one question."""
        return EmbeddingSession(_ServedEmbeddings(self, problem.id), self.window)


class _ServedEmbeddings:
    """The embeddings of one question's texts."""

    in_process = False

    def __init__(self, embedder: HttpEmbedder, question: str) -> None:
        self.embedder, self.question = embedder, question
        self.entered = False

    async def __call__(self, texts: Sequence[str]) -> tuple[Sequence[Evidence | Failure], int]:
        """Evidence on each text, and the tokens read."""
        if not self.entered:
            self.embedder.fleet.enter()
            self.entered = True
        evidence, tokens, lost = list[Evidence | Failure](), 0, False
        for first in range(0, len(texts), BATCH):
            batch, read = await embedded(self._request, texts[first : first + BATCH], lost)
            evidence += batch
            tokens += read
            lost = isinstance(batch[-1], Failure)
        return evidence, tokens

    async def _request(self, texts: Sequence[str], repeated: bool) -> tuple[Sequence[FloatArray], int]:
        fleet, body = self.embedder.fleet, self.embedder.body(texts)

        async def read(endpoint: Endpoint, seconds: float) -> tuple[FloatArray, int]:
            return read_embeddings(await fleet.post(endpoint, "/v1/embeddings", body, seconds), len(texts))

        attempts = REPEATED_ATTEMPTS if repeated else None
        rows, tokens = await fleet.ask(self.question, (self.question, *texts), read, attempts)
        return list(rows), tokens

    async def close(self) -> None:
        if self.entered:
            self.entered = False
            await self.embedder.fleet.leave()


def read_embeddings(reply: Any, count: int) -> tuple[FloatArray, int]:
    """The embeddings (count, d) in the order of the texts, and the tokens read.

    Raises BrokenReplyError if the reply does not hold one finite embedding for each text.
    """
    rows = sorted(checked("embeddings", reply)["data"], key=lambda row: row["index"])
    sizes = {len(row["embedding"]) for row in rows}
    if [row["index"] for row in rows] != list(range(count)) or len(sizes) != 1:
        raise BrokenReplyError(
            f"the server replied {len(rows)} embeddings of {len(sizes)} different lengths for {count} texts"
        )
    usage = possible("counts", reply).get("usage") or {}
    return np.array([row["embedding"] for row in rows], dtype=np.float64), usage.get("prompt_tokens") or 0
