"""Rewards of completed prefixes, and what a calibration is fitted on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from rollwise.calibration.observations import Observations
from rollwise.calibration.prefixes import Prefix
from rollwise.core import Failure, IntArray, Judgement, Path, PathKey, Problem, RewardModel, Step, Stop
from rollwise.errors import InputError

Scored = tuple[Problem, Sequence[tuple[Prefix, float]]]
"""A problem, and those of its prefixes that have a reward."""


def by_ending(scored: Sequence[Scored]) -> tuple[list[Scored], list[Scored]]:
    """The unfinished prefixes and the finished ones, each with their problems; without problems that have none."""

    def part(ended: bool) -> list[Scored]:
        chosen = [(problem, [pair for pair in some if pair[0].ended == ended]) for problem, some in scored]
        return [(problem, some) for problem, some in chosen if some]

    return part(False), part(True)


def scored_by(
    reward: RewardModel, many: Sequence[tuple[Problem, Sequence[Prefix]]], progress: Callable[[int, int], None]
) -> list[Scored]:
    """Every prefix with what a reward model says of it; those that it fails on are left out."""
    scored: list[Scored] = []
    for problem, prefixes in many:
        values = asyncio.run(score_prefixes(reward, problem, prefixes))
        pairs = zip(prefixes, values, strict=True)
        scored.append((problem, [(prefix, float(value)) for prefix, value in pairs if not isinstance(value, Failure)]))
        progress(len(scored), len(many))
    return scored


def scored_already(many: Sequence[tuple[Problem, Sequence[Prefix]]]) -> list[Scored]:
    """Every prefix with its own reward, finished ones only if they have one. Raises InputError where an unfinished one
    has none.
    """
    for problem, prefixes in many:
        if any(prefix.reward is None and not prefix.ended for prefix in prefixes):
            raise InputError(
                f"a prefix of {problem.id!r} has no reward: name a reward model by --reward, or give every prefix "
                "of the file the field reward"
            )
    return [(problem, [(one, one.reward) for one in prefixes if one.reward is not None]) for problem, prefixes in many]


def observations(scored: Iterable[Scored]) -> Observations:
    """What a calibration is fitted on. Prefixes of a problem share a direction where depth and state are equal; a state
    of "" is no known direction.
    """
    rows = [(number, prefix, reward) for number, (_, prefixes) in enumerate(scored) for prefix, reward in prefixes]
    labels: dict[Hashable, int] = {}
    for number, prefix, _ in rows:
        labels.setdefault((number, prefix.depth, prefix.state), len(labels))

    def whole(values: Iterable[int]) -> IntArray:
        return np.array([*values], dtype=np.int64)

    return Observations(
        reward=np.array([reward for *_, reward in rows], dtype=np.float64),
        depth=whole(prefix.depth for _, prefix, _ in rows),
        right=whole(prefix.right for _, prefix, _ in rows),
        completions=whole(prefix.completions for _, prefix, _ in rows),
        problem=whole(number for number, *_ in rows),
        direction=whole(
            labels[number, prefix.depth, prefix.state] if prefix.state else -1 for number, prefix, _ in rows
        ),
        size=whole(prefix.size for _, prefix, _ in rows),
    )


def votes(finished: Iterable[Scored]) -> Observations:
    """What is known of finished solutions as voters: each as often as it was sampled, all at one depth."""
    seen = observations(finished)
    return replace(
        seen, depth=np.zeros_like(seen.depth), right=seen.right * seen.size, completions=seen.completions * seen.size
    )


async def score_prefixes(
    reward: RewardModel, problem: Problem, prefixes: Sequence[Prefix]
) -> list[float | Judgement | Failure]:
    """The reward after each prefix's last step, in the order given.

    Asked for depth by depth, so that a prefix is read from where the one it grew from was kept.
    """
    session = reward.open(problem, 0)
    found: dict[int, float | Judgement | Failure] = {}
    paths = sorted(enumerate(_as_paths(prefixes)), key=lambda pair: len(pair[1].steps))
    for _, group in groupby(paths, key=lambda pair: len(pair[1].steps)):
        places, level = zip(*group, strict=True)
        found |= zip(places, await session.score(level), strict=True)
        session.retain({path.key for path in level})
    await session.close()
    return [found[place] for place in range(len(prefixes))]


def _as_paths(prefixes: Sequence[Prefix]) -> list[Path]:
    """Each prefix as a path whose key continues that of the prefix it grew from."""
    keys: dict[tuple[tuple[str, ...], bool], PathKey] = {((), False): ()}

    def key_of(steps: tuple[str, ...], ended: bool) -> PathKey:
        if (steps, ended) not in keys:
            keys[steps, ended] = (*key_of(steps[:-1], False), len(keys))
        return keys[steps, ended]

    def step_of(prefix: Prefix, index: int) -> Step:
        return Step(prefix.steps[index], 0, Stop.END if prefix.ended and index == prefix.depth - 1 else Stop.STEP)

    return [
        Path(key_of(one.steps, one.ended), tuple(step_of(one, index) for index in range(one.depth))) for one in prefixes
    ]
