"""Paths to judge: problems of a world, with the steps of its demonstrations and the keys that a search would assign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from rollwise.core import Failure, FloatArray, Path, PathKey, PolicySession, Problem, Sampling, Step, Stop, Usage, World
from rollwise.errors import InputError
from rollwise.registry import find_world


@dataclass(frozen=True)
class Case:
    """A problem and some of its paths, at least one of them finished. Each path also stands for its prefixes."""

    problem: Problem
    paths: tuple[Path, ...]

    def rounds(self) -> list[list[Path]]:
        """The paths as they were after each step. A round leaves out the paths that had ended before."""
        depth = max(len(path.steps) for path in self.paths)
        return [
            [Path(path.key[:size], path.steps[:size]) for path in self.paths if len(path.steps) >= size]
            for size in range(1, depth + 1)
        ]


def demonstration_cases(
    world: str | World = "countdown", problems: int = 2, paths: int = 3, seed: int = 0
) -> list[Case]:
    """Cases for `problems` problems of a world, each with `paths` solutions and a fork of the first.

    The first solution is a demonstration of the problem. The others are demonstrations and attempts of other problems,
    so they are wrong here. The fork leaves the first solution before its last step. Each step has a log-probability.
    Raises InputError for a world without demonstrations.
    """
    home = find_world(world) if isinstance(world, str) else world
    rng = np.random.default_rng(seed)
    return [_case(home, home.levels[index % len(home.levels)], paths, rng) for index in range(problems)]


def _case(world: World, level: int, paths: int, rng: np.random.Generator) -> Case:
    solutions = [
        world.demonstration(rng, level) if root % 2 == 0 else world.attempt(rng, level) for root in range(paths)
    ]
    problem = solutions[0][0]
    grown = [grown_path((root,), steps, world.separator) for root, (_, steps) in enumerate(solutions)]
    first = grown[0]
    shared_steps = max(1, len(first.steps) - 1)
    fork = Path((*first.key[:shared_steps], *(1 for _ in first.steps[shared_steps:])), first.steps)
    return Case(problem, (*grown, *([fork] if fork.key != first.key else [])))


def grown_path(root: PathKey, steps: Sequence[str], separator: str) -> Path:
    """A finished path with these steps: the first copy at every allocation."""
    last = len(steps) - 1

    def step(index: int, text: str) -> Step:
        words = len(text.split())
        logprob = -0.1 * words - 0.03 * (len(text) % 7)
        ended = index == last
        return Step(text if ended else text + separator, words + 1, Stop.END if ended else Stop.STEP, logprob=logprob)

    return Path((*root, *(0 for _ in steps[1:])), tuple(step(index, text) for index, text in enumerate(steps)))


class NoPolicy(PolicySession):
    """The policy session for direction finders that do not read the policy: it refuses every use."""

    usage = Usage()
    room = Sampling().max_tokens

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """Raises InputError."""
        self._refuse()

    def hidden(self, key: PathKey) -> FloatArray:
        """Raises InputError."""
        self._refuse()

    def retain(self, keys: object) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """Does nothing."""

    def _refuse(self) -> NoReturn:
        raise InputError("this direction finder reads the policy: give check_directions a policy that grows the paths")
