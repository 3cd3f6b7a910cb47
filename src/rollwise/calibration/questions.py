"""Completed prefixes of any policy on questions whose gold answers are known, scored as they are grown.

Nothing has to be known about partial solutions: a completion is right if its answer is.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from rollwise.answers import Grader, read_answers
from rollwise.calibration.prefixes import Prefix, identity
from rollwise.calibration.rollouts import Do, collect_lines, grow
from rollwise.calibration.scoring import score_paths
from rollwise.core import (
    Failure,
    Judgement,
    Path,
    PathKey,
    Policy,
    PolicySession,
    Problem,
    RewardModel,
    Sampling,
    Usage,
    completed,
)
from rollwise.errors import EngineError, InputError, RollwiseError
from rollwise.numerics import keyed_generator

IN_FLIGHT = 8
"""How many questions are worked on at the same time."""
MOST_UNASKED = 8
"""After as many questions that could not be asked, something is wrong with the policy and not with the question."""


@dataclass(frozen=True)
class Plan:
    """What each question gets: `paths` plain samples, up to `points` prefixes of each, `completions` of each prefix."""

    paths: int = 8
    points: int = 2
    completions: int = 8


@dataclass(frozen=True)
class Asked:
    """A question to work on: only to sample, or to complete its prefixes, of its samples if these are known."""

    problem: Problem
    only_sample: bool = False
    solutions: Sequence[Path] | None = None


@dataclass(frozen=True)
class Answered:
    """What came of a question: its samples or its prefixes, or why it could not be asked.

    `unfit` says that the question or the settings are at fault, and not the policy. `broken` holds what the grader
    raised. The question took `seconds` and the tokens in `generated`.
    """

    solutions: Sequence[Path] | None = None
    prefixes: Sequence[Prefix] | None = None
    error: str | None = None
    unfit: bool = False
    broken: tuple[str, ...] = ()
    generated: int = 0
    seconds: float = 0.0

    def failure(self) -> RollwiseError:
        """The error to raise."""
        return (InputError if self.unfit else EngineError)(self.error or "")


@dataclass(frozen=True)
class Completer:
    """Completes prefixes of questions.

    A path ends at its end of text, after `longest` steps, or at the tokens that `sampling` allows. `form` is the form
    in which answers are read (see `rollwise.answers.FORMS`). `broken` collects what the grader raised; such an answer
    counts as wrong. `unasked` says of questions that could not be asked why, by their id.
    `usage` counts the generated tokens.
    """

    policy: Policy
    reward: RewardModel
    grader: Grader
    sampling: Sampling
    longest: int
    plan: Plan
    form: str = "auto"
    broken: list[str] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    async def answer(self, asked: Asked) -> Answered:
        """What comes of a question. Nothing is counted in this completer: `take` does that, perhaps elsewhere."""
        own, started = replace(self, broken=[], usage=Usage()), time.perf_counter()
        solutions, prefixes, failure = None, None, None
        try:
            if asked.only_sample:
                solutions = await own.sample(asked.problem)
            else:
                prefixes = await own.complete(asked.problem, asked.solutions)
        except (InputError, EngineError) as error:
            failure = error
        return Answered(
            solutions=solutions,
            prefixes=prefixes,
            error=None if failure is None else str(failure),
            unfit=isinstance(failure, InputError),
            broken=tuple(own.broken),
            generated=own.usage.generated,
            seconds=time.perf_counter() - started,
        )

    def take(self, answered: Answered) -> None:
        """Count what came of a question."""
        self.broken.extend(answered.broken)
        self.usage.generated += answered.generated

    async def sample(self, problem: Problem) -> list[Path]:
        """Plain samples of a question. Raises EngineError if none came back."""
        async with self._session(problem) as session:
            return await self._sample(session, problem)

    async def complete(self, problem: Problem, solutions: Sequence[Path] | None = None) -> list[Prefix]:
        """The prefixes of a question with how often their completions ended right, and the finished solutions.

        Each has its reward; one that the reward model fails on is left out, as is a prefix of which no completion came
        back. `solutions` are the plain samples, if they are known already. Raises EngineError if no sample came back.
        """
        async with self._session(problem) as session:
            if solutions is None:
                solutions = await self._sample(session, problem)
            chosen, finished = self.choose(problem, solutions)
            starts = {
                start.key: (prefix, start)
                for prefix in chosen
                for start in map(prefix.copy, range(1, 1 + self.plan.completions))
            }
            ends, _ = await grow(
                session,
                [start for _, start in starts.values()],
                min(self.sampling.max_tokens, session.room),
                self.longest,
            )
        rewards = await self.score(problem, [*chosen, *finished])
        right = await asyncio.to_thread(self._right, problem, [*ends, *finished])
        outcomes: dict[PathKey, list[Path]] = {path.key: [path] for path in finished}
        for path in ends:
            start = next(path.key[:size] for size in range(1, 1 + len(path.key)) if path.key[:size] in starts)
            outcomes.setdefault(starts[start][0].key, []).append(path)
        sizes = Counter(identity(prefix) for path in solutions for prefix in prefixes_of(path))
        return [
            Prefix(
                steps=tuple(step.text for step in prefix.steps),
                size=sizes[identity(prefix)],
                right=sum(path.key in right for path in outcomes[prefix.key]),
                completions=len(outcomes[prefix.key]),
                ended=prefix.ended,
                reward=float(reward),
            )
            for prefix, reward in zip([*chosen, *finished], rewards, strict=True)
            if prefix.key in outcomes and not isinstance(reward, Failure)
        ]

    def choose(self, problem: Problem, solutions: Sequence[Path]) -> tuple[list[Path], list[Path]]:
        """The distinct prefixes to complete and the distinct finished solutions.

        Of each path `points` unfinished prefixes are taken, at depths drawn evenly.
        """
        chosen = []
        for path in solutions:
            unfinished = prefixes_of(path)[:-1]
            draw = keyed_generator(self.sampling.seed, problem.id, path.key, "points")
            places = draw.choice(len(unfinished), min(self.plan.points, len(unfinished)), replace=False)
            chosen += [unfinished[place] for place in sorted(places)]
        return _distinct(chosen), _distinct([path for path in solutions if path.ended])

    async def score(self, problem: Problem, paths: Sequence[Path]) -> list[float | Judgement | Failure]:
        """The reward after each path's last step, in the order given."""
        return await score_paths(self.reward, problem, paths, self.sampling.seed)

    @asynccontextmanager
    async def _session(self, problem: Problem) -> AsyncIterator[PolicySession]:
        session = completed(self.policy.open(problem, self.sampling), PolicySession)
        try:
            await session.prepare()
            yield session
        finally:
            await session.close()
            self.usage.generated += session.usage.generated

    async def _sample(self, session: PolicySession, problem: Problem) -> list[Path]:
        roots = [Path((index,)) for index in range(self.plan.paths)]
        solutions, failures = await grow(session, roots, min(self.sampling.max_tokens, session.room), self.longest)
        if not solutions:
            raise EngineError(f"no rollout of the question {problem.id} came back, the first: {failures[0].reason}")
        return solutions

    def _right(self, problem: Problem, paths: Sequence[Path]) -> set[PathKey]:
        """The keys of the paths whose answer is right."""
        answers = read_answers(paths, self.form).answers
        graded = {answer: self._grade(problem, answer) for answer in set(answers)}
        return {path.key for path, answer in zip(paths, answers, strict=True) if graded[answer]}

    def _grade(self, problem: Problem, answer: str | None) -> bool:
        try:
            return answer is not None and self.grader.right(problem.answer or "", answer)
        except RollwiseError as error:
            self.broken.append(str(error))
            return False


