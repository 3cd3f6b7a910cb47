"""Completions as they grow: server-sent events, one for each token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from rollwise.errors import RollwiseError
from rollwise.model_server.completions import Request, head
from rollwise.model_server.errors import RequestError, error_body
from rollwise.model_server.jobs import Grown, Token
from rollwise.model_server.models import Models
from rollwise.model_server.text import Transcript

DONE = "data: [DONE]\n\n"


async def events(models: Models, request: Request) -> AsyncIterator[str]:
    """The events of a request's completions, and `[DONE]`. Whoever stops listening ends the completions."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[tuple[int, Token | None]] = asyncio.Queue()

    def hear(index: int, token: Token | None) -> None:
        loop.call_soon_threadsafe(heard.put_nowait, (index, token))

    jobs = request.jobs(models, hear)
    for index, job in enumerate(jobs):
        job.future.add_done_callback(lambda _, index=index: hear(index, None))  # type: ignore[misc]
    speaker = _Speaker(models, request)
    try:
        while speaker.open:
            index, token = await heard.get()
            if token is not None:
                yield speaker.grown(index, token)
            else:
                jobs[index].future.result()
                yield speaker.ended(index)
        if request.usage_at_end:
            grown: list[Grown] = [job.future.result() for job in jobs]
            yield speaker.event({"choices": [], "usage": request.usage(grown)})
        yield DONE
    except RollwiseError as error:
        yield f"data: {json.dumps(error_body(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))))}\n\n"
        yield DONE
    finally:
        for job in jobs:
            job.future.cancel()


class _Speaker:
    """What has been said of each of a request's completions."""

    def __init__(self, models: Models, request: Request) -> None:
        self.request, self.pieces = request, models.policy.stops.pieces
        self.head = head(request, request.shape.chunk)
        count = len(request.prompts) * request.n
        self.transcripts = [Transcript(request.reader) for _ in range(count)]
        self.offsets = [0] * count
        self.open = count

    def event(self, more: dict[str, Any]) -> str:
        return f"data: {json.dumps(self.head | more)}\n\n"

    def grown(self, index: int, token: Token) -> str:
        text = self.transcripts[index].add(token.id)
        delta = self.request.shape.delta(self.request, index, text, [token], self.offsets[index], None)
        self.offsets[index] += len(self.pieces[token.id])
        return self.event({"choices": [delta]})

    def ended(self, index: int) -> str:
        self.open -= 1
        text, ending = self.transcripts[index].end()
        delta = self.request.shape.delta(self.request, index, text, [], self.offsets[index], ending)
        return self.event({"choices": [delta]})
