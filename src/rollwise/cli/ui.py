"""`rollwise ui`: the dashboard over a bench, with a laboratory and searches to try; or one search as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import Field

from rollwise.cli.options import check_writable
from rollwise.errors import InputError
from rollwise.search import OUTPUT, SERVER, START, Options, Shown, validated


class UiOptions(Options):
    """The options of `rollwise ui`."""

    run: Annotated[str | None, Shown(START, argument=True)] = Field(
        default=None,
        description="The folder of a bench, or URL#NAME of one in a --store, finished or under way. Without it you can "
        "try searches.",
    )
    file: Annotated[Path | None, Shown(OUTPUT, argument=True)] = Field(
        default=None, description="The HTML file that --export writes."
    )
    export: Annotated[int | None, Shown(OUTPUT)] = Field(
        default=None, description="Write the search of this number to FILE and serve nothing."
    )
    language: Annotated[Literal["en", "ja"], Shown(OUTPUT)] = Field(
        default="en", description="Language of the pages: en or ja."
    )
    policy: Annotated[str, Shown(START)] = Field(
        default="trained", description="The policy of searches to try: as for rollwise solve, such as a server's URL."
    )
    world: Annotated[str | None, Shown(START, "countdown; text with a policy's URL")] = Field(
        default=None, description="The world of searches to try."
    )
    reward: Annotated[str | None, Shown(START, "trained; confidence with a policy's URL")] = Field(
        default=None, description="The reward model of searches to try: as for rollwise solve."
    )
    port: Annotated[int, Shown(SERVER)] = Field(
        default=8010, ge=0, le=65535, description="Port to listen at; 0 takes a free port."
    )
    host: Annotated[str, Shown(SERVER)] = Field(
        default="127.0.0.1", description="Address to listen at. Anyone who reaches it can look and start searches."
    )


def ui(given: dict[str, Any]) -> None:
    """Look at searches in a browser: where every rollout went, and why. Ctrl-C stops the server.

    A bench that was run with `--events` shows its searches too.

    Examples:
    * `rollwise ui` tries searches and opens the laboratory

    * `rollwise ui runs/first` looks at a bench

    * `rollwise ui runs/first --export 12 search.html` writes one search as a page that needs no server
    """
    options = validated(UiOptions, given)
    if options.export is not None:
        _export(options)
        return
    if options.file is not None:
        raise InputError(f"{options.file}: a file is written for --export NUMBER only; give the number of a search")
    from rollwise.bench import read_place
    from rollwise.ui import dashboard, listen, serve

    fields = {name: getattr(options, name) for name in ("policy", "world", "reward")}
    app = dashboard(None if options.run is None else read_place(options.run), fields, language=options.language)
    with listen(options.host, options.port) as listener:
        typer.echo(f"dashboard at http://{options.host}:{listener.getsockname()[1]}/\nCtrl-C stops it")
        sys.stdout.flush()
        if options.host not in ("127.0.0.1", "localhost", "::1"):
            typer.echo(f"anyone who reaches {options.host} can look and start searches", err=True)
        serve(app, listener, options.host)


def _export(options: UiOptions) -> None:
    if options.run is None or options.file is None or options.export is None:
        raise InputError("--export: give a bench and a file, as in rollwise ui RUN --export 12 search.html")
    check_writable(options.file, "FILE")
    from rollwise.bench import read_place
    from rollwise.ui import export

    options.file.write_text(export(read_place(options.run), options.export, options.language), encoding="utf-8")
    typer.echo(f"written to {options.file}")
