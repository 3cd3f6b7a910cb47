"""`rollwise world`: questions of the bundled worlds, and the training of their models."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field

from rollwise.answers import AUTO, check_form
from rollwise.cli.options import check_folder, check_writable, command
from rollwise.cli.progress import progress_bars
from rollwise.cli.solve import LEVEL
from rollwise.core import Sampling
from rollwise.errors import InputError
from rollwise.names import bundled
from rollwise.registry import find_policy, find_world, model_folder
from rollwise.search import QUESTIONS, START, Numbers, Options, Shown, validated

_TRAINING = "Training"
_PREFIXES = "Samples and completions"


class WorldOptions(Options):
    """The options of every command about a world."""

    world: Annotated[str, Shown(START, argument=True)] = Field(default="countdown", description="The world.")


class ProblemOptions(WorldOptions):
    """The options of `rollwise world problem`."""

    level: Annotated[int, Shown(START)] = Field(default=LEVEL, description="Level of the questions.")
    seed: Annotated[int, Shown(START)] = Field(default=0, description="Seed of the first question.")
    count: Annotated[int, Shown(START)] = Field(
        default=1, ge=1, description="Number of questions, with this seed and the next ones."
    )
    split: Annotated[str, Shown(START)] = Field(default="test", description="test, validation or train.")


def problem(given: dict[str, Any]) -> None:
    """Print questions, one per line."""
    options = validated(ProblemOptions, given)
    for seed in range(options.seed, options.seed + options.count):
        print(find_world(options.world).problem(options.level, seed, options.split).question)


class TrainOptions(WorldOptions):
    """The options of `rollwise world train`. All but the world, `part`, `out` and `threads` are fields of
    `rollwise.training.Recipe`.
    """

    part: Annotated[str, Shown(START)] = Field(
        default="all",
        description="policy, completions (of its prefixes), reward, weak, or all of these in this order.",
    )
    size: Annotated[
        str | None,
        Shown(START, "base; a reward model starts from the largest policy, the weak one from the smallest"),
    ] = Field(
        default=None,
        description="Size of the policy: small, base or large, with about 0.5, 2.4 or 5 million parameters. A reward "
        "model starts from the policy of this size.",
    )
    steps: Annotated[int | None, Shown(START, "7500 for a policy, 5000 for a reward model")] = Field(
        default=None,
        ge=1,
        description="Training steps of the policy or reward model; the weak reward model takes a tenth.",
    )
    out: Annotated[Path | None, Shown(START, "runs/WORLD")] = Field(
        default=None, description="Folder for checkpoints and finished models."
    )
    seed: Annotated[int, Shown(_TRAINING)] = Field(default=0, description="Seed of initialisation and data.")
    batch_tokens: Annotated[int, Shown(_TRAINING)] = Field(
        default=2048, ge=1, description="Approximate number of tokens per training step."
    )
    threads: Annotated[int | None, Shown(_TRAINING, "torch decides")] = Field(
        default=None,
        description="Number of torch threads. If other programs keep the cores busy, 1 is several times faster, "
        "because threads wait for each other.",
    )
    problems: Annotated[int, Shown(_PREFIXES)] = Field(
        default=1500, ge=1, description="Training problems whose prefixes are completed."
    )
    paths: Annotated[int, Shown(_PREFIXES)] = Field(
        default=8, ge=1, description="Plain samples per problem, which give the prefixes."
    )
    completions: Annotated[int, Shown(_PREFIXES)] = Field(
        default=8, ge=1, description="Fresh completions per distinct prefix."
    )
    prefixes: Annotated[Path | None, Shown(_PREFIXES)] = Field(
        default=None,
        description="File of completed prefixes for the reward model, instead of the part completions.",
    )


def train(given: dict[str, Any]) -> None:
    """Train a world's models from scratch: policies, and reward models that learn from the outcomes of completions.

    After Ctrl-C, the same command continues. A base policy takes about twenty minutes on one core with bfloat16
    instructions, all parts of a world about an hour and a half, and about two hours with the small and the large
    policy. Training uses a GPU if there is one.
    """
    options = validated(TrainOptions, given)
    from rollwise.training import PARTS, Recipe, run_parts, use_threads

    if options.part not in (*PARTS, "all"):
        raise InputError(f"no part is called {options.part!r}; choose one of {', '.join(PARTS)}, all")
    parts = PARTS if options.part == "all" else (options.part,)
    world = find_world(options.world)
    folder = options.out or Path("runs") / world.name
    check_folder(folder, "--out")
    if options.threads is not None:
        use_threads(options.threads)
    recipe = Recipe(**options.model_dump(include={field.name for field in fields(Recipe)}))
    with progress_bars() as show:
        facts = run_parts(world, folder, parts, recipe, show)
    typer.echo(json.dumps(facts, indent=2))


class RolloutsOptions(WorldOptions):
    """The options of `rollwise world rollouts`."""

    policy: Annotated[str, Shown(START)] = Field(
        default="trained",
        description="trained, small, large, demonstrator (stories), or the folder of a causal language model.",
    )
    levels: Annotated[Numbers, Shown(START, "all levels")] = Field(
        default=(), description="Levels of the questions, e.g. 3,4,5."
    )
    questions: Annotated[int, Shown(START)] = Field(default=20, ge=1, description="Questions per level.")
    out: Annotated[Path, Shown(START)] = Field(
        default=Path("runs/prefixes.jsonl"), description="The file to write, one line per problem."
    )
    split: Annotated[str, Shown(QUESTIONS)] = Field(default="validation", description="train, validation or test.")
    first_seed: Annotated[int, Shown(QUESTIONS)] = Field(
        default=0, description="Seed of the first question of each level."
    )
    paths: Annotated[int, Shown(_PREFIXES)] = Field(
        default=8, ge=1, description="Plain samples per question, which give the prefixes."
    )
    completions: Annotated[int, Shown(_PREFIXES)] = Field(
        default=8, ge=1, description="Fresh completions per distinct prefix."
    )
    temperature: Annotated[float, Shown(_PREFIXES)] = Field(
        default=Sampling.temperature, description="Sampling temperature."
    )
    seed: Annotated[int, Shown(_PREFIXES)] = Field(default=Sampling.seed, description="Seed of the sampling.")
    answer: Annotated[str, Shown(_PREFIXES)] = Field(
        default=AUTO,
        description="Where the answer stands in a solution, as for rollwise solve. auto: its box; without a box, the "
        "form that finds an answer.",
    )


def rollouts(given: dict[str, Any]) -> None:
    """Sample solutions, complete each of their prefixes, and write the share of right completions of every prefix.

    After Ctrl-C, the same command continues. For other options, give another --out.
    """
    options = validated(RolloutsOptions, given)
    from rollwise.calibration import collect_prefixes

    check_form(options.answer)
    world = find_world(options.world)
    seeds = range(options.first_seed, options.first_seed + options.questions)
    levels = options.levels or world.levels
    problems = [world.problem(level, seed, options.split) for level in levels for seed in seeds]
    sampling = Sampling(options.temperature, seed=options.seed)
    with progress_bars() as show:

        def progress(done: int, total: int) -> None:
            show("problems", done, total, "")

        policy = find_policy(options.policy, options.world)
        counts = (options.paths, options.completions)
        collect_prefixes(
            world, policy, problems, *counts, sampling, options.out, progress, options.policy, options.answer
        )
    typer.echo(f"{len(problems)} problems in {options.out}")


class EvaluateOptions(WorldOptions):
    """The options of `rollwise world evaluate`. Those on questions and samples are fields of
    `rollwise.training.Questions`.
    """

    models: Annotated[Path | None, Shown(START, "the bundled models")] = Field(
        default=None, description="Folder of the policies and reward models."
    )
    questions: Annotated[int, Shown(START)] = Field(default=60, ge=1, description="Questions per level.")
    out: Annotated[Path, Shown(START)] = Field(
        default=Path("runs/evaluation"), description="Folder for the samples; a stopped run continues from it."
    )
    card: Annotated[bool, Shown(START)] = Field(
        default=False, description="Write figures.json and README.md beside the models."
    )
    split: Annotated[str, Shown(QUESTIONS)] = Field(
        default="validation", description="validation while you tune, and test once at the end."
    )
    first_seed: Annotated[int, Shown(QUESTIONS)] = Field(
        default=0, description="Seed of the first question of each level."
    )
    paths: Annotated[int, Shown(_PREFIXES)] = Field(
        default=8, ge=1, description="Plain samples per question; the reward models score their prefixes."
    )
    completions: Annotated[int, Shown(_PREFIXES)] = Field(
        default=16, ge=1, description="Fresh completions per prefix, which measure its worth."
    )


def evaluate(given: dict[str, Any]) -> None:
    """Measure a world's models on held-out questions: how much each policy solves, and how well reward models score."""
    options = validated(EvaluateOptions, given)
    from rollwise.training import Questions, evaluate_models, write_card

    check_folder(options.out, "--out")
    folder = options.models or bundled(options.world, "policy").parent
    questions = Questions(**options.model_dump(include={field.name for field in fields(Questions)}))
    with progress_bars() as show:

        def progress(name: str, done: int, total: int) -> None:
            show(name, done, total, "")

        figures = evaluate_models(find_world(options.world), folder, questions, options.out, progress)
    if options.card:
        write_card(find_world(options.world), folder, figures)
    typer.echo(json.dumps(figures, indent=2))


