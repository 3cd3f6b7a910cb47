"""The routes of the server."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
import uuid
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

import rollwise
from rollwise.errors import RollwiseError
from rollwise.model_server import completions, streaming
from rollwise.model_server.errors import RequestError, bad_request, error_body, validation_message
from rollwise.model_server.inputs import render, token_lists
from rollwise.model_server.models import Models
from rollwise.model_server.schemas import (
    ChatBody,
    CompletionBody,
    DetokenizeBody,
    EmbeddingBody,
    PoolingBody,
    TokenizeBody,
)

Result = TypeVar("Result")
_CLIENT_GONE = 499


class _ClientGoneError(Exception):
    """Whoever asked has hung up."""


def build_app(models: Models, key: str | None = None) -> FastAPI:
    """The application that serves these models; with a key only to whoever sends it as a bearer token."""
    app = FastAPI(title="rollwise", version=rollwise.__version__, docs_url=None, redoc_url=None)
    app.state.models = models

    async def allowed(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if key is not None and not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
            raise RequestError(
                HTTPStatus.UNAUTHORIZED, "send the key that this server was started with as `Authorization: Bearer KEY`"
            )

    app.include_router(public)
    app.include_router(router, dependencies=[Depends(allowed)])
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(RollwiseError, _failed)
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(_ClientGoneError, _gone)
    return app


public, router = APIRouter(), APIRouter()


@public.get("/health")
async def health() -> Response:
    """200 and nothing else."""
    return Response()


@public.get("/version")
async def version() -> dict[str, Any]:
    """The server's name and version."""
    return {"server": "rollwise", "version": rollwise.__version__}


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The models, what each is for, and how many tokens it reads."""
    return {"object": "list", "data": _models(request).cards()}


@router.get("/v1/models/{name:path}")
async def one_model(name: str, request: Request) -> dict[str, Any]:
    """One model, as the list has it."""
    models = _models(request)
    models.check_name(name)
    return next(card for card in models.cards() if card["id"] == name)


@router.get("/server_info")
async def server_info(request: Request) -> dict[str, Any]:
    """What runs and waits, and how many tokens are kept."""
    models = _models(request)
    running, waiting = models.policy.busy
    policy = {"running": running, "waiting": waiting, "kept_tokens": models.prefixes.held}
    judge = models.judge
    reward = None if judge is None else {"read_tokens": judge.read, "kept_tokens": judge.prefixes.held}
    return {
        "server": "rollwise",
        "version": rollwise.__version__,
        "models": models.names,
        "policy": policy,
        "reward": reward,
    }


@router.post("/v1/completions")
async def complete(body: CompletionBody, request: Request) -> Response:
    """Completions of prompts."""
    return await _complete(request, completions.text_request(_models(request), body), body.stream)


@router.post("/v1/chat/completions")
async def chat(body: ChatBody, request: Request) -> Response:
    """The next message of a chat, or the rest of its last."""
    return await _complete(request, completions.chat_request(_models(request), body), body.stream)


async def _complete(request: Request, asked: completions.Request, stream: bool) -> Response:
    models = _models(request)
    if stream:
        return StreamingResponse(streaming.events(models, asked), media_type="text/event-stream")
    jobs = asked.jobs(models)
    try:
        grown = await _unless_gone(request, _all([asyncio.wrap_future(job.future) for job in jobs]))
    finally:
        for job in jobs:
            job.future.cancel()
    return JSONResponse(asked.response(grown))


@router.post("/pooling")
async def pool(body: PoolingBody, request: Request) -> Response:
    """The probabilities of wrong and right at the end of each step of each text."""
    models = _models(request)
    name = models.check(body.model, "token_classify", "/pooling")
    judge = models.judge
    assert judge is not None
    texts = token_lists(judge.tokenizer, body.input, judge.vocabulary, body.add_special_tokens, "input")
    longest = max(map(len, texts))
    if longest > judge.context:
        raise bad_request(f"a text takes {longest} tokens and {name} reads {judge.context} at most: cut it", "input")
    judged = await _unless_gone(request, judge.batcher.run_all(texts))
    data = [{"index": index, "object": "pooling", "data": each.rows.tolist()} for index, each in enumerate(judged)]
    used = _read_usage(sum(map(len, texts)), sum(each.cached for each in judged))
    return JSONResponse(_list_head("pool", name) | {"data": data, "usage": used})


@router.post("/v1/embeddings")
async def embed(body: EmbeddingBody, request: Request) -> Response:
    """Unit embeddings of texts."""
    models = _models(request)
    name = models.check(body.model, "embed", "/v1/embeddings")
    assert models.embedder is not None
    embedded = await _unless_gone(request, models.embedder.embed(body))
    data = [
        {"index": index, "object": "embedding", "embedding": _written(vector, body.encoding_format)}
        for index, vector in enumerate(embedded.vectors)
    ]
    used = _read_usage(embedded.tokens, embedded.cached)
    return JSONResponse(_list_head("embd", name) | {"data": data, "usage": used})


@router.post("/tokenize")
async def tokenize(body: TokenizeBody, request: Request) -> dict[str, Any]:
    """A model's tokens of a prompt or a chat."""
    tokenizer, context = _models(request).reader(body.model)
    if body.prompt is not None:
        text, special = body.prompt, body.add_special_tokens is not False
    else:
        messages = [message.plain for message in body.messages or ()]
        text = render(tokenizer, messages, body.add_generation_prompt, body.continue_final_message)
        special = bool(body.add_special_tokens)
    tokens = list(tokenizer(text, add_special_tokens=special)["input_ids"])
    strings = tokenizer.convert_ids_to_tokens(tokens) if body.return_token_strs else None
    return {"count": len(tokens), "max_model_len": context, "tokens": tokens, "token_strs": strings}


