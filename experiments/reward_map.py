"""Which allocator wins, over the reward's noise, the share of its error common to a direction, and N.

    python experiments/reward_map.py --world stories --policy demonstrator --truth worth --levels 4,5 --limit 50

Runs one bench in --out (a stopped one goes on) and prints, for every noise × share × N, the measure of each strategy,
who is best, and the paired difference of DORA by true state to REBASE with its 95 % interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rollwise.bench import Bench, begin, begun, read, resume
from rollwise.cli.options import whole_numbers
from rollwise.runner import run_to_end
from rollwise.summary import Row

STRATEGIES = ("temperature", "beam", "dvts", "rebase", "dora:directions=state")


def labels(truth: str, noise: str, share: str) -> dict[str, str]:
    """The bench's label of each strategy under one reward."""
    reward = f"reward={truth}({noise},{share})"
    return {one: f"{one}{',' if ':' in one else ':'}{reward}" for one in STRATEGIES}


def run(given: argparse.Namespace) -> None:
    """The bench of the whole grid, begun or gone on with."""
    rewards = [(noise, share) for noise in given.noises.split(",") for share in given.shares.split(",")]
    strategies = [label for reward in rewards for label in labels(given.truth, *reward).values()]
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
    }
    bench: Bench = resume(given.out, fields) if begun(given.out) else begin(given.out, fields)
    run_to_end(bench.run())


def difference(given: argparse.Namespace, noise: str, share: str, budget: int) -> tuple[dict[str, float], str]:
    """The measure by strategy at one point of the map, and DORA's paired difference to REBASE there."""
    named = labels(given.truth, noise, share)
    rows: dict[tuple[str, int], Row] = {
        (row.strategy, row.budget): row for row in read(given.out, named["rebase"]).summary.rows
    }
    values = {name: rows[label, budget].measures[given.measure].mean for name, label in named.items()}
    found = rows[named["dora:directions=state"], budget].measures[given.measure].difference
    assert found is not None
    detectable = "-" if found.detectable is None else f"{100 * found.detectable:.1f}"
    return values, f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f}) | {detectable}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="stories")
    parser.add_argument("--policy", default="demonstrator")
    parser.add_argument("--truth", choices=["dial", "worth"], default="worth")
    parser.add_argument("--noises", default="0.1,0.2,0.4,0.8")
    parser.add_argument("--shares", default="0,0.5,1")
    parser.add_argument("--budgets", default="16,64")
    parser.add_argument("--levels", default="4,5")
    parser.add_argument("--limit", type=int, default=50, help="questions a level")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--measure", choices=["accuracy", "coverage", "pass_rate"], default="accuracy")
    parser.add_argument("--out", type=Path, default=Path("runs/reward_map"))
    given = parser.parse_args()
    run(given)
    print(f"| N | noise | shared | {' | '.join(STRATEGIES)} | best | dora − rebase, points (95 %) | detectable |")
    print("| --- " * (len(STRATEGIES) + 6) + "|")
    for budget in whole_numbers(given.budgets, "--budgets"):
        for noise in given.noises.split(","):
            for share in given.shares.split(","):
                values, gap = difference(given, noise, share, budget)
                best = max(values.values())
                winners = "=".join(name.partition(":")[0] for name, value in values.items() if value == best)
                shown = " | ".join(f"{100 * value:.1f}" for value in values.values())
                print(f"| {budget} | {noise} | {share} | {shown} | {winners} | {gap} |", flush=True)


if __name__ == "__main__":
    main()
