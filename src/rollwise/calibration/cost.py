"""What completing the prefixes of many questions will cost, estimated from a few of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rollwise.calibration.prefixes import Prefix
from rollwise.calibration.questions import Answered, Asked, Completer
from rollwise.calibration.rollouts import Do
from rollwise.core import Path, Problem

SAMPLED = 16
"""How many questions are sampled to estimate how much work all are."""
TIMED = 4
"""Of how many of these the prefixes are completed to estimate how fast the work goes."""


@dataclass(frozen=True)
class Cost:
    """What `questions` questions cost: generated tokens, steps that the policy was asked for, and seconds."""

    questions: int
    tokens: float
    steps: float
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What all questions will cost, and what was made to find out: plain samples and prefixes, by the question's id."""

    solutions: Mapping[str, Sequence[Path]]
    prefixes: Mapping[str, Sequence[Prefix]]
    cost: Cost


def measure(
    completer: Completer,
    problems: Sequence[Problem],
    do: Do[Asked, Answered],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """What completing the prefixes of `problems` will cost, from plain samples of up to SAMPLED of them.

    A sample's own remaining tokens stand for those of each completion of its prefixes. The seconds are the tokens at
    the rate at which TIMED questions are then completed, scored and graded at the same time. `do` lets completers like
    this one work on questions. `progress` gets how many of the questions are sampled, and of how many. Raises the first
    error if no question can be sampled.
    """
    places = [index * len(problems) // SAMPLED for index in range(SAMPLED)]
    chosen = [problems[place] for place in dict.fromkeys(places)]
    sampled = _all(completer, [Asked(problem, only_sample=True) for problem in chosen], do, progress)
    found = {each: sampled[each].solutions or () for each in chosen if sampled[each].error is None}
    if not found:
        raise next(iter(sampled.values())).failure()
    timed = _all(completer, [Asked(problem, solutions=found[problem]) for problem in list(found)[:TIMED]], do)
    for each in timed.values():
        if each.error is not None:
            raise each.failure()
    seconds_each = max(each.seconds for each in timed.values()) / max(1, sum(each.generated for each in timed.values()))
    work = [_work(completer, problem, paths) for problem, paths in found.items()]
    whole = _Work(sum(each.tokens for each in work), sum(each.steps for each in work))
    scale = len(problems) / len(found)
    cost = Cost(len(problems), whole.tokens * scale, whole.steps * scale, whole.tokens * scale * seconds_each)
    solutions = {problem.id: paths for problem, paths in found.items()}
    return Measured(solutions, {problem.id: each.prefixes or () for problem, each in timed.items()}, cost)


def _all(
    completer: Completer,
    asked: Sequence[Asked],
    do: Do[Asked, Answered],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Problem, Answered]:
    """What came of each question, in the order in which it was done."""
    over: dict[Problem, Answered] = {}

    def take(each: Asked, answered: Answered) -> None:
        completer.take(answered)
        over[each.problem] = answered
        progress(len(over), len(asked))

    do(asked, take)
    return over


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
