"""`rollwise pilot`: a small trial that says what better allocation gains on a model and its questions."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from rollwise.cli.console import echo_json
from rollwise.cli.options import check_folder, document, settings
from rollwise.cli.progress import progress_bars
from rollwise.pilot import PilotOptions
from rollwise.search import validated

if TYPE_CHECKING:
    from rollwise.pilot import Findings, Ready

_NOT_KEPT = "nothing was kept; without --dry-run it measures again and begins"


def pilot(given: dict[str, Any]) -> None:
    """Say what better allocation would gain on your model and your questions, and what it would cost.

    It says first what it will take, then tunes settings on one part of the questions and compares the best with plain
    sampling at equal cost on the other. It writes a page (pilot.html), the findings (pilot.json), the configuration
    of the service (serve.toml) and its golden set. After Ctrl-C the same command goes on.

    Examples:
    * `rollwise pilot questions.jsonl --policy http://127.0.0.1:8000 --reward qwen_prm@http://127.0.0.1:8001`

    * `rollwise pilot questions.jsonl --policy http://127.0.0.1:8000 --tokens 2000000 --prices prices.toml --dry-run`

    * `rollwise pilot --world stories --policy demonstrator --reward "worth(0.3,1)" --directions state --minutes 2`
    """
    options = validated(PilotOptions, settings(given, "search"))
    options.refuse_unfit()
    check_folder(options.out, "--out")
    from rollwise.pilot import hand_over, pilot_html, prepare, problems_of, run_pilot

    try:
        with _connection(options):
            with progress_bars() as show:
                ready = prepare(options, show)
            _announce(options, ready)
            if options.dry_run:
                return
            with progress_bars() as show:
                findings = run_pilot(options, ready, show)
    except KeyboardInterrupt:
        print("rollwise: interrupted, all that is finished is kept; the same command goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    (options.out / "pilot.json").write_text(document(findings.as_dict()) + "\n", encoding="utf-8")
    files = hand_over(findings, options, problems_of(options))
    (options.out / "pilot.html").write_text(pilot_html(findings, options), encoding="utf-8")
    if options.as_json:
        echo_json(document(findings.as_dict()))
        return
    _print(findings, options)
    names = ", ".join(str(file) for file in (options.out / "pilot.json", *files))
    Console(highlight=False).print(f"written to {options.out / 'pilot.html'}, {names}", style="dim", soft_wrap=True)


def _connection(options: PilotOptions) -> AbstractContextManager[None]:
    """A context with the connection to the cluster, if the pilot runs on one: all its stages share it."""
    if options.cluster is None:
        return nullcontext()
    from rollwise.cluster import ray_connection

    return ray_connection(options.cluster)


def _announce(options: PilotOptions, ready: Ready) -> None:
    """Say what the pilot takes, before it takes it."""
    plan = ready.plan
    tuned, compared = len(plan.tune), len(plan.compare)
    plan_file = options.out / "plan.json"
    reach = "no gain can be found by so few"
    if plan.detectable is not None:
        reach = f"a gain of about {100 * plan.detectable:.0f} points or more can be found"
    lines = [
        f"this pilot takes about {_minutes(plan.seconds)} and {plan.tokens:,.0f} tokens, measured on a few questions",
        f"it tunes {len(plan.settings)} settings on {tuned} questions and compares the best with plain sampling on "
        f"{compared} others, at {plan.budget} rollouts; {reach}",
        f"the plan is in {plan_file}" if plan_file.is_file() else _NOT_KEPT,
    ]
    for line in lines:
        print(f"rollwise: {line}", file=sys.stderr)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _print(findings: Findings, options: PilotOptions) -> None:
    """Print what a person reads first."""
    from rollwise.pilot import Words

    words, console = Words(options.language), Console(highlight=False)
    lead, sentences = words.verdict(findings)
    console.print(lead, style="bold", markup=False)
    for sentence in (*sentences, *words.larger(findings), *words.money(findings, options.value)):
        console.print(sentence, markup=False)
    for caution in findings.cautions:
        console.print(words.caution(caution), style="yellow", markup=False)
