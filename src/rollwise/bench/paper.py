"""Reads the curves of a published figure from a file, to be drawn beside our own."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollwise.errors import InputError

PAPER_BUDGETS = (16, 32, 64, 128, 256)
"""The budgets of the paper's Figure 3: those of a file that does not say otherwise."""
_STRATEGIES = {"Temp": "temperature", "Beam": "beam", "DVTS": "dvts", "REBASE": "rebase", "DORA": "dora"}
_BENCHMARKS = {
    "MATH500": r"math500(?!\d)",
    "AIME2024": r"aime(20)?24(?!\d)",
    "AIME2025": r"aime(20)?25(?!\d)",
}


@dataclass(frozen=True)
class PaperCurves:
    """Published curves of a measure ("accuracy" or "pass_rate") on a benchmark with a model.

    `lines` maps a strategy, by our name where we have it, to its values in [0, 1], one for each of the `budgets`.
    """

    measure: str
    benchmark: str
    model: str
    budgets: tuple[int, ...]
    lines: Mapping[str, tuple[float, ...]]


def read_paper(file: Path) -> list[PaperCurves]:
    """The curves in a JSON file: "measure|benchmark|model" → strategy → percentages. Raises InputError.

    `_meta` may hold the budgets; other keys that begin with an underscore are remarks.
    """
    try:
        given = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; give a JSON file to --paper") from None
    except (ValueError, RecursionError):
        raise InputError(f"{file} is not JSON; give a file of curves to --paper") from None
    if not isinstance(given, dict):
        raise InputError(f'{file}: curves are an object of "measure|benchmark|model" → strategy → percentages')
    meta = given.get("_meta")
    budgets = meta.get("budgets", PAPER_BUDGETS) if isinstance(meta, dict) else PAPER_BUDGETS
    if not isinstance(budgets, list | tuple) or not all(type(budget) is int and budget > 0 for budget in budgets):
        raise InputError(f"{file}: _meta.budgets is a list of whole numbers, not {budgets!r:.60}")
    return [_curves(file, key, lines, tuple(budgets)) for key, lines in given.items() if not key.startswith("_")]


def _curves(file: Path, key: str, lines: Any, budgets: tuple[int, ...]) -> PaperCurves:
    measure, benchmark, model = (*key.split("|"), "", "")[:3]
    if measure not in ("accuracy", "pass_rate") or not model or not isinstance(lines, dict):
        raise InputError(f"{file}: {key!r:.80} is not accuracy|benchmark|model or pass_rate|benchmark|model")
    for name, values in lines.items():
        if not isinstance(values, list) or len(values) != len(budgets) or not all(map(_is_percentage, values)):
            wanted = ", ".join(map(str, budgets))
            raise InputError(f"{file}: {key} {name}: give a percentage for each of the budgets {wanted}")
    shares = {
        _STRATEGIES.get(name, str(name)): tuple(value / 100 for value in values) for name, values in lines.items()
    }
    return PaperCurves(measure, benchmark, model, budgets, shares)


def _is_percentage(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 100


def benchmark_of(config: Mapping[str, Any]) -> str | None:
    """The paper's benchmark that a bench ran on, by the name of its data; None if it is none of them."""
    given = config.get("data") or config.get("world")
    names = given if isinstance(given, list | tuple) else [given]
    for name in names:
        plain = re.sub(r"[^a-z0-9]", "", str(name).replace("\\", "/").rsplit("/", 1)[-1].lower())
        for benchmark, pattern in _BENCHMARKS.items():
            if re.search(pattern, plain):
                return benchmark
    return None


def curves_of_model(curves: list[PaperCurves], policy: Any) -> list[PaperCurves]:
    """The curves of the model that `policy` names; all curves if it names none of them."""
    named = re.sub(r"[^a-z0-9]", "", str(policy).lower())
    same = [each for each in curves if re.sub(r"[^a-z0-9]", "", each.model.lower()) in named]
    return same or curves
