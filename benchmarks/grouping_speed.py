"""Processor seconds to group arithmetic answers: by exact value, as votes do, and by math-verify; both groups compared.

    python benchmarks/grouping_speed.py --questions 10 --answers 30

The answers are random expressions of each question's numbers, a bracket around every operation but the last.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Sequence

import numpy as np

from rollwise.answers.equality import _leaders, _plain, group
from rollwise.registry import find_world


def expressions(numbers: Sequence[int], many: int, generator: np.random.Generator) -> list[str]:
    """So many expressions that use every number once."""
    made = []
    for _ in range(many):
        terms = list(map(str, generator.permutation(numbers)))
        while len(terms) > 1:
            one, other = terms.pop(), terms.pop()
            sign = generator.choice(["+", "−", "×", "÷"])
            terms.append(f"({one} {sign} {other})")
            generator.shuffle(terms)
        made.append(terms[0][1:-1])
    return list(dict.fromkeys(made))


def timed(
    work: Callable[[Sequence[str]], Sequence[int]], sets: Sequence[Sequence[str]]
) -> tuple[float, list[list[int]]]:
    """Processor seconds of this process, and the labels, numbered in order of appearance."""
    started = time.process_time()
    labels = [list(work(texts)) for texts in sets]
    seconds = time.process_time() - started
    return seconds, [[list(dict.fromkeys(some)).index(one) for one in some] for some in labels]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--answers", type=int, default=30, help="of each question")
    parser.add_argument("--level", type=int, default=5)
    given = parser.parse_args(arguments)
    world, generator = find_world("countdown"), np.random.default_rng(0)
    asked = (world.problem(given.level, seed).question for seed in range(given.questions))
    numbers = [list(map(int, re.findall(r"\d+", question)))[:-1] for question in asked]
    sets = [expressions(some, given.answers, generator) for some in numbers]
    by_value, labels = timed(group, sets)
    by_math_verify, others = timed(lambda texts: _leaders(list(map(_plain, texts))), sets)
    differing = sum(some != more for some, more in zip(labels, others, strict=True))
    print(f"{sum(map(len, sets))} answers of {given.questions} questions, of which {differing} are grouped otherwise")
    print(f"by value {by_value:.3f} s, by math-verify {by_math_verify:.1f} s, {by_math_verify / by_value:,.0f} times")


if __name__ == "__main__":
    main()
