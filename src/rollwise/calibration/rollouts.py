"""Plain samples of a policy on a world's problems, with the truth about each step; stored as JSON lines."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
from typing import Any, TypeVar

from rollwise.core import Failure, Path, Policy, PolicySession, Problem, Sampling, World, completed
from rollwise.errors import InputError
from rollwise.worlds import on_course

IN_FLIGHT = 16
"""How many problems have their prefixes completed at the same time."""
ROLLOUTS_IN_FLIGHT = 256
"""How many plain samples are drawn at the same time, of as many problems as that takes."""
Task = TypeVar("Task")
Reply = TypeVar("Reply")
Do = Callable[[Iterable[Task], Callable[[Task, Reply], None]], None]
"""Does tasks, and passes on each with its reply as it comes."""


@dataclass(frozen=True)
class Rollout:
    """A solution: the texts of its steps as generated, whether a right answer could still be reached after each step,
    and whether the last step ended the text.
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
    """`count` independent solutions of a problem, each grown to its end or to `longest` steps."""
    return await grow_to_end(policy, problem, [Path((index,)) for index in range(count)], sampling, longest)


async def grow_to_end(
    policy: Policy, problem: Problem, starts: Sequence[Path], sampling: Sampling, longest: int
) -> list[Path]:
    """The `starts`, continued by plain sampling to their end or to `longest` steps, sorted by key.

    A rollout that the policy fails on is left out.
    """
    session = completed(policy.open(problem, sampling), PolicySession)
    await session.prepare()
    try:
        done, _ = await grow(session, starts, min(sampling.max_tokens, session.room), longest)
    finally:
        await session.close()
    return done


async def grow(
    session: PolicySession, starts: Sequence[Path], most_tokens: int, longest: int
) -> tuple[list[Path], list[Failure]]:
    """The `starts`, continued by plain sampling to their end, to `most_tokens` or to `longest` steps, sorted by key.

    The second list holds the failures of the rollouts that were lost.
    """
    active = list(starts)
    done: list[Path] = []
    lost: list[Failure] = []
    while active:
        outcomes = list(zip(active, await session.extend(active), strict=True))
        lost += [step for _, step in outcomes if isinstance(step, Failure)]
        grown = [path.grown(step) for path, step in outcomes if not isinstance(step, Failure)]
        over = {path.key for path in grown if path.ended or len(path.steps) >= longest or path.tokens >= most_tokens}
        done += [path for path in grown if path.key in over]
        active = [path.copy(0) for path in grown if path.key not in over]
        session.retain([path.key[:-1] for path in active])
    return sorted(done, key=lambda path: path.key), lost


def label_rollout(world: World, problem: Problem, path: Path) -> Rollout:
    """The rollout of a path, with the truth after each of its steps."""
    prefixes = [Path(path.key[:depth], path.steps[:depth]) for depth in range(1, len(path.steps) + 1)]
    truth = tuple(on_course(world, problem, prefix) for prefix in prefixes)
    return Rollout(tuple(step.text for step in path.steps), truth, path.ended)


