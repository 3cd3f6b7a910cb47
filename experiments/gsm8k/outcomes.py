"""How well a reward and the policy's own log-probability tell right solutions from wrong ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tuning import Encoded, solution_batch, solution_loss

from rollwise.calibration import Prefix, area_under_curve, load_rollouts, score_prefixes
from rollwise.core import Failure, FloatArray, IntArray, Problem
from rollwise.engines import messages
from rollwise.engines.local import load_checkpoint
from rollwise.numerics import keyed_generator
from rollwise.rewards import LocalReward


def compare_outcomes(reward: Path, policy: Path, file: Path, report: Callable[[int, int], None]) -> dict[str, Any]:
    """How well two figures tell right solutions from wrong ones among the plain samples in `file`: the reward of the
    last step, and the mean log-probability of the tokens, which costs nothing in a search. Each has its AUC, a 95 %
    bootstrap interval over questions, and the AUC within a question; the difference has an interval too.
    """
    judge, (model, tokenizer) = LocalReward.load(reward), load_checkpoint(policy, "AutoModelForCausalLM", "float32")
    sampled = list(load_rollouts(file))
    values: dict[str, list[float]] = {"reward": [], "log-probability": []}
    right, question = [], []
    for number, (problem, rollouts) in enumerate(sampled):
        whole = [rollout for rollout in rollouts if rollout.ended]
        prefixes = [Prefix(rollout.steps, 1, int(rollout.right), 1, ended=True) for rollout in whole]
        scores = asyncio.run(score_prefixes(judge, problem, prefixes))
        values["reward"] += [0.0 if isinstance(score, Failure) else float(score) for score in scores]
        values["log-probability"] += mean_logprobs(model, tokenizer, problem, [rollout.steps for rollout in whole])
        right += [int(rollout.right) for rollout in whole]
        question += [number] * len(whole)
        report(number + 1, len(sampled))
    return outcome_figures({name: np.array(each) for name, each in values.items()}, np.array(right), np.array(question))


def outcome_figures(values: Mapping[str, FloatArray], right: IntArray, question: IntArray) -> dict[str, Any]:
    """The figures of `compare_outcomes` from the solutions' values, outcomes and questions, each (n,)."""
    rng = keyed_generator("outcomes")
    places = [np.flatnonzero(question == number) for number in np.unique(question)]
    draws = [np.concatenate([places[one] for one in rng.integers(len(places), size=len(places))]) for _ in range(1000)]
    areas = {
        name: np.array([area_under_curve(each[draw], right[draw]) for draw in draws]) for name, each in values.items()
    }
    figures: dict[str, Any] = {"solutions": len(right), "right": int(right.sum())}
    for name, each in values.items():
        inside = [area_under_curve(each[rows], right[rows]) for rows in places]
        known = [area for area in inside if np.isfinite(area)]
        figures[name] = {
            "auc": _rounded(area_under_curve(each, right)),
            "interval": _interval(areas[name]),
            "auc within a question": _rounded(float(np.mean(known)) if known else float("nan")),
            "questions with both": len(known),
        }
    first, second = areas.values()
    figures["difference"] = _interval(first - second)
    return figures


def _interval(values: FloatArray) -> list[float | None]:
    known = values[np.isfinite(values)]
    return [_rounded(float(each)) for each in np.quantile(known, (0.025, 0.975))] if len(known) else [None, None]


def _rounded(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None


def mean_logprobs(model: Any, tokenizer: Any, problem: Problem, solutions: Sequence[Sequence[str]]) -> list[float]:
    """The mean log-probability of the tokens of some finished solutions, with the end of the text."""
    import torch

    prompt = tokenizer.apply_chat_template(messages(problem), tokenize=False, add_generation_prompt=True)
    start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    texts = [tokenizer("".join(steps), add_special_tokens=False)["input_ids"] for steps in solutions]
    examples = [Encoded((*start, *text, tokenizer.eos_token_id), len(start)) for text in texts]
    found = []
    with torch.inference_mode():
        for example in examples:
            batch = solution_batch([example], tokenizer.pad_token_id)
            found.append(-float(solution_loss(model, batch)))
    return found
