"""The routes of the server."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

import rollwise
from rollwise.model_server import completions, streaming
from rollwise.model_server.inputs import render, token_lists
from rollwise.model_server.jobs import Completion, CompletionJob
from rollwise.model_server.models import Models
from rollwise.model_server.schemas import DetokenizeBody, EmbeddingBody, PoolingBody, TokenizeBody
from rollwise.openai_format import ChatBody, CompletionBody, RequestError, add_error_replies, bad_request, unless_gone


def build_app(models: Models, key: str | None = None) -> FastAPI:
    """The application that serves these models. With a key, it serves only clients that send it as a bearer token."""
    app = FastAPI(title="rollwise", version=rollwise.__version__, docs_url=None, redoc_url=None)
    app.state.models = models
    app.include_router(public)
    app.include_router(router, dependencies=[Depends(_key_check(key))])
    add_error_replies(app)
    return app


def _key_check(key: str | None) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """The dependency that raises RequestError for a request without the key; without a key it lets all through."""

    async def check(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if key is not None and not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
            raise RequestError(
                HTTPStatus.UNAUTHORIZED, "send the key that this server was started with as `Authorization: Bearer KEY`"
            )

    return check


public, router = APIRouter(), APIRouter()


@public.get("/health")
async def health() -> Response:
    """An empty reply with the status 200."""
    return Response()


@public.get("/version")
async def version() -> dict[str, Any]:
    """The server's name and version."""
    return {"server": "rollwise", "version": rollwise.__version__}


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The models, the task of each, and how many tokens it reads."""
    return {"object": "list", "data": _models(request).cards()}


@router.get("/v1/models/{name:path}")
async def show_model(name: str, request: Request) -> dict[str, Any]:
    """The entry of one model in the list."""
    models = _models(request)
    models.check_name(name)
    return next(card for card in models.cards() if card["id"] == name)


@router.get("/server_info")
async def server_info(request: Request) -> dict[str, Any]:
    """How many completions run and wait, and how many tokens are cached."""
    models = _models(request)
    running, waiting = models.policy.job_counts
    policy = {"running": running, "waiting": waiting, "kept_tokens": models.prefixes.kept_tokens}
    reward = None
    if models.scorer is not None:
        kept_tokens = models.scorer.prefixes.kept_tokens
        reward = {"read_tokens": models.scorer.read_tokens, "kept_tokens": kept_tokens}
    return {
        "server": "rollwise",
        "version": rollwise.__version__,
        "models": models.tasks,
        "policy": policy,
        "reward": reward,
    }


@router.post("/v1/completions")
async def complete(body: CompletionBody, request: Request) -> Response:
    """Completions of prompts."""
    return await _complete(request, completions.text_request(_models(request), body), body.stream)


@router.post("/v1/chat/completions")
async def chat(body: ChatBody, request: Request) -> Response:
    """The next message of a chat, or the rest of its last message."""
    return await _complete(request, completions.chat_request(_models(request), body), body.stream)


async def _complete(request: Request, asked: completions.CompletionRequest, stream: bool) -> Response:
    models = _models(request)
    if stream:
        return StreamingResponse(streaming.events(models, asked), media_type="text/event-stream")
    jobs = asked.submit(models)
    try:
        done = await unless_gone(request, _all_done(jobs))
    finally:
        for job in jobs:
            job.future.cancel()
    return JSONResponse(asked.response(done))


async def _all_done(jobs: Sequence[CompletionJob]) -> list[Completion]:
    return list(await asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs)))


@router.post("/pooling")
async def pool(body: PoolingBody, request: Request) -> Response:
    """The probabilities of wrong and right at the end of each step of each text."""
    models = _models(request)
    name = models.model_for("token_classify", body.model, "/pooling")
    scorer = models.scorer
    assert scorer is not None
    texts = token_lists(scorer.tokenizer, body.input, scorer.vocabulary, body.add_special_tokens, "input")
    longest = max(map(len, texts))
    if longest > scorer.context:
        raise bad_request(f"a text takes {longest} tokens and {name} reads {scorer.context} at most: cut it", "input")
    scores = await unless_gone(request, scorer.batcher.run_all(texts))
    data = [{"index": index, "object": "pooling", "data": text.rows.tolist()} for index, text in enumerate(scores)]
    usage = _read_usage(sum(map(len, texts)), sum(text.cached for text in scores))
    return JSONResponse(_list_head("pool", name) | {"data": data, "usage": usage})


@router.post("/v1/embeddings")
async def embed(body: EmbeddingBody, request: Request) -> Response:
    """Unit embeddings of texts."""
    models = _models(request)
    name = models.model_for("embed", body.model, "/v1/embeddings")
    assert models.embedder is not None
    embedded = await unless_gone(request, models.embedder.embed(body))
    width = embedded.vectors.shape[1]
    if body.dimensions not in (None, width):
        raise bad_request(f"{name} embeds in {width} dimensions: leave 'dimensions' out, or send {width}", "dimensions")
    data = [
        {"index": index, "object": "embedding", "embedding": _encoded(vector, body.encoding_format)}
        for index, vector in enumerate(embedded.vectors)
    ]
    usage = _read_usage(embedded.tokens, embedded.cached)
    return JSONResponse(_list_head("embd", name) | {"data": data, "usage": usage})


@router.post("/tokenize")
async def tokenize(body: TokenizeBody, request: Request) -> dict[str, Any]:
    """A model's tokens of a prompt or a chat."""
    tokenizer, context = _models(request).tokenizer_and_context(body.model)
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
    """The text of the policy's tokens."""
    models = _models(request)
    models.model_for("generate", body.model, "/detokenize")
    if not body.tokens:
        return {"prompt": ""}
    policy = models.policy
    (tokens,) = token_lists(policy.tokenizer, body.tokens, len(policy.stops.pieces), False, "tokens")
    return {"prompt": policy.tokenizer.decode(list(tokens))}


def _models(request: Request) -> Models:
    return request.app.state.models


def _list_head(id_prefix: str, model: str) -> dict[str, Any]:
    return {"id": f"{id_prefix}-{uuid.uuid4().hex}", "object": "list", "created": int(time.time()), "model": model}


def _read_usage(tokens: int, cached: int) -> dict[str, Any]:
    counts = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    return counts | {"prompt_tokens_details": {"cached_tokens": cached}}


def _encoded(vector: np.ndarray[Any, Any], encoding: str) -> list[float] | str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector.tolist()
