"""Measures the models in a folder on held-out questions: every policy and every reward model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from rollwise.calibration import (
    Prefix,
    collect_prefixes,
    collect_rollouts,
    load_prefixes,
    load_rollouts,
    score_prefixes,
)
from rollwise.core import Failure, Problem, Sampling, World
from rollwise.engines.local import LocalPolicy
from rollwise.errors import InputError
from rollwise.names import FAMILY
from rollwise.rewards import LocalReward
from rollwise.training.evaluation import Judged, policy_figures, prefix_figures
from rollwise.training.fitting import digest_of
from rollwise.training.policy import SHAPES, policy_name
from rollwise.training.recipe import TEMPERATURE, options_text

SAMPLES = 64
BASE = policy_name("base")

Progress = Callable[[str, int, int], None]
"""(name of the work, how much is done, of how much)."""
ScoredPrefix = tuple[int, Problem, Prefix, float]
"""(number of the question, question, prefix, reward)."""


@dataclass(frozen=True)
class Questions:
    """The questions of a measurement: `questions` per level of a split, from the seed `first_seed` on.

    Reward models are measured on the prefixes of `paths` plain samples per question. Each prefix is completed
    `completions` times.
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
        """The sampling options of the policies."""
        return Sampling(TEMPERATURE, seed=self.first_seed)


def evaluate_models(
    world: World, models: FilePath, questions: Questions, folder: FilePath, progress: Progress
) -> dict[str, Any]:
    """The figures of every policy and every reward model in the folder `models`.

    The reward models score prefixes of the base policy. Samples are stored in `folder` as JSON lines, so a stopped
    evaluation continues if it is started again. Raises InputError if `models` holds no policy, or a reward model but
    not the base policy.
    """
    policies = [name for name in map(policy_name, SHAPES) if (models / name).is_dir()]
    rewards = [name for name in FAMILY["reward"].values() if (models / name).is_dir()]
    if not policies or (rewards and BASE not in policies):
        raise InputError(
            f"{models} holds no {BASE} to measure; train it first: rollwise world train {world.name} --part policy"
        )
    figures: dict[str, Any] = {
        "split": questions.split,
        "first_seed": questions.first_seed,
        "samples": SAMPLES,
        "paths": questions.paths,
        "completions": questions.completions,
        "temperature": TEMPERATURE,
        "command": f"rollwise world evaluate {world.name}{options_text(questions)}",
        "policies": {name: _measure_policy(world, models / name, questions, folder, progress) for name in policies},
        "rewards": {},
    }
    if rewards:
        prefixes = _held_out_prefixes(world, models / BASE, questions, folder, progress)
        figures["rewards"] = {name: measure_reward(models / name, prefixes, progress) for name in rewards}
    return figures


def _measure_policy(
    world: World, model: FilePath, questions: Questions, folder: FilePath, progress: Progress
) -> dict[str, Any]:
    file = folder / f"rollouts-{_run_name(world, model, questions)}.jsonl"
    policy = LocalPolicy.load(model, world.separator)

    def report(done: int, total: int) -> None:
        progress(f"rollouts of {model.name}", done, total)

    collect_rollouts(world, policy, questions.drawn(world), SAMPLES, questions.sampling, file, report)
    return policy_figures(list(load_rollouts(file)), SAMPLES)


def _held_out_prefixes(
    world: World, model: FilePath, questions: Questions, folder: FilePath, progress: Progress
) -> list[tuple[Problem, list[Prefix]]]:
    """The questions in order, with the completed prefixes of each."""
    counts = f"{questions.paths}x{questions.completions}"
    file = folder / f"prefixes-{_run_name(world, model, questions)}x{counts}.jsonl"
    policy = LocalPolicy.load(model, world.separator)
    problems = questions.drawn(world)

    def report(done: int, total: int) -> None:
        progress(f"prefixes of {model.name}", done, total)

    collect_prefixes(world, policy, problems, questions.paths, questions.completions, questions.sampling, file, report)
    stored = {problem.id: prefixes for problem, prefixes in load_prefixes(file)}
    return [(problem, stored[problem.id]) for problem in problems]


def _run_name(world: World, model: FilePath, questions: Questions) -> str:
    digest = digest_of(model / "model.safetensors")[:8]
    return f"{world.name}-{model.name}-{digest}-{questions.split}-{questions.first_seed}-{questions.questions}"


def measure_reward(
    model: FilePath, prefixes: Sequence[tuple[Problem, Sequence[Prefix]]], progress: Progress
) -> dict[str, Any]:
    """The figures of unfinished prefixes, and under "finished" those of finished solutions, if there are any."""
    reward = LocalReward.load(model)
    scored: list[ScoredPrefix] = []
    for number, (problem, several) in enumerate(prefixes):
        values = asyncio.run(score_prefixes(reward, problem, several))
        pairs = zip(several, values, strict=True)
        scored += [(number, problem, prefix, float(value)) for prefix, value in pairs if not isinstance(value, Failure)]
        progress(f"rewards of {model.name}", number + 1, len(prefixes))
    unfinished, finished = ([row for row in scored if row[2].ended == ended] for ended in (False, True))
    figures = prefix_figures(_judged(unfinished)) if unfinished else {}
    return figures | ({"finished": prefix_figures(_judged(finished))["all"]} if finished else {})


def _judged(rows: Sequence[ScoredPrefix]) -> Judged:
    def integers(values: Iterable[int]) -> Any:
        return np.array([*values], dtype=np.int64)

    return Judged(
        question=integers(number for number, *_ in rows),
        level=integers(problem.level or 0 for _, problem, *_ in rows),
        depth=integers(prefix.depth for _, _, prefix, _ in rows),
        reward=np.array([value for *_, value in rows], dtype=np.float64),
        valid=integers(bool(prefix.valid) for _, _, prefix, _ in rows),
        worth=np.array([prefix.worth for _, _, prefix, _ in rows], dtype=np.float64),
        completions=np.array([prefix.completions for _, _, prefix, _ in rows], dtype=np.float64),
    )