def _distinct(paths: Sequence[Path]) -> list[Path]:
    return list({identity(path): path for path in paths}.values())


def prefixes_of(path: Path) -> list[Path]:
    """The prefixes of a path after each of its steps, itself last."""
    return [Path(path.key[:depth], path.steps[:depth]) for depth in range(1, len(path.steps) + 1)]


def collect_scored_prefixes(
    completer: Completer,
    problems: Sequence[Problem],
    source: Mapping[str, Any],
    file: FilePath,
    progress: Callable[[int, int], None],
    do: Do[Asked, Answered],
    solutions: Mapping[str, Sequence[Path]] | None = None,
    known: Mapping[str, Sequence[Prefix]] | None = None,
) -> None:
    """Write the scored prefixes of every question to `file`. A stopped run continues if it is started again.

    `source` holds what decides them beside the questions. `do` lets completers like this one work on questions.
    `solutions` are plain samples and `known` are prefixes that are known already, by the problem's id. Raises
    InputError if the file holds prefixes that were made otherwise.
    """

    def make(missing: Iterable[Problem], write: Callable[[Problem, Sequence[Prefix] | None], None]) -> None:
        waiting = []
        for problem in missing:
            if known and problem.id in known:
                write(problem, known[problem.id])
            else:
                waiting.append(Asked(problem, solutions=(solutions or {}).get(problem.id)))

        def take(asked: Asked, answered: Answered) -> None:
            completer.take(answered)
            if answered.error is not None:
                _note_unasked(completer, asked.problem, answered.error)
            write(asked.problem, answered.prefixes)

        do(waiting, take)

    collect_lines(problems, make, "prefixes", source, file, progress)


def _note_unasked(completer: Completer, problem: Problem, why: str) -> None:
    """Note that a question could not be asked. Raises EngineError if there are too many of them."""
    completer.unasked[problem.id] = why
    if len(completer.unasked) >= MOST_UNASKED:
        raise EngineError(
            f"questions that could not be asked: {len(completer.unasked)}, the first: "
            f"{next(iter(completer.unasked.values()))}; the same command goes on"
        )
