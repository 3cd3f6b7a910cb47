"""Measuring the family of models that lies in a folder on held-out questions: every policy, every reward model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from rollwise.calibration import Prefix, collect, collect_prefixes, load, load_prefixes, score_prefixes
from rollwise.core import Failure, Problem, Sampling, World
from rollwise.engines.local import LocalPolicy
from rollwise.errors import InputError
from rollwise.names import FAMILY
from rollwise.rewards import LocalReward
from rollwise.training.evaluation import Judged, policy_figures, prefix_figures
from rollwise.training.policy import SHAPES, digest_of, policy_name
from rollwise.training.recipe import TEMPERATURE, options_text

SAMPLES = 64
BASE = policy_name("base")

Progress = Callable[[str, int, int], None]
"""(what is done, how much of it, of how much)."""
Scored = tuple[int, Problem, Prefix, float]
"""The number of the question, the question, a prefix, its reward."""


@dataclass(frozen=True)
class Questions:
    """What is measured on: `questions` a level of a split from `first_seed` on, for reward models the prefixes of
    `paths` plain samples of each, completed `completions` times.
    """

    split: str = "validation"
    first_seed: int = 0
    questions: int = 60
    paths: int = 8
    completions: int = 16

    def drawn(self, world: World) -> list[Problem]:
        """The problems, level by level."""
        seeds = range(self.first_seed, self.first_seed + self.questions)
        return [world.problem(level, seed, self.split) for level in world.levels for seed in seeds]

    @property
    def sampling(self) -> Sampling:
        """How the policies sample."""
        return Sampling(TEMPERATURE, seed=self.first_seed)


def evaluate_models(
    world: World, models: FilePath, asked: Questions, folder: FilePath, progress: Progress
) -> dict[str, Any]:
    """Figures of every policy and every reward model in `models`; the reward models judge prefixes of the base policy.

    What was sampled is kept in `folder` as JSON lines, so a stopped evaluation goes on where it was. Raises InputError
    where no policy lies in `models`, or a reward model without the base policy.
    """
    policies = [name for name in map(policy_name, SHAPES) if (models / name).is_dir()]
    rewards = [name for name in FAMILY["reward"].values() if (models / name).is_dir()]
    if not policies or (rewards and BASE not in policies):
        raise InputError(
            f"{models} holds no {BASE} to measure; train one first: rollwise world train {world.name} --part policy"
        )
    figures: dict[str, Any] = {
        "split": asked.split,
        "first_seed": asked.first_seed,
        "samples": SAMPLES,
        "paths": asked.paths,
        "completions": asked.completions,
        "temperature": TEMPERATURE,
        "command": f"rollwise world evaluate {world.name}{options_text(asked)}",
        "policies": {name: _measure_policy(world, models / name, asked, folder, progress) for name in policies},
        "rewards": {},
    }
    if rewards:
        prefixes = _held_out_prefixes(world, models / BASE, asked, folder, progress)
        figures["rewards"] = {name: _measure_reward(models / name, prefixes, progress) for name in rewards}
    return figures


def _measure_policy(
    world: World, model: FilePath, asked: Questions, folder: FilePath, progress: Progress
) -> dict[str, Any]:
    file = folder / f"rollouts-{_named(world, model, asked)}.jsonl"
    policy = LocalPolicy.load(model, world.separator)

    def told(done: int, total: int) -> None:
        progress(f"rollouts of {model.name}", done, total)

    collect(world, policy, asked.drawn(world), SAMPLES, asked.sampling, file, told)
    return policy_figures(list(load(file)), SAMPLES)


def _held_out_prefixes(
    world: World, model: FilePath, asked: Questions, folder: FilePath, progress: Progress
) -> list[tuple[Problem, list[Prefix]]]:
    """The questions in their order, with the completed prefixes of each."""
    file = folder / f"prefixes-{_named(world, model, asked)}x{asked.paths}x{asked.completions}.jsonl"
    policy = LocalPolicy.load(model, world.separator)
    problems = asked.drawn(world)

    def told(done: int, total: int) -> None:
        progress(f"prefixes of {model.name}", done, total)

    collect_prefixes(world, policy, problems, asked.paths, asked.completions, asked.sampling, file, told)
    kept = {problem.id: prefixes for problem, prefixes in load_prefixes(file)}
    return [(problem, kept[problem.id]) for problem in problems]


def _named(world: World, model: FilePath, asked: Questions) -> str:
    digest = digest_of(model / "model.safetensors")[:8]
    return f"{world.name}-{model.name}-{digest}-{asked.split}-{asked.first_seed}-{asked.questions}"


def _measure_reward(
    model: FilePath, prefixes: Sequence[tuple[Problem, Sequence[Prefix]]], progress: Progress
) -> dict[str, Any]:
    """The figures of unfinished prefixes, and under "finished" those of finished ones, where there are any."""
    reward = LocalReward.load(model)
    scored: list[Scored] = []
    for number, (problem, many) in enumerate(prefixes):
        values = asyncio.run(score_prefixes(reward, problem, many))
        pairs = zip(many, values, strict=True)
        scored += [(number, problem, prefix, float(value)) for prefix, value in pairs if not isinstance(value, Failure)]
        progress(f"rewards of {model.name}", number + 1, len(prefixes))
    unfinished, finished = ([row for row in scored if row[2].ended == ended] for ended in (False, True))
    figures = prefix_figures(_judged(unfinished)) if unfinished else {}
    return figures | ({"finished": prefix_figures(_judged(finished))["all"]} if finished else {})


def _judged(rows: Sequence[Scored]) -> Judged:
    def whole(values: Iterable[int]) -> Any:
        return np.array([*values], dtype=np.int64)

    return Judged(
        question=whole(number for number, *_ in rows),
        level=whole(problem.level or 0 for _, problem, *_ in rows),
        depth=whole(prefix.depth for _, _, prefix, _ in rows),
        reward=np.array([value for *_, value in rows], dtype=np.float64),
        valid=whole(prefix.valid for _, _, prefix, _ in rows),
        worth=np.array([prefix.worth for _, _, prefix, _ in rows], dtype=np.float64),
        completions=np.array([prefix.completions for _, _, prefix, _ in rows], dtype=np.float64),
    )
