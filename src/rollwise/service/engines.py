"""The parts of each route's rules, found once, and the search of one question with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

import numpy as np

from rollwise.core import Path, PathKey
from rollwise.engines import PLAIN, Shots, with_stops
from rollwise.engines.http import is_url
from rollwise.errors import InputError, RollwiseError
from rollwise.openai_format import RequestError, bad_request
from rollwise.registry import find_policy
from rollwise.search import Config, Event, Grown, OnRollouts, Parts, Round, Runner, Solution, find_parts
from rollwise.service.asked import Asked
from rollwise.service.settings import Route, Rule, Settings

Key = tuple[str, str, tuple[tuple[str, Any], ...], bool]
OnRound = Callable[[Round], None]
_CHOOSES_PARTS = ("strategy", "vote", "stop_early")
"""Fields of a request that need parts of their own; the others only change the config of parts at hand."""
_MOST_KEPT = 256
_WAIT = 5.0
"""Seconds after which a client may try a route again whose servers do not answer."""


@dataclass
class Engines:
    """The parts of all routes. They are found on first use, in a thread, and kept."""

    settings: Settings
    _kept: dict[Key, Parts] = field(default_factory=dict)
    _locks: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)
    """(route, rule) → why its parts could not be found at the last try."""

    async def parts(self, name: str, rule: Rule, asked: Asked | None = None) -> Parts:
        """The parts of a route's rule with what the request sets.

        Raises RequestError: 503 if a server of the route does not answer, 400 if the request's fields do not fit.
        """
        route = self.settings.routes[name]
        given = dict(asked.search) if asked else {}
        chosen = tuple(sorted((key, value) for key, value in given.items() if key in _CHOOSES_PARTS))
        raw = asked is not None and asked.kind == "text"
        base = await self._base(name, route, rule)
        parts = base if not chosen and not raw else await self._variant(name, route, rule, chosen, raw)
        rest = {key: value for key, value in given.items() if key not in _CHOOSES_PARTS}
        policy = with_stops(parts.policy, asked.stops) if asked and asked.stops else parts.policy
        return replace(parts, config=parts.config.model_copy(update=rest), policy=policy)

    async def _base(self, name: str, route: Route, rule: Rule) -> Parts:
        place = (name, rule.name)
        async with self._locks.setdefault(place, asyncio.Lock()):
            if (kept := self._kept.get((*place, (), False))) is not None:
                return kept
            try:
                parts = await asyncio.to_thread(find_parts, route.config(rule))
            except RollwiseError as error:
                self.broken[place] = str(error)
                raise RequestError(
                    HTTPStatus.SERVICE_UNAVAILABLE, f"the route {name} cannot search now: {error}", wait=_WAIT
                ) from None
            self.broken.pop(place, None)
            self._kept[*place, (), False] = parts
            return parts

    async def _variant(
        self, name: str, route: Route, rule: Rule, chosen: tuple[tuple[str, Any], ...], raw: bool
    ) -> Parts:
        """The parts of a rule with another strategy or vote; `raw` sends the prompt as it is."""
        key = (name, rule.name, chosen, raw)
        async with self._locks.setdefault((name, rule.name), asyncio.Lock()):
            if key not in self._kept:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept = {kept: parts for kept, parts in self._kept.items() if not kept[2]}
                try:
                    self._kept[key] = await asyncio.to_thread(_variant_parts, route.config(rule), dict(chosen), raw)
                except RollwiseError as error:
                    field_name = f"rollwise.{chosen[0][0]}" if chosen else "prompt"
                    raise bad_request(str(error), field_name) from None
            return self._kept[key]


def _variant_parts(config: Config, chosen: Mapping[str, Any], raw: bool) -> Parts:
    own = {name: getattr(config, name) for name in config.model_fields_set}
    options: dict[str, Any] = {"options": {}} if chosen.get("strategy", config.strategy) != config.strategy else {}
    parts = find_parts(Config.of(**own | options | dict(chosen)))
    if not raw or parts.problems.name != "text" or not isinstance(parts.config.policy, str):
        return parts
    settled = parts.config
    if not is_url(settled.policy) or settled.template is not None or settled.shots is not None:
        return parts
    policy = find_policy(
        settled.policy,
        settled.world or "",
        settled.dtype,
        step_rule=settled.step_rule,
        instruction=settled.instruction,
        concurrency=settled.concurrency,
        tokenizer=settled.tokenizer,
        template=PLAIN,
        shots=Shots("", "{question}"),
        stops=settled.stop,
    )
    return replace(parts, policy=policy)


async def search(
    parts: Parts, asked: Asked, on_round: OnRound | None, seconds: float, on_rollouts: OnRollouts | None = None
) -> Solution:
    """The solution of a request, after at most so many seconds. See `Runner.solve` for the calls.

    Raises RequestError: 400 if the question cannot be used, 502 if a model fails, 504 if no time is left.
    """
    if seconds <= 0:
        raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, "the deadline came while the request waited: give it more time")
    try:
        problem = asked.problem(parts.parse(asked.question))
        return await Runner(parts).solve(problem, on_round, seconds, on_rollouts)
    except InputError as error:
        raise bad_request(str(error), asked.field) from None
    except RollwiseError as error:
        raise RequestError(HTTPStatus.BAD_GATEWAY, str(error)) from None


def check_question(parts: Parts, asked: Asked) -> None:
    """Raise RequestError if the question does not fit the route's world."""
    try:
        parts.parse(asked.question)
    except InputError as error:
        raise bad_request(str(error), asked.field) from None


