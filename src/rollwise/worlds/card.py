"""Evaluating a world's models on held-out questions, and the model card that states what was reached."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path as FilePath
from typing import Any

from rollwise.core import Failure, Path, Problem, RewardModel, Sampling, Step, Stop, World
from rollwise.engines.local import LocalPolicy
from rollwise.rewards.local import LocalReward
from rollwise.worlds.evaluation import policy_figures, reward_figures
from rollwise.worlds.rollouts import Rollout, collect, load

SAMPLES = 64


def evaluate_models(
    world: World,
    models: FilePath,
    split: str,
    first_seed: int,
    questions: int,
    folder: FilePath,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Figures of the policy and the reward model in `models` on `questions` problems a level of a split.

    The rollouts are kept in `folder`, so a stopped evaluation goes on where it was.
    """
    policy = LocalPolicy.load(models / "policy", world.separator)
    problems = [world.problem(level, first_seed + each, split) for level in world.levels for each in range(questions)]
    file = folder / f"evaluation-{split}-{first_seed}-{questions}.jsonl"
    sampling = Sampling(0.8, seed=first_seed)
    collect(world, policy, problems, SAMPLES, sampling, file, lambda done, total: progress("rollouts", done, total))
    sampled = list(load(file))
    reward = LocalReward.load(models / "reward")
    scored = []
    for done, (problem, rollouts) in enumerate(sampled, 1):
        scored += asyncio.run(score_rollouts(reward, problem, rollouts))
        progress("rewards", done, len(sampled))
    return {
        "split": split,
        "first_seed": first_seed,
        "samples": SAMPLES,
        "temperature": sampling.temperature,
        "policy": policy_figures(sampled),
        "reward": reward_figures(scored),
    }


async def score_rollouts(
    reward: RewardModel, problem: Problem, rollouts: Sequence[Rollout]
) -> list[tuple[int, int, float, bool]]:
    """(level, depth, reward, truth) of every step of these rollouts."""
    session = reward.open(problem, 0)
    scored: list[tuple[int, int, float, bool]] = []
    for depth in range(1, max(len(rollout.steps) for rollout in rollouts) + 1):
        long = [(index, rollout) for index, rollout in enumerate(rollouts) if len(rollout.steps) >= depth]
        rewards = await session.score([_path(index, rollout, depth) for index, rollout in long])
        for (_, rollout), value in zip(long, rewards, strict=True):
            if not isinstance(value, Failure):
                scored.append((problem.level or 0, depth, value, rollout.reachable[depth - 1]))
    await session.close()
    return scored


def _path(index: int, rollout: Rollout, depth: int) -> Path:
    ended = rollout.ended and depth == len(rollout.steps)
    stops = [*[Stop.STEP] * (depth - 1), Stop.END if ended else Stop.STEP]
    steps = (Step(text, 0, stop) for text, stop in zip(rollout.steps[:depth], stops, strict=True))
    return Path((index, *[0] * (depth - 1)), tuple(steps))


def render_card(world: World, training: dict[str, Any], figures: dict[str, Any]) -> str:
    """The model card, in Markdown."""
    return "\n".join(_card_lines(world, training, figures)) + "\n"


def _card_lines(world: World, training: dict[str, Any], figures: dict[str, Any]) -> Iterator[str]:
    policy, reward, told = training["policy"], training["reward"], world.curriculum
    yield f"# The bundled models of `{world.name}`"
    yield ""
    yield (
        "Two small Llamas trained from nothing for this world alone: they know its questions and nothing else. "
        "Weights are half-precision safetensors under Apache-2.0 and load with the stock `AutoModelForCausalLM`, "
        "`AutoModelForTokenClassification` and `AutoTokenizer`."
    )
    yield ""
    yield (
        f"- **policy**: {policy['parameters']:,} parameters, {policy['steps']:,} training steps on demonstrations "
        f"{told.demonstrations}, seed {policy['seed']}, last loss {policy['loss']}."
    )
    yield (
        f"- **reward**: {reward['parameters']:,} parameters, from the policy's weights, {reward['steps']:,} steps on "
        f"{reward['rollouts']:,} rollouts of the policy and on attempts drawn anew. The label of a step is "
        f"{told.label}, and of a finished solution whether it is right."
    )
    yield (
        f"- Made by `rollwise world train {world.name}`. No question of the validation and test splits, "
        f"{told.held_out}."
    )
    yield ""
    yield (
        f"Measured on the {figures['split']} split from seed {figures['first_seed']} on, {figures['samples']} samples "
        f"a question at temperature {figures['temperature']}, by `rollwise world evaluate {world.name} "
        f"--split {figures['split']} --first-seed {figures['first_seed']}`."
    )
    yield ""
    yield "| level | questions | pass@1 | solved at 16 | solved at 64 (95 % interval) |"
    yield "| --- | --- | --- | --- | --- |"
    for level, row in figures["policy"].items():
        low, high = row["interval_at_64"]
        yield (
            f"| {level} | {row['questions']} | {row['solved_at_1']:.3f} | {row['solved_at_16']:.3f} "
            f"| {row['solved_at_64']:.3f} ({low:.2f} to {high:.2f}) |"
        )
    yield ""
    yield "The reward model against the truth on those samples, by level and by depth (steps grown):"
    yield ""
    yield "| steps of | number | share reachable | AUC | calibration error |"
    yield "| --- | --- | --- | --- | --- |"
    for name, row in figures["reward"].items():
        yield f"| {name} | {row['steps']:,} | {row['reachable']:.3f} | {row['auc']:.3f} | {row['ece']:.3f} |"


def write_card(world: World, models: FilePath, figures: dict[str, Any]) -> None:
    """Put figures.json and README.md beside the models. Reads what training.json says of how they were made."""
    training = json.loads((models / "training.json").read_text(encoding="utf-8"))
    (models / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (models / "README.md").write_text(render_card(world, training, figures), encoding="utf-8")
