"""Plain samples of a policy on a world's problems, each step labelled by the world's truth; kept as JSON lines."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
from typing import Any

from rollwise.answers import on_course
from rollwise.core import Failure, Path, Policy, Problem, Sampling, World
from rollwise.errors import InputError

IN_FLIGHT = 16


@dataclass(frozen=True)
class Rollout:
    """One solution: its steps' texts as generated, whether the right answer could still be reached after each, and
    whether the last step ended the text.
    """

    steps: tuple[str, ...]
    reachable: tuple[bool, ...]
    ended: bool

    @property
    def right(self) -> bool:
        """Whether it ended with a right answer."""
        return self.ended and self.reachable[-1]


async def sample_solutions(
    policy: Policy, problem: Problem, count: int, sampling: Sampling, longest: int
) -> list[Path]:
    """`count` independent solutions of a problem, grown to their end or to `longest` steps."""
    return await grow_to_end(policy, problem, [Path((index,)) for index in range(count)], sampling, longest)


async def grow_to_end(
    policy: Policy, problem: Problem, starts: Sequence[Path], sampling: Sampling, longest: int
) -> list[Path]:
    """Plain samples from where these paths wait to their end or `longest` steps, by key; a lost rollout is left out."""
    session = policy.open(problem, sampling)
    active = list(starts)
    done: list[Path] = []
    while active:
        outcomes = zip(active, await session.extend(active), strict=True)
        grown = [path.grown(step) for path, step in outcomes if not isinstance(step, Failure)]
        over = {path.key for path in grown if path.ended or len(path.steps) >= longest}
        done += [path for path in grown if path.key in over]
        active = [path.copy(0) for path in grown if path.key not in over]
        session.retain([path.key[:-1] for path in active])
    await session.close()
    return sorted(done, key=lambda path: path.key)


def label_rollout(world: World, problem: Problem, path: Path) -> Rollout:
    """A path with the truth after each of its steps."""
    prefixes = [Path(path.key[:depth], path.steps[:depth]) for depth in range(1, len(path.steps) + 1)]
    truth = tuple(on_course(world, problem, prefix) for prefix in prefixes)
    return Rollout(tuple(step.text for step in path.steps), truth, path.ended)


def collect(
    world: World,
    policy: Policy,
    problems: Sequence[Problem],
    count: int,
    sampling: Sampling,
    file: FilePath,
    progress: Callable[[int, int], None],
) -> None:
    """Write `count` labelled rollouts of every problem to `file`; a stopped run goes on where it was."""

    async def sampled(problem: Problem) -> list[Rollout]:
        paths = await sample_solutions(policy, problem, count, sampling, world.curriculum.longest)
        return [label_rollout(world, problem, path) for path in paths]

    source = {"world": world.name, "samples": count, **asdict(sampling)}
    collect_lines(problems, sampled, "rollouts", source, file, progress)


def collect_lines(
    problems: Sequence[Problem],
    make: Callable[[Problem], Awaitable[Sequence[Any]]],
    name: str,
    source: Mapping[str, Any],
    file: FilePath,
    progress: Callable[[int, int], None],
) -> None:
    """Write one JSON line a problem: the problem, under `name` the records that `make` gives for it, and the `source`
    that decides them.

    Problems that the file already holds are skipped, and a last line that was cut off is written anew. Raises
    InputError where a line of the file comes from another source.
    """
    if file.exists():
        whole = file.read_bytes().rfind(b"\n") + 1
        os.truncate(file, whole)
    held = _held(file, name, source) if file.exists() else set()
    missing = [problem for problem in problems if problem.id not in held]

    async def work() -> None:
        gate = asyncio.Semaphore(IN_FLIGHT)
        written = len(problems) - len(missing)

        async def one(problem: Problem) -> None:
            nonlocal written
            async with gate:
                records = await make(problem)
            line = {"problem": _plain(problem), name: [_plain(each) for each in records], "source": dict(source)}
            out.write(json.dumps(line) + "\n")
            out.flush()
            written += 1
            progress(written, len(problems))

        await asyncio.gather(*map(one, missing))

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        asyncio.run(work())


def _held(file: FilePath, name: str, source: Mapping[str, Any]) -> set[str]:
    """The ids of the problems in a file. Raises InputError where one was made from another source."""
    held = set()
    for problem, record in _records(file, name):
        before = record.get("source", {})
        for key, value in source.items():
            if before.get(key) != value:
                raise InputError(
                    f"{file} was made otherwise: {key} was {before.get(key)} and is {value}; go on as it was, or write "
                    "to another file"
                )
        held.add(problem.id)
    return held


def _plain(record: Any) -> dict[str, object]:
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {name: value for name, value in values.items() if value is not None}


def _records(file: FilePath, name: str) -> Iterator[tuple[Problem, dict[str, Any]]]:
    """The problems of a file with their whole records. A last line that was cut off is passed over.

    Raises InputError for a line without a problem or without anything under `name`.
    """
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                return
            try:
                record = json.loads(line)
                problem, _ = Problem(**record["problem"]), record[name]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{file}, line {number}: no JSON object of a problem and its {name}: {error}"
                ) from error
            yield problem, record


def load_lines(file: FilePath, name: str) -> Iterator[tuple[Problem, list[dict[str, Any]]]]:
    """The problems of a file with what stands under `name`. Raises InputError for a line that has nothing there."""
    for problem, record in _records(file, name):
        yield problem, record[name]


def load_source(file: FilePath, name: str) -> dict[str, Any]:
    """The source of a file's first line, empty where there is none. Raises InputError as `load_lines` does."""
    for _, record in _records(file, name):
        source = record.get("source")
        return source if isinstance(source, dict) else {}
    return {}


def load(file: FilePath) -> Iterator[tuple[Problem, list[Rollout]]]:
    """The problems of a file of rollouts with their rollouts."""
    for problem, records in load_lines(file, "rollouts"):
        yield problem, [Rollout(tuple(one["steps"]), tuple(one["reachable"]), one["ended"]) for one in records]