@dataclass(frozen=True)
class Written:
    """What a client gets of a solution: its text and why the text ends, "stop" or "length"."""

    text: str
    finish_reason: str
    steps: tuple[str, ...]


def written(solution: Solution) -> Written:
    """The text of the winning path; if no path answered, of the path with the highest reward that there is.

    Raises RequestError with status 502 if every rollout failed.
    """
    winner = next((path for path in _by_reward(solution) if path.text == solution.text), None)
    best = winner or next(iter(_by_reward(solution)), None) or _longest_open(solution.events)
    if best is None and solution.failures:
        raise RequestError(HTTPStatus.BAD_GATEWAY, f"every rollout failed, the first so: {solution.failures[0]}")
    if best is None:
        raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, "the deadline came before the first step: give it more time")
    return Written(best.text, "stop" if best.ended else "length", tuple(step.text for step in best.steps))


def _by_reward(solution: Solution) -> list[Path]:
    """The finished paths, the highest last reward first."""
    return sorted(solution.finished, key=lambda path: -path.rewards[-1])


def _longest_open(events: tuple[Event, ...]) -> Path | None:
    """The path of the last round with the highest reward, put together from events; None if nothing grew."""
    grown = {event.path: event for event in events if isinstance(event, Grown)}
    if not grown:
        return None
    last = max(event.round for event in grown.values())
    best = max((event for event in grown.values() if event.round == last), key=lambda event: event.reward)
    return _path(grown, best.path)


def _path(grown: Mapping[PathKey, Grown], key: PathKey) -> Path:
    steps = [grown[key[:length]] for length in range(1, len(key) + 1) if key[:length] in grown]
    return Path(key, tuple(event.step for event in steps), tuple(event.reward for event in steps))


def confidence(solution: Solution, parts: Parts) -> float | None:
    """The chance that the answer is right: 1 or 0 if it was verified, else what a belief says of the winning path.

    None if nothing says what the reward of a finished solution is worth.
    """
    if solution.answer is None:
        return 0.0 if solution.vote == "verified" and solution.finished else None
    if solution.vote == "verified":
        return 1.0
    winner = next((path for path in _by_reward(solution) if path.text == solution.text), None)
    if parts.ended is None or winner is None:
        return None
    return round(float(parts.ended.chances(np.array([winner.rewards[-1]]))[0]), 6)
