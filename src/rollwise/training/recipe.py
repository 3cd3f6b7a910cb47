"""Makes a world's models part by part: policy, completions of its prefixes, reward model, weak reward model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rollwise.core import Problem, Sampling, World
from rollwise.errors import InputError
from rollwise.names import FAMILY
from rollwise.training.fitting import TrainingOptions, device_name, digest_of
from rollwise.training.policy import SHAPES, policy_name, train_policy

PARTS = ("policy", "completions", "reward", "weak")
TEMPERATURE = 0.8
WEAKER = 10
"""The factor by which the weak reward model is trained for fewer steps."""

Progress = Callable[[str, int, int, str], None]
"""(part, done, total, note)."""


@dataclass(frozen=True)
class Recipe:
    """The options of `rollwise world train`.

    `steps` is the number of training steps, None for the default, and `batch_tokens` the approximate number of tokens
    per step. `size` is the size of the policy that is trained, that is completed, or that a reward model starts from.
    None means base for the first two, and for a reward model the largest policy in the folder (for the weak reward
    model the smallest). `prefixes` is a file of completed prefixes that reward models learn from instead of the part
    completions.
    """

    seed: int = 0
    steps: int | None = None
    batch_tokens: int = TrainingOptions.batch_tokens
    size: str | None = None
    problems: int = 1500
    paths: int = 8
    completions: int = 8
    prefixes: Path | None = None


def options_text(record: Any) -> str:
    """The fields of a dataclass that differ from their defaults, as options of a command, each after a space."""
    values = [(field, getattr(record, field.name)) for field in fields(record)]
    changed = {field.name: value for field, value in values if value != field.default}
    return "".join(f" --{name.replace('_', '-')} {value}" for name, value in changed.items())


def run_parts(
    world: World, folder: Path, parts: Sequence[str], recipe: Recipe, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Make the named parts in `folder`. Returns the facts of everything that was made there, by model name.

    The facts of the part completions have the name "completions". All facts are also written to `folder`/training.json.

    Raises InputError for an unknown size, if a part needs another part that is missing, or if an option is given to
    parts that do not use it.
    """
    if recipe.size is not None:
        policy_name(recipe.size)
    if recipe.prefixes and not {*parts} <= {"reward", "weak"}:
        raise InputError("--prefixes gives the data of a reward model: use it with --part reward or --part weak")
    if recipe.batch_tokens != Recipe.batch_tokens and {*parts} == {"completions"}:
        raise InputError("--batch-tokens is for training steps, and the part completions trains nothing: leave it out")
    facts_file = folder / "training.json"
    for part in parts:
        name, facts = _make(part, world, folder, recipe, _facts(facts_file), progress)
        facts |= {"command": f"rollwise world train {world.name} --part {part}{options_text(recipe)}"}
        # the file is read again, because another process may have made another part in the meantime
        facts_file.write_text(json.dumps(_facts(facts_file) | {name: facts}, indent=2) + "\n")
    return _facts(facts_file)


def _facts(file: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return facts


def _make(
    part: str, world: World, folder: Path, recipe: Recipe, facts: Mapping[str, Any], progress: Progress
) -> tuple[str, dict[str, Any]]:
    """Make a part. Returns its name in training.json and its facts."""

    def report(done: int, total: int, loss: float | None = None) -> None:
        progress(part, done, total, "" if loss is None else f"loss {loss:.4f}")

    if part == "policy":
        size = recipe.size or "base"
        steps = recipe.steps or TrainingOptions.steps
        options = TrainingOptions(steps, recipe.batch_tokens, seed=recipe.seed)
        name = policy_name(size)
        return name, train_policy(world, folder, options, SHAPES[size], report, name)
    if part == "completions":
        return part, _complete(world, folder, recipe, report)
    return _train_reward(world, folder, recipe, facts, report, weak=part == "weak")


def _complete(world: World, folder: Path, recipe: Recipe, progress: Callable[[int, int], None]) -> dict[str, Any]:
    from rollwise.calibration import collect_prefixes, load_prefixes
    from rollwise.engines.local import LocalPolicy

    name = policy_name(recipe.size or "base")
    if not (folder / name).is_dir():
        raise _missing(world, folder, name, recipe.size)
    counts = f"{recipe.seed}-{recipe.problems}x{recipe.paths}x{recipe.completions}"
    file = folder / f"completions-{name}-{digest_of(folder / name / 'model.safetensors')[:8]}-{counts}.jsonl"
    policy = LocalPolicy.load(folder / name, world.separator)
    problems = training_problems(world, recipe.problems, recipe.seed)
    sampling = Sampling(TEMPERATURE, seed=recipe.seed)
    collect_prefixes(world, policy, problems, recipe.paths, recipe.completions, sampling, file, progress)
    ended = [prefix.ended for _, prefixes in load_prefixes(file) for prefix in prefixes]
    return {
        "file": file.name,
        "policy": name,
        "problems": len(problems),
        "paths": recipe.paths,
        "completions": recipe.completions,
        "temperature": TEMPERATURE,
        "seed": recipe.seed,
        "prefixes": ended.count(False),
        "finished": ended.count(True),
        "device": device_name(),
    }


def _train_reward(
    world: World,
    folder: Path,
    recipe: Recipe,
    facts: Mapping[str, Any],
    progress: Callable[[int, int, float], None],
    weak: bool,
) -> tuple[str, dict[str, Any]]:
    from rollwise.training.reward import REWARD_OPTIONS, train_reward

    name = FAMILY["reward"]["weak" if weak else "trained"]
    trunk = _trunk(world, folder, recipe.size, largest=not weak)
    source = {"file": recipe.prefixes.name} if recipe.prefixes else facts.get("completions", {"file": "completions"})
    file = recipe.prefixes or folder / source["file"]
    if not file.is_file():
        raise InputError(
            f"{file} does not exist; make it with rollwise world train {world.name} --part completions, or give "
            f"your own with --prefixes FILE"
        )
    steps = recipe.steps or REWARD_OPTIONS.steps
    steps = max(1, steps // WEAKER) if weak else steps
    options = replace(REWARD_OPTIONS, steps=steps, batch_tokens=recipe.batch_tokens, seed=recipe.seed)
    training = train_reward(world, folder / trunk, file, folder, options, progress, name)
    return name, {"trunk": trunk, **training, "learnt_from": source}


def _trunk(world: World, folder: Path, size: str | None, largest: bool) -> str:
    """The name of the policy in `folder` that a reward model starts from. Raises InputError if there is none."""
    names = [policy_name(each) for each in ([size] if size else SHAPES)]
    present = [name for name in names if (folder / name).is_dir()]
    if not present:
        raise _missing(world, folder, names[0] if size else "policy", size)
    return present[-1 if largest else 0]


def _missing(world: World, folder: Path, name: str, size: str | None) -> InputError:
    option = f" --size {size}" if size else ""
    return InputError(
        f"{folder} holds no {name} yet; train it first: rollwise world train {world.name} --part policy{option}"
    )


def training_problems(world: World, count: int, seed: int) -> list[Problem]:
    """Problems of the training split, divided over the levels by the shares of the world's curriculum."""
    chosen: list[Problem] = []
    for level, share in world.curriculum.level_shares.items():
        chosen += [world.problem(level, 1_000_000 * seed + index, "train") for index in range(round(count * share))]
    return chosen
