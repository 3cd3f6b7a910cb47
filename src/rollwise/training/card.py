"""The model card of a world's family: what each model learnt from, what was reached, by which commands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollwise.core import World
from rollwise.errors import InputError

Facts = Mapping[str, Any]


def render_card(world: World, training: Facts, figures: Facts) -> str:
    """The model card, in Markdown, of what `rollwise world train` and `rollwise world evaluate` say."""
    parts = (_heading(world, training, figures), _policies(figures), _rewards(figures))
    return "\n".join(line for part in parts for line in part) + "\n"


def _heading(world: World, training: Facts, figures: Facts) -> Iterator[str]:
    models = [*figures["policies"], *figures["rewards"]]
    yield f"# The bundled models of `{world.name}`"
    yield ""
    yield (
        "Small Llamas trained from nothing for this world alone: they know its questions and nothing else. "
        "Weights are half-precision safetensors under Apache-2.0 and load with the stock `AutoModelForCausalLM`, "
        "`AutoModelForTokenClassification` and `AutoTokenizer`."
    )
    yield ""
    yield from _table(
        ["model", "parameters", "training steps", "last loss", "learnt from"],
        (
            [f"`{name}`", f"{facts['parameters']:,}", f"{facts['steps']:,}", facts["loss"], _learnt(facts)]
            for name, facts in ((name, training[name]) for name in models)
        ),
    )
    yield ""
    yield (
        f"Demonstrations are {world.curriculum.demonstrations}. A reward model's label of a step is the share of fresh "
        f"completions from there that ended right, of a finished solution whether it is right; of attempts drawn anew, "
        f"which it learns from too, {world.curriculum.label}. No question of the validation and test splits, "
        f"{world.curriculum.held_out}."
    )
    yield ""
    yield "Made by"
    yield ""
    yield "```console"
    made = [facts for name in models for facts in (training[name].get("learnt_from", {}), training[name])]
    yield from dict.fromkeys(facts["command"] for facts in made if "command" in facts)
    yield figures["command"] + " --card"
    yield "```"
    yield ""
    devices = sorted({facts["device"] for facts in made if "device" in facts})
    notes = dict.fromkeys(facts["note"] for facts in made if "note" in facts)
    told = [*([f"Trained on: {', '.join(devices)}."] if devices else []), *notes]
    if told:
        yield " ".join(told)
        yield ""


def _learnt(facts: Facts) -> str:
    if "learnt_from" not in facts:
        return "demonstrations"
    source = facts["learnt_from"]
    told = (
        f"{source['completions']} completions each of {source['prefixes']:,} prefixes of `{source['policy']}`"
        if "policy" in source
        else f"{facts['prefixes']:,} completed prefixes in {source['file']}"
    )
    return f"{told}, {facts['finished']:,} finished solutions; starts from `{facts['trunk']}`"


def _policies(figures: Facts) -> Iterator[str]:
    yield (
        f"On the {figures['split']} split from seed {figures['first_seed']} on, {figures['samples']} samples a "
        f"question at temperature {figures['temperature']}:"
    )
    yield ""
    rows = []
    for name, levels in figures["policies"].items():
        for level, row in levels.items():
            low, high = row["interval_at_64"]
            solved = [f"{row[f'solved_at_{budget}']:.3f}" for budget in (1, 16, 64)]
            rows.append([f"`{name}`", level, row["questions"], *solved[:2], f"{solved[2]} ({low:.2f} to {high:.2f})"])
    names = ["policy", "level", "questions", "pass@1", "solved at 16", "solved at 64 (95 % interval)"]
    yield from _table(names, rows)


def _rewards(figures: Facts) -> Iterator[str]:
    if not figures["rewards"]:
        return
    yield ""
    yield (
        f"The reward models on the distinct unfinished prefixes of {figures['paths']} samples of each of those "
        f"questions by `policy`, together, by level and by depth (steps grown), and on the finished ones. Worth is the "
        f"share of {figures['completions']} fresh completions that ended right. AUC says how well the reward tells "
        f"valid prefixes from others, and completions that end right from others. The calibration error (ECE, ten "
        f"bins) compares reward and worth, as it is and after isotonic calibration by depth, fitted on the other half "
        f"of the questions."
    )
    yield ""
    kinds = ("worth", "valid", "auc_validity", "auc_outcome", "ece", "ece_calibrated")
    names = ["reward model", "prefixes", "number", "mean worth", "valid", "AUC validity", "AUC outcome", "ECE"]
    yield from _table(
        [*names, "ECE calibrated"],
        (
            [f"`{name}`", group, f"{row['prefixes']:,}", *(_number(row[kind]) for kind in kinds)]
            for name, groups in figures["rewards"].items()
            for group, row in groups.items()
        ),
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for row in (names, ["---"] * len(names), *rows):
        yield "| " + " | ".join(map(str, row)) + " |"


def write_card(world: World, models: Path, figures: Facts) -> None:
    """Put figures.json and README.md beside the models. Raises InputError where training.json does not say how one of
    them was made.
    """
    file = models / "training.json"
    training = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in (*figures["policies"], *figures["rewards"]):
        if "command" not in training.get(name, {}):
            raise InputError(
                f"{file} does not say how {name} was made: give `rollwise world train` again with --out {models}, "
                f"which does not train anew what is finished"
            )
    (models / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (models / "README.md").write_text(render_card(world, training, figures), encoding="utf-8")
