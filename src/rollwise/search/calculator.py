"""A calculator for any policy: wrong sums of a step are put right before its path goes on."""

from __future__ import annotations

from dataclasses import replace

from rollwise.answers import put_right
from rollwise.core import Path, Policy, Problem, Step
from rollwise.engines import RewritingPolicy


def with_calculator(policy: Policy) -> RewritingPolicy:
    """The policy, with steps whose wrong sums are put right, as `rollwise.answers.put_right` does.

    The policy goes on from the right result, as if it had called a calculator.
    """
    return RewritingPolicy(policy, _calculated)


def _calculated(problem: Problem, path: Path, step: Step) -> Step:
    text = put_right(step.text, problem.question)
    return step if text == step.text else replace(step, text=text, ids=(), wrote=step.text)