def collect_rollouts(
    world: World,
    policy: Policy,
    problems: Sequence[Problem],
    count: int,
    sampling: Sampling,
    file: FilePath,
    progress: Callable[[int, int], None],
) -> None:
    """Write `count` labelled rollouts of every problem to `file`. A stopped run continues if it is started again."""

    async def sample(problem: Problem) -> list[Rollout]:
        paths = await sample_solutions(policy, problem, count, sampling, world.curriculum.longest)
        return [label_rollout(world, problem, path) for path in paths]

    source = {"world": world.name, "samples": count, **asdict(sampling)}
    in_flight = max(2, ROLLOUTS_IN_FLIGHT // max(1, count))
    collect_lines(problems, in_process(sample, in_flight), "rollouts", source, file, progress)


def in_process(work: Callable[[Task], Awaitable[Reply]], in_flight: int) -> Do[Task, Reply]:
    """Does tasks in this process, `in_flight` at the same time."""

    def do(tasks: Iterable[Task], on_reply: Callable[[Task, Reply], None]) -> None:
        waiting = iter(tasks)

        async def some() -> None:
            for task in waiting:
                on_reply(task, await work(task))

        async def all_of_them() -> None:
            await asyncio.gather(*(some() for _ in range(in_flight)))

        asyncio.run(all_of_them())

    return do


def collect_lines(
    problems: Sequence[Problem],
    do: Do[Problem, Sequence[Any] | None],
    name: str,
    source: Mapping[str, Any],
    file: FilePath,
    progress: Callable[[int, int], None],
) -> None:
    """Write one JSON line per problem: the problem, the records that `do` replies with under `name`, and `source`.

    `source` holds all settings that determine the records. Problems that the file already contains are skipped, and a
    last line that was cut off is written again. A problem whose reply is None gets no line. Raises InputError if a line
    of the file has another source.
    """
    _drop_incomplete_line(file)
    stored = stored_problems(file, name, source)
    missing = [problem for problem in problems if problem.id not in stored]
    written = len(problems) - len(missing)

    def write(problem: Problem, records: Sequence[Any] | None) -> None:
        nonlocal written
        if records is None:
            return
        line = {"problem": _as_dict(problem), name: list(map(_as_dict, records)), "source": dict(source)}
        out.write(json.dumps(line) + "\n")
        out.flush()
        written += 1
        progress(written, len(problems))

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        do(missing, write)


def _drop_incomplete_line(file: FilePath) -> None:
    if file.exists():
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)


def stored_problems(file: FilePath, name: str, source: Mapping[str, Any]) -> set[str]:
    """The ids of the problems in a file; none if it does not exist. Raises InputError if a line has another source."""
    stored: set[str] = set()
    if not file.exists():
        return stored
    for problem, line in _lines(file, name):
        before = line.get("source", {})
        for key, value in source.items():
            if before.get(key) != value:
                raise InputError(
                    f"{file} was made with other settings: {key} was {before.get(key)} and is now {value}; use "
                    "the same settings, or write to another file"
                )
        stored.add(problem.id)
    return stored


def _as_dict(record: Any) -> dict[str, object]:
    """The fields of a dataclass, without fields that are None."""
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {name: value for name, value in values.items() if value is not None}


def _lines(file: FilePath, name: str) -> Iterator[tuple[Problem, dict[str, Any]]]:
    """The problem and the whole JSON object of each line. A last line that was cut off is skipped.

    Raises InputError for a line that has no problem or no field `name`.
    """
    with file.open(encoding="utf-8") as texts:
        for number, text in enumerate(texts, 1):
            if not text.endswith("\n"):
                return
            try:
                line = json.loads(text)
                problem, _ = _problem_of(line["problem"]), line[name]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{file}, line {number} is not a JSON object with a problem and its {name}: {error}; remove that "
                    "line, or give another file"
                ) from error
            yield problem, line


def _problem_of(record: Any) -> Problem:
    """The problem of a record, in which JSON has made lists of its turns."""
    if not isinstance(record, dict):
        raise TypeError("the problem has to be an object")
    return Problem(**record | {"turns": tuple(map(tuple, record.get("turns", ())))})


def load_lines(file: FilePath, name: str) -> Iterator[tuple[Problem, list[dict[str, Any]]]]:
    """The problems of a file with their records under `name`. Raises InputError for a line without these fields."""
    for problem, line in _lines(file, name):
        yield problem, line[name]


def load_source(file: FilePath, name: str) -> dict[str, Any]:
    """The source of a file's first line; empty if the line has none. Raises InputError as `load_lines` does."""
    for _, line in _lines(file, name):
        source = line.get("source")
        return source if isinstance(source, dict) else {}
    return {}


def load_rollouts(file: FilePath) -> Iterator[tuple[Problem, list[Rollout]]]:
    """The problems of a file of rollouts with their rollouts."""
    for problem, records in load_lines(file, "rollouts"):
        yield (
            problem,
            [Rollout(tuple(record["steps"]), tuple(record["reachable"]), record["ended"]) for record in records],
        )
