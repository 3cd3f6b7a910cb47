"""Load on `rollwise serve`: searches at once against the same rollouts sampled directly from the policy's server.

python benchmarks/serve_load.py                       # serve-model and the service, each in a process of its own
python benchmarks/serve_load.py --at-once 1,16,64 --searches 64 --budget 8

For each number of clients it prints searches and generated tokens a second, the median and the 99th percentile of a
reply, the longest stall of the service's event loop, and the tokens a second of direct sampling with as many clients.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np

from rollwise.registry import find_world


def started(command: list[str], folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "rollwise", *command], cwd=folder, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.match(r"serving at (\S+)", line):
            return process, match[1]
    raise SystemExit("the server did not start")


async def timed(
    clients: int, count: int, one: Callable[[httpx.AsyncClient, int], Awaitable[int]]
) -> tuple[float, int, list[float]]:
    """Seconds of the whole, tokens generated, and the seconds of each request."""
    limits, waits, tokens = httpx.Limits(max_connections=None), list[float](), 0
    slots = asyncio.Semaphore(clients)
    async with httpx.AsyncClient(timeout=600, limits=limits, trust_env=False) as client:

        async def ask(index: int) -> None:
            nonlocal tokens
            async with slots:
                began = time.perf_counter()
                generated = await one(client, index)
                tokens += generated
                waits.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(ask(index) for index in range(count)))
        return time.perf_counter() - began, tokens, waits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", default="1,16,64")
    parser.add_argument("--searches", type=int, default=64)
    parser.add_argument("--budget", type=int, default=8)
    parser.add_argument("--strategy", default="temperature")
    options = parser.parse_args()
    world = find_world("countdown")
    questions = [world.problem(3, seed).question for seed in range(options.searches)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, policy = started(["serve-model", "--port", "0", "--reward", "none", "--embedder", "none"], folder)
        (folder / "service.toml").write_text(
            f'searches = 256\n[routes.game]\npolicy = "{policy}"\nworld = "countdown"\nreward = "confidence"\n'
            f'strategy = "{options.strategy}"\nbudget = {options.budget}\nstop_early = "never"\n'
            f'directions = "text"\nvote = "majority"\n'
        )
        service, url = started(["serve", "service.toml", "--port", "0"], folder)

        async def search(client: httpx.AsyncClient, index: int) -> int:
            body = {"messages": [{"role": "user", "content": questions[index]}], "seed": index}
            reply = await client.post(f"{url}/v1/chat/completions", json=body)
            reply.raise_for_status()
            return int(reply.json()["usage"]["completion_tokens"])

        async def sample(client: httpx.AsyncClient, index: int) -> int:
            body = {"messages": [{"role": "user", "content": questions[index]}], "seed": index, "n": options.budget}
            reply = await client.post(f"{policy}/v1/chat/completions", json=body | {"temperature": 0.8})
            reply.raise_for_status()
            return int(reply.json()["usage"]["completion_tokens"])

        try:
            asyncio.run(timed(2, 4, search))
            print("clients  searches/s  tokens/s  direct tokens/s  ratio  p50 s  p99 s  stall ms")
            for clients in map(int, options.at_once.split(",")):
                count = min(options.searches, max(8, 2 * clients))
                direct_seconds, direct_tokens, _ = asyncio.run(timed(clients, count, sample))
                time.sleep(11)  # the gauge of stalls starts anew every ten seconds
                seconds, tokens, waits = asyncio.run(timed(clients, count, search))
                text = httpx.get(f"{url}/metrics").text
                stall = float(re.search(r"^rollwise_loop_stall_seconds (\S+)", text, re.M)[1])  # type: ignore[index]
                rate, direct = tokens / seconds, direct_tokens / direct_seconds
                print(
                    f"{clients:7d}  {count / seconds:10.2f}  {rate:8.0f}  {direct:15.0f}  {rate / direct:5.2f}  "
                    f"{np.median(waits):5.2f}  {np.quantile(waits, 0.99):5.2f}  {1000 * stall:8.0f}",
                    flush=True,
                )
        finally:
            for process in (service, model):
                process.terminate()
                process.wait(20)


if __name__ == "__main__":
    main()
