"""The routes of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.middleware import Middleware

import rollwise
from rollwise.errors import MissingExtraError
from rollwise.openai_format import (
    BodyLimit,
    Fields,
    RequestError,
    add_error_replies,
    bearer_token,
    unless_gone,
)
from rollwise.service.bodies import SearchChat, SearchText, parsed_body, validated_body
from rollwise.service.clients import client_of
from rollwise.service.feedback import FeedbackBody, feed_back
from rollwise.service.service import Service
from rollwise.service.upkeep import upkeep


def build_app(service: Service) -> FastAPI:
    """The application of a service. It starts and ends with the service's background work."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.staging.reload()
        service.searches.behind(upkeep(service))
        yield
        await service.close()

    app = FastAPI(
        title="rollwise",
        summary="A search behind OpenAI's interface.",
        version=rollwise.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        middleware=[Middleware(BodyLimit, most=service.settings.body_bytes)],
    )
    app.state.service = service
    if service.settings.ui:
        _add_dashboard(app, service)
    app.include_router(public)
    app.include_router(router, dependencies=[Depends(_client)])
    add_error_replies(app)
    app.openapi = _described(app, app.openapi)  # type: ignore[method-assign]
    return app


def _add_dashboard(app: FastAPI, service: Service) -> None:
    """Mount the dashboard at /ui. Without the extra that it needs, /ui says so, and the service serves."""
    try:
        if find_spec("latex2mathml") is None:
            raise MissingExtraError("the dashboard", "ui")
        from rollwise.service.dashboard import mount_dashboard

        mount_dashboard(app, service)
    except MissingExtraError as error:
        message = f"{error}\n"

        @app.get("/ui/", include_in_schema=False)
        async def missing() -> Response:
            return PlainTextResponse(message, HTTPStatus.NOT_IMPLEMENTED)


def _service(request: Request) -> Service:
    return request.app.state.service


async def _client(request: Request) -> str:
    """The name of the client's key. Raises RequestError with status 401 for an unknown key."""
    return client_of(_service(request).settings.keys, bearer_token(request))


public, router = APIRouter(), APIRouter()


@public.get("/health")
async def health(request: Request) -> Response:
    """What is up and what is down: 200 if every route can answer, else 503."""
    service = _service(request)
    routes: dict[str, Any] = {}
    for name in service.settings.routes:
        rule = service.staging.stages[name].current
        down = service.health.down(name, rule)
        broken = service.engines.broken.get((name, rule))
        routes[name] = {"up": not down and broken is None, "rule": rule, "down": down}
        if broken is not None:
            routes[name]["reason"] = broken
    up = all(route["up"] for route in routes.values())
    draining = service.admission.draining
    status = "draining" if draining else "ok" if up else "degraded"
    body = {
        "status": status,
        "routes": routes,
        "servers": service.health.as_dict(),
        "running": service.admission.everywhere[0],
    }
    ok = up and not draining
    return JSONResponse(body, HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE)


@public.get("/live")
async def live() -> dict[str, str]:
    """That the process serves, whatever its routes can do."""
    return {"status": "ok"}


@public.get("/version")
async def version() -> dict[str, Any]:
    """The server's name and version."""
    return {"server": "rollwise", "version": rollwise.__version__}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """The metrics in Prometheus' text format."""
    service = _service(request)
    service.show_present()
    text = await asyncio.to_thread(service.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The routes as models. Each also answers to `STRATEGY-BUDGET/ROUTE`, such as `dora-64/ROUTE`."""
    return {"object": "list", "data": _cards(_service(request))}


@router.get("/v1/models/{name:path}")
async def show_model(name: str, request: Request) -> dict[str, Any]:
    """The entry of one route in the list."""
    for card in _cards(_service(request)):
        if card["id"] == name:
            return card
    raise RequestError(HTTPStatus.NOT_FOUND, f"no model is called {name[:80]!r}: ask /v1/models for the list", "model")


def _cards(service: Service) -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "object": "model",
            "created": service.started,
            "owned_by": "rollwise-service",
            "root": route.model or name,
            "task": "generate",
        }
        for name, route in service.settings.routes.items()
    ]


def _body_of(model: type[Fields]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post("/v1/chat/completions", openapi_extra=_body_of(SearchChat))
async def chat(request: Request) -> Response:
    """The next message of a chat, found by a search."""
    return await _respond("chat", request)


@router.post("/v1/completions", openapi_extra=_body_of(SearchText))
async def complete(request: Request) -> Response:
    """The completion of a prompt, found by a search."""
    return await _respond("text", request)


@router.post("/v1/feedback", openapi_extra=_body_of(FeedbackBody))
async def feedback(request: Request) -> dict[str, Any]:
    """Whether an answer was right, by the id of its search."""
    body = validated_body(FeedbackBody, parsed_body(await request.body()))
    return await feed_back(_service(request), body, await _client(request))


async def _respond(kind: Any, request: Request) -> Response:
    service, client = _service(request), await _client(request)
    raw = await request.body()

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    try:
        return await unless_gone(request, service.respond(kind, raw, request.headers, client, gone))
    except RequestError as error:
        service.metrics.refused.labels(str(int(error.status))).inc()
        raise


def _described(app: FastAPI, make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The description of the routes with the schemas of the bodies, which the routes read themselves."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = make()
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            for model in (SearchChat, SearchText, FeedbackBody):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= schema.pop("$defs", {})
                schemas[model.__name__] = schema
            app.openapi_schema = described
        return app.openapi_schema

    return describe
