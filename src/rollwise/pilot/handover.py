"""What a pilot hands over to the service: its configuration, the golden set, and the gate of its stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rollwise
from rollwise.allocation import STRATEGIES, split_settings
from rollwise.answers import BELIEVED
from rollwise.core import Problem
from rollwise.pilot.decision import Answer
from rollwise.pilot.findings import Findings
from rollwise.pilot.options import PilotOptions
from rollwise.search import Config, settled

ROUTE = "pilot"
CONFIG, GOLDEN, BELIEF = "serve.toml", "golden.jsonl", "belief.json"
_FEWEST_SAMPLES = 30
_SHADOWED = 0.1
"""The share of the requests beside which the candidate searches too, from the shadow stage on."""
_ROOM = 1.5
"""How many times the measured ratio of tokens the candidate may use before its gate closes."""


def hand_over(findings: Findings, options: PilotOptions, problems: Sequence[Problem]) -> list[Path]:
    """The files that were written to the pilot's folder: the golden set, and the configuration of the service.

    The golden set holds the compared questions that have a gold answer: nothing was tuned on them. The service answers
    by plain sampling. If the pilot advises introduction, the chosen setting is its candidate, behind a gate.
    """
    golden = options.out / GOLDEN
    compared = set(findings.plan.compare)
    kept = [problem for problem in problems if problem.id in compared and problem.answer is not None]
    lines = [
        json.dumps({"id": each.id, "question": each.question, "answer": each.answer}, ensure_ascii=False) + "\n"
        for each in kept
    ]
    golden.write_text("".join(lines), encoding="utf-8")
    config = options.out / CONFIG
    config.write_text(service_toml(findings, options, len(kept)), encoding="utf-8")
    return [config, golden]


def service_toml(findings: Findings, options: PilotOptions, golden: int) -> str:
    """The configuration that `rollwise serve` reads: a route with plain sampling, the candidate, its gate and its
    shadow.
    """
    out = options.out.resolve()
    chosen = settled(options.config())
    route = {"policy": chosen.policy, "world": chosen.world, **_plain_values(options.search)}
    route |= {"grader": options.grader} if options.grader != "auto" else {}
    introduced = findings.decision.answer == Answer.INTRODUCE
    parts = [
        f"# Written by rollwise pilot {rollwise.__version__}. Advice of the pilot: {findings.decision.answer}.",
        _line("store", str(out / "service.db")),
        f"\n[routes.{ROUTE}]",
        *(_line(name, value) for name, value in route.items()),
        "\n# The first rule answers at the start.",
        f"[[routes.{ROUTE}.rules]]",
        *(_line(name, value) for name, value in _plain_rule(findings).items()),
    ]
    if introduced:
        parts += [
            "\n# The candidate that the pilot chose.",
            f"[[routes.{ROUTE}.rules]]",
            *(_line(name, value) for name, value in _candidate(findings, options, out, chosen).items()),
            "\n# What the candidate has to show before each step after that to shadow: no fewer right answers on the",
            "# golden set.",
            f"[routes.{ROUTE}.gate]",
            *(_line(name, value) for name, value in _gate(findings, out, golden).items()),
            "\n# In the shadow and the canary the candidate also searches beside this share of the requests that plain",
            "# sampling answers. Nobody gets its answers; they are compared. It costs the tokens of these searches.",
            f"[routes.{ROUTE}.shadow]",
            _line("share", _SHADOWED),
        ]
    return "\n".join(parts) + "\n"


def _plain_rule(findings: Findings) -> dict[str, Any]:
    return {
        "name": "plain",
        "strategy": "temperature",
        "budget": findings.equal if findings.decision.answer == Answer.INTRODUCE else findings.plan.budget,
        "reward": "none",
        "vote": "majority",
        "stop_early": "lossless",
    }


def _candidate(findings: Findings, options: PilotOptions, out: Path, chosen: Config) -> dict[str, Any]:
    strategy, settings = split_settings(findings.chosen.label)
    rule = {
        "name": "candidate",
        "strategy": strategy,
        "budget": findings.plan.budget,
        "reward": chosen.reward,
        "directions": chosen.directions,
        "vote": findings.chosen.vote,
        "stop_early": "lossless",
    }
    reads = "belief" in STRATEGIES[strategy].needs or findings.chosen.vote == BELIEVED
    if reads and (options.out / BELIEF).is_file():
        rule["belief"] = str(out / BELIEF)
    return rule | ({"options": dict(settings)} if settings else {})


def _gate(findings: Findings, out: Path, golden: int) -> dict[str, Any]:
    """The gate: as many samples as show the measured gain with a chance of 80 %, of those that there are."""
    needed = findings.decision.needed_for_measured or golden
    before = findings.plain_arm.generated
    ratio = findings.chosen_arm.generated / before if before else 1.0
    return {
        "golden": str(out / GOLDEN),
        "samples": max(2, min(golden, max(_FEWEST_SAMPLES, needed))),
        "least_gain": 0.0,
        "most_cost": round(max(1.0, _ROOM * ratio), 2),
    }


def _plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _line(name: str, value: Any) -> str:
    return f"{name} = {toml_value(value)}"


def toml_value(value: Any) -> str:
    """A plain value in TOML: text, a number, a switch, a list, or a table in one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {toml_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
