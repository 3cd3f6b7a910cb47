"""Tokens per second of the local engine: in a search, in plain sampling, and beside transformers' own `generate`.

    python benchmarks/engine_speed.py --questions 8 --repeats 5 --json runs/engine_speed.json

Every contender solves or samples the same questions of the bundled world with the bundled models. One after the other
takes its turn in one process, over and over, and ratios are medians over the turns, so that what else the machine does
falls on all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import torch
import transformers
from turns import in_turns

from rollwise.core import Failure, Path, PathKey, Problem, Sampling, Step, Usage
from rollwise.engines.local.policy import LocalPolicy, LocalSession
from rollwise.names import bundled
from rollwise.numerics import keyed_generator
from rollwise.registry import find_world
from rollwise.rewards.local import LocalReward
from rollwise.search.config import Config
from rollwise.search.runner import Runner

WORLD = find_world("countdown")
UNSPLIT = "\x00"
LEAST = {
    "rebase / plain": 0.85,
    "temperature / plain": 0.85,
    "dora / plain": 0.5,
    "plain / generate": 2.0,
}


@dataclass(frozen=True)
class Turn:
    """What one contender did in one turn: tokens generated and read, and how long it took."""

    generated: int
    prefilled: int
    seconds: float


class FreeReward:
    """Rewards that cost nothing: uniform numbers by the path's key."""

    parameters = 0
    reads_certainty = False

    def open(self, problem: Problem, seed: int) -> FreeReward:
        self.problem, self.usage = problem, Usage()
        return self

    async def score(self, paths: Sequence[Path]) -> list[float | Failure]:
        return [float(keyed_generator(path.key).random()) for path in paths]

    def retain(self, keys: Collection[PathKey]) -> None:
        pass

    async def close(self) -> None:
        pass


class Forgetful(LocalPolicy):
    """The engine without its kept prefixes: every round reads them anew, each once."""

    def open(self, problem: Problem, sampling: Sampling) -> LocalSession:
        session = super().open(problem, sampling)
        forget = session.retain
        session.retain = lambda keys: forget([])  # type: ignore[method-assign]
        return session


async def in_flight(work: Callable[[Problem], Awaitable[Usage]], problems: Sequence[Problem], many: int) -> Turn:
    """Work through the problems, so many at a time."""
    gate = asyncio.Semaphore(many)

    async def one(problem: Problem) -> Usage:
        async with gate:
            return await work(problem)

    started = time.perf_counter()
    usages = await asyncio.gather(*map(one, problems))
    return Turn(sum(u.generated for u in usages), sum(u.prefilled for u in usages), time.perf_counter() - started)


def search(runner: Runner, given: argparse.Namespace) -> Callable[[], Turn]:
    """A contender that searches."""

    async def solve(problem: Problem) -> Usage:
        solution = await runner.solve(problem)
        assert not solution.failures, solution.failures
        return solution.ledger.usage["policy"]

    return lambda: asyncio.run(in_flight(solve, problems_of(given), given.in_flight))


def plain(policy: LocalPolicy, given: argparse.Namespace) -> Callable[[], Turn]:
    """A contender that samples whole solutions, each in one step."""
    sampling = Sampling(given.temperature, 1.0, given.max_tokens, given.max_tokens, seed=0)

    async def sample(problem: Problem) -> Usage:
        session = policy.open(problem, sampling)
        steps = await session.extend([Path((index,)) for index in range(given.budget)])
        assert all(isinstance(step, Step) for step in steps), steps
        await session.close()
        return session.usage

    return lambda: asyncio.run(in_flight(sample, problems_of(given), given.in_flight))


def generate(model: Any, tokenizer: Any, batch: int, given: argparse.Namespace) -> Callable[[], Turn]:
    """A contender that is transformers' own sampling, the same prompts in batches."""
    questions = [problem.question for problem in problems_of(given) for _ in range(given.budget)]
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": one}], tokenize=False, add_generation_prompt=True)
        for one in questions
    ]
    (end,) = {tokenizer.eos_token_id}

    def run() -> Turn:
        generated = prefilled = 0
        started = time.perf_counter()
        for first in range(0, len(texts), batch):
            inputs = tokenizer(
                texts[first : first + batch],
                add_special_tokens=False,
                padding=True,
                padding_side="left",
                return_tensors="pt",
            ).to(model.device)
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            with torch.inference_mode():
                whole = model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    do_sample=True,
                    temperature=given.temperature,
                    top_k=0,
                    top_p=1.0,
                    max_new_tokens=given.max_tokens,
                )
            new = whole[:, ids.shape[1] :]
            before = (new == end).cumsum(1) - (new == end).int()
            generated += int((before == 0).sum())
            prefilled += int(mask.sum())
        return Turn(generated, prefilled, time.perf_counter() - started)

    return run


def problems_of(given: argparse.Namespace) -> list[Problem]:
    return [WORLD.problem(given.level, seed) for seed in range(given.questions)]


def load_policy(given: argparse.Namespace, rows: int, separator: str, kind: type[LocalPolicy] = LocalPolicy) -> Any:
    return kind.load(given.policy, separator, rows=rows)


def best_of(name: str, sizes: Iterable[int], make: Callable[[int], Callable[[], Turn]]) -> tuple[int, dict[int, float]]:
    """The size at which a contender is fastest, and the tokens per second at each; the better of two turns counts."""
    rates = {}
    for size in sizes:
        run = make(size)
        rates[size] = round(max(turn.generated / turn.seconds for turn in (run(), run())))
        print(f"  {name} at {size}: {rates[size]:,.0f} tokens/s", flush=True)
    return max(rates, key=lambda size: rates[size]), rates


