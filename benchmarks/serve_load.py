"""Load on `rollwise serve`: searches at once against the same rollouts sampled directly from the policy's server.

python benchmarks/serve_load.py                       # benchmarks/waiting_server.py and the service
python benchmarks/serve_load.py --upstream model      # serve-model, which computes on the same processors
python benchmarks/serve_load.py --at-once 1,16,64 --seconds 60 --budget 8
python benchmarks/serve_load.py --whole auto,never    # whole rollouts, and the same step by step, in one run
python benchmarks/serve_load.py --data docs/results/data/service-load.json    # adds its rows to this table

Upstream and service have a process each. For each number of clients it prints searches and generated tokens a second,
the tokens a second of direct sampling with as many clients, the ratio of the two, the median and the 99th percentile of
a reply, the longest stall of the service's event loop, what the loop itself computed in that stall (the rest it waited
for a processor), the service's processor time for a search and its share of one processor, and the machine's load.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


COLUMNS = (
    ("rows", 0),
    ("rollouts", 0),
    ("clients", 0),
    ("tokens/s", 0),
    ("direct tokens/s", 0),
    ("ratio", 2),
    ("p50 s", 2),
    ("p99 s", 2),
    ("stall ms", 0),
    ("own ms", 0),
    ("cpu ms", 0),
    ("load", 1),
)
"""The columns of the data file, with their digits."""
ASKED = {"auto": "whole", "never": "step by step"}


def kept(file: Path, rows: list[list[Any]]) -> None:
    """Add rows to a table of docs/tables.py, in the place of those with the same rows, rollouts and clients."""
    old = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    by_key = {tuple(row[:3]): row for row in [*old, *rows]}
    order = sorted(by_key.values(), key=lambda row: (row[0], row[1] == ASKED["auto"], row[2]))
    columns = [{"title": title, "digits": digits} for title, digits in COLUMNS]
    lines = ",\n".join(f"    {json.dumps(row)}" for row in order)
    file.write_text(f'{{\n  "columns": {json.dumps(columns)},\n  "rows": [\n{lines}\n  ]\n}}\n', encoding="utf-8")


@dataclass(frozen=True)
class Load:
    """What a time of constant load gave: generated tokens and ended requests a second, and the seconds of each."""

    tokens: float
    requests: float
    waits: list[float]


async def loaded(
    clients: int,
    seconds: float,
    warm: float,
    one: Callable[[httpx.AsyncClient, int], Awaitable[int]],
    generated: Callable[[httpx.AsyncClient], Awaitable[int]] | None,
) -> Load:
    """The figures of so many clients, each of which sends its next request when it has the reply to its last.

    Nothing counts before `warm` seconds have passed. `generated` asks the upstream how many tokens it generated so far;
    without it, tokens count when their reply comes.
    """
    limits, waits, tokens, numbers = httpx.Limits(max_connections=None), list[float](), 0, itertools.count()
    counting = False
    async with httpx.AsyncClient(timeout=600, limits=limits, trust_env=False) as client:

        async def ask() -> None:
            nonlocal tokens
            while True:
                began = time.perf_counter()
                found = await one(client, next(numbers))
                if counting:
                    tokens += found
                    waits.append(time.perf_counter() - began)

        asking = [asyncio.create_task(ask()) for _ in range(clients)]
        await asyncio.sleep(warm)
        counting, began, before = True, time.perf_counter(), await generated(client) if generated else 0
        done, _ = await asyncio.wait(asking, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        total = await generated(client) - before if generated else tokens
        passed = time.perf_counter() - began
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        for task in done:
            task.result()
        return Load(total / passed, len(waits) / passed, waits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", choices=sorted(ROUTES), default="waiting")
    parser.add_argument("--at-once", default="1,16,64")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    parser.add_argument("--warm", type=float, default=11.0, help="seconds of load before it, at least 10")
    parser.add_argument("--budget", type=int, default=8)
    parser.add_argument("--strategy", default="temperature")
    parser.add_argument("--milliseconds", type=float, default=15.0, help="of a token, for the waiting upstream")
    parser.add_argument("--rows", type=int, default=256, help="sequences at the same time, for the waiting upstream")
    parser.add_argument("--whole", default="auto", help="of the route; several, as auto,never, are measured in turn")
    parser.add_argument("--data", type=Path, help="a JSON file that gets the rows")
    parser.add_argument("--concurrency", type=int, default=0, help="of the route; 0 leaves the default")
    options = parser.parse_args()
    world = find_world("countdown")
    questions = [world.problem(3, seed).question for seed in range(64)]
    rollwise = [sys.executable, "-m", "rollwise"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.upstream == "model":
            command = [*rollwise, "serve-model", "--port", "0", "--reward", "none", "--embedder", "none"]
        else:
            command = [sys.executable, str(Path(__file__).parent.absolute() / "waiting_server.py"), "--port", "0"]
            command += ["--milliseconds", str(options.milliseconds), "--rows", str(options.rows)]
        model, policy = started(command, folder)
        time.sleep(1)
        concurrency = f"concurrency = {options.concurrency}\n" if options.concurrency else ""
        fields = (
            f'policy = "{policy}"\nreward = "confidence"\nstrategy = "{options.strategy}"\nbudget = {options.budget}\n'
            f'stop_early = "never"\ndirections = "text"\n{ROUTES[options.upstream]}{concurrency}'
        )
        ways = options.whole.split(",")
        routes = "".join(f'[routes.{way}]\nwhole = "{way}"\n{fields}' for way in ways)
        (folder / "service.toml").write_text(f"searches = 256\n{routes}")
        service, url = started([*rollwise, "serve", "service.toml", "--port", "0"], folder)

        async def search(client: httpx.AsyncClient, index: int, way: str) -> int:
            body = {"model": way, "messages": [{"role": "user", "content": questions[index % 64]}], "seed": index}
            reply = await client.post(f"{url}/v1/chat/completions", json=body)
            reply.raise_for_status()
            return int(reply.json()["usage"]["completion_tokens"])

        async def sample(client: httpx.AsyncClient, index: int) -> int:
            body = {
                "messages": [{"role": "user", "content": questions[index % 64]}],
                "seed": index,
                "n": options.budget,
            }
            reply = await client.post(f"{policy}/v1/chat/completions", json=body | {"temperature": 0.8})
            reply.raise_for_status()
            return int(reply.json()["usage"]["completion_tokens"])

        async def generated(client: httpx.AsyncClient) -> int:
            return int((await client.get(f"{policy}/generated")).json()["generated"])

        counter = generated if options.upstream == "waiting" else None

        def measured(clients: int, one: Callable[[httpx.AsyncClient, int], Awaitable[int]]) -> Load:
            return asyncio.run(loaded(clients, options.seconds, options.warm, one, counter))

        try:
            print(f"{os.cpu_count()} processors; {options}")
            print(
                "clients  whole  searches/s  tokens/s  direct tokens/s  ratio  p50 s  p99 s  stall ms  own ms"
                "  cpu ms/search  busy  load"
            )
            rows = list[list[Any]]()
            for clients in map(int, options.at_once.split(",")):
                direct = measured(clients, sample)
                for way in ways:
                    spent, began = processor_seconds(service), time.perf_counter()
                    found = measured(clients, functools.partial(search, way=way))
                    busy = (processor_seconds(service) - spent) / (time.perf_counter() - began)
                    text = httpx.get(f"{url}/metrics", timeout=60).text
                    stall, own = (
                        1000 * float(re.search(rf"^rollwise_loop_stall_{name} (\S+)", text, re.M)[1])  # type: ignore[index]
                        for name in ("seconds", "own_seconds")
                    )
                    ratio, cpu = found.tokens / direct.tokens, 1000 * busy / found.requests
                    p50, p99 = np.median(found.waits), np.quantile(found.waits, 0.99)
                    load = os.getloadavg()[0]
                    print(
                        f"{clients:7d}  {way:>5}  {found.requests:10.2f}  {found.tokens:8.0f}  {direct.tokens:15.0f}  "
                        f"{ratio:5.2f}  {p50:5.2f}  {p99:5.2f}  {stall:8.0f}  {own:6.0f}  {cpu:13.0f}  {busy:4.2f}  "
                        f"{load:4.1f}",
                        flush=True,
                    )
                    figures = found.tokens, direct.tokens, ratio, p50, p99, stall, own, cpu, load
                    rounded = (
                        round(float(each), digits) for each, (_, digits) in zip(figures, COLUMNS[3:], strict=True)
                    )
                    rows.append([options.rows, ASKED.get(way, way), clients, *rounded])
            if options.data:
                kept(options.data, rows)
        finally:
            for process in (service, model):
                process.terminate()
                process.wait(20)


if __name__ == "__main__":
    main()
