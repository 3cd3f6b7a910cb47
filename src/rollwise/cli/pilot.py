"""`rollwise pilot`: a small trial that says what better allocation gains on a model and its questions."""

from __future__ import annotations

import sys
from typing import Any

import typer

from rollwise.cli.console import echo_json
from rollwise.cli.options import check_folder, document, settings
from rollwise.cli.progress import progress_bars
from rollwise.pilot import PilotOptions
from rollwise.search import validated


def pilot(given: dict[str, Any]) -> None:
    """Say what better allocation would gain on your model and your questions, and what it would cost.

    Examples:
    * `rollwise pilot --world stories --minutes 20`
    """
    options = validated(PilotOptions, settings(given, "search"))
    check_folder(options.out, "--out")
    from rollwise.pilot import prepare, run_pilot

    try:
        with progress_bars() as show:
            ready = prepare(options, show)
        plan = ready.plan
        print(
            f"rollwise: about {plan.seconds / 60:.0f} minutes and {plan.tokens:,.0f} tokens: {len(plan.settings)} "
            f"settings tuned on {len(plan.tune)} questions, compared on {len(plan.compare)}",
            file=sys.stderr,
        )
        if options.dry_run:
            return
        with progress_bars() as show:
            findings = run_pilot(options, ready, show)
    except KeyboardInterrupt:
        print("rollwise: interrupted, everything finished is kept; the same command goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    from rollwise.pilot import pilot_html

    (options.out / "pilot.html").write_text(pilot_html(findings, options), encoding="utf-8")
    (options.out / "pilot.json").write_text(document(findings.as_dict()) + "\n", encoding="utf-8")
    if options.as_json:
        echo_json(document(findings.as_dict()))
