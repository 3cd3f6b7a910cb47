"""Scores completed prefixes with a reward model, and turns them into observations to fit a calibration on."""

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

ScoredPrefixes = tuple[Problem, Sequence[tuple[Prefix, float]]]
"""A problem with those of its prefixes that have a reward, each with its reward."""


def split_by_ending(scored: Sequence[ScoredPrefixes]) -> tuple[list[ScoredPrefixes], list[ScoredPrefixes]]:
    """The unfinished prefixes and the finished prefixes, each by problem. Problems without any are left out."""

    def with_ending(ended: bool) -> list[ScoredPrefixes]:
        chosen = [(problem, [pair for pair in pairs if pair[0].ended == ended]) for problem, pairs in scored]
        return [(problem, pairs) for problem, pairs in chosen if pairs]

    return with_ending(False), with_ending(True)


def score_problems(
    reward: RewardModel,
    problems: Sequence[tuple[Problem, Sequence[Prefix]]],
    progress: Callable[[int, int], None],
) -> list[ScoredPrefixes]:
    """Every prefix with its reward from a reward model. A prefix that the reward model fails on is left out."""
    scored: list[ScoredPrefixes] = []
    for problem, prefixes in problems:
        rewards = asyncio.run(score_prefixes(reward, problem, prefixes))
        pairs = zip(prefixes, rewards, strict=True)
        scored.append((problem, [(prefix, float(value)) for prefix, value in pairs if not isinstance(value, Failure)]))
        progress(len(scored), len(problems))
    return scored


def recorded_rewards(problems: Sequence[tuple[Problem, Sequence[Prefix]]]) -> list[ScoredPrefixes]:
    """Every prefix with the reward that it was stored with. A finished prefix without a reward is left out.

    Raises InputError if an unfinished prefix has no reward.
    """
    for problem, prefixes in problems:
        if any(prefix.reward is None and not prefix.ended for prefix in prefixes):
            raise InputError(
                f"a prefix of {problem.id!r} has no reward: name a reward model with --reward, or give every prefix of "
                "the file the field reward"
            )
    return [
        (problem, [(prefix, prefix.reward) for prefix in prefixes if prefix.reward is not None])
        for problem, prefixes in problems
    ]


def observe_prefixes(scored: Iterable[ScoredPrefixes]) -> Observations:
    """The observations that a calibration is fitted on.

    Prefixes of a problem share a direction if their depths and states are equal. The state "" means that the direction
    is not known.
    """
    rows = [(number, prefix, reward) for number, (_, pairs) in enumerate(scored) for prefix, reward in pairs]
    labels: dict[Hashable, int] = {}
    for number, prefix, _ in rows:
        labels.setdefault((number, prefix.depth, prefix.state), len(labels))

    def integers(values: Iterable[int]) -> IntArray:
        return np.array([*values], dtype=np.int64)

    return Observations(
        reward=np.array([reward for *_, reward in rows], dtype=np.float64),
        depth=integers(prefix.depth for _, prefix, _ in rows),
        right=integers(prefix.right for _, prefix, _ in rows),
        completions=integers(prefix.completions for _, prefix, _ in rows),
        problem=integers(number for number, *_ in rows),
        direction=integers(
            labels[number, prefix.depth, prefix.state] if prefix.state else -1 for number, prefix, _ in rows
        ),
        size=integers(prefix.size for _, prefix, _ in rows),
    )


def observe_votes(finished: Iterable[ScoredPrefixes]) -> Observations:
    """Finished solutions as observations for a vote: each counts as often as it was sampled, and all have depth 0."""
    observed = observe_prefixes(finished)
    return replace(
        observed,
        depth=np.zeros_like(observed.depth),
        right=observed.right * observed.size,
        completions=observed.completions * observed.size,
    )


async def score_prefixes(
    reward: RewardModel, problem: Problem, prefixes: Sequence[Prefix]
) -> list[float | Judgement | Failure]:
    """The reward after each prefix's last step, in the order given.

    The prefixes are scored depth by depth, so that the session can reuse its cache of the prefix that each grew from.
    """
    return await score_paths(reward, problem, _as_paths(prefixes), 0)


async def score_paths(
    reward: RewardModel, problem: Problem, paths: Sequence[Path], seed: int
) -> list[float | Judgement | Failure]:
    """The reward after each path's last step, in the order given; the paths are scored depth by depth."""
    session = reward.open(problem, seed)
    scores: dict[int, float | Judgement | Failure] = {}
    deepening = sorted(enumerate(paths), key=lambda pair: len(pair[1].steps))
    try:
        for _, group in groupby(deepening, key=lambda pair: len(pair[1].steps)):
            places, level = zip(*group, strict=True)
            scores |= zip(places, await session.score(level), strict=True)
            session.retain({path.key for path in level})
    finally:
        await session.close()
    return [scores[place] for place in range(len(paths))]


def _as_paths(prefixes: Sequence[Prefix]) -> list[Path]:
    """Each prefix as a path whose key extends the key of the prefix that it grew from."""
    keys: dict[tuple[tuple[str, ...], bool], PathKey] = {((), False): ()}

    def key_of(steps: tuple[str, ...], ended: bool) -> PathKey:
        if (steps, ended) not in keys:
            keys[steps, ended] = (*key_of(steps[:-1], False), len(keys))
        return keys[steps, ended]

    def step_of(prefix: Prefix, index: int) -> Step:
        return Step(prefix.steps[index], 0, Stop.END if prefix.ended and index == prefix.depth - 1 else Stop.STEP)

    return [
        Path(key_of(prefix.steps, prefix.ended), tuple(step_of(prefix, index) for index in range(prefix.depth)))
        for prefix in prefixes
    ]
