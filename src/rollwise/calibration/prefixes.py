"""Prefixes of a policy's solutions with fresh completions of each: what a partial solution is truly worth.

Kept as JSON lines, one a problem. A file may come from any model and any checker, as long as it holds these fields.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path as FilePath
from typing import Any

from rollwise.answers import on_course
from rollwise.calibration.rollouts import collect_lines, grow_to_end, load_lines, load_source, sample_solutions
from rollwise.core import Path, Policy, Problem, Sampling, World, whole_steps
from rollwise.errors import InputError


@dataclass(frozen=True)
class Prefix:
    """A partial solution: its steps as generated; `size`, how many of the sampled paths stood at it; of `completions`
    fresh completions how many ended right; its true state; whether all its steps are valid; whether a right answer is
    still within reach. One that `ended` is its own only completion. `reward` is what a reward model said of it, if one
    was asked.
    """

    steps: tuple[str, ...]
    size: int
    right: int
    completions: int
    state: str
    valid: bool
    reachable: bool
    ended: bool = False
    reward: float | None = None

    @property
    def worth(self) -> float:
        """The share of its completions that ended right."""
        return self.right / self.completions

    @property
    def depth(self) -> int:
        """How many steps it has."""
        return len(self.steps)


async def complete_prefixes(
    world: World, policy: Policy, problem: Problem, paths: int, completions: int, sampling: Sampling
) -> list[Prefix]:
    """The distinct prefixes of `paths` plain samples of a problem, each unfinished one completed `completions` times.

    A completion descends from copies 1, 2, … of its prefix and a plain sample from copy 0, so that all are independent.
    """
    solutions = await sample_solutions(policy, problem, paths, sampling, world.curriculum.longest)
    prefixes = [
        Path(path.key[:depth], path.steps[:depth]) for path in solutions for depth in range(1, len(path.steps) + 1)
    ]
    sizes = Counter(map(_identity, prefixes))
    distinct = {_identity(prefix): prefix for prefix in reversed(prefixes)}

    async def completed(prefix: Path) -> Prefix:
        ends = [prefix]
        if not prefix.ended:
            starts = [prefix.copy(1 + index) for index in range(completions)]
            ends = await grow_to_end(policy, problem, starts, sampling, world.curriculum.longest)
        steps = whole_steps(prefix.text, world.separator, prefix.ended)
        return Prefix(
            steps=tuple(step.text for step in prefix.steps),
            size=sizes[_identity(prefix)],
            right=sum(path.ended and on_course(world, problem, path) for path in ends),
            completions=1 if prefix.ended else completions,
            state=repr(world.state(problem, steps)),
            valid=world.step_is_valid(problem, steps),
            reachable=on_course(world, problem, prefix),
            ended=prefix.ended,
        )

    return list(await asyncio.gather(*map(completed, distinct.values())))


def _identity(path: Path) -> tuple[tuple[str, ...], bool]:
    return tuple(step.text for step in path.steps), path.ended


def collect_prefixes(
    world: World,
    policy: Policy,
    problems: Sequence[Problem],
    paths: int,
    completions: int,
    sampling: Sampling,
    file: FilePath,
    progress: Callable[[int, int], None],
    name: str = "",
) -> None:
    """Write the completed prefixes of every problem to `file`; a stopped run goes on where it was.

    `name` is the policy's. Raises InputError where the file holds prefixes that were made otherwise.
    """

    async def made(problem: Problem) -> list[Prefix]:
        return await complete_prefixes(world, policy, problem, paths, completions, sampling)

    source = {"world": world.name, "policy": name, "paths": paths, "completions": completions, **asdict(sampling)}
    collect_lines(problems, made, "prefixes", source, file, progress)


def load_prefixes(file: FilePath) -> Iterator[tuple[Problem, list[Prefix]]]:
    """The problems of a file with their prefixes. Raises InputError where fields are missing or numbers amiss."""
    known = {field.name for field in fields(Prefix)} - {"reward"}
    for problem, records in load_lines(file, "prefixes"):
        if any(set(record) - {"reward"} != known for record in records):
            raise InputError(
                f"{file}: a prefix of {problem.id!r} has to hold exactly {', '.join(sorted(known))}, "
                "and may hold reward"
            )
        if any(not 0 <= record["right"] <= record["completions"] or record["completions"] < 1 for record in records):
            raise InputError(
                f"{file}: a prefix of {problem.id!r} needs at least 1 completion, and right ones among those"
            )
        if not all(_is_reward(record.get("reward")) for record in records):
            raise InputError(f"{file}: the reward of a prefix of {problem.id!r} has to be a number in [0, 1]")
        yield problem, [Prefix(**record | {"steps": tuple(record["steps"])}) for record in records]


def _is_reward(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1)


def prefix_source(file: FilePath) -> dict[str, Any]:
    """What the prefixes of a file were made from, as its first line tells: world, policy, counts and sampling.

    Empty where the file does not tell.
    """
    return load_source(file, "prefixes")
