"""The contract of a policy: one step for each path, decided by the path's key and not by the rest of the batch."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rollwise.core import FloatArray, Path, PathKey, Policy, PolicySession, Problem, Sampling, Step, Stop, completed
from rollwise.errors import InputError
from rollwise.search import run_to_end
from rollwise.testing.contract import (
    ContractError,
    Results,
    check_parameters,
    check_results,
    check_usage,
    check_usage_grows,
    promised,
    require,
    require_same,
)


def check_policy(
    policy: Policy,
    problems: Sequence[Problem],
    sampling: Sampling | None = None,
    paths: int = 4,
    rounds: int = 3,
    keyed: bool = True,
) -> None:
    """Raise ContractError unless a policy keeps its contract on these problems.

    - `extend` returns one step for each path, in the order given. A step has its text, its tokens and the reason why it
      stopped, within the limits of the sampling.
    - Usage grows.
    - Copies of a grown path continue it, whether its cache was retained or dropped.
    - Sessions do not disturb each other, and a session that opens after another was closed starts afresh.
    - If `keyed`, a step is a function of (seed, question, path, depth): it is the same for every order and split of a
      batch and from `as_grown`, and it differs for another path or seed.

    Pass `keyed=False` for a server that accepts no seed. Pass a model in float64: with less precision, batches of
    other shapes may give other steps.
    """
    run_to_end(_check(policy, problems, sampling or Sampling(1.0), paths, rounds, keyed))


async def _check(
    policy: Policy, problems: Sequence[Problem], sampling: Sampling, paths: int, rounds: int, keyed: bool
) -> None:
    check_parameters(policy, "policy")
    alone = [await _search(policy, problem, sampling, paths, rounds) for problem in problems]
    if not keyed:
        return
    together = await asyncio.gather(*(_search(policy, problem, sampling, paths, rounds) for problem in problems))
    for steps, other in zip(alone, together, strict=True):
        promise = "a question's steps do not depend on the questions that are searched beside it"
        require_same(steps, other, _equal_steps, promise)
    for order in ("one by one", "in reverse"):
        for steps, problem in zip(alone, problems, strict=True):
            other = await _search(policy, problem, sampling, paths, rounds, order)
            promise = f"a step is decided by its path's key, in every batch: here {order}, with caches dropped"
            require_same(steps, other, _equal_steps, promise)
    other_seed = replace(sampling, seed=sampling.seed + 1)
    reseeded = [await _search(policy, problem, other_seed, paths, rounds) for problem in problems]
    if sampling.temperature > 0:
        _check_varied(alone, reseeded)


def _check_varied(searches: Sequence[Results], reseeded: Sequence[Results]) -> None:
    hint = "pass more paths or problems if the policy is nearly certain of its steps"
    require(
        any(len(texts) > 1 for steps in searches for texts in _texts_by_depth(steps).values()),
        "the path's key seeds its randomness: the paths of one question are different samples",
        f"all paths of each question were equal; {hint}",
    )
    require(
        [_texts(steps) for steps in searches] != [_texts(steps) for steps in reseeded],
        "the seed of the sampling decides the steps",
        f"another seed gave the same steps; {hint}",
    )


def _texts(steps: Results) -> dict[PathKey, str]:
    return {key: step.text for key, step in steps.items() if isinstance(step, Step)}


def _texts_by_depth(steps: Results) -> dict[int, set[str]]:
    texts: dict[int, set[str]] = {}
    for key, text in _texts(steps).items():
        texts.setdefault(len(key), set()).add(text)
    return texts


async def _search(
    policy: Policy, problem: Problem, sampling: Sampling, count: int, rounds: int, order: str = "at once"
) -> Results:
    """The steps of a small search by path key, from a new session.

    "at once" grows all paths of a round in one call and retains their caches. "one by one" and "in reverse" drop them.
    """
    with promised("open(problem, sampling) returns a session"):
        session = completed(policy.open(problem, sampling), PolicySession)
    try:
        await session.prepare()
        require(
            isinstance(session.room, int) and session.room > 0,
            "a session's `room` is the number of tokens that a solution may have",
            f"found {session.room!r}",
        )
        return await _rounds(session, sampling, count, rounds, order)
    finally:
        await session.close()


async def _rounds(session: PolicySession, sampling: Sampling, count: int, rounds: int, order: str) -> Results:
    require(await session.extend([]) == [], "extend of no paths returns no steps")
    waiting, steps = [Path((index,)) for index in range(count)], Results()
    for _ in range(rounds):
        new_steps = await _extended(session, waiting, sampling, order)
        steps |= new_steps
        grown = [path.grown(new_steps[path.key]) for path in waiting if isinstance(new_steps[path.key], Step)]
        unfinished = [path for path in grown if not path.ended and path.tokens < session.room]
        _check_hidden(session, unfinished)
        session.retain([path.key for path in unfinished] if order == "at once" else [])
        waiting = [path.copy(index) for path in unfinished[: count - 1] for index in range(2)][:count]
        if not waiting:
            break
    return steps


async def _extended(session: PolicySession, waiting: Sequence[Path], sampling: Sampling, order: str) -> Results:
    """The next step of each path by its key, checked. "in reverse" reads them from `as_grown` if the session has it."""
    batches = [[path] for path in waiting] if order == "one by one" else [list(waiting)]
    if order == "in reverse":
        batches = [list(reversed(waiting))]
    before, results = check_usage(session, "policy"), Results()
    for batch in batches:
        with promised("extend grows each path by one step"):
            as_grown = session.as_grown(batch) if order == "in reverse" else None
            returned = await (session.extend(batch) if as_grown is None else _collected(as_grown, batch))
        results |= check_results(returned, batch, Step, "extend")
    steps = [step for step in results.values() if isinstance(step, Step)]
    for step in steps:
        _check_step(step, min(sampling.max_step_tokens, session.room))
    after = check_usage(session, "policy")
    check_usage_grows(before, after)
    require(
        after.generated > before.generated or not steps,
        "usage counts the tokens that were generated",
        f"it stayed at {after.generated} while {len(steps)} steps grew",
    )
    return results


async def _collected(as_grown: AsyncGenerator[tuple[Path, Any], None], paths: Sequence[Path]) -> list[Any]:
    """The results that `as_grown` yields, in the order of the paths."""
    pairs = [(path.key, result) async for path, result in as_grown]
    require(
        sorted(key for key, _ in pairs) == sorted(path.key for path in paths),
        "as_grown yields each path once, with its result",
        f"it yielded {[key for key, _ in pairs]} for {[path.key for path in paths]}",
    )
    results = dict(pairs)
    return [results[path.key] for path in paths]


def _check_step(step: Step, limit: int) -> None:
    require(
        isinstance(step.text, str) and isinstance(step.stop, Stop),
        "a step has its text, and the reason why it stopped as a rollwise.core.Stop",
        f"found {step!r:.120}",
    )
    require(
        isinstance(step.tokens, int) and 1 <= step.tokens <= limit,
        f"a step has at least one token and at most {limit}, the limit of the sampling",
        f"found {step.tokens!r}",
    )
    require(
        math.isnan(step.logprob) or step.logprob <= 1e-6,
        "logprob is the sum of the tokens' log-probabilities, at most 0, or NaN if it is unknown",
        f"found {step.logprob!r}",
    )
    require(
        math.isnan(step.certainty) or step.certainty >= -1e-6,
        "certainty is at least 0, or NaN if it is unknown",
        f"found {step.certainty!r}",
    )


def _check_hidden(session: PolicySession, paths: Sequence[Path]) -> None:
    """Raise ContractError unless `hidden` returns vectors of one length, or raises an InputError."""
    states: list[FloatArray] = []
    try:
        for path in paths:
            states.append(session.hidden(path.key))
    except InputError:
        return
    except Exception as error:
        raise ContractError(
            "hidden(key) returns the hidden state of a path that just grew, or raises an InputError if the policy "
            f"shows none; it raised {type(error).__name__}: {error}"
        ) from error
    vectors = all(np.ndim(state) == 1 and np.all(np.isfinite(state)) for state in states)
    require(
        vectors and len({len(state) for state in states}) < 2,
        "hidden states are finite vectors, all of one length",
        f"found {states[:1]!r:.80}",
    )


def _equal_steps(step: Step, other: Step) -> bool:
    unknown = math.isnan(step.logprob), math.isnan(other.logprob)
    near = all(unknown) or (not any(unknown) and abs(step.logprob - other.logprob) < 1e-3)
    return near and (step.text, step.tokens, step.stop) == (other.text, other.tokens, other.stop)
