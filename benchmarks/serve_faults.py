"""What a service does when something is killed under load: the reward model of a canary, and the service itself.

python benchmarks/serve_faults.py reward      # kill -9 of the canary's reward model
python benchmarks/serve_faults.py service     # kill -9 of the service, and its restart

Everything runs in processes of its own on this machine, with the bundled models. The report is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from serve_load import started

from rollwise.service import Store, changes, search_record, verified_log

ROLLWISE = [sys.executable, "-m", "rollwise"]
CLIENTS = 8
CANARY = """
[routes.game]
budget = 4
world = "countdown"
vote = "weighted_majority"
canary = [50]
rules = ["rebase", {{name = "judged", strategy = "rebase", reward = "chat@{reward}"}}]
"""


def body(number: int) -> dict[str, Any]:
    """A request of one of many users."""
    message = {"role": "user", "content": "Use 3, 4, 5 to make 17"}
    return {"messages": [message], "user": f"user {number}", "seed": number}


def told(folder: Path, *arguments: str) -> str:
    """What a command prints."""
    done = subprocess.run([*ROLLWISE, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def reward_killed(folder: Path) -> dict[str, Any]:
    """Kill the canary's reward model while clients ask: what they got, and how long the canary stayed."""
    model, reward = started(
        [*ROLLWISE, "serve-model", "--port", "0", "--policy", "small", "--embedder", "none"], folder
    )
    (folder / "service.toml").write_text(CANARY.format(reward=reward))
    service, url = started([*ROLLWISE, "serve", "service.toml", "--port", "0"], folder)
    asking, seen = threading.Event(), list[tuple[float, float, int, str]]()

    def ask(client: int) -> None:
        number = client
        while asking.is_set():
            began = time.perf_counter()
            reply = httpx.post(f"{url}/v1/chat/completions", json=body(number), timeout=120)
            ended = time.perf_counter()
            found = reply.json().get("rollwise", {})
            seen.append((began, ended, reply.status_code, f"{found.get('route_rule')} ({found.get('stage')})"))
            number += CLIENTS

    try:
        httpx.post(f"{url}/v1/chat/completions", json=body(0), timeout=120).raise_for_status()
        for _ in range(2):
            told(folder, "rollout", "advance", "service.toml", "game", "--force", "a trial")
        time.sleep(3)
        asking.set()
        with ThreadPoolExecutor(CLIENTS) as pool:
            jobs = [pool.submit(ask, client) for client in range(CLIENTS)]
            time.sleep(10)
            killed = time.perf_counter()
            model.kill()
            store = Store(folder / "rollwise-service.db")
            while changes(store, "game")[0]["kind"] != "fallback" and time.perf_counter() - killed < 60:
                time.sleep(0.05)
            reverted = time.perf_counter() - killed
            time.sleep(8)
            asking.clear()
            for job in jobs:
                job.result()
        across = [each for each in seen if each[0] < killed + reverted and each[1] > killed]
        return {
            "fallback": changes(store, "game")[0]["reason"],
            "reverted after seconds": round(reverted, 2),
            "replies before": Counter(rule for _, ended, _, rule in seen if ended < killed),
            "replies after": Counter(rule for _, ended, _, rule in seen if ended >= killed),
            "statuses": Counter(status for _, _, status, _ in seen),
            "in flight between kill and fallback": len(across),
            "longest of those, seconds": round(max((ended - began for began, ended, *_ in across), default=0), 2),
            "audit faults": len(verified_log(store).faults),
        }
    finally:
        for process in (service, model):
            process.kill()
            process.wait()


def service_killed(folder: Path) -> dict[str, Any]:
    """Kill the service while clients ask, start it again, and look for each search whose reply came."""
    service, url = started([*ROLLWISE, "serve", "--port", "0"], folder)
    httpx.post(f"{url}/v1/chat/completions", json=body(0), timeout=120).raise_for_status()
    answered, broken = list[str](), list[int]()

    def ask(client: int) -> None:
        for number in range(client, 100_000, CLIENTS):
            try:
                fields = body(number) | {"rollwise": {"budget": 8}}
                reply = httpx.post(f"{url}/v1/chat/completions", json=fields, timeout=120)
            except httpx.TransportError:
                broken.append(number)
                return
            answered.append(reply.json()["rollwise"]["id"])

    with ThreadPoolExecutor(CLIENTS) as pool:
        jobs = [pool.submit(ask, client) for client in range(CLIENTS)]
        time.sleep(10)
        service.kill()
        for job in jobs:
            job.result()
    service.wait()
    began = time.perf_counter()
    again, url = started([*ROLLWISE, "serve", "--port", "0"], folder)
    httpx.post(f"{url}/v1/chat/completions", json=body(0), timeout=120).raise_for_status()
    ready = time.perf_counter() - began
    again.kill()
    again.wait()
    store = Store(folder / "rollwise-service.db")
    kept = [search_record(store, id_)["outcome"] for id_ in answered]
    log = verified_log(store)
    return {
        "replies before the kill": len(answered),
        "requests cut off": len(broken),
        "replied searches on record, by outcome": Counter(kept),
        "first reply of the restarted service after seconds": round(ready, 1),
        "searches that the audit verified": log.searches,
        "audit faults": len(log.faults),
    }


def main() -> None:
    """Print the report of one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=["reward", "service"])
    case = parser.parse_args().case
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        report = (reward_killed if case == "reward" else service_killed)(Path(name))
    print(json.dumps({"load before": round(load, 1)} | report, indent=1))


if __name__ == "__main__":
    main()
