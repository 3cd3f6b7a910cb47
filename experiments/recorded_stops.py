"""Replays stop rules on folders of recorded answers, and writes the tables of docs/results/recorded-votes.md.

    python experiments/recorded_stops.py FOLDER --out docs/results/data

Each file FOLDER/BENCHMARK_MODEL.jsonl holds a question a line, as `rollwise replay votes` reads it. Files whose model
is named by --sealed go to a table of their own: they are for one look at the end, after all options have been chosen.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rollwise.answers import find_stop_rule
from rollwise.replay import VotesReplay, orders_of, play, read_recorded, summarise_votes

LEVELS = (0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995)
CURVES = {kind: tuple(f"{kind}({level})" for level in LEVELS) for kind in ("likely", "predictive")}
AGREEMENTS = (0.99, 0.995, 0.998, 0.999)
RULES = ("lossless", "window(5)", "likely(0.95)", "predictive(0.95)", "predictive(0.99)", "first(4)", "first(16)")
COLUMNS = [
    *({"title": name} for name in ("benchmark", "model", "rule")),
    *({"title": name, "digits": 1} for name in ("samples saved", "tokens saved")),
    {"title": "agreement", "digits": 2},
    *({"title": name, "digits": 1} for name in ("vote right", "all answers right")),
]


def replayed(file: Path, shuffles: int) -> VotesReplay:
    """The rules on one file, over that many random orders of each question's answers, as the command replays it."""
    rules = [find_stop_rule(name) for name in dict.fromkeys((*RULES, *CURVES["likely"], *CURVES["predictive"]))]
    questions = [read_recorded(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line]
    played = [play(each, rules, orders_of(each, shuffles, 0, place)) for place, each in enumerate(questions)]
    return summarise_votes(played, rules)


def rows(file: Path, replay: VotesReplay) -> list[list[Any]]:
    """A row for each rule: the factors with their 95 % intervals, and percentages."""
    benchmark, _, model = file.stem.rpartition("_")
    return [
        [
            *(benchmark, model, row.rule),
            _interval(row.samples_saved, row.samples_saved_interval),
            _interval(row.tokens_saved, row.tokens_saved_interval),
            *(None if share is None else 100 * share for share in (row.agreement, row.accuracy, replay.accuracy)),
        ]
        for row in replay.rules
        if row.rule in RULES
    ]


def at_equal_agreement(replays: Mapping[str, Sequence[VotesReplay]]) -> dict[str, Any]:
    """Tokens saved by both rules at equal agreement, for each set of files.

    A rule's curve goes through its confidences: the mean agreement and the geometric mean of the tokens saved, each
    file counting the same. Between two confidences the logarithm of the saving is interpolated.
    """
    columns: list[dict[str, Any]] = [{"title": "agreement", "digits": 1}]
    table: list[list[float]] = [[100 * agreement] for agreement in AGREEMENTS]
    for name, chosen in replays.items():
        titles = [*(f"{kind}, {name}" for kind in CURVES), f"more tokens saved, {name}"]
        columns += [{"title": title, "digits": 2 if index < 2 else 1} for index, title in enumerate(titles)]
        curves = [_curve(rules, chosen) for rules in CURVES.values()]
        for row, agreement in zip(table, AGREEMENTS, strict=True):
            likely, predictive = (float(np.exp(np.interp(agreement, *curve))) for curve in curves)
            row += [likely, predictive, 100 * (predictive / likely - 1)]
    return {"columns": columns, "rows": table}


def _curve(rules: Sequence[str], replays: Sequence[VotesReplay]) -> tuple[list[float], list[float]]:
    """(mean agreement, mean log of the tokens saved) at each of the rules, with rising agreement."""
    found = [[next(row for row in replay.rules if row.rule == rule) for replay in replays] for rule in rules]
    agreement = [statistics.fmean(row.agreement for row in rows) for rows in found]
    return agreement, [statistics.fmean(float(np.log(row.tokens_saved or 1)) for row in rows) for rows in found]


def _interval(mean: float | None, interval: tuple[float, float] | None) -> dict[str, float] | None:
    return None if mean is None or interval is None else {"mean": mean, "low": interval[0], "high": interval[1]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of recorded-votes.json and its sealed twin")
    parser.add_argument("--sealed", default="Nemotron", help="part of the names of the models that were kept back")
    parser.add_argument("--shuffles", type=int, default=40)
    given = parser.parse_args(arguments)
    files = sorted(given.folder.glob("*.jsonl"))
    replays: dict[str, list[VotesReplay]] = {"open": [], "sealed": []}
    tables: dict[str, list[list[Any]]] = {"open": [], "sealed": []}
    for file in files:
        which = "sealed" if given.sealed in file.stem else "open"
        replays[which].append(replayed(file, given.shuffles))
        tables[which] += rows(file, replays[which][-1])
        print(file.name, flush=True)
    documents = {
        "recorded-votes": {"columns": COLUMNS, "rows": tables["open"]},
        "recorded-votes-sealed": {"columns": COLUMNS, "rows": tables["sealed"]},
        "recorded-votes-equal": at_equal_agreement(replays),
    }
    made_by = {
        "command": [f"python experiments/recorded_stops.py FOLDER --shuffles {given.shuffles} --out docs/results/data"],
        "models": "answers sampled by others from Qwen3, Phi-4-reasoning and Nemotron-Nano-9B-v2",
        "ran_on": f"two CPU cores, Python {platform.python_version()}, numpy {np.__version__}",
    }
    for name, document in documents.items():
        text = json.dumps({"made_by": made_by, **document}, indent=1, ensure_ascii=False)
        (given.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
