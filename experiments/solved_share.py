"""The share of questions that strategies solve, on the same questions with common random numbers.

    python experiments/solved_share.py --strategies temperature,rebase,dora --budget 64 --questions 50

Prints a table and writes a JSON line a question and strategy to --out, from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

from rollwise.numerics import wilson_interval
from rollwise.runner import Config, Runner

IN_FLIGHT = 4


async def run(runner: Runner, name: str, level: int, seeds: range, split: str, out: Path) -> None:
    held = {(row["strategy"], row["seed"]) for row in rows_of(out)}
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(seed: int) -> None:
        async with gate:
            solution = await runner.solve(runner.world.problem(level, seed, split))
        row = {
            "strategy": name,
            "seed": seed,
            "solved": bool(solution.covered),
            "right": sum(bool(right) for right in solution.rights),
            "finished": len(solution.finished),
            "tokens": solution.ledger.usage["policy"].generated,
            "seconds": round(solution.ledger.seconds, 3),
        }
        with out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")

    await asyncio.gather(*(one(seed) for seed in seeds if (name, seed) not in held))


def rows_of(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default="temperature,rebase,dora")
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--policy", default="trained")
    parser.add_argument("--reward", default="trained")
    parser.add_argument("--directions", default="hidden")
    parser.add_argument("--out", type=Path, default=Path("runs/solved_share.jsonl"))
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    seeds = range(given.first_seed, given.first_seed + given.questions)
    names = given.strategies.split(",")
    for name in names:
        parts = {"policy": given.policy, "reward": given.reward, "directions": given.directions}
        runner = Runner(Config.of(strategy=name, budget=given.budget, **parts))
        started = time.perf_counter()
        asyncio.run(run(runner, name, given.level, seeds, given.split, given.out))
        rows = [row for row in rows_of(given.out) if row["strategy"] == name and row["seed"] in seeds]
        solved = sum(bool(row["solved"]) for row in rows)
        low, high = wilson_interval(solved, len(rows))
        share = sum(int(str(row["right"])) for row in rows) / sum(int(str(row["finished"])) for row in rows)
        print(
            f"{name:16} solved {solved}/{len(rows)} = {solved / len(rows):.3f} ({low:.3f} to {high:.3f})"
            f"  right paths {share:.3f}  {time.perf_counter() - started:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
