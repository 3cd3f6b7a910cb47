"""Run recipes of the paper's grid on tiny random models, from the fit of the belief to the report.

    python experiments/paper/smoke.py experiments/paper/math500-llama-3.2-1b.toml --out runs/smoke
    python experiments/paper/smoke.py experiments/paper/*.toml --out runs/smoke

Everything is as in the recipe but for the models, the questions (two), the budgets (4 and 8), the seeds (one) and the
lengths: random models end no text, so a step has at most 48 tokens and a path 384. The models have the recipe's
architectures. Policy and embedder are behind servers as in the recipe; the reward model is in
this process. The figures mean nothing: what counts is that the recipe runs to its report.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tiny_models import save_policy, save_reward, served_embedder

from rollwise.cli import build_app
from rollwise.model_server import Choice, load_models, running

QUESTIONS = [
    {"problem": "What is 2 + 3?", "answer": "5", "unique_id": "one", "level": 1},
    {"problem": "What is 3 + 3?", "answer": "6", "unique_id": "two", "level": 2},
]
BUDGETS = (4, 8)
LENGTHS = {"max_step_tokens": 48, "max_tokens": 384}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("runs/smoke"), help="a folder for each recipe is made in it")
    parser.add_argument("--paper", type=Path, help="a file of the paper's curves, for rollwise report")
    given = parser.parse_args()
    for recipe in given.recipes:
        print(f"{recipe}: {smoke(recipe, given.out / recipe.stem, given.paper)}")


def smoke(recipe: Path, out: Path, paper: Path | None = None) -> Path:
    """Run a recipe on tiny models into the folder `out`; return the report's page."""
    grid = tomllib.loads(recipe.read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    questions = out / f"{grid['data']}.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    with tempfile.TemporaryDirectory() as made:
        policy = save_policy(Path(made) / policy_name(grid), architecture(grid))
        reward = save_reward(Path(made) / "reward")
        models = load_models(Choice(str(policy), "none", "none", rows=32))
        with running(models) as url, served_embedder() as embedder:
            served = f"{url}#{policy.name}"
            models_of = ["--data", str(questions), "--policy", served, "--reward", str(reward)]
            belief = out / "belief.json"
            search = settings({**grid["search"], **LENGTHS})
            few = ["--paths", "4", "--points", "2", "--completions", "2", "--least", "4"]
            rollwise("calibrate", *models_of, *few, *search, "--out", str(belief))
            parts = ["--set", f"directions={embedder}", "--set", f"belief={belief}", *settings(LENGTHS)]
            size = ["--budgets", ",".join(map(str, BUDGETS)), "--seeds", "1", "--limit", "2"]
            rollwise("bench", "--config", str(recipe), *models_of, *parts, *size, "--out", str(out / "bench"))
    rollwise("report", str(out / "bench"), *(["--paper", str(paper)] if paper else []))
    return out / "bench" / "report" / "index.html"


def policy_name(grid: dict[str, Any]) -> str:
    """The name of the recipe's policy, without its owner's."""
    return str(grid["search"]["policy"].rpartition("/")[2])


def architecture(grid: dict[str, Any]) -> str:
    """The transformers class of the recipe's policy."""
    return "LlamaForCausalLM" if policy_name(grid).startswith("Llama") else "Qwen2ForCausalLM"


def settings(search: dict[str, Any]) -> list[str]:
    """Those of the settings that decide a rollout, as flags of `rollwise calibrate` and `rollwise bench`."""
    names = ("temperature", "top_p", "max_step_tokens", "max_tokens", "max_steps")
    return [part for name in names if name in search for part in ("--set", f"{name}={search[name]}")]


def rollwise(*arguments: str) -> None:
    """Run a command of rollwise in this process. Raises SystemExit if it fails."""
    build_app()(list(arguments), standalone_mode=False)


if __name__ == "__main__":
    main()
