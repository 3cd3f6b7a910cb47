"""Writes the model card of a world's models: their training data, their figures, and the commands that made them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollwise.core import World
from rollwise.errors import InputError

Facts = Mapping[str, Any]


def render_card(world: World, training: Facts, figures: Facts) -> str:
    """The model card in Markdown.

    `training` holds the facts that `rollwise world train` wrote, and `figures` those of `rollwise world evaluate`.
    """
    parts = (_introduction(world, training, figures), _policies(figures), _rewards(figures))
    return "\n".join(line for part in parts for line in part) + "\n"


def _introduction(world: World, training: Facts, figures: Facts) -> Iterator[str]:
    models = [*figures["policies"], *figures["rewards"]]
    yield f"# The bundled models of `{world.name}`"
    yield ""
    yield (
        "Small Llamas, trained from scratch for this world only: they know its questions and nothing else. The weights "
        "are half-precision safetensors under Apache-2.0. They load with the stock `AutoModelForCausalLM`, "
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
        f"Demonstrations come from {world.curriculum.demonstrations}. A reward model learns from labels at each step. "
        f"In the policy's own solutions, the label is the share of fresh completions from that step that ended right; "
        f"at the end of a solution, it is whether the answer is right. In newly drawn attempts, the label is "
        f"{world.curriculum.label}. No question of the validation and test splits, {world.curriculum.held_out}."
    )
    yield ""
    yield from _commands(training, figures, models)


def _commands(training: Facts, figures: Facts, models: Sequence[str]) -> Iterator[str]:
    """The commands that made the models, the devices, and notes."""
    facts_in_order = [facts for name in models for facts in (training[name].get("learnt_from", {}), training[name])]
    yield "Commands:"
    yield ""
    yield "```console"
    yield from dict.fromkeys(facts["command"] for facts in facts_in_order if "command" in facts)
    yield figures["command"] + " --card"
    yield "```"
    yield ""
    devices = sorted({facts["device"] for facts in facts_in_order if "device" in facts})
    notes = dict.fromkeys(facts["note"] for facts in facts_in_order if "note" in facts)
    remarks = [*([f"Trained on: {', '.join(devices)}."] if devices else []), *notes]
    if remarks:
        yield " ".join(remarks)
        yield ""


def _learnt(facts: Facts) -> str:
    """The data that a model learnt from, and the policy that a reward model starts from."""
    if "learnt_from" not in facts:
        return "demonstrations"
    source = facts["learnt_from"]
    prefixes = (
        f"{source['completions']} completions each of {source['prefixes']:,} prefixes of `{source['policy']}`"
        if "policy" in source
        else f"{facts['prefixes']:,} completed prefixes in {source['file']}"
    )
    return f"{prefixes}, {facts['finished']:,} finished solutions; starts from `{facts['trunk']}`"


def _policies(figures: Facts) -> Iterator[str]:
    yield (
        f"Policies on the {figures['split']} split, with questions from seed {figures['first_seed']} on and "
        f"{figures['samples']} samples per question at temperature {figures['temperature']}:"
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
        f"Reward models on prefixes: `policy` samples each question {figures['paths']} times, and the reward models "
        f"score the distinct unfinished prefixes of these samples. The table shows all of them together, by level, by "
        f"depth (in steps), and last the finished solutions. The worth of a prefix is the share of "
        f"{figures['completions']} fresh completions that ended right. AUC says how well the reward separates valid "
        f"from invalid prefixes, and right from wrong completions. The calibration error (ECE, ten bins) compares "
        f"reward and worth, before and after an isotonic calibration by depth that is fitted on the other half of the "
        f"questions."
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
    """Write figures.json and README.md into the folder `models`.

    Raises InputError if training.json does not record how each model was made.
    """
    file = models / "training.json"
    training = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in (*figures["policies"], *figures["rewards"]):
        if "command" not in training.get(name, {}):
            raise InputError(
                f"{file} does not record how {name} was made: run `rollwise world train` again with --out {models}, "
                f"which does not repeat finished training"
            )
    (models / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (models / "README.md").write_text(render_card(world, training, figures), encoding="utf-8")
