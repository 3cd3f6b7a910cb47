"""`rollwise world`: questions of the bundled worlds, and how their models are trained."""

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

app = typer.Typer(help="The bundled worlds: draw questions, train the models.", no_args_is_help=True)


@app.command()
def problem(
    world: Annotated[str, typer.Argument(help="The world.")] = "countdown",
    level: Annotated[int, typer.Option(help="Level of the questions.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the first question.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="How many, of this seed and the next.")] = 1,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
) -> None:
    """Print questions, one a line."""
    for each in range(seed, seed + count):
        typer.echo(find_world(world).problem(level, each, split).question)


@app.command()
def train(
    world: Annotated[str, typer.Argument(help="The world.")] = "countdown",
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and the finished models; runs/WORLD if left out.")
    ] = None,
    part: Annotated[
        str, typer.Option(help="policy, completions (of its prefixes), reward, weak, or all of them in this order.")
    ] = "all",
    seed: Annotated[int, typer.Option(help="Seed of initialisation and data.")] = 0,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps of the policy or reward model; the weak one takes a tenth."),
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="About how many tokens a training step reads.", show_default="2048")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="small, base or large policy: about 0.5, 2.4 or 5 million parameters. If left out base; and reward "
            "models start from the largest there is, the weak one from the smallest."
        ),
    ] = None,
    problems: Annotated[int, typer.Option(min=1, help="Training problems to complete prefixes of.")] = 1500,
    paths: Annotated[int, typer.Option(min=1, help="Plain samples of each problem, whose prefixes are taken.")] = 8,
    completions: Annotated[int, typer.Option(min=1, help="Fresh completions of each distinct prefix.")] = 8,
    prefixes: Annotated[
        Path | None,
        typer.Option(help="A file of completed prefixes for the reward model, in place of the part completions."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads that torch computes with; its own choice if left out. Where other programs keep the cores "
            "busy, 1 is several times faster: threads wait for each other."
        ),
    ] = None,
) -> None:
    """Train a world's models from nothing: policies, and reward models that learn what completions came to.

    Stopped with Ctrl-C, the same command goes on where it was. A base policy takes about twenty minutes on a core with
    bfloat16 instructions, all parts of a world about an hour and a half. A GPU is used where there is one.
    """
    from rollwise.training import PARTS, Recipe, run_parts, use_threads

    if part not in (*PARTS, "all"):
        raise InputError(f"no part is called {part!r}; there are: {', '.join(PARTS)}, all")
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
    out: Annotated[Path, typer.Option(help="The file to write, a line a problem.")] = Path("runs/prefixes.jsonl"),
    policy: Annotated[
        str,
        typer.Option(help="trained, small, large, demonstrator (stories), or the folder of a causal language model."),
    ] = "trained",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    levels: Annotated[str, typer.Option(help="Levels of the questions, e.g. 3,4,5; all of them if left out.")] = "",
    questions: Annotated[int, typer.Option(help="Questions a level.", min=1)] = 20,
    first_seed: Annotated[int, typer.Option(help="Seed of each level's first question.")] = 0,
    paths: Annotated[int, typer.Option(help="Plain samples of each question, whose prefixes are taken.", min=1)] = 8,
    completions: Annotated[int, typer.Option(help="Fresh completions of each distinct prefix.", min=1)] = 8,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
) -> None:
    """Sample solutions, complete each of their prefixes afresh, and write what every prefix is truly worth.

    Stopped with Ctrl-C, the same command goes on where it was; with other options, give another --out.
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
        Path | None, typer.Option(help="Folder with policies and reward models; the bundled ones if left out.")
    ] = None,
    split: Annotated[str, typer.Option(help="validation while you tune, test once at the end.")] = "validation",
    first_seed: Annotated[int, typer.Option(help="Seed of each level's first question.")] = 0,
    questions: Annotated[int, typer.Option(min=1, help="Questions a level.")] = 60,
    paths: Annotated[
        int, typer.Option(min=1, help="Plain samples of each question, whose prefixes reward models judge.")
    ] = 8,
    completions: Annotated[
        int, typer.Option(min=1, help="Fresh completions of each prefix, which say its worth.")
    ] = 16,
    out: Annotated[Path, typer.Option(help="Folder for what is sampled, from which a stopped run goes on.")] = Path(
        "runs/evaluation"
    ),
    card: Annotated[bool, typer.Option("--card", help="Write figures.json and README.md beside the models.")] = False,
) -> None:
    """Measure a world's models on held-out questions: what each policy solves, how well each reward model tells."""
    from rollwise.training import Questions, evaluate_models, write_card

    check_folder(out, "--out")
    folder = models or bundled(world, "policy").parent
    with progress_bars() as show:

        def progress(name: str, done: int, total: int) -> None:
            show(name, done, total, "")

        asked = Questions(split, first_seed, questions, paths, completions)
        figures = evaluate_models(find_world(world), folder, asked, out, progress)
    if card:
        write_card(find_world(world), folder, figures)
    typer.echo(json.dumps(figures, indent=2))


@app.command()
def export(
    world: Annotated[str, typer.Argument(help="The world.")] = "countdown",
    policy: Annotated[
        str, typer.Option(help="trained, small, large, or the folder of one of its policies.")
    ] = "trained",
    out: Annotated[Path | None, typer.Option(help="The file to write; WORLD.gguf here if left out.")] = None,
) -> None:
    """Write a world's policy as a GGUF file in float32, which llama.cpp's server takes."""
    from rollwise.training import write_gguf

    file = out or Path(f"{world}.gguf")
    check_writable(file, "--out")
    size = write_gguf(model_folder(policy, world, "policy"), file, f"rollwise {world} {Path(policy).name}")
    typer.echo(f"{size / 1e6:.1f} MB in {file}; serve it with: llama-server -m {file} -np 16 --kv-unified -c 8192")
