"""Places a reward model on the map of `reward_map.py`: the size of its error, and the share common to a direction.

    rollwise world rollouts countdown --levels 5 --questions 40 --paths 64 --completions 16 --out runs/countdown.jsonl
    python experiments/reward_error.py countdown runs/countdown.jsonl --truth dial --reward trained --reward weak

The error of a path is its reward minus the truth that the dial starts from. For `dial`, this is whether a right answer
can still be reached; for `worth`, it is the share of completions that ended right. The figures are computed for each
question and depth, then averaged over questions:

- *bias*: the mean error;
- *size*: the standard deviation of the error, without the sampling error of the completions;
- *shared*: the mean product of the errors of two paths in the same true state, as a share of the mean square over the
  same pairs.

A prefix counts as often as sampled paths passed through it; paths with equal texts have equal errors.
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
    """The moments of the errors of a question at a depth.

    They are the bias, the mean square error about the bias, and the sums of products and of mean squares over pairs of
    paths in the same state.
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
    parser.add_argument("--reward", action="append", required=True, help="a name or a folder; may be repeated")
    given = parser.parse_args()
    print("| reward | level | depth | questions | bias | size | shared |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name in given.reward:
        by_group: dict[tuple[int, int], list[FloatArray]] = defaultdict(list)
        for problem, prefixes in load_prefixes(given.prefixes):
            scores = asyncio.run(score_prefixes(find_reward(name, given.world), problem, prefixes))
            by_depth: dict[int, list[tuple[Prefix, float]]] = defaultdict(list)
            for prefix, score in zip(prefixes, scores, strict=True):
                if not isinstance(score, Failure) and not prefix.ended:
                    by_depth[prefix.depth].append((prefix, float(score)))
            for depth, rows in by_depth.items():
                group, rewards = zip(*rows, strict=True)
                by_group[problem.level or 0, depth].append(moments(list(group), np.array(rewards), given.truth))
        for (level, depth), moments_of in sorted(by_group.items()):
            bias, square, products, squares = np.mean(np.stack(moments_of), axis=0)
            shared = f"{products / squares:.2f}" if squares > 0 else "–"
            cells = f"{bias:+.2f} | {max(square, 0.0) ** 0.5:.2f} | {shared}"
            print(f"| {name} | {level} | {depth} | {len(moments_of)} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
