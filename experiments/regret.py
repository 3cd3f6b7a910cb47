"""Regret of every strategy over a grid of worlds with known chances: where DORA wins, where it loses, what beliefs buy.

    python experiments/regret.py --half-width 1 --json runs/regret.json

A setting plays instances until every regret's 95 % interval is within the half width, in points, or --most are played.
Printed are tables of regrets, then how DORA and `optimal_directions` compare with the others, by paired differences.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from rollwise.cli.options import whole_numbers
from rollwise.simulation.oneshot import OneShot
from rollwise.simulation.study import Found, Mean, Study, read_contenders, sweep

ALL = ("temperature", "rebase", "dora", "optimal", "optimal_directions")
NOISES = ((0.0, 1.0), (0.1, 0.0), (0.1, 1.0), (0.3, 0.0), (0.3, 1.0))
BASE = OneShot(noise=0.1, shared=1.0)
EASY = replace(BASE, worth=0.3, spread=2.0)
VARIATIONS = {
    "as it is": {},
    "fitted": {"told": "fitted"},
    "κ told 8 times": {"told_concentration": 64.0},
    "κ told an eighth": {"told_concentration": 1.0},
    "ρ told 0.1": {"told_correlation": 0.1},
    "bias +0.1": {"bias": 0.1},
    "bias −0.05": {"bias": -0.05},
    "ρ 0.5": {"correlation": 0.5},
    "ρ 0.5, told 1": {"correlation": 0.5, "told_correlation": 1.0},
    "ρ 0.1, fitted": {"correlation": 0.1, "told": "fitted"},
    "popularity 1, fitted": {"popularity": 1.0, "told": "fitted"},
    "labels merged 0.3, fitted": {"merge": 0.3, "told": "fitted"},
    "labels split 0.3, fitted": {"split": 0.3, "told": "fitted"},
    "crowd of half, fitted": {"crowd": 0.5, "told": "fitted"},
}


@dataclass(frozen=True)
class Case:
    """A row of a table: its part of the grid, what it is called there, and its world and budget."""

    part: str
    name: str
    world: OneShot
    budget: int


def cases(budgets: Sequence[int]) -> Iterator[Case]:
    """The grid: noise × imbalance × N × candidates with beliefs as they are and fitted, variations, an easy world."""
    for told in ("observed", "fitted"):
        for budget in budgets:
            for candidates in (0, 8):
                for imbalance in (0.0, 2.0):
                    for noise, shared in NOISES:
                        world = replace(
                            BASE, candidates=candidates, imbalance=imbalance, noise=noise, shared=shared, told=told
                        )
                        name = f"N {budget}, k {candidates or 'N'}, imbalance {imbalance:g}, {noisy(noise, shared)}"
                        yield Case(f"beliefs {told}", name, world, budget)
    for budget in budgets:
        for name, fields in VARIATIONS.items():
            yield Case("variations", f"N {budget}, {name}", replace(BASE, **fields), budget)  # type: ignore[arg-type]
    for told in ("observed", "fitted"):
        for budget in (4, 8):
            for noise, shared in ((0.0, 1.0), (0.1, 1.0), (0.3, 1.0)):
                name = f"N {budget}, {told}, {noisy(noise, shared)}"
                yield Case("easy", name, replace(EASY, noise=noise, shared=shared, told=told), budget)


def noisy(noise: float, shared: float) -> str:
    return f"noise {noise:g}" + ("" if noise == 0 else " shared" if shared else " own")


def play(case: Case, half_width: float, given: argparse.Namespace) -> tuple[Found, dict[tuple[str, str], Mean]]:
    """What a case's instances say, and the paired difference in failure between any two strategies."""
    instances = min(given.instances, given.most)
    study = Study(sweep(case.world, None, [], [case.budget]), read_contenders(",".join(ALL)), instances, given.seed)
    study.run()
    while max(line.regret.half for line in study.found()[0].lines) > half_width and study.instances < given.most:
        study.instances = min(given.most, study.instances + max(50, given.instances // 2))
        study.run()
    failure = np.stack([one.failure for one in study.played[0]])
    columns = dict(zip(ALL, failure.T, strict=True))
    return study.found()[0], {(a, b): Mean.of(columns[a] - columns[b]) for a in ALL for b in ALL if a != b}


def verdict(mean: Mean) -> int:
    """1 where a difference is above 0 by its interval, -1 where below, 0 where that is open."""
    return 0 if abs(mean.mean) <= mean.half else int(math.copysign(1, mean.mean))


def print_row(case: Case, found: Found, gaps: dict[tuple[str, str], Mean]) -> None:
    cells = [f"{100 * line.regret.mean:z.1f}" for line in found.lines]
    for pair in (("dora", "rebase"), ("optimal_directions", "dora")):
        cells.append(f"{100 * gaps[pair].mean:+z.1f} ± {100 * gaps[pair].half:.1f}")
    half = max(line.regret.half for line in found.lines)
    print(
        f"| {case.name} | {100 * found.least:.1f} | {' | '.join(cells)} | {found.instances} (± {100 * half:.1f}) |",
        flush=True,
    )


def compare(title: str, rows: Sequence[tuple[Case, dict[tuple[str, str], Mean]]], a: str, b: str) -> None:
    verdicts = [verdict(gaps[a, b]) for _, gaps in rows]
    print(f"- {title}: {a} fails less than {b} in {verdicts.count(-1)} of {len(rows)} settings, more in "
          f"{verdicts.count(1)}, open in {verdicts.count(0)}")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", default="16,64")
    parser.add_argument("--instances", type=int, default=600, help="to begin with")
    parser.add_argument("--most", type=int, default=4000)
    parser.add_argument("--half-width", type=float, default=1.0, help="points")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    rows, settings, part = [], [], ""
    for case in cases(whole_numbers(given.budgets, "--budgets")):
        if case.part != part:
            part = case.part
            print(f"\n## {part}\n\n| setting | least | {' | '.join(ALL)} | dora − rebase | optimal_directions − dora | "
                  f"instances |\n{'| --- ' * (len(ALL) + 5)}|")  # fmt: skip
        found, gaps = play(case, given.half_width / 100, given)
        print_row(case, found, gaps)
        rows.append((case, gaps))
        settings.append({"part": part, "name": case.name, "world": asdict(case.world), **found.as_dict()})
    print()
    for part in dict.fromkeys(case.part for case, _ in rows):
        of_part = [row for row in rows if row[0].part == part]
        for a, b in (
            ("dora", "rebase"),
            ("optimal_directions", "dora"),
            ("optimal_directions", "rebase"),
            ("dora", "temperature"),
        ):
            compare(part, of_part, a, b)
        worse = [
            case.name
            for case, gaps in of_part
            if min(verdict(gaps["optimal_directions", one]) for one in ("dora", "rebase")) > 0
        ]
        print(f"- {part}: optimal_directions is worse than both rebase and dora in {len(worse)}: {'; '.join(worse)}")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"settings": settings}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
