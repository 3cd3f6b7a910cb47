"""Which allocator wins? Maps this over the reward's noise, the share of its error common to a direction, and N.

    python experiments/reward_map.py --world stories --policy demonstrator --truth worth --levels 4,5 --limit 50

Runs a bench in --out; a stopped bench continues. For every noise × share × N, it prints the measure of each strategy,
the best strategy, and paired differences with 95 % intervals: DORA by true states minus REBASE. With `--prefixes`, it
fits a belief for each reward and also prints the optimum by true states minus DORA and minus plain sampling.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rollwise.bench.finding import begun
from rollwise.bench.places import RESULTS_FILE
from rollwise.bench.run import Bench, begin, resume, run_in_jobs
from rollwise.bench.store import Result, Store
from rollwise.bench.summary import Difference, Row, summarise
from rollwise.cli.calibrate import calibrate
from rollwise.cli.options import whole_numbers
from rollwise.report.charts import Point, lines_svg
from rollwise.search.runner import run_to_end

DORA, OPTIMUM = "dora:directions=state", "optimal_directions:directions=state"
STRATEGIES = ("temperature", "beam", "dvts", "rebase", DORA)


def rewards(given: argparse.Namespace) -> list[tuple[str, str]]:
    """Every pair of a noise and a share."""
    return [(noise, share) for noise in given.noises.split(",") for share in given.shares.split(",")]


def labels(given: argparse.Namespace, noise: str, share: str) -> dict[str, str]:
    """The bench's label of each strategy with this reward."""
    reward = f"reward={given.truth}({noise},{share})"
    named = {strategy: f"{strategy}{',' if ':' in strategy else ':'}{reward}" for strategy in STRATEGIES}
    if given.prefixes:
        named[OPTIMUM] = f"{OPTIMUM},{reward},belief={belief(given, noise, share)}"
    return named


def belief(given: argparse.Namespace, noise: str, share: str) -> Path:
    """The belief file of a reward."""
    return given.out / f"belief-{noise}-{share}.json"


def fit_beliefs(given: argparse.Namespace) -> None:
    """Fit a belief for every reward that has none yet."""
    given.out.mkdir(parents=True, exist_ok=True)
    for noise, share in rewards(given):
        if not belief(given, noise, share).exists():
            calibrate(given.prefixes, belief(given, noise, share), f"{given.truth}({noise},{share})")


def run(given: argparse.Namespace) -> None:
    """Run the bench of the whole grid; a stopped bench continues."""
    if given.prefixes:
        fit_beliefs(given)
    strategies = [label for reward in rewards(given) for label in labels(given, *reward).values()]
    fields = {
        "world": given.world,
        "strategies": strategies,
        "budgets": whole_numbers(given.budgets, "--budgets"),
        "levels": whole_numbers(given.levels, "--levels"),
        "limit": given.limit,
        "seeds": given.seeds,
        "first_seed": given.first_seed,
        "split": given.split,
        "search": {"policy": given.policy},
        "jobs": given.jobs,
    }
    bench: Bench = resume(given.out, fields) if begun(given.out) else begin(given.out, fields)
    if bench.grid.jobs > 1:
        run_in_jobs(bench, given.out)
    else:
        run_to_end(bench.run())


def stored(out: Path) -> list[Result]:
    """All results of the bench."""
    store = Store(out / RESULTS_FILE)
    experiment = store.latest()
    assert experiment is not None
    return store.results(experiment.id)


def rows(results: Sequence[Result], baseline: str) -> dict[tuple[str, int], Row]:
    """The summary rows of some results by label and N, with differences to a baseline label."""
    return {(row.strategy, row.budget): row for row in summarise(results, baseline).rows}


def points(difference: Difference | None) -> str:
    """A difference in percentage points, with its interval."""
    assert difference is not None
    return f"{100 * difference.mean:+.1f} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"


def cells(given: argparse.Namespace, results: Sequence[Result], noise: str, share: str) -> dict[int, list[str]]:
    """The cells of the map's rows for a reward, by N."""
    named = labels(given, noise, share)
    pairs = [(DORA, "rebase"), *([(OPTIMUM, DORA), (OPTIMUM, "temperature")] if given.prefixes else [])]
    chosen = [result for result in results if result.cell.label in named.values()]
    against = {baseline: rows(chosen, named[baseline]) for _, baseline in pairs}
    by_budget = {}
    for budget in whole_numbers(given.budgets, "--budgets"):
        values = {name: against["rebase"][label, budget].measures[given.measure].mean for name, label in named.items()}
        best = max(values.values())
        winners = "=".join(name.partition(":")[0] for name, value in values.items() if value == best)
        gaps = [points(against[base][named[name], budget].measures[given.measure].difference) for name, base in pairs]
        by_budget[budget] = [noise, share, *(f"{100 * value:.1f}" for value in values.values()), winners, *gaps]
    return by_budget


def picture(given: argparse.Namespace, results: Sequence[Result]) -> str:
    """An SVG picture of the measure against the noise at the largest N, with a panel per share and Wilson intervals."""
    budget = max(whole_numbers(given.budgets, "--budgets"))
    noises, shares = given.noises.split(","), given.shares.split(",")
    panels: dict[str, dict[str, list[Point]]] = {}
    for share in shares:
        panel = panels.setdefault(f"{share} of the error common to a direction", {})
        for noise in noises:
            named = labels(given, noise, share)
            summary = rows([result for result in results if result.cell.label in named.values()], named["rebase"])
            for name, label in named.items():
                value = summary[label, budget].measures[given.measure]
                half = 100 * (value.high - value.low) / 2
                panel.setdefault(name.partition(":")[0], []).append(Point(100 * value.mean, half))
    questions = min(row.questions for row in summary.values())
    return lines_svg(
        panels, noises, "size of the error", f"{given.measure} in percent, {questions} questions, N = {budget}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="stories")
    parser.add_argument("--policy", default="demonstrator")
    parser.add_argument("--truth", choices=["dial", "worth"], default="worth")
    parser.add_argument("--noises", default="0.1,0.2,0.4,0.8")
    parser.add_argument("--shares", default="0,0.5,1")
    parser.add_argument("--budgets", default="16,64")
    parser.add_argument("--levels", default="4,5")
    parser.add_argument("--limit", type=int, default=50, help="questions per level")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--measure", choices=["accuracy", "coverage", "pass_rate"], default="accuracy")
    parser.add_argument("--prefixes", type=Path, help="completed prefixes, to fit beliefs and also run the optimum")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--draw", type=Path, help="SVG file for a picture of the map")
    parser.add_argument("--out", type=Path, default=Path("runs/reward_map"))
    given = parser.parse_args()
    run(given)
    strategies = [name.partition(":")[0] for name in labels(given, "0", "0")]
    gaps = ["dora − rebase", *(["optimum − dora", "optimum − temperature"] if given.prefixes else [])]
    head = ["N", "noise", "shared", *strategies, "best", *gaps]
    print(f"| {' | '.join(head)} |")
    print("| --- " * len(head) + "|")
    results = stored(given.out)
    table = [cells(given, results, *reward) for reward in rewards(given)]
    for budget in whole_numbers(given.budgets, "--budgets"):
        for row in table:
            print(f"| {budget} | {' | '.join(row[budget])} |")
    if given.draw:
        given.draw.write_text(picture(given, results), encoding="utf-8")


if __name__ == "__main__":
    main()
