"""What surrounds the routes of a server: errors as JSON, the limit on a body, keys, and clients that hang up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rollwise.errors import RollwiseError
from rollwise.openai_format.errors import RequestError, bad_request, error_body, validation_message

Result = TypeVar("Result")
_CLIENT_GONE = 499


class ClientGoneError(Exception):
    """The client has hung up."""


def add_error_replies(app: FastAPI) -> None:
    """Make every error of an application a reply in OpenAI's shape. For an unknown route it lists the routes."""

    async def no_route(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        refusal = RequestError(
            HTTPStatus(error.status_code), f"{error.detail}; this server has: {', '.join(_paths(app.routes))}"
        )
        return JSONResponse(error_body(refusal), status_code=error.status_code, headers=error.headers)

    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(RollwiseError, _failed)
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(ClientGoneError, _gone)


def _paths(routes: Sequence[Any]) -> list[str]:
    """The paths of routes; those of an included router too."""
    found = set()
    for route in routes:
        if path := getattr(route, "path", ""):
            found.add(path)
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        found.update(_paths(getattr(inner, "routes", ())))
    return sorted(found)


def bearer_token(request: Request) -> str:
    """The key that a request carries as `Authorization: Bearer KEY`; empty if it carries none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the work. Cancels the work and raises ClientGoneError if the client hangs up first."""

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.create_task(work), asyncio.create_task(hung_up())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        working.cancel()
        watching.cancel()


class BodyLimit:
    """An application that refuses bodies of more than `most` bytes with status 413, however they are sent."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced[:20]) > self.most:
            await self._refusal()(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most:
                raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._reason)
            return message

        await self.app(scope, counted, send)

    @property
    def _reason(self) -> str:
        return f"the body is longer than the {self.most} bytes that this server reads: send a shorter one"

    def _refusal(self) -> JSONResponse:
        error = RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._reason)
        return JSONResponse(error_body(error), status_code=error.status)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error_body(error), status_code=error.status, headers=error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    refusal = bad_request(*validation_message(error.errors(), error.body))
    return JSONResponse(error_body(refusal), HTTPStatus.BAD_REQUEST)


async def _failed(_: Request, error: Exception) -> Response:
    error_type = "" if isinstance(error, RollwiseError) else f"{type(error).__name__}: "
    failure = RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error_type}{error}; try again")
    return JSONResponse(error_body(failure), status_code=failure.status)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)
