"""Measures the local engine's tokens per second: in a search, in plain sampling, and beside transformers' `generate`.

    python benchmarks/engine_speed.py --questions 8 --repeats 5 --json runs/engine_speed.json

Every contender solves or samples the same questions of the bundled world with the bundled models. The contenders take
turns in one process, and a ratio is the median over the turns. So other work on the machine slows all contenders alike.
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
    """One turn of a contender: tokens generated, tokens read, and seconds."""

    generated: int
    prefilled: int
    seconds: float


class FreeReward:
    """Rewards that cost nothing: uniform numbers keyed by the path."""

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
    """The engine without kept prefixes: every round reads each prefix anew, once."""

    def open(self, problem: Problem, sampling: Sampling) -> LocalSession:
        session = super().open(problem, sampling)
        forget = session.retain
        session.retain = lambda keys: forget([])  # type: ignore[method-assign]
        return session


async def in_flight(work: Callable[[Problem], Awaitable[Usage]], problems: Sequence[Problem], at_once: int) -> Turn:
    """Work on the problems, `at_once` at a time."""
    gate = asyncio.Semaphore(at_once)

    async def gated(problem: Problem) -> Usage:
        async with gate:
            return await work(problem)

    started = time.perf_counter()
    usages = await asyncio.gather(*map(gated, problems))
    seconds = time.perf_counter() - started
    return Turn(sum(usage.generated for usage in usages), sum(usage.prefilled for usage in usages), seconds)


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
    """A contender that samples the same prompts with transformers' `generate`, in batches."""
    chats = [[{"role": "user", "content": problem.question}] for problem in problems_of(given)]
    prompts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    texts = [prompt for prompt in prompts for _ in range(given.budget)]

    def run() -> Turn:
        generated = prefilled = 0
        started = time.perf_counter()
        for first in range(0, len(texts), batch):
            sampled, read = generate_batch(model, tokenizer, texts[first : first + batch], given)
            generated, prefilled = generated + sampled, prefilled + read
        return Turn(generated, prefilled, time.perf_counter() - started)

    return run


def generate_batch(model: Any, tokenizer: Any, texts: list[str], given: argparse.Namespace) -> tuple[int, int]:
    """Tokens sampled, up to the end of each text, and tokens read for one batch of prompts."""
    inputs = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt").to(
        model.device
    )
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
    is_end = whole[:, ids.shape[1] :] == tokenizer.eos_token_id
    ends_before = is_end.cumsum(1) - is_end.int()
    return int((ends_before == 0).sum()), int(mask.sum())


def problems_of(given: argparse.Namespace) -> list[Problem]:
    return [WORLD.problem(given.level, seed) for seed in range(given.questions)]


def load_policy(given: argparse.Namespace, rows: int, separator: str, kind: type[LocalPolicy] = LocalPolicy) -> Any:
    return kind.load(given.policy, separator, rows=rows)


def best_of(name: str, sizes: Iterable[int], make: Callable[[int], Callable[[], Turn]]) -> tuple[int, dict[int, float]]:
    """The size at which a contender is fastest, and its tokens per second at each size, the better of two turns."""
    rates = {}
    for size in sizes:
        run = make(size)
        rates[size] = round(max(turn.generated / turn.seconds for turn in (run(), run())))
        print(f"  {name} at {size}: {rates[size]:,.0f} tokens/s", flush=True)
    return max(rates, key=lambda size: rates[size]), rates


def contenders(given: argparse.Namespace) -> tuple[dict[str, Callable[[], Turn]], dict[str, Any]]:
    """Name → a function that runs a turn; and the settings, with the sizes that were tried first."""
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
    """Ratios of two contenders: medians over the turns, and the ratio of the fastest that each ever was."""
    rates = {name: [turn.generated / turn.seconds for turn in taken] for name, taken in turns.items()}
    times = {name: [turn.seconds for turn in taken] for name, taken in turns.items()}

    def median_ratio(values: dict[str, list[float]], name: str, base: str) -> float:
        return statistics.median(mine / other for mine, other in zip(values[name], values[base], strict=True))

    best_plain = max(*setting["rates_by_rows"].values(), *rates["plain"])
    best_generate = max(*setting["rates_by_batch"].values(), *rates["generate"])
    return {f"{name} / plain": median_ratio(rates, name, "plain") for name in ("temperature", "rebase", "dora")} | {
        "plain / generate": median_ratio(rates, "plain", "generate"),
        "plain / generate, best of each": best_plain / best_generate,
        "reread / rebase, time": median_ratio(times, "reread", "rebase"),
        "reread / rebase, tokens read": turns["reread"][0].prefilled / turns["rebase"][0].prefilled,
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All measurements, as plain values."""
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
                "tokens_per_second": round(statistics.median(turn.generated / turn.seconds for turn in taken)),
                "generated": taken[0].generated,
                "prefilled": taken[0].prefilled,
            }
            for name, taken in turns.items()
        },
        "ratios": {name: round(value, 3) for name, value in ratios(turns, setting).items()},
    }


def processor() -> str:
    """The name of the GPU, or the number and the name of the CPU's cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = FilePath("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()


def table(figures: dict[str, Any]) -> str:
    """The measurements as a table."""
    lines = [f"{name}: {value}" for name, value in figures["setting"].items()]
    lines += ["", f"{'contender':14}{'tokens/s':>10}{'generated':>11}{'read':>9}"]
    for name, row in figures["contenders"].items():
        lines.append(f"{name:14}{row['tokens_per_second']:>10,}{row['generated']:>11,}{row['prefilled']:>9,}")
    lines += ["", f"{'ratio':32}{'median':>8}  goal"]
    for name, value in figures["ratios"].items():
        goal = f"at least {LEAST[name]}: {'reached' if value >= LEAST[name] else 'missed'}" if name in LEAST else ""
        lines.append(f"{name:32}{value:>8.2f}  {goal}")
    return "\n".join(lines)


def sizes_of(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all benchmarks of the engine share."""
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--in-flight", type=int, default=4, help="concurrent questions")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--policy", type=FilePath, default=bundled("countdown", "policy"))
    parser.add_argument("--json", type=FilePath, help="also write the figures to this file")


def write(figures: dict[str, Any], given: argparse.Namespace) -> None:
    """Write the figures to the file of --json, if there is one."""
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument(
        "--rows", type=sizes_of, default=[32, 64, 128, 256], help="numbers of rows to try for plain sampling"
    )
    parser.add_argument("--batches", type=sizes_of, default=[32, 64, 128, 256], help="batch sizes to try for generate")
    parser.add_argument("--threads", type=int, help="threads of torch within an operation")
    parser.add_argument("--reward", type=FilePath, default=bundled("countdown", "reward"))
    given = parser.parse_args(arguments)
    figures = measure(given)
    print(table(figures))
    write(figures, given)


if __name__ == "__main__":
    main()
