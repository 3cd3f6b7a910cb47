"""Completions as they grow: server-sent events, one for each token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from rollwise.errors import RollwiseError
from rollwise.model_server.completions import CompletionRequest, Piece, head
from rollwise.model_server.jobs import CompletionJob, Token
from rollwise.model_server.models import Models
from rollwise.model_server.text import Transcript
from rollwise.openai_format import RequestError, error_body

DONE = "data: [DONE]\n\n"

Arrivals = asyncio.Queue[tuple[int, Token | None]]
"""(index of a completion, its new token; None when it has ended)."""


async def events(models: Models, request: CompletionRequest) -> AsyncIterator[str]:
    """The events of a request's completions, then `[DONE]`. Closing the iterator cancels the completions."""
    jobs, arrivals = _submit(models, request)
    writer = _EventWriter(models, request)
    try:
        while writer.open:
            index, token = await arrivals.get()
            if token is not None:
                yield writer.token_event(index, token)
            else:
                jobs[index].future.result()
                yield writer.end_event(index)
        if request.usage_at_end:
            completions = [job.future.result() for job in jobs]
            yield writer.event({"choices": [], "usage": request.usage(completions)})
        yield DONE
    except RollwiseError as error:
        yield f"data: {json.dumps(error_body(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))))}\n\n"
        yield DONE
    finally:
        for job in jobs:
            job.future.cancel()


def _submit(models: Models, request: CompletionRequest) -> tuple[list[CompletionJob], Arrivals]:
    """Submit the jobs; the worker thread puts their tokens and their ends into the queue."""
    loop = asyncio.get_running_loop()
    arrivals = Arrivals()

    def arrive(index: int, token: Token | None) -> None:
        loop.call_soon_threadsafe(arrivals.put_nowait, (index, token))

    jobs = request.submit(models, arrive)
    for index, job in enumerate(jobs):
        job.future.add_done_callback(lambda _, index=index: arrive(index, None))  # type: ignore[misc]
    return jobs, arrivals


class _EventWriter:
    """Writes the events of a request, and knows what it has written of each completion. `open` completions go on."""

    def __init__(self, models: Models, request: CompletionRequest) -> None:
        self.request, self.pieces = request, models.policy.stops.pieces
        self.head = head(request, request.format.chunk_name)
        count = len(request.prompts) * request.n
        self.transcripts = [Transcript(request.detokenizer) for _ in range(count)]
        self.offsets = [0] * count
        self.open = count

    def event(self, fields: dict[str, Any]) -> str:
        return f"data: {json.dumps(self.head | fields)}\n\n"

    def token_event(self, index: int, token: Token) -> str:
        text = self.transcripts[index].add(token.id)
        delta = self.request.format.delta(self.request, Piece(index, text, [token], self.offsets[index]))
        self.offsets[index] += len(self.pieces[token.id])
        return self.event({"choices": [delta]})

    def end_event(self, index: int) -> str:
        self.open -= 1
        text, ending = self.transcripts[index].end()
        delta = self.request.format.delta(self.request, Piece(index, text, [], self.offsets[index], ending))
        return self.event({"choices": [delta]})
