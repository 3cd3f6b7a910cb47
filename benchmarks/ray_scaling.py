"""Searches a second of a bench by 1, 2 and 4 Ray workers on this machine, with a policy that computes.

python benchmarks/ray_scaling.py --workers 1,2,4 --questions 48

Each worker loads the bundled policy and reward model of the numbers game. The time runs from the first result of every
worker to the last one, so it holds no start. Workers beyond the machine's cores share them. Needs the extra `ray`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from rollwise.bench.run import begin
from rollwise.bench.spreading import run_on_cluster


def searches_a_second(folder: Path, workers: int, questions: int) -> float:
    """The rate of one bench with that many workers, one search at a time in each."""
    given: dict[str, Any] = {"world": "countdown", "strategies": "rebase", "levels": [3], "limit": questions}
    given |= {"budgets": [16], "engine": "ray", "ray_workers": workers, "in_flight": 1}
    bench = begin(folder / str(workers), given)
    ended: list[float] = []
    run_on_cluster(bench, lambda outcome: ended.append(time.perf_counter()))
    return (len(ended) - workers) / (ended[-1] - ended[workers - 1])


def main() -> None:
    """Print a line of JSON."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--workers", default="1,2,4")
    given.add_argument("--questions", type=int, default=48)
    options = given.parse_args()
    counts = [int(count) for count in options.workers.split(",")]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": max(counts)})
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        os.environ["RAY_ADDRESS"] = cluster.address
        with tempfile.TemporaryDirectory() as scratch:
            rates = {count: searches_a_second(Path(scratch), count, options.questions) for count in counts}
    finally:
        ray.shutdown()
        cluster.shutdown()
    first = rates[counts[0]]
    print(
        json.dumps(
            {
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
                "searches_a_second": {count: round(rate, 2) for count, rate in rates.items()},
                "times_the_first": {count: round(rate / first, 2) for count, rate in rates.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
