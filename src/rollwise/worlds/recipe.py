"""How a world's models are made, part by part: policy, rollouts of it, reward model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rollwise.core import Problem, Sampling, World
from rollwise.errors import InputError
from rollwise.worlds.training import SHAPES, TrainingOptions, train_policy

PARTS = ("policy", "rollouts", "reward")
ROLLOUT_TEMPERATURE = 0.8

Progress = Callable[[str, int, int, str], None]
"""(part, done, total, note)."""


def run_parts(
    world: World,
    folder: Path,
    parts: Sequence[str],
    seed: int,
    steps: int | None,
    problems: int,
    samples: int,
    size: str,
    progress: Progress,
) -> dict[str, Any]:
    """Make the named parts in `folder` and return the facts of each, which are kept in `folder`/training.json too.

    Raises InputError for an unknown size of the policy, or where a part lacks the one before it.
    """
    if size not in SHAPES:
        raise InputError(f"no size is called {size!r}; there are: {', '.join(SHAPES)}")
    facts_file = folder / "training.json"
    facts: dict[str, Any] = json.loads(facts_file.read_text()) if facts_file.exists() else {}
    for part in parts:
        facts[part] = _make(part, world, folder, seed, steps, problems, samples, size, progress)
        facts_file.write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def _make(
    part: str,
    world: World,
    folder: Path,
    seed: int,
    steps: int | None,
    problems: int,
    samples: int,
    size: str,
    progress: Progress,
) -> dict[str, Any]:
    def training(done: int, total: int, loss: float) -> None:
        progress(part, done, total, f"loss {loss:.4f}")

    if part == "policy":
        options = replace(TrainingOptions(seed=seed), **({"steps": steps} if steps else {}))
        return train_policy(world, folder, options, SHAPES[size], training)
    if not (folder / "policy").is_dir():
        raise InputError(
            f"{folder} holds no policy yet; train it first: rollwise world train {world.name} --part policy"
        )
    rollouts = folder / f"rollouts-{seed}-{problems}x{samples}.jsonl"
    if part == "rollouts":
        from rollwise.engines.local import LocalPolicy
        from rollwise.worlds.rollouts import collect

        policy = LocalPolicy.load(folder / "policy", world.separator)
        sampling = Sampling(ROLLOUT_TEMPERATURE, seed=seed)
        drawn = training_problems(world, problems, seed)
        collect(world, policy, drawn, samples, sampling, rollouts, lambda done, total: progress(part, done, total, ""))
        return {"problems": problems, "samples": samples, "temperature": ROLLOUT_TEMPERATURE, "seed": seed}
    if not rollouts.exists():
        raise InputError(f"{rollouts} does not exist; make it first: rollwise world train {world.name} --part rollouts")
    from rollwise.worlds.reward_training import REWARD_OPTIONS, train_reward

    options = replace(REWARD_OPTIONS, seed=seed, **({"steps": steps} if steps else {}))
    return train_reward(world, folder / "policy", rollouts, folder, options, training)


def training_problems(world: World, count: int, seed: int) -> list[Problem]:
    """Problems of the training split, the levels in the shares that the policy was trained on."""
    chosen: list[Problem] = []
    for level, share in world.curriculum.level_shares.items():
        chosen += [world.problem(level, 1_000_000 * seed + index, "train") for index in range(round(count * share))]
    return chosen
