"""From a request to what it asks for: the route, the question with its earlier turns, and the fields of its search."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Literal

from rollwise.allocation import STRATEGIES
from rollwise.core import Problem
from rollwise.openai_format import RequestError, bad_request
from rollwise.service.bodies import OURS, SearchChat, SearchFields, SearchText, search_fields, validated_body
from rollwise.service.settings import Route, Settings

Kind = Literal["chat", "text"]
HEADER = "x-rollwise-"
_PREFIX = re.compile(r"(?P<strategy>[a-z_]+)(?:-(?P<budget>[1-9]\d{0,5}))?")
_IN_HEADERS = ("strategy", "budget", "deadline", "seed", "vote", "stop_early", "search", "session")


@dataclass(frozen=True)
class Target:
    """The route of a request, and what the request says about its search before its body is checked.

    `digest` is that of the route and the question with its turns. `session` decides whether the request is part of a
    canary; requests of one session stay together.
    """

    name: str
    route: Route
    fields: SearchFields
    session: str
    digest: str

    @property
    def pinned(self) -> bool:
        """Whether the request itself names a strategy, so that no stage chooses for it."""
        return self.fields.strategy is not None


@dataclass(frozen=True)
class Asked:
    """A checked request for a search.

    `turns` are the messages before the `question`. `search` holds the fields of `rollwise.Config` that the request
    sets.
    """

    kind: Kind
    target: Target
    model: str
    turns: tuple[tuple[str, str], ...]
    question: str
    search: Mapping[str, Any]
    n: int
    stops: tuple[str, ...]
    stream: bool
    include_usage: bool
    deadline: float

    @property
    def field(self) -> str:
        """The field that holds the question."""
        return "messages" if self.kind == "chat" else "prompt"

    def problem(self, parsed: Problem) -> Problem:
        """The problem that the request poses, given that of its question alone. Its id is the request's digest."""
        instruction = parsed.instruction if self.kind == "chat" else None
        return replace(parsed, id=self.target.digest, turns=self.turns, instruction=instruction)


def target_of(settings: Settings, body: Mapping[str, Any], headers: Mapping[str, str]) -> Target:
    """The route that a request's model names, and the fields of its search.

    A field of the body's `rollwise` counts before a header `x-rollwise-...`, and a header before the model's name.
    Raises RequestError for an unknown model and for a field that is wrong.
    """
    name, from_model = _route_of(settings, body.get("model"))
    from_headers = _from_headers(headers)
    in_body = body.get(OURS)
    if in_body is not None and not isinstance(in_body, dict):
        raise bad_request(f"{OURS!r} is no object: send fields such as {{'budget': 16}}", OURS)
    given = {field: value for field, value in (in_body or {}).items() if value is not None}
    fields = search_fields(from_model | from_headers | given)
    asks = [name, body.get("messages"), body.get("prompt")]
    digest = hashlib.sha256(json.dumps(asks, sort_keys=True).encode()).hexdigest()
    user = body.get("user")
    session = fields.session or (user if isinstance(user, str) and user else digest)
    return Target(name, settings.routes[name], fields, session, digest)


def _route_of(settings: Settings, model: Any) -> tuple[str, dict[str, Any]]:
    """The route of a model's name and what the name says about the search: `ROUTE` or `STRATEGY-BUDGET/ROUTE`."""
    routes = settings.routes
    if model is None or model == "":
        if len(routes) == 1:
            return next(iter(routes)), {}
        raise bad_request(f"'model' is missing: send one of {', '.join(routes)}", "model")
    if not isinstance(model, str):
        raise bad_request("'model' is no text: send a name", "model")
    if (found := _known(settings, model)) is not None:
        return found, {}
    prefix, slash, rest = model.partition("/")
    match = _PREFIX.fullmatch(prefix)
    found = _known(settings, rest) if slash else None
    if found is None or match is None or match["strategy"] not in STRATEGIES:
        message = f"no model is called {model[:80]!r}; this service has: {', '.join(routes)}, each also as dora-64/NAME"
        raise RequestError(HTTPStatus.NOT_FOUND, message, "model")
    budget = {"budget": int(match["budget"])} if match["budget"] else {}
    return found, {"strategy": match["strategy"]} | budget


def _known(settings: Settings, name: str) -> str | None:
    if name in settings.routes:
        return name
    return next((route for route, its in settings.routes.items() if its.model == name), None)


def _from_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """The fields that headers give, each with the type of its field."""
    given: dict[str, Any] = {}
    for name in _IN_HEADERS:
        header = HEADER + name.replace("_", "-")  # many proxies drop a header with an underscore
        value = headers.get(header, headers.get(HEADER + name))
        if value is None:
            continue
        try:
            given[name] = _HEADER_TYPES.get(name, str)(value.strip())
        except ValueError:
            raise bad_request(f"the header {header} cannot be read: {value[:40]!r}", f"{OURS}.{name}") from None
    return given


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "1")


_HEADER_TYPES: Mapping[str, Any] = {"budget": int, "seed": int, "deadline": float, "search": _switch}


def asked(kind: Kind, target: Target, body: Mapping[str, Any], longest: float) -> Asked:
    """What a request asks for. `longest` is the longest deadline. Raises RequestError, which names the wrong field."""
    fields = target.fields
    model: type[SearchChat] | type[SearchText] = SearchChat if kind == "chat" else SearchText
    checked: SearchChat | SearchText = validated_body(model, {**body, OURS: None})
    if fields.budget is not None and fields.budget > target.route.most_budget:
        raise bad_request(
            f"this route spends up to {target.route.most_budget} rollouts: ask for less", f"{OURS}.budget"
        )
    if isinstance(checked, SearchChat):
        messages = [message.plain for message in checked.messages]
        turns = tuple((message["role"], message["content"]) for message in messages[:-1])
        question = messages[-1]["content"]
    else:
        turns, question = (), str(checked.text)
    limit = getattr(checked, "max_completion_tokens", None) or checked.max_tokens
    sampling = {name: getattr(checked, name) for name in ("temperature", "top_p", "seed")}
    given = {name: value for name, value in sampling.items() if name in checked.model_fields_set}
    if {"max_tokens", "max_completion_tokens"} & checked.model_fields_set:
        given["max_tokens"] = limit
    ours = {name: getattr(fields, name) for name in ("strategy", "budget", "seed", "vote", "stop_early")}
    given |= {name: value for name, value in ours.items() if value is not None}
    return Asked(
        kind=kind,
        target=target,
        model=str(body.get("model") or target.name),
        turns=turns,
        question=question,
        search=given,
        n=checked.n,
        stops=checked.stop_strings,
        stream=checked.stream,
        include_usage=checked.stream_options is not None and checked.stream_options.include_usage,
        deadline=min(longest, fields.deadline or longest),
    )
