"""Replays stop rules on folders of recorded answers, and writes the tables of docs/results/recorded-votes.md.

    python experiments/recorded_stops.py FOLDER --out docs/results/data

Each file FOLDER/BENCHMARK_MODEL.jsonl holds a question a line, as `rollwise replay votes` reads it. Files whose model is
named by --sealed go to a table of their own: they are for one look at the end, after all options have been chosen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rollwise.answers import find_stop_rule
from rollwise.replay import VotesReplay, orders_of, play, read_recorded, summarise_votes

RULES = ("lossless", "window(5)", "likely(0.95)", "predictive(0.95)", "predictive(0.99)", "first(4)", "first(16)")
COLUMNS = (
    "benchmark",
    "model",
    "rule",
    "samples saved",
    "tokens saved",
    "agreement",
    "vote right",
    "all answers right",
)


def replayed(file: Path, shuffles: int) -> VotesReplay:
    """The rules on one file, over that many random orders of each question's answers, as the command replays it."""
    rules = [find_stop_rule(name) for name in RULES]
    questions = [read_recorded(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line]
    played = [play(each, rules, orders_of(each, shuffles, 0, place)) for place, each in enumerate(questions)]
    return summarise_votes(played, rules)


def rows(file: Path, replay: VotesReplay) -> list[list[Any]]:
    """A row for each rule: the factors with their 95 % intervals, and percentages."""
    benchmark, _, model = file.stem.rpartition("_")
    found = []
    for row in replay.rules:
        named = [benchmark, model] if row is replay.rules[0] else ["", ""]
        agreement, right = 100 * row.agreement, 100 * (row.accuracy or 0)
        saved = [_factor(row.samples_saved, row.samples_saved_interval)]
        saved += [_factor(row.tokens_saved or 1, row.tokens_saved_interval or (1, 1))]
        found.append(
            [*named, row.rule, *saved, f"{agreement:.2f}", f"{right:.1f}", f"{100 * (replay.accuracy or 0):.1f}"]
        )
    return found


def _factor(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.2f} [{interval[0]:.1f}, {interval[1]:.1f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of recorded-votes.json and its sealed twin")
    parser.add_argument("--sealed", default="Nemotron", help="part of the names of the models that were kept back")
    parser.add_argument("--shuffles", type=int, default=20)
    given = parser.parse_args(arguments)
    files = sorted(given.folder.glob("*.jsonl"))
    for name, chosen in (("recorded-votes", False), ("recorded-votes-sealed", True)):
        table = []
        for file in files:
            if (given.sealed in file.stem) == chosen:
                table += rows(file, replayed(file, given.shuffles))
                print(file.name, flush=True)
        document = {"columns": COLUMNS, "rows": table}
        (given.out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
