"""Processor seconds to group arithmetic answers, by exact value and by math-verify; compares the groups of both.

    python benchmarks/grouping_speed.py --questions 10 --answers 30

Votes group answers by exact value where they can. The answers here are random expressions of each question's numbers,
with brackets around every operation except the last.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Sequence

import numpy as np

from rollwise.answers.equality import _plain, group
from rollwise.registry import find_world


def expressions(numbers: Sequence[int], count: int, generator: np.random.Generator) -> list[str]:
    """The distinct ones among `count` random expressions that use every number once."""
    drawn = []
    for _ in range(count):
        terms = list(map(str, generator.permutation(numbers)))
        while len(terms) > 1:
            left, right = terms.pop(), terms.pop()
            sign = generator.choice(["+", "−", "×", "÷"])
            terms.append(f"({left} {sign} {right})")
            generator.shuffle(terms)
        drawn.append(terms[0][1:-1])
    return list(dict.fromkeys(drawn))


def leaders(texts: Sequence[str]) -> list[int]:
    """For each text, the index of the first text that math-verify finds equal; its own if it equals no earlier text."""
    from math_verify import parse, verify

    parsed = [parse(f"${text}$", parsing_timeout=None) for text in texts]
    found: list[int] = []
    for index, expression in enumerate(parsed):
        equal = (
            leader
            for leader in dict.fromkeys(found)
            if parsed[leader] and verify(parsed[leader], expression, timeout_seconds=None)
        )
        found.append(next(equal, index) if expression else index)
    return found


def timed(
    grouping: Callable[[Sequence[str]], Sequence[int]], questions: Sequence[Sequence[str]]
) -> tuple[float, list[list[int]]]:
    """The processor seconds of this process, and each question's labels, numbered in order of appearance."""
    started = time.process_time()
    labels_by_question = [list(grouping(answers)) for answers in questions]
    seconds = time.process_time() - started
    return seconds, [[list(dict.fromkeys(labels)).index(label) for label in labels] for labels in labels_by_question]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--answers", type=int, default=30, help="per question")
    parser.add_argument("--level", type=int, default=5)
    given = parser.parse_args(arguments)
    world, generator = find_world("countdown"), np.random.default_rng(0)
    texts = (world.problem(given.level, seed).question for seed in range(given.questions))
    numbers = [list(map(int, re.findall(r"\d+", text)))[:-1] for text in texts]
    questions = [expressions(each, given.answers, generator) for each in numbers]
    by_value, value_labels = timed(group, questions)
    by_math_verify, math_verify_labels = timed(lambda answers: leaders(list(map(_plain, answers))), questions)
    differing = sum(mine != theirs for mine, theirs in zip(value_labels, math_verify_labels, strict=True))
    print(
        f"{sum(map(len, questions))} answers to {given.questions} questions; the groups of {differing} questions differ"
    )
    print(f"by value {by_value:.3f} s, by math-verify {by_math_verify:.1f} s, {by_math_verify / by_value:,.0f} times")


if __name__ == "__main__":
    main()
