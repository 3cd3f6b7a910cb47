r"""Searches over a vLLM server compared with plain sampling from the same server, in generated tokens per second.

    vllm serve src/rollwise/worlds/models/countdown/policy --dtype float32 --enforce-eager --max-model-len 512 \
        --enable-prompt-tokens-details --block-size 32 --no-enable-chunked-prefill
    python benchmarks/vllm_search.py http://localhost:8000 --questions 8 --budget 64 --repeats 5

The server runs in a separate environment. Plain sampling draws whole solutions of the same questions. It uses the
fastest of the tried numbers of solutions per request and of concurrent requests. The rewards of the searches are free,
so the comparison shows the cost of going step by step. The contenders take turns. A ratio is the median over the turns,
with the least and the greatest.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from engine_speed import WORLD, FreeReward, Turn, add_options, problems_of, search, sizes_of, write
from turns import in_turns

from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.prompts import messages
from rollwise.search.config import Config
from rollwise.search.runner import Runner

GOAL = 0.9
Client = httpx.AsyncClient


async def ask(client: Client, path: str, body: dict[str, Any] | None = None) -> Any:
    """The server's reply to a JSON body, or to a GET without one; it connects again if the server closed the line."""
    for attempt in range(5):
        try:
            reply = await (client.get(path) if body is None else client.post(path, json=body))
            break
        except httpx.TransportError:
            if attempt == 4:
                raise
    reply.raise_for_status()
    return reply.json()


def client_of(given: argparse.Namespace, most: int) -> Client:
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=3.0)
    return Client(base_url=given.url, timeout=600, limits=limits, trust_env=False)


async def prompts_of(given: argparse.Namespace) -> tuple[str, list[list[int]]]:
    """The name of the served model, and the prompts of the questions as its token ids."""
    async with client_of(given, 1) as client:
        model = (await ask(client, "/v1/models"))["data"][0]["id"]
        bodies = [{"model": model, "messages": messages(problem)} for problem in problems_of(given)]
        return model, [(await ask(client, "/tokenize", body))["tokens"] for body in bodies]


def plain(given: argparse.Namespace, concurrent: int, together: int) -> Callable[[], Turn]:
    """A contender that samples whole solutions: `together` per request, `concurrent` at a time."""
    model, prompts = asyncio.run(prompts_of(given))
    together = min(together, given.budget)
    counts = [min(together, given.budget - first) for first in range(0, given.budget, together)]
    jobs = [(prompt, count) for prompt in prompts for count in counts]

    async def sample(client: Client, gate: asyncio.Semaphore, index: int) -> tuple[int, int]:
        prompt, count = jobs[index]
        body = {"model": model, "prompt": prompt, "n": count, "max_tokens": given.max_tokens, "seed": 1000 * index}
        body |= {"temperature": given.temperature, "top_p": 1.0, "top_k": -1, "add_special_tokens": False}
        async with gate:
            usage = (await ask(client, "/v1/completions", body))["usage"]
        return usage["completion_tokens"], usage["prompt_tokens"]

    async def all_of_them() -> Turn:
        gate = asyncio.Semaphore(max(1, concurrent // together))
        async with client_of(given, concurrent) as client:
            started = time.perf_counter()
            used = await asyncio.gather(*(sample(client, gate, index) for index in range(len(jobs))))
            seconds = time.perf_counter() - started
        generated, read = map(sum, zip(*used, strict=True))
        return Turn(generated, read, seconds)

    return lambda: asyncio.run(all_of_them())


def searching(given: argparse.Namespace, strategy: str) -> Callable[[], Turn]:
    """A contender that searches, with free rewards and with equal last steps as directions."""
    policy = HttpPolicy(given.url, given.rule, separator=WORLD.separator, concurrency=given.concurrency)
    fields = {"budget": given.budget, "max_tokens": given.max_tokens, "temperature": given.temperature}
    parts = {"policy": policy, "reward": FreeReward(), "directions": "text", "world": WORLD.name}
    return search(Runner(Config.of(strategy=strategy, **fields, **parts)), given)


def rate(turn: Turn) -> float:
    return turn.generated / turn.seconds


def fastest(given: argparse.Namespace) -> tuple[tuple[int, int], dict[str, int]]:
    """The fastest (solutions at a time, solutions per request) of plain sampling, and the rate of each combination.

    The better of two turns counts.
    """
    rates = {}
    for concurrent in given.concurrent:
        for together in given.together:
            run = plain(given, concurrent, together)
            rates[concurrent, together] = round(max(rate(run()) for _ in range(2)))
            print(f"  plain, {concurrent} at a time, {together} a request: {rates[concurrent, together]:,}", flush=True)
    shown = {f"{concurrent} at a time, {together} a request": tried for (concurrent, together), tried in rates.items()}
    return max(rates, key=lambda sizes: rates[sizes]), shown


def spread(turns: dict[str, list[Turn]], name: str) -> dict[str, float]:
    """The median, least and greatest ratio of a contender's rate to that of plain sampling in the same turn."""
    pairs = zip(turns[name], turns["plain"], strict=True)
    ratios = [rate(turn) / rate(plain_turn) for turn, plain_turn in pairs]
    summary = {"median": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios)}
    return {key: round(value, 3) for key, value in summary.items()}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All measured figures, as plain values."""
    best, tried = fastest(given)
    runs = {"plain": plain(given, *best)} | {name: searching(given, name) for name in given.strategies.split(",")}
    turns = in_turns(runs, given.repeats)
    return {
        "plain": {"solutions at a time": best[0], "a request": best[1], "tried": tried},
        "setting": {
            name: getattr(given, name) for name in ("questions", "level", "budget", "in_flight", "concurrency", "rule")
        },
        "tokens_per_second": {name: round(statistics.median(map(rate, each))) for name, each in turns.items()},
        "generated": {name: round(statistics.mean(turn.generated for turn in each)) for name, each in turns.items()},
        "search / plain": {name: spread(turns, name) for name in runs if name != "plain"},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the server's address, such as http://localhost:8000")
    parser.add_argument("--strategies", default="temperature,rebase,dora")
    parser.add_argument("--concurrent", type=sizes_of, default=[32, 64, 128, 256], help="solutions at a time to try")
    parser.add_argument("--together", type=sizes_of, default=[1, 64], help="solutions per request to try")
    parser.add_argument("--concurrency", type=int, default=256, help="concurrent requests of the searches")
    parser.add_argument("--rule", help="the step rule, such as 'tokens(32)'; default: the world's separator")
    add_options(parser)
    parser.set_defaults(in_flight=8)
    given = parser.parse_args(arguments)
    found = measure(given)
    print("\n".join(f"{name}: {value}" for name, value in found.items()))
    for name, ratios in found["search / plain"].items():
        print(f"{name} / plain: {ratios['median']} of at least {GOAL}: {ratios['median'] >= GOAL}")
    write(found, given)


if __name__ == "__main__":
    main()
