"""Measures regret over a grid of worlds with known chances: where DORA wins, where it loses, and what a belief gains.

    python experiments/regret.py --half-width 1 --out runs/regret.json

Each setting plays instances until the 95 % interval of every regret is within the half width, in points, or until it
has played --most. Settings that --out already holds are not played again, so a stopped run goes on; Ctrl-C stops and
summarises. The run prints tables of regrets, then how DORA and `optimal_directions` differ from the others, in pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rollwise.cli.options import whole_numbers
from rollwise.simulation.oneshot import OneShot
from rollwise.simulation.study import Mean, Study, read_contenders, sweep

ALL = ("temperature", "rebase", "dora", "optimal", "optimal_directions")
PAIRS = (
    ("dora", "rebase"),
    ("dora", "temperature"),
    ("optimal_directions", "dora"),
    ("optimal_directions", "rebase"),
)
NOISES = ((0.0, 1.0), (0.1, 0.0), (0.1, 1.0), (0.3, 0.0), (0.3, 1.0))
BASE = OneShot(noise=0.1, shared=1.0)
FITTED = replace(BASE, told="fitted")
EASY = replace(BASE, worth=0.3, spread=2.0)
VARIATIONS = {
    "as it is": BASE,
    "fitted": FITTED,
    "κ told 8 times": replace(BASE, told_concentration=64.0),
    "κ told an eighth": replace(BASE, told_concentration=1.0),
    "ρ told 0.1": replace(BASE, told_correlation=0.1),
    "bias +0.1": replace(BASE, bias=0.1),
    "bias −0.05": replace(BASE, bias=-0.05),
    "ρ 0.5": replace(BASE, correlation=0.5),
    "ρ 0.1, fitted": replace(FITTED, correlation=0.1),
    "popularity 1, fitted": replace(FITTED, popularity=1.0),
    "popularity 1, noise 0.3, fitted": replace(FITTED, popularity=1.0, noise=0.3),
    "crowd of half, fitted": replace(FITTED, crowd=0.5),
    "crowd of half, popularity 1, noise 0.3, fitted": replace(FITTED, crowd=0.5, popularity=1.0, noise=0.3),
    "labels merged 0.3, fitted": replace(FITTED, merge=0.3),
    "labels split 0.3, fitted": replace(FITTED, split=0.3),
}


@dataclass(frozen=True)
class Case:
    """A row of a table: its part of the grid, its name there, and its world and budget."""

    part: str
    name: str
    world: OneShot
    budget: int


def cases(budgets: Sequence[int]) -> Iterator[Case]:
    """Yields variations of a world; N × candidates × imbalance × noise by kind of belief; and easy worlds."""
    for budget in budgets:
        for name, world in VARIATIONS.items():
            yield Case("variations", f"N {budget}, {name}", world, budget)
    for told in ("fitted", "observed"):
        for budget in budgets:
            for candidates in (0, 8):
                for imbalance in (0.0, 2.0):
                    for noise, shared in NOISES:
                        fields = {"candidates": candidates, "imbalance": imbalance, "noise": noise, "shared": shared}
                        name = f"N {budget}, k {candidates or 'N'}, imbalance {imbalance:g}, {noisy(noise, shared)}"
                        yield Case(f"beliefs {told}", name, replace(BASE, told=told, **fields), budget)
    for told in ("fitted", "observed"):
        for budget in (4, 8):
            for noise in (0.0, 0.1, 0.3):
                name = f"N {budget}, {told}, {noisy(noise, 1)}"
                yield Case("easy", name, replace(EASY, noise=noise, told=told), budget)


def noisy(noise: float, shared: float) -> str:
    return f"noise {noise:g}" + ("" if noise == 0 else " shared" if shared else " own")


def play(case: Case, half_width: float, given: argparse.Namespace) -> dict[str, Any]:
    """Plays a case and returns its results as plain values, with the paired differences in failure of PAIRS."""
    instances = min(given.instances, given.most)
    study = Study(sweep(case.world, None, [], [case.budget]), read_contenders(",".join(ALL)), instances, given.seed)
    study.run()
    while max(line.regret.half for line in study.found()[0].lines) > half_width and study.instances < given.most:
        study.instances = min(given.most, study.instances + max(50, given.instances // 2))
        study.run()
    failure = np.stack([outcome.failure for outcome in study.played[0]])
    columns = dict(zip(ALL, failure.T, strict=True))
    gaps = {f"{a} − {b}": asdict(Mean.of(columns[a] - columns[b])) for a, b in PAIRS}
    world = asdict(case.world)
    return {"part": case.part, "name": case.name, "world": world, "gaps": gaps, **study.found()[0].as_dict()}


def verdict(gap: dict[str, float]) -> int:
    """Returns 1 if the interval of a difference lies above 0, -1 if it lies below, and 0 if it contains 0."""
    return 0 if abs(gap["mean"]) <= gap["half"] else int(math.copysign(1, gap["mean"]))


def header(part: str) -> str:
    names = ["setting", "least", "best by scores", *ALL, "dora − rebase", "optimal_directions − dora", "instances"]
    return f"\n## {part}\n\n| {' | '.join(names)} |\n{'| --- ' * len(names)}|"


def row(setting: dict[str, Any]) -> str:
    """Returns a line of a table, in points."""
    regrets = [line["regret"] for line in setting["lines"]]
    informed = setting["informed"]
    cells = [f"{100 * setting['least']:.1f}", f"{100 * informed['mean']:z.1f}" if informed else "-"]
    cells += [f"{100 * regret['mean']:z.1f}" for regret in regrets]
    gaps = [setting["gaps"][pair] for pair in ("dora − rebase", "optimal_directions − dora")]
    cells += [f"{100 * gap['mean']:+z.1f} ± {100 * gap['half']:.1f}" for gap in gaps]
    half = max(regret["half"] for regret in regrets)
    return f"| {setting['name']} | {' | '.join(cells)} | {setting['instances']} (± {100 * half:.1f}) |"


def conclusions(settings: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yields how often each strategy of a pair fails less, by part, and where `optimal_directions` loses to both."""
    for part in dict.fromkeys(setting["part"] for setting in settings):
        rows = [setting for setting in settings if setting["part"] == part]
        for a, b in PAIRS:
            verdicts = [verdict(setting["gaps"][f"{a} − {b}"]) for setting in rows]
            less, more, undecided = (verdicts.count(sign) for sign in (-1, 1, 0))
            counts = f"{less} of {len(rows)} settings, more in {more}, open in {undecided}"
            yield f"- {part}: {a} fails less than {b} in {counts}"
        both = ("optimal_directions − dora", "optimal_directions − rebase")
        worse = [setting["name"] for setting in rows if min(verdict(setting["gaps"][pair]) for pair in both) > 0]
        yield f"- {part}: optimal_directions is worse than both rebase and dora in {len(worse)}: {'; '.join(worse)}"


def run(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Plays the settings that --out does not hold, writes --out after each, and returns all of them."""
    settings = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else []
    held, part = {(setting["part"], setting["name"]): setting for setting in settings}, ""
    with contextlib.suppress(KeyboardInterrupt):
        for case in cases(whole_numbers(given.budgets, "--budgets")):
            if case.part != part:
                part = case.part
                print(header(part), flush=True)
            if (case.part, case.name) not in held:
                held[case.part, case.name] = play(case, given.half_width / 100, given)
                text = json.dumps([*held.values()], ensure_ascii=False, indent=1)
                given.out.write_text(text + "\n", encoding="utf-8")
            print(row(held[case.part, case.name]), flush=True)
    return [*held.values()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", default="16,64")
    parser.add_argument("--instances", type=int, default=600, help="instances of a setting to begin with")
    parser.add_argument("--most", type=int, default=4000, help="the most instances of a setting")
    parser.add_argument("--half-width", type=float, default=1.0, help="of the 95 %% intervals, in points")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/regret.json"))
    given = parser.parse_args(arguments)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    print("\n" + "\n".join(conclusions(run(given))))


if __name__ == "__main__":
    main()
