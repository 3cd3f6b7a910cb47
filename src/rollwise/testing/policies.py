"""What a policy promises: one step for each path, decided by the path's key and not by who else was asked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rollwise.core import FloatArray, Path, PathKey, Policy, PolicySession, Problem, Sampling, Step, Stop
from rollwise.errors import InputError
from rollwise.search import run_to_end
from rollwise.testing.contract import (
    ContractError,
    check_grows,
    check_parameters,
    check_results,
    check_usage,
    promised,
    require,
    same,
)

Grown = dict[PathKey, Any]


def check_policy(
    policy: Policy,
    problems: Sequence[Problem],
    sampling: Sampling | None = None,
    paths: int = 4,
    rounds: int = 3,
    keyed: bool = True,
) -> None:
    """Raises ContractError unless a policy keeps its contract on these problems.

    Results come in the order of the paths; steps are whole (text, tokens, why they stopped) and within the limits;
    usage grows; copies of a grown path go on from it, whether or not its cache was retained; sessions do not disturb
    each other; after `close` a new session starts afresh. With `keyed`, a step is a function of (seed, question, path,
    depth): equal for any order and split of a batch, and as `as_grown` tells it where there is one, other for another
    path or seed. Leave that out for servers that take no seed. Give a model in float64: in less, batches of other
    shapes may differ.
    """
    run_to_end(_check(policy, problems, sampling or Sampling(1.0), paths, rounds, keyed))


async def _check(
    policy: Policy, problems: Sequence[Problem], sampling: Sampling, paths: int, rounds: int, keyed: bool
) -> None:
    check_parameters(policy, "policy")
    alone = [await _grow(policy, problem, sampling, paths, rounds) for problem in problems]
    if not keyed:
        return
    together = await asyncio.gather(*(_grow(policy, problem, sampling, paths, rounds) for problem in problems))
    for one, other in zip(alone, together, strict=True):
        same(one, other, _equal_steps, "a question's steps do not depend on the questions that are searched beside it")
    for how in ("one by one", "in reverse"):
        for one, problem in zip(alone, problems, strict=True):
            other = await _grow(policy, problem, sampling, paths, rounds, how)
            promise = (
                f"a step is decided by its path's key, in whatever batch it is asked for: here {how}, caches dropped"
            )
            same(one, other, _equal_steps, promise)
    other_seed = replace(sampling, seed=sampling.seed + 1)
    reseeded = [await _grow(policy, problem, other_seed, paths, rounds) for problem in problems]
    if sampling.temperature > 0:
        _check_varied(alone, reseeded)


def _check_varied(grown: Sequence[Grown], reseeded: Sequence[Grown]) -> None:
    unsure = "give more paths or problems where the policy is all but certain of its steps"
    require(
        any(len(texts) > 1 for one in grown for texts in _texts_by_depth(one).values()),
        "the path's key seeds its randomness: paths of one question are other samples",
        f"all paths of each question were equal; {unsure}",
    )
    require(
        [_texts(one) for one in grown] != [_texts(one) for one in reseeded],
        "the seed of the sampling decides the steps",
        f"another seed gave the same steps; {unsure}",
    )


def _texts(grown: Grown) -> dict[PathKey, str]:
    return {key: step.text for key, step in grown.items() if isinstance(step, Step)}


def _texts_by_depth(grown: Grown) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for key, text in _texts(grown).items():
        found.setdefault(len(key), set()).add(text)
    return found


async def _grow(
    policy: Policy, problem: Problem, sampling: Sampling, count: int, rounds: int, how: str = "at once"
) -> Grown:
    """The steps of a small search, by key: all paths of a round at once and retained, or otherwise and dropped."""
    with promised("open(problem, sampling) gives a session"):
        session = policy.open(problem, sampling)
    try:
        if prepare := getattr(session, "prepare", None):
            await prepare()
        require(
            isinstance(session.room, int) and session.room > 0,
            "a session's `room` is how many tokens a solution may have",
            f"found {session.room!r}",
        )
        return await _rounds(session, sampling, count, rounds, how)
    finally:
        await session.close()


async def _rounds(session: PolicySession, sampling: Sampling, count: int, rounds: int, how: str) -> Grown:
    require(await session.extend([]) == [], "extend of no paths returns no steps")
    waiting, found = [Path((index,)) for index in range(count)], Grown()
    for _ in range(rounds):
        steps = await _extended(session, waiting, sampling, how)
        found |= steps
        grown = [path.grown(steps[path.key]) for path in waiting if isinstance(steps[path.key], Step)]
        going = [path for path in grown if not path.ended and path.tokens < session.room]
        _check_hidden(session, going)
        session.retain([path.key for path in going] if how == "at once" else [])
        waiting = [path.copy(index) for path in going[: count - 1] for index in range(2)][:count]
        if not waiting:
            break
    return found


async def _extended(session: PolicySession, waiting: Sequence[Path], sampling: Sampling, how: str) -> Grown:
    batches = [[path] for path in waiting] if how == "one by one" else [list(waiting)]
    if how == "in reverse":
        batches = [list(reversed(waiting))]
    before, found = check_usage(session, "policy"), Grown()
    as_grown = getattr(session, "as_grown", None) if how == "in reverse" else None
    for batch in batches:
        with promised("extend grows each path by one step"):
            results = await (_collected(as_grown, batch) if as_grown else session.extend(batch))
        found |= check_results(results, batch, Step, "extend")
    steps = [step for step in found.values() if isinstance(step, Step)]
    for step in steps:
        _check_step(step, min(sampling.max_step_tokens, session.room))
    after = check_usage(session, "policy")
    check_grows(before, after)
    require(
        after.generated > before.generated or not steps,
        "usage counts the tokens that were generated",
        f"it stayed at {after.generated} while {len(steps)} steps grew",
    )
    return found


async def _collected(as_grown: Callable[..., AsyncIterator[tuple[Path, Any]]], paths: Sequence[Path]) -> list[Any]:
    """What `as_grown` tells of each path, in the order of the paths."""
    told = [(path.key, result) async for path, result in as_grown(paths)]
    require(
        sorted(key for key, _ in told) == sorted(path.key for path in paths),
        "as_grown tells of each path once, with the path",
        f"it told of {[key for key, _ in told]} for {[path.key for path in paths]}",
    )
    return [dict(told)[path.key] for path in paths]


def _check_step(step: Step, limit: int) -> None:
    require(
        isinstance(step.text, str) and isinstance(step.stop, Stop),
        "a step has its text, and why it stopped as a rollwise.core.Stop",
        f"found {step!r:.120}",
    )
    require(
        isinstance(step.tokens, int) and 1 <= step.tokens <= limit,
        f"a step has at least one token and at most {limit}, as the sampling says",
        f"found {step.tokens!r}",
    )
    require(
        math.isnan(step.logprob) or step.logprob <= 1e-6,
        "logprob is the sum of the tokens' log-probabilities, at most 0, or NaN where that is unknown",
        f"found {step.logprob!r}",
    )
    require(
        math.isnan(step.certainty) or step.certainty >= -1e-6,
        "certainty is at least 0, or NaN where that is unknown",
        f"found {step.certainty!r}",
    )


def _check_hidden(session: PolicySession, paths: Sequence[Path]) -> None:
    """Hidden states of one length, or an InputError where there are none."""
    found: list[FloatArray] = []
    try:
        for path in paths:
            found.append(session.hidden(path.key))
    except InputError:
        return
    except Exception as error:
        raise ContractError(
            "hidden(key) is the hidden state of a path that just grew, or raises an InputError where the policy shows "
            f"none; it raised {type(error).__name__}: {error}"
        ) from error
    require(
        all(np.ndim(one) == 1 and np.all(np.isfinite(one)) for one in found) and len({len(one) for one in found}) < 2,
        "hidden states are finite vectors, all of one length",
        f"found {found[:1]!r:.80}",
    )


def _equal_steps(one: Step, other: Step) -> bool:
    near = math.isnan(one.logprob) == math.isnan(other.logprob) and (
        math.isnan(one.logprob) or abs(one.logprob - other.logprob) < 1e-3
    )
    return (one.text, one.tokens, one.stop) == (other.text, other.tokens, other.stop) and near
