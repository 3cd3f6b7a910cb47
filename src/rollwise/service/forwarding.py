"""Requests that go to the upstream as they are, and its replies as they come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx
from fastapi import Response
from fastapi.responses import StreamingResponse

from rollwise.engines.http import key_headers
from rollwise.openai_format import RequestError
from rollwise.service.bodies import OURS

MARK = "x-rollwise"
"""The header of a reply that says that it was forwarded."""
_PASSED_ON = ("content-type", "accept", "openai-organization", "openai-project", "x-request-id", "traceparent")
_PASSED_BACK = ("content-type", "retry-after", "x-request-id", "openai-processing-ms")


@dataclass
class Forwarder:
    """Sends requests to upstreams over connections of its own. A request is never sent twice."""

    client: httpx.AsyncClient = field(
        default_factory=lambda: httpx.AsyncClient(
            timeout=httpx.Timeout(600, connect=10), limits=httpx.Limits(max_connections=None), trust_env=False
        )
    )

    async def send(
        self,
        url: str,
        path: str,
        raw: bytes,
        headers: Mapping[str, str],
        reason: str,
        stage: str | None = None,
        pass_key: bool = False,
    ) -> Response:
        """The upstream's reply, unchanged, with the header `x-rollwise: forwarded; REASON`.

        The request carries the key in this process's environment; with `pass_key` and without such a key, the client's.
        Raises RequestError with status 502 if the upstream cannot be reached, 504 if it does not reply.
        """
        passed = (*_PASSED_ON, "authorization") if pass_key else _PASSED_ON
        sent = {name: headers[name] for name in passed if name in headers}
        if own := key_headers():
            sent = {name: value for name, value in sent.items() if name != "authorization"} | own
        request = self.client.build_request("POST", url + path, content=raw, headers=sent)
        try:
            reply = await self.client.send(request, stream=True)
        except httpx.TimeoutException:
            raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, "the upstream does not reply: try again later") from None
        except httpx.HTTPError as error:
            message = f"the upstream cannot be reached ({type(error).__name__}): try again later"
            raise RequestError(HTTPStatus.BAD_GATEWAY, message, wait=5) from None
        back = {name: reply.headers[name] for name in _PASSED_BACK if name in reply.headers}
        back[MARK] = f"forwarded; {reason}"
        if stage is not None:
            back[f"{MARK}-stage"] = stage
        return StreamingResponse(_body(reply), reply.status_code, back)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()


async def _body(reply: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in reply.aiter_bytes():
            yield part
    except httpx.HTTPError as error:
        raise ConnectionError(f"the upstream broke off: {type(error).__name__}") from None
    finally:
        await reply.aclose()


async def marked(response: Response, reason: str) -> Response:
    """A forwarded reply with the field `rollwise` in its JSON, which says why no search answered.

    A stream and a reply that is no JSON object stay as they are; the header marks them.
    """
    if not isinstance(response, StreamingResponse) or "json" not in response.headers.get("content-type", ""):
        return response
    parts = [part async for part in response.body_iterator]
    raw = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    try:
        body = json.loads(raw)
        content = json.dumps(body | {OURS: {"forwarded": True, "reason": reason}}).encode()
    except (ValueError, TypeError, RecursionError):
        content = raw
    return Response(content, response.status_code, headers)


def for_upstream(body: Mapping[str, Any], raw: bytes, model: str | None) -> bytes:
    """The body for the upstream: byte for byte what came, if the upstream knows its model and no field is ours.

    Else the field `rollwise` is left out, and the model is the upstream's own.
    """
    if OURS not in body and (model is None or body.get("model") == model):
        return raw
    changed = {name: value for name, value in body.items() if name != OURS}
    return json.dumps(changed | ({} if model is None else {"model": model}), ensure_ascii=False).encode()
