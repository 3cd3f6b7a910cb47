"""`rollwise world`: questions of the bundled worlds, and the training of their models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rollwise.cli.options import check_folder, check_writable, whole_numbers
from rollwise.cli.progress import progress_bars
from rollwise.core import Sampling
from rollwise.errors import InputError
from rollwise.names import bundled
from rollwise.registry import find_policy, find_world, model_folder

app = typer.Typer(help="The bundled worlds: draw questions, train and measure models.", no_args_is_help=True)

_PARTS, _TRAINING, _COMPLETIONS = "What to train", "Training", "Completions for the reward models"
_QUESTIONS, _SAMPLING = "Questions", "Sampling"


@app.command()
def problem(
    world: Annotated[str, typer.Argument(help="The world.")] = "countdown",
    level: Annotated[int, typer.Option(help="Level of the questions.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the first question.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Number of questions, with this seed and the next ones.")] = 1,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
) -> None:
    """Print questions, one per line."""
    for each in range(seed, seed + count):
        print(find_world(world).problem(level, each, split).question)


@app.command()
def train(
    world: Annotated[str, typer.Argument(help="The world.")] = "countdown",
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and finished models.", show_default="runs/WORLD")
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            help="policy, completions (of its prefixes), reward, weak, or all of these in this order.",
            rich_help_panel=_PARTS,
        ),
    ] = "all",
    seed: Annotated[int, typer.Option(help="Seed of initialisation and data.", rich_help_panel=_TRAINING)] = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training steps of the policy or reward model; the weak reward model takes a tenth.",
            show_default="7500 for a policy, 5000 for a reward model",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Approximate number of tokens per training step.",
            show_default="2048",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Size of the policy: small, base or large, with about 0.5, 2.4 or 5 million parameters. A reward "
            "model starts from the policy of this size.",
            show_default="base; a reward model starts from the largest policy, the weak one from the smallest",
            rich_help_panel=_PARTS,
        ),
    ] = None,
    problems: Annotated[
        int,
        typer.Option(min=1, help="Training problems whose prefixes are completed.", rich_help_panel=_COMPLETIONS),
    ] = 1500,
    paths: Annotated[
        int,
        typer.Option(min=1, help="Plain samples per problem, which give the prefixes.", rich_help_panel=_COMPLETIONS),
    ] = 8,
    completions: Annotated[
        int, typer.Option(min=1, help="Fresh completions per distinct prefix.", rich_help_panel=_COMPLETIONS)
    ] = 8,
    prefixes: Annotated[
        Path | None,
        typer.Option(
            help="File of completed prefixes for the reward model, instead of the part completions.",
            rich_help_panel=_COMPLETIONS,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Number of torch threads. If other programs keep the cores busy, 1 is several times faster, because "
            "threads wait for each other.",
            show_default="torch decides",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
) -> None:
    """Train a world's models from scratch: policies, and reward models that learn from the outcomes of completions.

    After Ctrl-C, the same command continues. A base policy takes about twenty minutes on one core with bfloat16
    instructions, and all parts of a world take about an hour and a half. Training uses a GPU if there is one.
    """
    from rollwise.training import PARTS, Recipe, run_parts, use_threads

    if part not in (*PARTS, "all"):
        raise InputError(f"no part is called {part!r}; choose one of {', '.join(PARTS)}, all")
    chosen, folder = PARTS if part == "all" else (part,), out or Path("runs") / find_world(world).name
    check_folder(folder, "--out")
    if threads is not None:
        use_threads(threads)
    recipe = Recipe(seed, steps, batch_tokens or Recipe.batch_tokens, size, problems, paths, completions, prefixes)
    with progress_bars() as show:
        facts = run_parts(find_world(world), folder, chosen, recipe, show)
    typer.echo(json.dumps(facts, indent=2))


@app.command()
def rollouts(
    world: Annotated[str, typer.Argument(help="The world.")] = "countdown",
    out: Annotated[Path, typer.Option(help="The file to write, one line per problem.")] = Path("runs/prefixes.jsonl"),
    policy: Annotated[
        str,
        typer.Option(
            help="trained, small, large, demonstrator (stories), or the folder of a causal language model.",
            rich_help_panel=_SAMPLING,
        ),
    ] = "trained",
    split: Annotated[str, typer.Option(help="train, validation or test.", rich_help_panel=_QUESTIONS)] = "validation",
    levels: Annotated[
        str,
        typer.Option(
            help="Levels of the questions, e.g. 3,4,5.", show_default="all levels", rich_help_panel=_QUESTIONS
        ),
    ] = "",
    questions: Annotated[int, typer.Option(help="Questions per level.", min=1, rich_help_panel=_QUESTIONS)] = 20,
    first_seed: Annotated[
        int, typer.Option(help="Seed of the first question of each level.", rich_help_panel=_QUESTIONS)
    ] = 0,
    paths: Annotated[
        int,
        typer.Option(help="Plain samples per question, which give the prefixes.", min=1, rich_help_panel=_SAMPLING),
    ] = 8,
    completions: Annotated[
        int, typer.Option(help="Fresh completions per distinct prefix.", min=1, rich_help_panel=_SAMPLING)
    ] = 8,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.", rich_help_panel=_SAMPLING)] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.", rich_help_panel=_SAMPLING)] = 0,
) -> None:
    """Sample solutions, complete each of their prefixes, and write the share of right completions of every prefix.

    After Ctrl-C, the same command continues. For other options, give another --out.
    """
    from rollwise.calibration import collect_prefixes

    home = find_world(world)
    chosen = whole_numbers(levels, "--levels") if levels else home.levels
    problems = [home.problem(level, first_seed + each, split) for level in chosen for each in range(questions)]
    sampling = Sampling(temperature, seed=seed)
    with progress_bars() as show:

        def progress(done: int, total: int) -> None:
            show("problems", done, total, "")

        model = find_policy(policy, world)
        collect_prefixes(home, model, problems, paths, completions, sampling, out, progress, policy)
    typer.echo(f"{len(problems)} problems in {out}")


@app.command()
def evaluate(
    world: Annotated[str, typer.Argument(help="The world.")] = "countdown",
    models: Annotated[
        Path | None, typer.Option(help="Folder of the policies and reward models.", show_default="the bundled models")
    ] = None,
    split: Annotated[str, typer.Option(help="validation while you tune, and test once at the end.")] = "validation",
    first_seed: Annotated[int, typer.Option(help="Seed of the first question of each level.")] = 0,
    questions: Annotated[int, typer.Option(min=1, help="Questions per level.")] = 60,
    paths: Annotated[
        int, typer.Option(min=1, help="Plain samples per question; the reward models score their prefixes.")
    ] = 8,
    completions: Annotated[
        int, typer.Option(min=1, help="Fresh completions per prefix, which measure its worth.")
    ] = 16,
    out: Annotated[Path, typer.Option(help="Folder for the samples; a stopped run continues from it.")] = Path(
        "runs/evaluation"
    ),
    card: Annotated[bool, typer.Option("--card", help="Write figures.json and README.md beside the models.")] = False,
) -> None:
    """Measure a world's models on held-out questions: how much each policy solves, and how well reward models score."""
    from rollwise.training import Questions, evaluate_models, write_card

    check_folder(out, "--out")
    folder = models or bundled(world, "policy").parent
    with progress_bars() as show:

        def progress(name: str, done: int, total: int) -> None:
            show(name, done, total, "")

        chosen = Questions(split, first_seed, questions, paths, completions)
        figures = evaluate_models(find_world(world), folder, chosen, out, progress)
    if card:
        write_card(find_world(world), folder, figures)
    typer.echo(json.dumps(figures, indent=2))


@app.command()
def export(
    world: Annotated[str, typer.Argument(help="The world.")] = "countdown",
    policy: Annotated[
        str, typer.Option(help="trained, small, large, or the folder of one of the world's policies.")
    ] = "trained",
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", show_default="WORLD.gguf in this folder")
    ] = None,
) -> None:
    """Write a world's policy as a GGUF file in float32, for the server of llama.cpp."""
    from rollwise.training import write_gguf

    file = out or Path(f"{world}.gguf")
    check_writable(file, "--out")
    size = write_gguf(model_folder(policy, world, "policy"), file, f"rollwise {world} {Path(policy).name}")
    typer.echo(f"{size / 1e6:.1f} MB in {file}; serve it with: llama-server -m {file} -np 16 --kv-unified -c 8192")
