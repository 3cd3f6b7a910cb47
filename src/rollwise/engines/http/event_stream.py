"""Server-sent events in the body of a streamed reply."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx
from httpx_sse import EventSource


async def event_data(reply: httpx.Response) -> AsyncGenerator[str, None]:
    """The data of each event in a streamed reply, in order. Events without data are skipped.

    httpx-sse parses the events. On its own it refuses a reply whose content type is not `text/event-stream`, ignores
    a first line that follows a byte order mark, and drops a last event that no blank line ends. So it reads a copy of
    the reply that has this content type, is decoded as `utf-8-sig`, and ends with a blank line.
    """
    copy = httpx.Response(
        200, headers={"Content-Type": "text/event-stream; charset=utf-8-sig"}, content=_ended_by_blank_line(reply)
    )
    async with aclosing(EventSource(copy).aiter_sse()) as events:
        async for event in events:
            if data := event.data.strip():
                yield data


async def _ended_by_blank_line(reply: httpx.Response) -> AsyncGenerator[bytes, None]:
    async for part in reply.aiter_bytes():
        yield part
    yield b"\n\n"
