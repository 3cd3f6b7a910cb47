"""Load on `rollwise serve`: searches at once against the same rollouts sampled directly from the policy's server.

python benchmarks/serve_load.py                       # benchmarks/waiting_server.py and the service
python benchmarks/serve_load.py --upstream model      # serve-model, which computes on the same processors
python benchmarks/serve_load.py --at-once 1,16,64 --searches 64 --budget 8

Upstream and service have a process each. For each number of clients it prints searches and generated tokens a second,
the tokens a second of direct sampling with as many clients, the ratio of the two, the median and the 99th percentile of
a reply, the longest stall of the service's event loop, the service's processor time for a search and its share of one
processor, and the machine's load.
"""

from __future__ import annotations

import argparse
import asyncio
import os
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


ROUTES = {
    "model": 'world = "countdown"\nvote = "majority"\n',
    "waiting": 'world = "text"\nvote = "weighted_majority"\n',
}


def started(command: list[str], folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.match(r"serving at (\S+)", line):
            return process, match[1]
    raise SystemExit("the server did not start")


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """The processor time of a process so far, from Linux' own counters."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    parser.add_argument("--upstream", choices=sorted(ROUTES), default="waiting")
    parser.add_argument("--at-once", default="1,16,64")
    parser.add_argument("--searches", type=int, default=64, help="at most; at least two for each client")
    parser.add_argument("--budget", type=int, default=8)
    parser.add_argument("--strategy", default="temperature")
    parser.add_argument("--milliseconds", type=float, default=15.0, help="of a token, for the waiting upstream")
    parser.add_argument("--rows", type=int, default=256, help="sequences at the same time, for the waiting upstream")
    parser.add_argument("--concurrency", type=int, default=0, help="of the route; 0 leaves the default")
    options = parser.parse_args()
    world = find_world("countdown")
    questions = [world.problem(3, seed).question for seed in range(options.searches)]
    rollwise = [sys.executable, "-m", "rollwise"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.upstream == "model":
            command = [*rollwise, "serve-model", "--port", "0", "--reward", "none", "--embedder", "none"]
        else:
            command = [sys.executable, str(Path(__file__).parent.absolute() / "waiting_server.py"), "--port", "8011"]
            command += ["--milliseconds", str(options.milliseconds), "--rows", str(options.rows)]
        model, policy = started(command, folder)
        time.sleep(1)
        concurrency = f"concurrency = {options.concurrency}\n" if options.concurrency else ""
        (folder / "service.toml").write_text(
            f'searches = 256\n[routes.game]\npolicy = "{policy}"\nreward = "confidence"\n'
            f'strategy = "{options.strategy}"\nbudget = {options.budget}\nstop_early = "never"\n'
            f'directions = "text"\n{ROUTES[options.upstream]}{concurrency}'
        )
        service, url = started([*rollwise, "serve", "service.toml", "--port", "0"], folder)

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
            print(f"{os.cpu_count()} processors; {options}")
            print(
                "clients  searches/s  tokens/s  direct tokens/s  ratio  p50 s  p99 s  stall ms  cpu ms/search  busy  load"
            )
            for clients in map(int, options.at_once.split(",")):
                count = min(options.searches, max(8, 2 * clients))
                direct_seconds, direct_tokens, _ = asyncio.run(timed(clients, count, sample))
                time.sleep(11)  # the gauge of stalls starts anew every ten seconds
                spent = processor_seconds(service)
                seconds, tokens, waits = asyncio.run(timed(clients, count, search))
                spent = processor_seconds(service) - spent
                text = httpx.get(f"{url}/metrics").text
                stall = float(re.search(r"^rollwise_loop_stall_seconds (\S+)", text, re.M)[1])  # type: ignore[index]
                rate, direct = tokens / seconds, direct_tokens / direct_seconds
                print(
                    f"{clients:7d}  {count / seconds:10.2f}  {rate:8.0f}  {direct:15.0f}  {rate / direct:5.2f}  "
                    f"{np.median(waits):5.2f}  {np.quantile(waits, 0.99):5.2f}  {1000 * stall:8.0f}  "
                    f"{1000 * spent / count:13.0f}  {spent / seconds:4.2f}  {os.getloadavg()[0]:4.1f}",
                    flush=True,
                )
        finally:
            for process in (service, model):
                process.terminate()
                process.wait(20)


if __name__ == "__main__":
    main()
