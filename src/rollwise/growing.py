"""One round of a search: what is asked of the models, and what becomes of the replies, whatever they are."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from rollwise.core import (
    DirectionSession,
    Evidence,
    Failure,
    Judgement,
    Path,
    PathKey,
    PolicySession,
    RewardSession,
    Step,
)
from rollwise.errors import InputError
from rollwise.search import Growth, Search

Result = TypeVar("Result")


async def grow(search: Search, policy: PolicySession, reward: RewardSession, finder: DirectionSession | None) -> None:
    """One round: grow every waiting path, score what grew, find directions among those that go on, tell the search."""
    waiting = search.ask()
    grown: list[Path] = []
    steps = await _outcomes("policy", policy.extend, waiting, _one_of(Step))
    for path in waiting:
        step = steps[path.key]
        if isinstance(step, Step):
            grown.append(path.grown(step))
        else:
            search.tell(path.key, step)
    scores = await _outcomes("reward model", reward.score, grown, _judgement)
    going = [path for path in grown if not path.ended]
    found = await _outcomes("direction finder", finder.find, going, _one_of(Evidence)) if finder else {}
    for path in grown:
        score, evidence = scores[path.key], found.get(path.key, Evidence())
        if isinstance(score, Failure):
            search.tell(path.key, score)
        elif isinstance(evidence, Failure):
            search.tell(path.key, evidence)
        else:
            search.tell(path.key, Growth(path.steps[-1], score.reward, evidence, score.concentration))
    parents = {path.key[:-1] for path in search.ask()}
    policy.retain(parents)
    reward.retain(parents)


async def _outcomes(
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
        return dict.fromkeys(keys, Failure(f"{type(error).__name__}: {error}"))
    if len(results) != len(keys):
        return dict.fromkeys(keys, Failure(f"the {role} returned {len(results)} results for {len(keys)} paths"))
    return {key: _outcome(role, result, read) for key, result in zip(keys, results, strict=True)}


def _outcome(role: str, result: Any, read: Callable[[Any], Result | None]) -> Result | Failure:
    """One result as `read` takes it; a Failure where it is one already, or nothing that can be used."""
    taken = result if isinstance(result, Failure) else read(result)
    return Failure(f"the {role} returned {repr(result)[:80]}") if taken is None else taken


def _one_of(kind: type[Result]) -> Callable[[Any], Result | None]:
    """Takes what is of that kind."""
    return lambda result: result if isinstance(result, kind) else None


def _judgement(result: Any) -> Judgement | None:
    """A finite number, also where an array's or a tensor's only entry is one, with its concentration where there is
    one; else None.
    """
    try:
        concentration = result.concentration if isinstance(result, Judgement) else math.nan
        return Judgement(float(result), concentration) if math.isfinite(result) else None
    except Exception:  # whatever a user's own type may raise
        return None
