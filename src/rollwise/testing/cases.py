"""Paths to judge: problems of a world with the steps of its demonstrations, and keys as a search would give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from rollwise.core import Failure, FloatArray, Path, PathKey, Problem, Sampling, Step, Stop, Usage, World
from rollwise.errors import InputError
from rollwise.registry import find_world


@dataclass(frozen=True)
class Case:
    """A problem and grown paths of it, finished ones among them; each also stands for its prefixes."""

    problem: Problem
    paths: tuple[Path, ...]

    def rounds(self) -> list[list[Path]]:
        """The paths as they were after each step; a round leaves out those that had ended."""
        depth = max(len(path.steps) for path in self.paths)
        return [
            [Path(path.key[:size], path.steps[:size]) for path in self.paths if len(path.steps) >= size]
            for size in range(1, depth + 1)
        ]


def demonstrated(world: str | World = "countdown", problems: int = 2, paths: int = 3, seed: int = 0) -> list[Case]:
    """Cases, one a problem: a demonstration of it, steps of other problems as wrong solutions, and a fork of the first
    before its last step. Each step has a log-probability. Raises InputError for a world without demonstrations.
    """
    home = find_world(world) if isinstance(world, str) else world
    rng = np.random.default_rng(seed)
    cases = []
    for index in range(problems):
        level = home.levels[index % len(home.levels)]
        solutions = [
            home.demonstration(rng, level) if each % 2 == 0 else home.attempt(rng, level) for each in range(paths)
        ]
        problem = solutions[0][0]
        grown = [grown_path((each,), steps, home.separator) for each, (_, steps) in enumerate(solutions)]
        first, size = grown[0], max(1, len(grown[0].steps) - 1)
        fork = Path((*first.key[:size], *(1 for _ in first.steps[size:])), first.steps)
        cases.append(Case(problem, (*grown, *([fork] if fork.key != first.key else []))))
    return cases


def grown_path(root: PathKey, steps: Sequence[str], separator: str) -> Path:
    """A finished path of these steps: the first copy at every allocation."""
    last = len(steps) - 1
    return Path(
        (*root, *(0 for _ in steps[1:])),
        tuple(
            Step(
                text if index == last else text + separator,
                len(text.split()) + 1,
                Stop.END if index == last else Stop.STEP,
                logprob=-0.1 * len(text.split()) - 0.03 * (len(text) % 7),
            )
            for index, text in enumerate(steps)
        ),
    )


class NoPolicy:
    """A policy's session for direction finders that do not read the policy: all that is asked of it is refused."""

    usage = Usage()
    room = Sampling().max_tokens

    async def extend(self, paths: Sequence[Path]) -> list[Step | Failure]:
        """Raises InputError."""
        self._refuse()

    def hidden(self, key: PathKey) -> FloatArray:
        """Raises InputError."""
        self._refuse()

    def retain(self, keys: object) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing to give back."""

    def _refuse(self) -> NoReturn:
        raise InputError("this direction finder reads the policy: give check_directions a policy to grow the paths by")
