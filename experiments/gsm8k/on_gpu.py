"""Runs GSM8K's whole recipe on a GPU within ten minutes: each part has a budget of seconds and stops at it.

    python experiments/gsm8k/on_gpu.py --data gsm8k_train.jsonl --test gsm8k_test.jsonl --base smollm2 --ship results

What comes back lies in --ship: an adapter for each model, the completed prefixes, the figures, and the seconds of each
part. On a machine without a GPU it runs as well, and learns little within the same seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import recipe
from engine_rates import engine_rates
from prepare import read_part
from tuning import Tuning, measured_rate

BUDGETS = {
    "policy": 110.0,
    "completions reward": 150.0,
    "completions validation": 40.0,
    "reward": 60.0,
    "evaluate policy": 40.0,
    "evaluate early": 25.0,
    "evaluate test": 45.0,
    "engine": 60.0,
}
"""Part → its seconds. Loading, making the data and packing come on top: together about nine minutes."""
EPOCHS = {"policy": 4.0, "reward": 2.0}
"""The most epochs of a training; fewer if the measured rate does not allow them."""


def parser() -> argparse.ArgumentParser:
    """The options of the script."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", required=True, help="GSM8K's training questions")
    made.add_argument("--test", required=True, help="GSM8K's test questions")
    made.add_argument("--base", default="smollm2")
    made.add_argument("--out", type=Path, default=Path("runs/gsm8k"))
    made.add_argument("--ship", type=Path, default=Path("runs/gsm8k-results"))
    made.add_argument("--method", choices=recipe.METHODS, default=Tuning.method)
    made.add_argument("--rank", type=int, default=Tuning.rank)
    made.add_argument("--batch-tokens", type=int, default=16384)
    made.add_argument("--rows", type=int, default=1024, help="paths that are computed at once")
    made.add_argument("--scale", type=float, default=1.0, help="factor on every budget")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts; return the exit status of the first that fails, else 0."""
    given = parser().parse_args(arguments)
    seconds = {name: given.scale * budget for name, budget in BUDGETS.items()}
    shared = ["--out", str(given.out), "--batch-tokens", str(given.batch_tokens), "--rank", str(given.rank)]
    shared += ["--base", given.base, "--method", given.method]
    sampled = ["--rows", str(given.rows), "--minutes"]
    times: dict[str, float] = {}

    def part(name: str, *options: str) -> None:
        command = [name.split()[0], *options, *shared]
        _timed(times, name, lambda: _checked(recipe.main(command)))

    def minutes(name: str) -> list[str]:
        return [*sampled, f"{seconds[name] / 60:.4f}"]

    try:
        part("data", "--data", given.data, "--test", given.test)
        part("policy", "--epochs", f"{_epochs(given, 'policy', seconds['policy']):.3f}")
        for questions in ("reward", "validation"):
            name = f"completions {questions}"
            part(name, "--part-of", questions, *minutes(name))
        part("reward", "--epochs", f"{EPOCHS['reward']:g}")
        part("evaluate policy", *minutes("evaluate policy"))
        early = ["--policy", str(given.out / "policy-early")]
        part("evaluate early", *early, *minutes("evaluate early"))
        part("evaluate test", "--data", given.test, "--samples", "64", *minutes("evaluate test"))
        rates = _timed(times, "engine", lambda: engine_rates(given.out / "policy", given.rows, seconds["engine"]))
        (given.out / "engine.json").write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")
    except _FailedError as failed:
        return failed.status
    finally:
        pack(given.out, given.ship, times)
    print(json.dumps(times, indent=2))
    return 0


class _FailedError(Exception):
    """A part failed; what came before it is packed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _checked(status: int) -> None:
    if status:
        raise _FailedError(status)


def _timed(times: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    started = time.monotonic()
    print(f"== {name}", file=sys.stderr, flush=True)
    try:
        return work()
    finally:
        times[name] = round(time.monotonic() - started, 1)


def _epochs(given: argparse.Namespace, name: str, seconds: float) -> float:
    """As many epochs as the seconds allow, by the rate of a few steps."""
    lines = read_part(given.out / "data", "policy")
    tuning = Tuning(method=given.method, rank=given.rank, batch_tokens=given.batch_tokens)
    rate, tokens = measured_rate(recipe._base(given.base), lines, tuning, given.out / "rate")
    print(f"{rate:,.0f} tokens/s, {tokens:,} tokens an epoch", file=sys.stderr, flush=True)
    return max(0.01, min(EPOCHS[name], 0.8 * seconds * rate / tokens))


def pack(out: Path, ship: Path, times: dict[str, float]) -> None:
    """Write what there is of the results to `ship`, in a few small files."""
    ship.mkdir(parents=True, exist_ok=True)
    for name in ("policy", "policy-early", "reward"):
        adapter = out / name / "adapter"
        if adapter.is_dir():
            with tarfile.open(ship / f"{name}-adapter.tar", "w") as archive:
                archive.add(adapter, name)
    with tarfile.open(ship / "samples.tar.gz", "w:gz") as archive:
        for file in sorted(out.glob("*.jsonl")):
            archive.add(file, file.name)
    read = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in sorted(out.glob("*.json"))}
    (ship / "figures.json").write_text(json.dumps({**read, "seconds": times}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
