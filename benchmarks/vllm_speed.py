"""Plain sampling with the local engine compared with a vLLM server that serves the same policy.

    vllm serve src/rollwise/worlds/models/countdown/policy --dtype float32 --enforce-eager --max-model-len 512
    python benchmarks/vllm_speed.py http://localhost:8000/v1

The server runs in a separate environment. Both contenders get the same prompts as token ids and sample whole solutions
at the same temperature; --concurrent limits the concurrent requests at the server. They take turns, so that neither
computes while the other is measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine_speed import UNSPLIT, WORLD, Turn, add_options, load_policy, plain, problems_of, write


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """The server's reply to a JSON body, or to a GET without one."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.load(reply)


def served(given: argparse.Namespace, prompts: Sequence[list[int]]) -> Callable[[], Turn]:
    """The server as a contender: one request per solution."""
    model = ask(f"{given.url}/models")["data"][0]["id"]

    def sample(index: int) -> tuple[int, int]:
        body = {
            "model": model,
            "prompt": prompts[index],
            "max_tokens": given.max_tokens,
            "temperature": given.temperature,
            "top_p": 1.0,
            "top_k": -1,
            "seed": index,
            "add_special_tokens": False,
        }
        usage = ask(f"{given.url}/completions", body)["usage"]
        return usage["completion_tokens"], usage["prompt_tokens"]

    def run() -> Turn:
        started = time.perf_counter()
        with ThreadPoolExecutor(given.concurrent) as pool:
            counts = list(pool.map(sample, range(len(prompts))))
        generated, prefilled = map(sum, zip(*counts, strict=True))
        return Turn(generated, prefilled, time.perf_counter() - started)

    return run


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The tokens per second of both contenders, and the median ratio over the turns."""
    policy = load_policy(given, given.engine_rows, UNSPLIT)
    prompts = [policy.prompt_tokens(problem) for problem in problems_of(given) for _ in range(given.budget)]
    runs = {"engine": plain(policy, given), "server": served(given, prompts)}
    for run in runs.values():
        run()
    turns: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(given.repeats):
        for name, run in runs.items():
            turn = run()
            turns[name].append(turn.generated / turn.seconds)
    pairs = zip(turns["engine"], turns["server"], strict=True)
    return {
        "world": WORLD.name,
        "engine_rows": given.engine_rows,
        "concurrent": given.concurrent,
        "tokens_per_second": {name: round(statistics.median(each)) for name, each in turns.items()},
        "engine / server": round(statistics.median(engine / server for engine, server in pairs), 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the server's OpenAI-compatible address, such as http://localhost:8000/v1")
    parser.add_argument("--concurrent", type=int, default=64)
    parser.add_argument("--engine-rows", type=int, default=128)
    add_options(parser)
    given = parser.parse_args(arguments)
    found = measure(given)
    print("\n".join(f"{name}: {value}" for name, value in found.items()))
    write(found, given)


if __name__ == "__main__":
    main()
