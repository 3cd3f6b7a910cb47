"""Estimate the GPU hours of the paper's grid from the seconds in the paper's Table 1.

    python experiments/paper/cost.py --out docs/results/data/paper-cost.json
    python experiments/paper/cost.py --limit 50 --seeds 1

Table 1 gives seconds for one question on one A100 (40 GB) with Llama-3.2-1B and Qwen2.5-Math-PRM-7B: beam search 345,
DVTS 253 and REBASE 490 at N = 256, DORA 124 at N = 64. Assumed here: seconds grow with N; plain sampling takes what
DVTS takes, the optimum by direction what DORA takes; with another policy they grow with the weights of policy and
reward model together; questions of AIME take what those of MATH-500 take, although their solutions are longer.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

SECONDS = {
    "temperature": 253 / 256,
    "beam": 345 / 256,
    "dvts": 253 / 256,
    "rebase": 490 / 256,
    "dora": 124 / 64,
    "optimal_directions": 124 / 64,
}
"""Strategy → seconds of a rollout with Llama-3.2-1B."""
TOKENS = 700
"""Tokens of a rollout: 3.58e14 FLOPs of the policy at N = 256 in Table 1, over 2 × 10⁹ weights × 256."""
WEIGHTS = {"Llama-3.2-1B-Instruct": 1.24, "Llama-3.2-3B-Instruct": 3.21, "Qwen2.5-1.5B-Instruct": 1.54}
"""Policy → its weights in billions."""
REWARD_WEIGHTS = 7.6
QUESTIONS = {"MATH-500": 500, "AIME-2024": 30, "AIME-2025": 30}
MADE_BY = {"command": ["python experiments/paper/cost.py"], "models": "none; an estimate from the seconds of the paper"}
COLUMNS = [
    {"title": "benchmark"},
    {"title": "policy"},
    {"title": "searches"},
    {"title": "million rollouts", "digits": 2},
    {"title": "billion tokens", "digits": 2},
    {"title": "A100 hours"},
]
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="questions of each benchmark; default all")
    parser.add_argument("--seeds", type=int, help="seeds of each question; default the recipe's")
    parser.add_argument("--out", type=Path, help="a JSON file for the table")
    given = parser.parse_args()
    table = costs(given.limit, given.seeds)
    for row in ([column["title"] for column in table["columns"]], *table["rows"]):
        print(*(f"{cell:>22}" for cell in row))
    if given.out:
        given.out.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def costs(limit: int | None = None, seeds: int | None = None) -> dict[str, Any]:
    """A row for each recipe, and their sum: benchmark, policy, searches, rollouts, policy tokens, GPU hours."""
    rows: list[list[Any]] = []
    for recipe in sorted(HERE.glob("*.toml"), key=lambda file: (not file.stem.startswith("math"), file.stem)):
        grid = tomllib.loads(recipe.read_text(encoding="utf-8"))
        policy = grid["search"]["policy"].rpartition("/")[2]
        trials = min(limit or 500, QUESTIONS[grid["data"]]) * (seeds or grid["seeds"])
        width = sum(grid["budgets"])
        slower = (WEIGHTS[policy] + REWARD_WEIGHTS) / (WEIGHTS["Llama-3.2-1B-Instruct"] + REWARD_WEIGHTS)
        hours = trials * width * slower * sum(SECONDS[name] for name in grid["strategies"]) / 3600
        searches = trials * len(grid["budgets"]) * len(grid["strategies"])
        rollouts = trials * width * len(grid["strategies"])
        rows.append([grid["data"], policy, searches, rollouts, rollouts * TOKENS, hours])
    sums = [sum(row[place] for row in rows) for place in range(2, 6)]
    shown = [[name, policy, *_shown(*numbers)] for name, policy, *numbers in [*rows, ["all", "", *sums]]]
    return {"made_by": MADE_BY, "columns": COLUMNS, "rows": shown}


def _shown(searches: int, rollouts: int, tokens: int, hours: float) -> list[Any]:
    return [searches, round(rollouts / 1e6, 2), round(tokens / 1e9, 2), round(hours)]


if __name__ == "__main__":
    main()
