"""The command line: parse and call. `rollwise --help` teaches the commands."""

from __future__ import annotations

import sys

import typer

from rollwise.errors import RollwiseError


def build_app() -> typer.Typer:
    """The application with all its commands."""
    from rollwise.cli import allocate, bench, solve, world

    app = typer.Typer(
        name="rollwise",
        help="Spend a fixed budget of LLM rollouts where it raises the chance of a right answer most.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    app.command("solve")(solve.solve)
    app.command("allocate")(allocate.allocate)
    app.command("bench")(bench.bench)
    app.add_typer(world.app, name="world")
    return app


def main() -> None:
    """The entry point: a user's mistake is one line and exit status 2, an interrupt exit status 130."""
    try:
        build_app()()
    except RollwiseError as error:
        print(f"rollwise: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("rollwise: interrupted", file=sys.stderr)
        sys.exit(130)
