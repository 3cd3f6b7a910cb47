"""The losses of searches whose connections break, compared with the same searches over sound connections.

    python experiments/faults.py --out runs/faults.jsonl

The script serves the bundled policy, reward model and embedder in its own process, in double precision, so that the
other rows of a batch change nothing. The searches reach all three through a proxy (`rollwise.testing.faulty`) that
drops, delays or cuts off a reply, or answers with 500 or garbage instead. A condition is `SHARE`, `SHARE/ATTEMPTS` or
`SHARE:FAULT`: the share of exchanges that break, the attempts for each request (default: those of a search), and the
only fault, one of `FAULTS` or `MANNERS` in rollwise.testing (default: `FAULTS` in turn). `SHARE:manners` lets all of
`MANNERS` take turns. In the condition `no_reason` the policy's replies are streamed. All conditions search the same
questions with the same seeds. Searches with a result in the file do not run again.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from rollwise.core import Problem
from rollwise.engines.http.client import Patience
from rollwise.engines.http.embedder import HttpEmbedder
from rollwise.engines.http.policy import HttpPolicy
from rollwise.names import bundled
from rollwise.numerics import bootstrap_interval, keyed_generator
from rollwise.registry import find_strategy, find_world
from rollwise.rewards.layouts import FAMILIES
from rollwise.rewards.served import ServedReward
from rollwise.search.config import Config
from rollwise.search.runner import Runner
from rollwise.testing import FAULTS, MANNERS, FaultsProxy, faulty

WORLD = find_world("countdown")


@dataclass(frozen=True)
class Row:
    """One search: its result, its lost rollouts by reason, and a digest of its finished solutions."""

    condition: str
    strategy: str
    problem: str
    right: bool
    covered: bool
    finished: int
    failed: int
    generated: int
    digest: str
    reasons: dict[str, int] = field(default_factory=dict)


def read_condition(name: str) -> tuple[float, int]:
    """The share of exchanges that break, and the attempts for each request."""
    share, _, attempts = name.partition(":")[0].partition("/")
    return float(share), int(attempts or Patience().attempts)


def read_faults(name: str) -> tuple[str, ...]:
    """The faults of a condition, which take turns."""
    fault = name.partition(":")[2]
    if fault == "manners":
        return MANNERS
    return (fault,) if fault else FAULTS


def reason_kind(reason: str) -> str:
    """A failure's reason without the server's address."""
    return reason.split(" at http")[0].split(":")[0][:60]


def runner_behind(proxy: FaultsProxy, attempts: int, strategy: str, given: argparse.Namespace) -> Runner:
    """A search that reaches its policy, reward model and embedder through the proxy, with that many attempts."""
    patience = replace(Patience(), attempts=attempts)
    share, proxy.share = proxy.share, 0.0  # the probe of a server is not part of the search
    parts: dict[str, Any] = {
        "policy": HttpPolicy(proxy.url, patience=patience),
        "reward": ServedReward(FAMILIES["chat"], proxy.url, patience=patience),
        "belief": str(bundled(WORLD.name, "policy").parent / "belief.json"),
    }
    if "directions" in find_strategy(strategy).needs:
        parts["directions"] = HttpEmbedder(proxy.url, patience=patience)
    proxy.share = share
    if "no_reason" in proxy.kinds:
        policy = parts["policy"]
        policy.server = replace(policy.server, stopping="streamed", stop_key=None)
    fields = {"world": WORLD.name, "strategy": strategy, "budget": given.budget, "vote": "weighted_majority"}
    return Runner(Config.of(**fields, **parts))


async def solve_all(runner: Runner, problems: Sequence[Problem], many: int, condition: str, strategy: str) -> list[Row]:
    """A row for each problem; `many` run at a time. Raises AssertionError if a search's rollouts do not add up."""
    gate = asyncio.Semaphore(many)

    async def solve(problem: Problem) -> Row:
        async with gate:
            solution = await runner.solve(problem)
        result: dict[str, Any] = solution.as_dict()
        assert result["finished"] + result["failed"] == runner.parts.config.budget, result
        texts = "\n\n\n".join(sorted(path.text for path in solution.finished))
        return Row(
            condition,
            strategy,
            problem.id,
            solution.right,
            solution.covered,
            result["finished"],
            result["failed"],
            solution.ledger.usage["policy"].generated,
            hashlib.blake2b(texts.encode(), digest_size=8).hexdigest(),
            dict(Counter(map(reason_kind, solution.failures))),
        )

    return list(await asyncio.gather(*map(solve, problems)))


