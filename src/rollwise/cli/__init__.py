"""The command line: parse and call. `rollwise --help` teaches the commands."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import rollwise
from rollwise.errors import RollwiseError


class _Commands(TyperGroup):
    """Commands of which an interrupt is told in one line, with exit status 130."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            print("rollwise: interrupted", file=sys.stderr)
            raise typer.Exit(130) from None


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rollwise {rollwise.__version__}")
        raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and nothing else.")
]


def _options(version: _Version = False) -> None:
    """What stands before any command."""


def build_app() -> typer.Typer:
    """The application with all its commands."""
    from rollwise.cli import (
        allocate,
        audit,
        bench,
        calibrate,
        doctor,
        grade,
        models,
        pilot,
        replay,
        report,
        serve,
        service,
        simulate,
        solve,
        ui,
        world,
    )
    from rollwise.cli.options import command
    from rollwise.pilot import PilotOptions
    from rollwise.service import ServiceOptions

    app = typer.Typer(
        name="rollwise",
        cls=_Commands,
        help="Spend a fixed budget of LLM rollouts where it raises the chance of a right answer most.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        callback=_options,
    )
    app.command("solve")(command(solve.SolveOptions, solve.solve))
    app.command("doctor")(command(doctor.DoctorOptions, doctor.doctor))
    app.command("allocate")(command(allocate.AllocateOptions, allocate.allocate))
    app.command("pilot")(command(PilotOptions, pilot.pilot))
    app.command("bench")(command(bench.BenchOptions, bench.bench))
    app.command("report")(command(report.ReportOptions, report.report))
    app.command("calibrate")(command(calibrate.CalibrateOptions, calibrate.calibrate))
    app.command("simulate")(command(simulate.SimulateOptions, simulate.simulate))
    app.command("serve")(command(ServiceOptions, service.serve))
    app.add_typer(audit.audit_app, name="audit")
    app.add_typer(audit.rollout_app, name="rollout")
    app.command("serve-model")(command(serve.ServeOptions, serve.serve_model))
    app.command("ui")(command(ui.UiOptions, ui.ui))
    app.command("grade")(command(grade.LinesOptions, grade.grade))
    app.command("vote")(command(grade.LinesOptions, grade.vote))
    app.add_typer(models.app, name="models")
    app.add_typer(replay.app(), name="replay")
    app.add_typer(world.app, name="world")
    return app


def main() -> None:
    """The entry point: a user's mistake is one line and exit status 2. A reader that goes away ends the command
    quietly with exit status 1.
    """
    from rollwise.cli.console import flush_output, leave_quietly, tolerate_consoles

    tolerate_consoles()
    status: str | int | None = 0
    try:
        status = _run()
        flush_output()
    except BrokenPipeError:
        leave_quietly(1)
    except OSError as error:
        print(f"rollwise: cannot write to standard output: {error.strerror}", file=sys.stderr)
        leave_quietly(2)
    sys.exit(status)


def _run() -> str | int | None:
    """Run the command; return its exit status."""
    try:
        build_app()()
    except SystemExit as ended:
        return ended.code
    except BrokenPipeError:
        raise
    except RollwiseError as error:
        print(f"rollwise: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"rollwise: {_told(error)}", file=sys.stderr)
        return 2
    return 0


def _told(error: OSError) -> str:
    if error.filename is None:
        return " ".join(str(error).split())
    return f"{error.filename}: {error.strerror}; give another path"
