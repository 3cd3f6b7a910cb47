"""Completes prefixes of the policy's solutions, trains the process reward model on them, and measures both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuning import CHECKPOINT_SECONDS, Report, Tuning, Watch, plan, save, trainable

from rollwise.answers import answer_of
from rollwise.calibration import collect_prefixes, collect_rollouts, load_prefixes, load_rollouts
from rollwise.core import Path as Solution
from rollwise.core import Problem, Sampling, Step, Stop
from rollwise.engines.local import LocalPolicy, load_checkpoint
from rollwise.errors import InputError
from rollwise.training.evaluation import solved_share
from rollwise.training.fitting import digest_of, fit
from rollwise.training.measure import measure_reward
from rollwise.training.reward import encode_prefixes, label_loss, to_batch, with_head
from rollwise.worlds import Gsm8k

LONGEST = 400
"""The most tokens of a solution. The longest of the training data has about 400."""


class OutOfTimeError(Exception):
    """The time that was given to a part is over. What was written stays."""


def problem_of(line: dict[str, Any]) -> Problem:
    """The problem of a line, with the instruction that the policy was trained with."""
    parsed = Gsm8k().parse(line["question"])
    return Problem(line["id"], parsed.question, line["answer"], "gsm8k", line.get("level"), parsed.instruction)


def sampling(temperature: float, seed: int) -> Sampling:
    """How solutions are sampled; certainty is not computed, since nothing here reads it."""
    return Sampling(temperature, max_step_tokens=LONGEST, max_tokens=LONGEST, seed=seed, certainty=False)


def within(minutes: float | None, report: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """A progress report that raises OutOfTimeError once the minutes are over."""
    deadline = time.monotonic() + 60 * minutes if minutes else None

    def tell(done: int, total: int) -> None:
        report(done, total)
        if deadline is not None and time.monotonic() > deadline and done < total:
            raise OutOfTimeError(f"{done} of {total} questions in {minutes:g} minutes")

    return tell


def complete(
    policy: Path,
    lines: Sequence[dict[str, Any]],
    file: Path,
    paths: int,
    completions: int,
    report: Callable[[int, int], None],
    minutes: float | None = None,
    rows: int = 128,
    temperature: float = 0.8,
    seed: int = 0,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Write the completed prefixes of the questions to `file`; a stopped run goes on. Returns the counts."""
    started = time.monotonic()
    name = digest_of(policy / "model.safetensors")[:16]
    try:
        collect_prefixes(
            Gsm8k(),
            LocalPolicy.load(policy, rows=rows, dtype=dtype),
            list(map(problem_of, lines)),
            paths,
            completions,
            sampling(temperature, seed),
            file,
            within(minutes, report),
            name,
        )
    except OutOfTimeError as over:
        print(f"stopped after {over}; the same command goes on")
    held = [prefix for _, prefixes in load_prefixes(file) for prefix in prefixes]
    return {
        "questions": sum(1 for _ in load_prefixes(file)),
        "prefixes": sum(not prefix.ended for prefix in held),
        "finished": sum(prefix.ended for prefix in held),
        "seconds_this_run": round(time.monotonic() - started),
    }