def contenders(given: argparse.Namespace) -> tuple[dict[str, Callable[[], Turn]], dict[str, Any]]:
    """Name → one turn; and the sizes that were tried first."""
    model = load_policy(given, 1, UNSPLIT)
    rows, plain_rates = best_of(
        "plain sampling, rows", given.rows, lambda size: plain(load_policy(given, size, UNSPLIT), given)
    )
    batch, generate_rates = best_of(
        "transformers generate, batch",
        given.batches,
        lambda size: generate(model.model, model.tokenizer, size, given),
    )
    policy = load_policy(given, rows, WORLD.separator)
    limits = {"budget": given.budget, "max_tokens": given.max_tokens, "temperature": given.temperature}
    parts = limits | {"policy": policy, "reward": FreeReward()}
    trained = LocalReward.load(given.reward)
    forgetful = load_policy(given, rows, WORLD.separator, Forgetful)
    runs = {
        "plain": plain(load_policy(given, rows, UNSPLIT), given),
        "temperature": search(Runner(Config.of(strategy="temperature", **parts)), given),
        "rebase": search(Runner(Config.of(strategy="rebase", **parts)), given),
        "dora": search(Runner(Config.of(strategy="dora", **limits, policy=policy, reward=trained)), given),
        "reread": search(Runner(Config.of(strategy="rebase", **parts | {"policy": forgetful})), given),
        "generate": generate(model.model, model.tokenizer, batch, given),
    }
    return runs, {
        "rows": rows,
        "batch": batch,
        "rates_by_rows": plain_rates,
        "rates_by_batch": generate_rates,
        "device": str(model.model.device),
        "dtype": str(model.model.dtype).removeprefix("torch."),
        "parameters": model.parameters,
    }


def ratios(turns: dict[str, list[Turn]], setting: dict[str, Any]) -> dict[str, float]:
    """Medians over the turns of one contender's figure over another's; and the fastest that two of them ever were."""

    def rate(one: str, other: str) -> float:
        pairs = zip(turns[one], turns[other], strict=True)
        return statistics.median((a.generated / a.seconds) / (b.generated / b.seconds) for a, b in pairs)

    def best(name: str, tried: dict[int, float]) -> float:
        return max(*tried.values(), *(turn.generated / turn.seconds for turn in turns[name]))

    found = {f"{name} / plain": rate(name, "plain") for name in ("temperature", "rebase", "dora")}
    found["plain / generate"] = rate("plain", "generate")
    found["plain / generate, best of each"] = best("plain", setting["rates_by_rows"]) / best(
        "generate", setting["rates_by_batch"]
    )
    found["reread / rebase, time"] = statistics.median(
        a.seconds / b.seconds for a, b in zip(turns["reread"], turns["rebase"], strict=True)
    )
    found["reread / rebase, tokens read"] = turns["reread"][0].prefilled / turns["rebase"][0].prefilled
    return found


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that is measured, as plain values."""
    torch.set_num_threads(given.threads or torch.get_num_threads())
    runs, setting = contenders(given)
    turns = in_turns(runs, given.repeats)
    return {
        "setting": setting
        | {name: getattr(given, name) for name in ("questions", "level", "budget", "in_flight", "repeats")}
        | {"threads": torch.get_num_threads(), "python": platform.python_version()}
        | {"torch": torch.__version__, "transformers": transformers.__version__, "processor": processor()},
        "contenders": {
            name: {
                "tokens_per_second": round(statistics.median(turn.generated / turn.seconds for turn in each)),
                "generated": each[0].generated,
                "prefilled": each[0].prefilled,
            }
            for name, each in turns.items()
        },
        "ratios": {name: round(value, 3) for name, value in ratios(turns, setting).items()},
    }


def processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    names = [
        line.split(":")[1].strip()
        for line in (FilePath("/proc/cpuinfo").read_text().splitlines() if FilePath("/proc/cpuinfo").exists() else [])
        if line.startswith("model name")
    ]
    return f"{len(names)} × {names[0]}" if names else platform.processor()


def table(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    lines = [f"{name}: {value}" for name, value in found["setting"].items()]
    lines += ["", f"{'contender':14}{'tokens/s':>10}{'generated':>11}{'read':>9}"]
    for name, row in found["contenders"].items():
        lines.append(f"{name:14}{row['tokens_per_second']:>10,}{row['generated']:>11,}{row['prefilled']:>9,}")
    lines += ["", f"{'ratio':32}{'median':>8}  goal"]
    for name, value in found["ratios"].items():
        goal = f"at least {LEAST[name]}: {'reached' if value >= LEAST[name] else 'missed'}" if name in LEAST else ""
        lines.append(f"{name:32}{value:>8.2f}  {goal}")
    return "\n".join(lines)


def sizes_of(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every benchmark of the engine can be told."""
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--in-flight", type=int, default=4, help="questions at a time")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--policy", type=FilePath, default=bundled("countdown", "policy"))
    parser.add_argument("--json", type=FilePath, help="write the figures to this file too")


def write(found: dict[str, Any], given: argparse.Namespace) -> None:
    """The figures into the file that was asked for."""
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--rows", type=sizes_of, default=[32, 64, 128, 256], help="rows that plain sampling tries")
    parser.add_argument("--batches", type=sizes_of, default=[32, 64, 128, 256], help="batches that generate tries")
    parser.add_argument("--threads", type=int, help="torch's threads within an operation")
    parser.add_argument("--reward", type=FilePath, default=bundled("countdown", "reward"))
    given = parser.parse_args(arguments)
    found = measure(given)
    print(table(found))
    write(found, given)


if __name__ == "__main__":
    main()
