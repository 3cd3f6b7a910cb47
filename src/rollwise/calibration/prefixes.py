"""Completed prefixes: partial solutions of a policy, with the share of fresh completions of each that ended right.

They are stored as JSON lines, one per problem. A file may come from any model and any checker if it has these fields.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path as FilePath
from typing import Any

from rollwise.answers import BOXED
from rollwise.calibration.rollouts import (
    IN_FLIGHT,
    Do,
    collect_lines,
    grow_to_end,
    in_process,
    load_lines,
    load_source,
    sample_solutions,
)
from rollwise.core import Path, Policy, Problem, Sampling, World, whole_steps
from rollwise.errors import InputError
from rollwise.worlds import on_course


@dataclass(frozen=True)
class Prefix:
    """A partial solution with the outcomes of its completions.

    `steps` are the texts as generated, and `size` counts the sampled paths that passed through it. Of `completions`
    fresh completions, `right` ended right. `state` is its true direction, `valid` says whether all its steps are valid,
    and `reachable` whether a right answer can still be reached; they are None where nothing checks partial solutions. A
    prefix that `ended` is its own single completion.
    `reward` is its reward from a reward model, or None if no reward model scored it.
    """

    steps: tuple[str, ...]
    size: int
    right: int
    completions: int
    state: str | None = None
    valid: bool | None = None
    reachable: bool | None = None
    ended: bool = False
    reward: float | None = None

    @property
    def worth(self) -> float:
        """The share of its completions that ended right."""
        return self.right / self.completions

    @property
    def depth(self) -> int:
        """The number of its steps."""
        return len(self.steps)


async def complete_prefixes(
    world: World,
    policy: Policy,
    problem: Problem,
    paths: int,
    completions: int,
    sampling: Sampling,
    answer: str = BOXED,
) -> list[Prefix]:
    """The distinct prefixes of `paths` plain samples of a problem, with `completions` completions of each.

    A finished prefix is not completed. Completions start from the copies 1, 2, … of their prefix, and the plain samples
    continue copy 0, so all are independent. `answer` is the form in which answers are read, see
    `rollwise.answers.FORMS`.
    """
    solutions = await sample_solutions(policy, problem, paths, sampling, world.curriculum.longest)
    prefixes = [
        Path(path.key[:depth], path.steps[:depth]) for path in solutions for depth in range(1, len(path.steps) + 1)
    ]
    sizes = Counter(map(identity, prefixes))
    distinct = {identity(prefix): prefix for prefix in reversed(prefixes)}

    async def complete(prefix: Path) -> Prefix:
        ends = [prefix]
        if not prefix.ended:
            starts = [prefix.copy(1 + index) for index in range(completions)]
            ends = await grow_to_end(policy, problem, starts, sampling, world.curriculum.longest)
        steps = whole_steps(prefix.text, world.separator, prefix.ended)
        return Prefix(
            steps=tuple(step.text for step in prefix.steps),
            size=sizes[identity(prefix)],
            right=sum(path.ended and on_course(world, problem, path, answer) for path in ends),
            completions=1 if prefix.ended else completions,
            state=repr(world.state(problem, steps)),
            valid=world.step_is_valid(problem, steps),
            reachable=on_course(world, problem, prefix, answer),
            ended=prefix.ended,
        )

    return list(await asyncio.gather(*map(complete, distinct.values())))


def identity(path: Path) -> tuple[tuple[str, ...], bool]:
    """What makes two prefixes of a problem the same: the texts of their steps, and whether they ended."""
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
    answer: str = BOXED,
    do: Do[Problem, Sequence[Prefix] | None] | None = None,
) -> None:
    """Write the completed prefixes of every problem to `file`. A stopped run continues if it is started again.

    `name` is the policy's name, `answer` the form in which answers are read. `do` completes the prefixes of problems
    elsewhere than in this process, by the same `complete_prefixes`. Raises InputError if the file holds prefixes that
    were made with other settings.
    """

    async def complete(problem: Problem) -> list[Prefix]:
        return await complete_prefixes(world, policy, problem, paths, completions, sampling, answer)

    counts = {"paths": paths, "completions": completions}
    source = {"world": world.name, "policy": name, "answer": answer, **counts, **asdict(sampling)}
    collect_lines(problems, do or in_process(complete, IN_FLIGHT), "prefixes", source, file, progress)


def load_prefixes(file: FilePath) -> Iterator[tuple[Problem, list[Prefix]]]:
    """The problems of a file with their prefixes.

    Raises InputError if a prefix lacks a field, has an unknown field, or has a number that makes no sense.
    """
    for problem, records in load_lines(file, "prefixes"):
        for record in records:
            _check_record(record, f"{file}: a prefix of {problem.id!r}")
        yield problem, [Prefix(**record | {"steps": tuple(record["steps"])}) for record in records]


_OPTIONAL = {"reward", "state", "valid", "reachable"}


def _check_record(record: Mapping[str, Any], subject: str) -> None:
    required = {field.name for field in fields(Prefix)} - _OPTIONAL
    if set(record) - _OPTIONAL != required:
        raise InputError(
            f"{subject} has to hold exactly {', '.join(sorted(required))}, and may hold {', '.join(sorted(_OPTIONAL))}"
        )
    if not 0 <= record["right"] <= record["completions"] or record["completions"] < 1:
        raise InputError(f"{subject} needs at least 1 completion, and right counts some of its completions")
    if not _is_reward(record.get("reward")):
        raise InputError(f"{subject} has the reward {record['reward']!r:.60}; it has to be a number in [0, 1]")


def _is_reward(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1)


def prefix_source(file: FilePath) -> dict[str, Any]:
    """The source of a file's prefixes according to its first line: world, policy, counts and sampling.

    Empty if the first line has no source.
    """
    return load_source(file, "prefixes")
