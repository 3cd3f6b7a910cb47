"""Where a reward model lies on the map of `reward_map.py`: the size of its error, and the share common to a direction.

    rollwise world rollouts countdown --levels 5 --questions 40 --paths 64 --completions 16 --out runs/countdown.jsonl
    python experiments/reward_error.py countdown runs/countdown.jsonl --truth dial --reward trained --reward weak

The error of a path is its reward minus the truth that the dial starts from: for `dial` whether a right answer can still
be reached, for `worth` the share of its completions that ended right. By question and depth, and then on average over
questions: *bias*, the mean error; *size*, its standard deviation about that, from which the completions' own sampling
error is taken out; *shared*, the mean product of two paths' errors over pairs of paths in one true state, as a share of
the mean square over the same pairs. A path counts once for each sampled path that stood at it; equal texts err alike.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from pathlib import Path

import numpy as np

from rollwise.calibration.prefixes import Prefix, load_prefixes
from rollwise.calibration.scoring import score_prefixes
from rollwise.core import Failure, FloatArray
from rollwise.registry import find_reward


def moments(prefixes: list[Prefix], rewards: FloatArray, truth: str) -> FloatArray:
    """(bias, mean square error about it, sum of products and of mean squares over pairs in one state) of one question
    at one depth.
    """
    sizes = np.array([prefix.size for prefix in prefixes], dtype=np.float64)
    true = np.array([prefix.reachable if truth == "dial" else prefix.worth for prefix in prefixes], dtype=np.float64)
    errors = rewards - true
    bias = float(np.average(errors, weights=sizes))
    errors -= bias
    noise = np.zeros(len(prefixes))
    if truth == "worth":
        counts = np.array([prefix.completions for prefix in prefixes])
        noise = true * (1 - true) / np.maximum(counts - 1, 1)
    square = float(np.average(errors**2 - noise, weights=sizes))
    products, squares = 0.0, 0.0
    for state in {prefix.state for prefix in prefixes}:
        here = np.array([prefix.state == state for prefix in prefixes])
        size, error = sizes[here], errors[here]
        products += (size @ error) ** 2 - size @ error**2 - (size**2 - size) @ noise[here]
        squares += (size * (size.sum() - 1)) @ (error**2 - noise[here])
    return np.array([bias, square, products, squares])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world")
    parser.add_argument("prefixes", type=Path)
    parser.add_argument("--truth", choices=["dial", "worth"], default="dial")
    parser.add_argument("--reward", action="append", required=True, help="a name or a folder; may be given again")
    given = parser.parse_args()
    print("| reward | level | depth | questions | bias | size | shared |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name in given.reward:
        found: dict[tuple[int, int], list[FloatArray]] = defaultdict(list)
        for problem, many in load_prefixes(given.prefixes):
            scores = asyncio.run(score_prefixes(find_reward(name, given.world), problem, many))
            by_depth: dict[int, list[tuple[Prefix, float]]] = defaultdict(list)
            for prefix, score in zip(many, scores, strict=True):
                if not isinstance(score, Failure) and not prefix.ended:
                    by_depth[prefix.depth].append((prefix, float(score)))
            for depth, rows in by_depth.items():
                group, rewards = zip(*rows, strict=True)
                found[problem.level or 0, depth].append(moments(list(group), np.array(rewards), given.truth))
        for (level, depth), rows_of in sorted(found.items()):
            bias, square, products, squares = np.mean(np.stack(rows_of), axis=0)
            shared = f"{products / squares:.2f}" if squares > 0 else "–"
            cells = f"{bias:+.2f} | {max(square, 0.0) ** 0.5:.2f} | {shared}"
            print(f"| {name} | {level} | {depth} | {len(rows_of)} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
