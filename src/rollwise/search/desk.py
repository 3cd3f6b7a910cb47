"""Asking a model about grown paths: together or as they come, and what becomes of the replies, whatever they are."""

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
    """What a model made of each path, by key, as `read` takes it: None stands for no such thing. Where the model breaks
    down, or says nothing that can be used, that costs these rollouts and not the question. Raises InputError where
    the model does: then every round would fail.
    """
    keys = [path.key for path in paths]
    try:
        results = list(await ask(paths))
    except InputError:
        raise
    except Exception as error:  # whatever a user's own model may raise
        return dict.fromkeys(keys, broken(error))
    if len(results) != len(keys):
        return dict.fromkeys(keys, Failure(f"the {role} returned {len(results)} results for {len(keys)} paths"))
    return {key: outcome(role, result, read) for key, result in zip(keys, results, strict=True)}


def broken(error: Exception) -> Failure:
    """What a path is lost by where a model broke down."""
    return Failure(f"{type(error).__name__}: {error}")


def outcome(role: str, result: Any, read: Callable[[Any], Result | None]) -> Result | Failure:
    """One result as `read` takes it; a Failure where it is one already, or nothing that can be used."""
    taken = result if isinstance(result, Failure) else read(result)
    return Failure(f"the {role} returned {repr(result)[:80]}") if taken is None else taken


def one_of(kind: type[Result]) -> Callable[[Any], Result | None]:
    """Takes what is of that kind."""
    return lambda result: result if isinstance(result, kind) else None


def judgement(result: Any) -> Judgement | None:
    """A finite number, also where an array's or a tensor's only entry is one, with its concentration where there is
    one; else None.
    """
    try:
        concentration = result.concentration if isinstance(result, Judgement) else math.nan
        return Judgement(float(result), concentration) if math.isfinite(result) else None
    except Exception:  # whatever a user's own type may raise
        return None


class Desk(Generic[Result]):
    """Where the grown paths of a round wait for a model. Each of `at_once` calls beside each other takes all that waits
    when it begins; with 0 nothing is asked before `all`, and that in one call. See `outcomes` for `role`, `ask` and
    `read`; `found` is what became of each path, `spans` from when to when it was asked about, by the clock.
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

    def put(self, path: Path) -> None:
        """One more path."""
        self._waiting.append(path)
        if sum(not call.done() for call in self._calls) < self.at_once:
            self._begin()

    def _begin(self) -> None:
        self._calls.append(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        while self._waiting:
            paths, self._waiting = self._waiting, []
            began = self.clock()
            self.found |= await outcomes(self.role, self.ask, paths, self.read)
            self.spans |= dict.fromkeys((path.key for path in paths), (began, self.clock()))

    async def all(self) -> None:
        """Wait for the last path to be done. Raises InputError where the model does."""
        if not self.at_once:
            self._begin()
        await asyncio.gather(*self._calls)

    async def close(self) -> None:
        """Cancel what still runs."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
