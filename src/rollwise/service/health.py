"""Whether the servers behind the routes answer, looked at in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from rollwise.engines.http import addresses, is_url, redacted
from rollwise.errors import InputError
from rollwise.search import Config
from rollwise.service.settings import Settings

_TIMEOUT = 3.0
_MISSES = 2
"""Looks in a row that find no server, after which it counts as down."""


@dataclass
class Seen:
    """What the latest looks at a server showed."""

    up: bool = True
    misses: int = 0
    reason: str | None = None
    since: float = field(default_factory=time.time)


@dataclass
class Health:
    """The servers of all routes by URL. `watch` looks at each every few seconds."""

    settings: Settings
    seen: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, route in self.settings.routes.items():
            for rule in route.ladder:
                for url in self.servers(name, rule.name).values():
                    self.seen.setdefault(url, Seen())

    def servers(self, name: str, rule_name: str) -> dict[str, str]:
        """The servers that a rule of a route needs: role, with a number if there are several → URL."""
        route = self.settings.routes[name]
        rule = route.rule(rule_name)
        if rule.search is None:
            return {"upstream": route.forwards_to or ""}
        return servers_of(route.config(rule))

    def down(self, name: str, rule_name: str) -> list[str]:
        """The servers of a rule that are down, as `role URL: reason`."""
        servers = self.servers(name, rule_name).items()
        return [f"{role} {url}: {self.seen[url].reason}" for role, url in servers if not self.seen[url].up]

    def as_dict(self) -> dict[str, Any]:
        """The servers by URL with their state."""
        return {
            url: {"up": seen.up, "since": round(seen.since, 3), **({"reason": seen.reason} if seen.reason else {})}
            for url, seen in self.seen.items()
        }

    async def watch(self, after: Callable[[], None]) -> None:
        """Look at all servers for ever; call `after` each time."""
        fresh = httpx.Limits(max_keepalive_connections=0)  # a kept connection may outlive the server that listens
        async with httpx.AsyncClient(timeout=_TIMEOUT, limits=fresh, trust_env=False) as client:
            while True:
                await asyncio.gather(*(self._look(client, url) for url in self.seen))
                after()
                await asyncio.sleep(self.settings.probe)

    async def _look(self, client: httpx.AsyncClient, url: str) -> None:
        try:
            reply = await client.get(f"{url}/health")
            reason = f"it answers {reply.status_code}" if reply.status_code >= 500 else None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = redacted(f"{type(error).__name__}: {error}".rstrip(": "))
        seen = self.seen[url]
        seen.misses = 0 if reason is None else seen.misses + 1
        up = seen.misses < _MISSES
        if up != seen.up:
            seen.up, seen.since = up, time.time()
        seen.reason = reason


def servers_of(config: Config) -> dict[str, str]:
    """The servers that a config names: role → URL."""
    given: Mapping[str, Any] = {
        "policy": config.policy,
        "reward": str(config.reward or "").partition("@")[2],
        "embedder": config.directions,
    }
    found: dict[str, str] = {}
    for role, urls in given.items():
        if is_url(urls):
            try:
                places = addresses(urls)
            except InputError:  # found again, with its message, when the parts are
                continue
            names = [role] if len(places) == 1 else [f"{role} {index}" for index in range(1, len(places) + 1)]
            found |= {name: place.url for name, place in zip(names, places, strict=True)}
    return found