class ExportOptions(WorldOptions):
    """The options of `rollwise world export`."""

    policy: Annotated[str, Shown(START)] = Field(
        default="trained", description="trained, small, large, or the folder of one of the world's policies."
    )
    out: Annotated[Path | None, Shown(START, "WORLD.gguf in this folder")] = Field(
        default=None, description="The file to write."
    )


def export(given: dict[str, Any]) -> None:
    """Write a world's policy as a GGUF file in float32, for the server of llama.cpp."""
    options = validated(ExportOptions, given)
    from rollwise.training import write_gguf

    world, policy = options.world, options.policy
    file = options.out or Path(f"{world}.gguf")
    check_writable(file, "--out")
    size = write_gguf(model_folder(policy, world, "policy"), file, f"rollwise {world} {Path(policy).name}")
    typer.echo(f"{size / 1e6:.1f} MB in {file}; serve it with: llama-server -m {file} -np 16 --kv-unified -c 8192")


app = typer.Typer(help="The bundled worlds: draw questions, train and measure models.", no_args_is_help=True)
app.command("problem")(command(ProblemOptions, problem))
app.command("train")(command(TrainOptions, train))
app.command("rollouts")(command(RolloutsOptions, rollouts))
app.command("evaluate")(command(EvaluateOptions, evaluate))
app.command("export")(command(ExportOptions, export))