@router.post("/detokenize")
async def detokenize(body: DetokenizeBody, request: Request) -> dict[str, Any]:
    """The text that the policy's tokens are."""
    models = _models(request)
    models.check(body.model, "generate", "/detokenize")
    if not body.tokens:
        return {"prompt": ""}
    policy = models.policy
    (tokens,) = token_lists(policy.tokenizer, body.tokens, len(policy.stops.pieces), False, "tokens")
    return {"prompt": policy.tokenizer.decode(list(tokens))}


def _models(request: Request) -> Models:
    return request.app.state.models


def _list_head(prefix: str, name: str) -> dict[str, Any]:
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": "list", "created": int(time.time()), "model": name}


def _read_usage(tokens: int, cached: int) -> dict[str, Any]:
    counts = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    return counts | {"prompt_tokens_details": {"cached_tokens": cached}}


def _written(vector: np.ndarray[Any, Any], encoding: str) -> list[float] | str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector.tolist()


async def _all(futures: list[asyncio.Future[Result]]) -> list[Result]:
    return list(await asyncio.gather(*futures))


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work comes to; it is cancelled when the client hangs up."""

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.create_task(work), asyncio.create_task(hung_up())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _ClientGoneError
        return working.result()
    finally:
        working.cancel()
        watching.cancel()


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error_body(error), status_code=error.status)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse(error_body(bad_request(*validation_message(list(error.errors())))), HTTPStatus.BAD_REQUEST)


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    routes = sorted({path for route in (*public.routes, *router.routes) if (path := getattr(route, "path", ""))})
    refused = RequestError(HTTPStatus(error.status_code), f"{error.detail}; this server has: {', '.join(routes)}")
    return JSONResponse(error_body(refused), status_code=error.status_code, headers=error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    kind = "" if isinstance(error, RollwiseError) else f"{type(error).__name__}: "
    refused = RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"{kind}{error}; try again")
    return JSONResponse(error_body(refused), status_code=refused.status)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)
