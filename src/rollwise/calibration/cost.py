"""What completing the prefixes of many questions will cost, estimated from a few of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rollwise.calibration.questions import IN_FLIGHT, Completer
from rollwise.core import Path, Problem
from rollwise.errors import RollwiseError

MEASURED = 16
"""How many questions are sampled to estimate the cost of all."""


@dataclass(frozen=True)
class Cost:
    """What `questions` questions cost: generated tokens, steps that the policy was asked for, and seconds."""

    questions: int
    tokens: float
    steps: float
    seconds: float


@dataclass(frozen=True)
class Measured:
    """The plain samples of a few questions by the question's id, and what all questions will cost by their measure."""

    solutions: Mapping[str, Sequence[Path]]
    cost: Cost


def measure(completer: Completer, problems: Sequence[Problem]) -> Measured:
    """What completing the prefixes of `problems` will cost, from plain samples of up to MEASURED of them.

    A sample's own remaining tokens stand for those of each completion of its prefixes. The seconds are the tokens at
    the rate of the samples, and the seconds of the reward model. Raises the first error if no question can be sampled.
    """
    return asyncio.run(_measure(completer, problems))


async def _measure(completer: Completer, problems: Sequence[Problem]) -> Measured:
    places = [index * len(problems) // MEASURED for index in range(MEASURED)]
    chosen = [problems[place] for place in dict.fromkeys(places)]
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def sample(problem: Problem) -> list[Path] | RollwiseError:
        async with gate:
            try:
                return await completer.sample(problem)
            except RollwiseError as error:
                return error

    started = time.perf_counter()
    outcomes = await asyncio.gather(*map(sample, chosen))
    sampling = time.perf_counter() - started
    found = {problem: each for problem, each in zip(chosen, outcomes, strict=True) if isinstance(each, list)}
    if not found:
        raise next(each for each in outcomes if isinstance(each, RollwiseError))
    started = time.perf_counter()
    for problem, paths in found.items():
        await completer.score(problem, [path for group in completer.choose(problem, paths) for path in group])
    scoring = time.perf_counter() - started
    sampled = _Work.of(path for paths in found.values() for path in paths)
    work = [_work(completer, problem, paths) for problem, paths in found.items()]
    whole = _Work(sum(each.tokens for each in work), sum(each.steps for each in work))
    scale = len(problems) / len(found)
    seconds = (whole.tokens / sampled.tokens * sampling + scoring) * scale
    cost = Cost(len(problems), whole.tokens * scale, whole.steps * scale, seconds)
    return Measured({problem.id: paths for problem, paths in found.items()}, cost)


@dataclass(frozen=True)
class _Work:
    """Tokens that the policy generates, in so many steps."""

    tokens: int
    steps: int

    @classmethod
    def of(cls, paths: Iterable[Path]) -> _Work:
        grown = list(paths)
        return cls(sum(path.tokens for path in grown), sum(len(path.steps) for path in grown))


def _work(completer: Completer, problem: Problem, solutions: Sequence[Path]) -> _Work:
    """What a question takes: its plain samples, and for each completion of a prefix what its sample had left."""
    whole = _Work.of(solutions)
    chosen, _ = completer.choose(problem, solutions)
    wholes = [next(path for path in solutions if path.key[: len(prefix.key)] == prefix.key) for prefix in chosen]
    begun, ended = _Work.of(chosen), _Work.of(wholes)
    times = completer.plan.completions
    return _Work(
        whole.tokens + times * (ended.tokens - begun.tokens), whole.steps + times * (ended.steps - begun.steps)
    )
