"""Tokens that the reward model reads in the same searches: step by step in this process, behind a server, and anew.

    python benchmarks/reward_tokens.py --questions 8 --json runs/reward_tokens.json

All routes score by the bundled reward model in float64, so that their trees are the same, which is checked. `rollwise
serve-model` answers `/pooling` once with kept prefixes, and once with none, as vLLM's pooling of process rewards does.
Either is asked about equal text of a round once; "each path" is what a server reads that is asked about every path.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from rollwise.core import RewardModel
from rollwise.engines.local.policy import LocalPolicy
from rollwise.engines.local.prefixes import Prefixes
from rollwise.model_server.judging import Judge
from rollwise.model_server.models import Models
from rollwise.model_server.run import running
from rollwise.names import bundled
from rollwise.registry import find_world
from rollwise.rewards.layouts import CHAT
from rollwise.rewards.local import LocalReward
from rollwise.rewards.served import ServedReward
from rollwise.search.config import Config
from rollwise.search.runner import Runner

WORLD = find_world("countdown")


@dataclass(frozen=True)
class Read:
    """What a route read of some searches, and their trees: each finished path's key and text."""

    generated: int
    read: int
    cached: int
    trees: tuple[tuple[Any, ...], ...]


def searches(policy: LocalPolicy, reward: RewardModel, strategy: str, given: argparse.Namespace) -> Read:
    """The ledgers of one search a question, added up."""
    runner = Runner(
        Config.of(
            strategy=strategy,
            budget=given.budget,
            max_tokens=given.max_tokens,
            temperature=given.temperature,
            policy=policy,
            reward=reward,
        )
    )
    found = [asyncio.run(runner.solve(WORLD.problem(given.level, seed))) for seed in range(given.questions)]
    assert not any(solution.failures for solution in found), found[0].failures
    policies, rewards = ([solution.ledger.usage[role] for solution in found] for role in ("policy", "reward"))
    return Read(
        sum(usage.generated for usage in policies),
        sum(usage.prefilled for usage in rewards),
        sum(usage.cached for usage in rewards),
        tuple(tuple((path.key, path.text) for path in solution.finished) for solution in found),
    )


@contextmanager
def pooling(policy: LocalPolicy, reward: LocalReward, kept: int) -> Iterator[RewardModel]:
    """The reward model behind `/pooling`, where so many tokens are kept."""
    judge = Judge(reward, "reward", WORLD.separator, kept)
    with running(Models("policy", policy, Prefixes(0), judge)) as url:
        yield ServedReward(CHAT, url)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that is counted, as plain values."""
    policy = LocalPolicy.load(given.policy, WORLD.separator, "float64")
    reward = LocalReward.load(given.reward, "float64")
    strategies = {}
    for strategy in given.strategies:
        here = searches(policy, reward, strategy, given)
        with pooling(policy, reward, given.cache_tokens) as served:
            there = searches(policy, served, strategy, given)
        with pooling(policy, reward, 0) as served:
            anew = searches(policy, served, strategy, given)
        assert here.trees == there.trees == anew.trees, f"{strategy}: the routes searched different trees"
        rows = {
            "in this process": here.read,
            "/pooling, prefixes kept": there.read,
            "/pooling, none kept": anew.read,
            "/pooling, none kept, each path": here.read + here.cached,
        }
        strategies[strategy] = {
            "generated": here.generated,
            "read": rows,
            "factor": {name: round(tokens / here.read, 2) for name, tokens in rows.items()},
        }
    names = ("questions", "level", "budget", "temperature", "max_tokens", "cache_tokens")
    return {"setting": {name: getattr(given, name) for name in names}, "strategies": strategies}


def table(found: dict[str, Any]) -> str:
    """What was counted, for people."""
    lines = [f"{name}: {value}" for name, value in found["setting"].items()]
    for strategy, row in found["strategies"].items():
        lines += ["", f"{strategy}: {row['generated']:,} tokens generated", f"{'route':32}{'read':>10}{'factor':>8}"]
        lines += [f"{name:32}{tokens:>10,}{row['factor'][name]:>8.2f}" for name, tokens in row["read"].items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--strategies", type=lambda text: text.split(","), default=["temperature", "rebase", "dora"])
    parser.add_argument("--cache-tokens", type=int, default=32768, help="what the server keeps")
    parser.add_argument("--policy", type=FilePath, default=bundled("countdown", "policy"))
    parser.add_argument("--reward", type=FilePath, default=bundled("countdown", "reward"))
    parser.add_argument("--json", type=FilePath, help="write the figures to this file too")
    given = parser.parse_args(arguments)
    found = measure(given)
    print(table(found))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