def run(url: str, problems: Sequence[Problem], given: argparse.Namespace) -> None:
    """Run every condition and strategy on the problems without a result, block by block."""
    held = {(row.condition, row.strategy, row.problem) for row in read_rows(given.out)}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(problems), given.block):
        for strategy in given.strategies.split(","):
            for condition in given.conditions.split(","):
                block = [p for p in problems[start : start + given.block] if (condition, strategy, p.id) not in held]
                if not block:
                    continue
                share, attempts = read_condition(condition)
                with faulty(url, share, seed=start, kinds=read_faults(condition)) as proxy:
                    runner = runner_behind(proxy, attempts, strategy, given)
                    rows = asyncio.run(solve_all(runner, block, given.in_flight, condition, strategy))
                    print(condition, strategy, dict(Counter(proxy.outcomes)), flush=True)
                with given.out.open("a", encoding="utf-8") as out:
                    out.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def read_rows(file: FilePath) -> list[Row]:
    """The results in a file; none if the file does not exist."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def table(rows: Sequence[Row], base: str) -> str:
    """A line for each strategy and condition, compared with the condition `base` on the questions that both have.

    It shows shares in percent, differences in points with 95 % intervals of the paired bootstrap, the lost rollouts,
    and the number of questions with the same solutions.
    """
    lines = []
    for strategy in dict.fromkeys(row.strategy for row in rows):
        by_condition: dict[str, dict[str, Row]] = {}
        for row in rows:
            if row.strategy == strategy:
                by_condition.setdefault(row.condition, {})[row.problem] = row
        for condition, by_problem in by_condition.items():
            common = sorted(set(by_problem) & set(by_condition[base]))
            pairs = [(by_problem[problem], by_condition[base][problem]) for problem in common]
            lines.append(table_line(strategy, condition, pairs))
    return "\n".join(lines)


def table_line(strategy: str, condition: str, pairs: Sequence[tuple[Row, Row]]) -> str:
    """The line of one condition, from (its row, the row of the base) for each question."""
    line = f"{strategy} {condition:8} {len(pairs)} questions"
    for measure in ("covered", "right"):
        values = np.array([[getattr(row, measure) for row in pair] for pair in pairs])
        differences = 100.0 * (values[:, 0].astype(float) - values[:, 1])
        low, high = bootstrap_interval(differences, keyed_generator(strategy, condition, measure))
        line += f"  {measure} {100 * values[:, 0].mean():.1f}, {differences.mean():+.1f} ({low:+.1f} to {high:+.1f})"
    lost, whole = sum(row.failed for row, _ in pairs), sum(row.failed + row.finished for row, _ in pairs)
    same = sum(row.digest == base.digest for row, base in pairs)
    reasons = sum((Counter(row.reasons) for row, _ in pairs), Counter())
    return f"{line}  lost {lost} of {whole} rollouts  same solutions in {same}  {dict(reasons) or ''}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conditions", default="0,0.1,0.1/3,0.1/2")
    parser.add_argument("--strategies", default="optimal_directions")
    parser.add_argument("--levels", default="3,4")
    parser.add_argument("--limit", type=int, default=60, help="questions per level")
    parser.add_argument("--first-seed", type=int, default=4000)
    parser.add_argument("--budget", type=int, default=16)
    parser.add_argument("--in-flight", type=int, default=10)
    parser.add_argument("--block", type=int, default=40, help="questions between two writes of results")
    parser.add_argument("--url", help="a running server; by default the script starts one in its own process")
    parser.add_argument("--out", type=FilePath, required=True)
    given = parser.parse_args(arguments)
    seeds = range(given.first_seed, given.first_seed + given.limit)
    problems = [WORLD.problem(int(level), seed, "validation") for seed in seeds for level in given.levels.split(",")]
    if given.url:
        run(given.url, problems, given)
    else:
        from rollwise.model_server.run import Choice, load_models, running

        with running(load_models(Choice(dtype="float64"))) as url:
            run(url, problems, given)
    ids = {problem.id for problem in problems}
    print(table([row for row in read_rows(given.out) if row.problem in ids], given.conditions.split(",")[0]))


if __name__ == "__main__":
    main()
