"""Asks a reward model or a direction finder about grown paths, together or as they come, and checks every reply."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from rollwise.core import Failure, Judgement, Path, PathKey
from rollwise.errors import InputError
from rollwise.search.events import Span

Result = TypeVar("Result")
Clock = Callable[[], float]


async def outcomes(
    role: str,
    ask: Callable[[Sequence[Path]], Awaitable[Sequence[Any]]],
    paths: Sequence[Path],
    read: Callable[[Any], Result | None],
) -> dict[PathKey, Result | Failure]:
    """A model's result for each path, by key.

    `read` returns a usable result, or None. An exception of the model or an unusable result costs these rollouts, not
    the question. Raises InputError if the model does, because then every round would fail.
    """
    keys = [path.key for path in paths]
    try:
        results = list(await ask(paths))
    except InputError:
        raise
    except Exception as error:  # a user's model may raise anything
        return dict.fromkeys(keys, broken(error))
    if len(results) != len(keys):
        return dict.fromkeys(keys, Failure(f"the {role} returned {len(results)} results for {len(keys)} paths"))
    return {key: outcome(role, result, read) for key, result in zip(keys, results, strict=True)}


def broken(error: Exception) -> Failure:
    """The Failure recorded when a model raises."""
    return Failure(f"{type(error).__name__}: {error}")


def outcome(role: str, result: Any, read: Callable[[Any], Result | None]) -> Result | Failure:
    """One result as `read` returns it; a Failure if the result is one already or cannot be used."""
    taken = result if isinstance(result, Failure) else read(result)
    return Failure(f"the {role} returned {repr(result)[:80]}") if taken is None else taken


def instance_of(kind: type[Result]) -> Callable[[Any], Result | None]:
    """A reader that accepts results of that type."""
    return lambda result: result if isinstance(result, kind) else None


def judgement(result: Any) -> Judgement | None:
    """A finite number, or the only entry of an array or a tensor, with the concentration that it carries; else None."""
    try:
        concentration = result.concentration if isinstance(result, Judgement) else math.nan
        return Judgement(float(result), concentration) if math.isfinite(result) else None
    except Exception:  # a user's type may raise anything
        return None


class Desk(Generic[Result]):
    """Where the grown paths of a round wait for a model.

    Up to `at_once` concurrent calls each take all paths that wait when they begin; with 0, `all` sends every path in
    one call. See `outcomes` for `role`, `ask` and `read`. `found` holds each path's result, `spans` the start and end
    of its call by the clock.
    """

    def __init__(
        self,
        role: str,
        ask: Callable[[Sequence[Path]], Awaitable[Sequence[Any]]],
        read: Callable[[Any], Result | None],
        clock: Clock,
        at_once: int = 0,
    ) -> None:
        self.role, self.ask, self.read, self.clock, self.at_once = role, ask, read, clock, at_once
        self.spans: dict[PathKey, Span] = {}
        self.found: dict[PathKey, Result | Failure] = {}
        self._waiting: list[Path] = []
        self._calls: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    def put(self, path: Path) -> None:
        """Add a path."""
        self._waiting.append(path)
        if sum(not call.done() for call in self._calls) < self.at_once:
            self._begin()

    def _begin(self) -> None:
        self._calls = [call for call in self._calls if not call.done() or call.exception() is not None]
        self._calls.append(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        while self._waiting:
            paths, self._waiting = self._waiting, []
            began = self.clock()
            try:
                self.found |= await outcomes(self.role, self.ask, paths, self.read)
                self.spans |= dict.fromkeys((path.key for path in paths), (began, self.clock()))
            finally:
                self._news.set()
                self._news = asyncio.Event()

    async def of(self, path: Path) -> Result | Failure:
        """Add a path and wait for its result. It needs `at_once` above 0. Raises InputError if the model does."""
        self.put(path)
        while path.key not in self.found:
            await self._news.wait()
            for call in self._calls:
                if call.done():
                    call.result()
        return self.found[path.key]

    async def all(self) -> None:
        """Wait until every path has its result. Raises InputError if the model does."""
        if not self.at_once:
            self._begin()
        await asyncio.gather(*self._calls)

    async def close(self) -> None:
        """Cancel what still runs."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