def tune_reward(trunk: Path, file: Path, tuning: Tuning, folder: Path, report: Report) -> dict[str, Any]:
    """Train a reward model on a file of completed prefixes and write it to `folder`/reward. Returns facts about it.

    It starts from the policy in the folder `trunk`; it learns the worth of every step and how sure that worth is, with
    the loss of rollwise's own reward models. Raises InputError if the file holds no prefixes.
    """
    _, tokenizer = load_checkpoint(trunk, "AutoModelForCausalLM", "float32")
    examples = [
        example
        for problem, prefixes in load_prefixes(file)
        for example in encode_prefixes(tokenizer, problem, prefixes)
    ]
    if not examples:
        raise InputError(f"{file} holds no prefixes: run the part completions first")
    model = with_head(trunk, tuning.seed)
    model.set_attn_implementation("eager")
    model = trainable(model, tuning, ["score"])
    lengths = [len(example.tokens) for example in examples]
    steps = plan(lengths, tuning.batch_tokens, tuning.epochs, tuning.seed)
    watch = Watch(report, [sum(lengths[index] for index in step) for step in steps])
    loss = fit(
        model,
        lambda step: to_batch([examples[index] for index in steps[step]], tokenizer.pad_token_id),
        label_loss,
        tuning.options(len(steps)),
        folder / "reward-checkpoint",
        watch.tell,
        source=f"{digest_of(trunk / 'model.safetensors', file)} {asdict(tuning)}",
        checkpoint_seconds=CHECKPOINT_SECONDS,
    )
    save(model, tokenizer, folder / "reward")
    return {**asdict(tuning), **watch.facts(), "examples": len(examples), "steps": len(steps), "loss": loss}


def evaluate_policy(
    policy: Path,
    lines: Sequence[dict[str, Any]],
    file: Path,
    samples: int,
    report: Callable[[int, int], None],
    minutes: float | None = None,
    rows: int = 128,
    temperature: float = 0.8,
    seed: int = 0,
    dtype: str | None = None,
) -> dict[str, Any]:
    """How much plain sampling solves: pass@1, coverage at powers of 4, the share of texts that ended and that gave a
    boxed answer, and the steps of a text. Samples are stored in `file`; a sample that was lost counts as wrong.
    """
    started = time.monotonic()
    try:
        collect_rollouts(
            Gsm8k(),
            LocalPolicy.load(policy, rows=rows, dtype=dtype),
            list(map(problem_of, lines)),
            samples,
            sampling(temperature, seed),
            file,
            within(minutes, report),
        )
    except OutOfTimeError as over:
        print(f"stopped after {over}; the same command goes on")
    asked = {line["id"] for line in lines}
    sampled = [(problem, rollouts) for problem, rollouts in load_rollouts(file) if problem.id in asked]
    return {**policy_facts(sampled, samples), "seconds_this_run": round(time.monotonic() - started)}


def policy_facts(sampled: Sequence[tuple[Problem, Sequence[Any]]], samples: int) -> dict[str, Any]:
    """The figures of `evaluate_policy` from sampled questions, each with `samples` rollouts less those that were lost.

    Raises InputError if there are none.
    """
    if not sampled:
        raise InputError("no question was sampled to its end: give more --minutes")
    texts = [rollout for _, rollouts in sampled for rollout in rollouts]
    right = [sum(rollout.right for rollout in rollouts) for _, rollouts in sampled]
    budgets = [4**power for power in range(8) if 4**power <= samples]
    total = samples * len(sampled)
    boxed = sum(answer_of(_path(rollout)) is not None for rollout in texts)
    return {
        "questions": len(sampled),
        "samples": samples,
        "pass@1": round(sum(right) / total, 4),
        "coverage": {
            str(budget): round(sum(solved_share(samples, count, budget) for count in right) / len(right), 4)
            for budget in budgets
        },
        "ended": round(sum(rollout.ended for rollout in texts) / total, 4),
        "boxed": round(boxed / total, 4),
        "steps": round(sum(len(rollout.steps) for rollout in texts) / max(1, len(texts)), 2),
    }


def _path(rollout: Any) -> Solution:
    last = len(rollout.steps) - 1
    ends = [Stop.END if rollout.ended and place == last else Stop.STEP for place in range(last + 1)]
    return Solution((), tuple(Step(text, 0, stop) for text, stop in zip(rollout.steps, ends, strict=True)))


def evaluate_reward(reward: Path, file: Path, report: Callable[[str, int, int], None]) -> dict[str, Any]:
    """How well a reward model tells prefixes apart: AUC for outcomes and ECE, in all, by level and by depth, and the
    AUC within a question. `file` holds completed prefixes of questions that it has not seen.
    """
    return measure_reward(reward, list(load_prefixes(file)), report)
