"""Writes the findings of a pilot as one HTML page that loads nothing and can be printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollwise.bench import plain_text
from rollwise.errors import MissingExtraError
from rollwise.pilot.cases import Case
from rollwise.pilot.decision import Answer
from rollwise.pilot.findings import Arm, Findings
from rollwise.pilot.handover import CONFIG, ROUTE
from rollwise.pilot.options import PilotOptions
from rollwise.pilot.pictures import costs_panel, gains_svg
from rollwise.pilot.wording import Words, amount, count, of_hundred, plain_number, points
from rollwise.report import key_svg, looks_of, panel_svg

_FILES = Path(__file__).parent / "page"
VOTES_TRIED = 4


def pilot_html(findings: Findings, options: PilotOptions) -> str:
    """The page of a pilot, in the language of the options.

    All texts of questions and answers are escaped, and a policy in the page forbids to load or run anything. Raises
    MissingExtraError without Jinja2.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtraError("the page of a pilot", "report") from error
    words = Words(options.language)
    environment = Environment(
        loader=FileSystemLoader(_FILES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    lead, sentences = words.verdict(findings)
    panel = costs_panel(findings, words)
    looks = looks_of(list(panel.curves))
    return environment.get_template("pilot.html").render(
        language=options.language,
        title=title_of(options, words),
        css=Markup((_FILES / "pilot.css").read_text(encoding="utf-8")),
        page=words.catalogue["page"],
        answer="introduce" if findings.decision.answer == Answer.INTRODUCE else "not",
        lead=lead,
        sentences=sentences,
        tiles=_tiles(findings, words),
        gains=Markup(gains_svg(findings, words)),
        where_from=words.where_from(findings),
        legend=[(name, Markup(key_svg(looks[name]))) for name in panel.curves],
        costs=Markup(panel_svg(panel, looks)),
        money=words.money(findings, options.value),
        larger=words.larger(findings),
        cautions=[words.caution(caution) for caution in findings.cautions],
        steps=_steps(findings, options, words),
        cases=[
            {"title": words.say("page", "helped"), "cases": [_case(case, True, words) for case in findings.helped]},
            {"title": words.say("page", "hurt"), "cases": [_case(case, False, words) for case in findings.hurt]},
        ],
        columns=[
            words.say("page", f"column_{name}")
            for name in ("way", "budget", "right", "interval", "cost", "cost_right", "gain", "saved")
        ],
        rows=[
            _row(arm, findings, words) for arm in (*findings.arms, *(findings.larger.arms if findings.larger else ()))
        ],
        how=_how(findings, options, words),
        facts=_facts(findings.facts),
    )


def title_of(options: PilotOptions, words: Words) -> str:
    """The title of the page: the model, and what it is asked."""
    return words.say("page", "title", policy=options.answerer, asked=options.asked)


def _tiles(findings: Findings, words: Words) -> list[dict[str, str]]:
    gain, returns, unit = findings.decision.gain, findings.returns, words.unit(findings.unit)
    ours, plain = findings.chosen_arm.cost_of_right, findings.plain_arm.cost_of_right
    page = words.catalogue["page"]
    interval = f"95 %: {points(gain.low)} – {points(gain.high)}"
    return [
        {"value": f"{points(gain.mean)} {page['tile_points']}", "label": page["tile_gain"], "below": interval},
        {
            "value": "–" if ours is None else f"{amount(ours)} {unit}",
            "label": page["tile_right"],
            "below": "" if plain is None else words.say("page", "tile_against", plain=f"{amount(plain)} {unit}"),
        },
        {"value": f"{returns.right:+,.0f}".replace("-", "−"), "label": page["tile_thousand"], "below": ""},
        {"value": f"{amount(findings.spent)} {unit}", "label": page["tile_spent"], "below": ""},
    ]


def _steps(findings: Findings, options: PilotOptions, words: Words) -> list[dict[str, str]]:
    """What to do next, each with its command."""
    config = str(options.out / CONFIG)
    serve = f"rollwise serve {config}"
    match findings.decision.answer:
        case Answer.INTRODUCE:
            advance = f"rollwise rollout advance {config} {ROUTE}"
            steps = [("next_introduce_1", serve), ("next_introduce_2", advance)]
        case Answer.UNDECIDED if findings.blind:
            steps = [("next_blind_1", options.calibration()), ("next_not_1", serve)]
        case Answer.UNDECIDED:
            steps = [("next_undecided_1", options.again()), ("next_not_1", serve)]
        case _:
            steps = [("next_not_1", serve), ("next_again", "")]
    return [{"text": words.say("page", name), "command": command} for name, command in steps]


def _case(case: Case, helped: bool, words: Words) -> dict[str, Any]:
    page = words.catalogue["page"]
    answers = [(page["gold"], case.gold), (page["ours"], case.ours), (page["plain"], case.plain)]
    return {
        "question": case.question,
        "answers": [(name, page["none"] if value is None else value) for name, value in answers],
        "why": words.why(case, helped),
        "reason": case.reason.get(words.language, ""),
    }


def _row(arm: Arm, findings: Findings, words: Words) -> dict[str, Any]:
    chosen = arm.label == findings.chosen.variant
    baseline = arm.family == "plain sampling" and arm.budget == findings.equal
    name = words.say("families", arm.family)
    if arm.family not in ("plain sampling", "larger", "plain"):
        name = words.setting(arm.label)
    return {
        "decides": chosen or baseline,
        "cells": [
            name,
            str(arm.budget),
            of_hundred(arm.accuracy),
            f"{100 * arm.low:.0f}–{100 * arm.high:.0f}",
            amount(arm.cost),
            "–" if arm.cost_of_right is None else amount(arm.cost_of_right),
            "" if arm.gain is None else f"{points(arm.gain.mean)} ({points(arm.gain.low)} – {points(arm.gain.high)})",
            f"{100 * arm.saved:.0f}",
        ],
    }


def _how(findings: Findings, options: PilotOptions, words: Words) -> list[str]:
    plan = findings.plan
    setting = words.setting(findings.chosen.variant)
    return [
        words.say("page", "how_split", seed=options.seed, tuned=len(plan.tune), compared=len(plan.compare)),
        words.say("page", "how_tuned", settings=len(plan.settings), votes=VOTES_TRIED, setting=setting),
        words.say("page", "how_equal", equal=count(findings.equal)),
        words.say("page", "how_rule", worthwhile=plain_number(100 * plan.worthwhile)),
    ]


def _facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts that say something, as people read them."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return [(name, plain_text(value)) for name, value in flat.items() if value not in (None, "", [], {}, ())]
