"""Trains a process reward model: a policy's trunk, with a head that predicts each step's worth and how sure it is."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from rollwise.calibration import Prefix, label_rollout, load_prefixes
from rollwise.core import Path, Problem, Step, Stop, World
from rollwise.engines.local import load_checkpoint
from rollwise.errors import InputError
from rollwise.names import SURENESS
from rollwise.numerics import keyed_generator
from rollwise.rewards import LOG_CONCENTRATIONS
from rollwise.training.fitting import Batch, Progress, TrainingOptions, device_name, digest_of, fit, save_half

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

REWARD_OPTIONS = TrainingOptions(steps=5000, learning_rate=1e-3)
LABELS = ("wrong", "right", SURENESS)


@dataclass(frozen=True)
class Example:
    """A solution as tokens, with the positions of its step ends.

    `labels` holds a label in [0, 1] for each step end, NaN if unknown; `completions` counts the completions behind it.
    """

    tokens: tuple[int, ...]
    ends: tuple[int, ...]
    labels: tuple[float, ...]
    completions: tuple[int, ...]


def encode(
    tokenizer: PreTrainedTokenizerFast,
    problem: Problem,
    steps: Sequence[str],
    ended: bool,
    labels: Sequence[float],
    completions: Sequence[int] | None = None,
) -> Example:
    """A solution as the reward model reads it: prompt, steps, and the end-of-text token if the solution ended.

    Without `completions`, each label stands for a single completion.
    """
    messages = [{"role": "user", "content": problem.question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    tokens = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ends = []
    for index, step in enumerate(steps):
        tokens += tokenizer(step, add_special_tokens=False)["input_ids"]
        if ended and index == len(steps) - 1:
            tokens.append(tokenizer.eos_token_id)
        ends.append(len(tokens) - 1)
    return Example(tuple(tokens), tuple(ends), tuple(map(float, labels)), tuple(completions or [1] * len(steps)))


def encode_prefixes(tokenizer: PreTrainedTokenizerFast, problem: Problem, prefixes: Sequence[Prefix]) -> list[Example]:
    """The longest prefixes of a problem, labelled at every step with the worth of the prefix up to there."""
    known = {(prefix.steps, prefix.ended): prefix for prefix in prefixes}
    inner = {prefix.steps[:-1] for prefix in prefixes}
    examples = []
    for prefix in prefixes:
        if prefix.ended or prefix.steps not in inner:
            so_far = [*(known.get((prefix.steps[:depth], False)) for depth in range(1, prefix.depth)), prefix]
            worth = [math.nan if each is None else each.worth for each in so_far]
            completions = [1 if each is None else each.completions for each in so_far]
            examples.append(encode(tokenizer, problem, prefix.steps, prefix.ended, worth, completions))
    return examples


def draw_examples(
    world: World,
    tokenizer: PreTrainedTokenizerFast,
    sampled: Mapping[int, Sequence[Example]],
    options: TrainingOptions,
    step: int,
) -> list[Example]:
    """The examples of a training step, of about `batch_tokens` tokens in all.

    All are of the same kind, and so of similar length. Among batches of whole problems, a share that grows from none to
    all holds the policy's own solutions (`sampled`, by level), labelled with the outcomes of their completions. All
    other batches hold newly drawn attempts, labelled with whether a right answer can still be reached. That is so at
    about half of their steps, and teaches the model the arithmetic.
    """
    rng = keyed_generator("reward training", world.name, options.seed, step)
    kinds, shares = list(world.curriculum.reward_kinds), list(world.curriculum.reward_kinds.values())
    level, after = kinds[int(rng.choice(len(kinds), p=shares))]
    own = after == 0 and bool(sampled.get(level)) and rng.random() < step / options.steps
    examples: list[Example] = []
    longest = 0
    while (len(examples) + 1) * longest <= options.batch_tokens:
        if own:
            example = sampled[level][int(rng.integers(len(sampled[level])))]
        else:
            problem, texts = world.attempt(rng, level, after)
            path = Path((0,) * len(texts), tuple(_steps(texts, world.separator)))
            truth = label_rollout(world, problem, path)
            example = encode(tokenizer, problem, truth.steps, truth.ended, truth.reachable)
        examples.append(example)
        longest = max(longest, len(example.tokens))
    return examples


def _steps(texts: Sequence[str], separator: str) -> Iterator[Step]:
    for text in texts[:-1]:
        yield Step(text + separator, 0, Stop.STEP)
    yield Step(texts[-1], 0, Stop.END)


def to_batch(examples: Sequence[Example], padding: int) -> Batch:
    """Tokens, labels and completions, each (rows, length). Labels are NaN except at step ends."""
    import torch

    longest = max(len(example.tokens) for example in examples)
    tokens = torch.full((len(examples), longest), padding)
    labels, completions = torch.full((2, len(examples), longest), math.nan)
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        labels[row, list(example.ends)] = torch.tensor(example.labels)
        completions[row, list(example.ends)] = torch.tensor(example.completions, dtype=completions.dtype)
    return {"input_ids": tokens, "labels": labels, "completions": completions}


def label_loss(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """The `beta_binomial_loss` of the step ends. The mean is the softmax of the first two logits, and the log of the
    concentration is the third.
    """
    import torch

    logits = model(input_ids=batch["input_ids"], use_cache=False).logits
    known = ~batch["labels"].isnan()
    count = batch["completions"][known].double()
    right = batch["labels"][known] * count
    at_ends = logits[known].double()
    return beta_binomial_loss(torch.softmax(at_ends[:, :2], dim=-1)[:, 1], at_ends[:, 2], right, count)


def beta_binomial_loss(
    mean: torch.Tensor, log_concentration: torch.Tensor, right: torch.Tensor, count: torch.Tensor
) -> torch.Tensor:
    """-log of the beta-binomial chance of the right completions, per completion; `right` of `count` are right (n,).

    c of n completions are right with chance ∝ B(c + κμ, n - c + κ(1 - μ)) / B(κμ, κ(1 - μ)), with the mean μ and the
    concentration κ. For a single completion the term depends on μ alone: it is the cross entropy, whose expectation is
    smallest at the true worth.
    """
    import torch

    mean = mean.clamp(1e-6, 1 - 1e-6)
    concentration = log_concentration.clamp(*LOG_CONCENTRATIONS).exp()

    def log_beta(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)

    a, b = concentration * mean, concentration * (1 - mean)
    return -(log_beta(a + right, b + count - right) - log_beta(a, b)).sum() / count.sum()


def train_reward(
    world: World,
    trunk: FilePath,
    prefixes: FilePath,
    folder: FilePath,
    options: TrainingOptions,
    progress: Progress,
    name: str = "reward",
) -> dict[str, Any]:
    """Train a reward model on a file of completed prefixes and write it to `folder`/`name`.

    Training starts from the weights of the policy in the folder `trunk`. Returns facts about the training. Raises
    InputError if a problem of the file has no level of the world, because batches are drawn by level.
    """
    _, tokenizer = load_checkpoint(trunk, "AutoModelForCausalLM")
    model = with_head(trunk, options.seed)
    sampled, counts = _read_examples(world, tokenizer, prefixes)
    started = time.perf_counter()
    loss = fit(
        model,
        lambda step: to_batch(draw_examples(world, tokenizer, sampled, options, step), tokenizer.pad_token_id),
        label_loss,
        options,
        folder / f"{name}-checkpoint",
        progress,
        source=digest_of(trunk / "model.safetensors", prefixes),
    )
    save_half(model, tokenizer, folder / name)
    return {
        "parameters": model.num_parameters(),
        "prefixes": counts[False],
        "finished": counts[True],
        "steps": options.steps,
        "seed": options.seed,
        "loss": round(loss, 4),
        "seconds_this_run": round(time.perf_counter() - started),
        "device": device_name(),
    }


def with_head(trunk: FilePath, seed: int) -> PreTrainedModel:
    """The policy in the folder `trunk` with a new head, which has a logit for each of LABELS."""
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    torch.manual_seed(seed)
    offline = {"trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(trunk, id2label=dict(enumerate(LABELS)), **offline)
    config.classifier_dropout = 0.0
    return AutoModelForTokenClassification.from_pretrained(
        trunk, config=config, dtype=torch.float32, use_safetensors=True, attn_implementation="eager", **offline
    )


def _read_examples(
    world: World, tokenizer: PreTrainedTokenizerFast, file: FilePath
) -> tuple[dict[int, list[Example]], Counter[bool]]:
    """The examples of a file of completed prefixes by level, and how many prefixes are finished and unfinished."""
    sampled: dict[int, list[Example]] = {level: [] for level in world.levels}
    counts = Counter[bool]()
    for problem, prefixes in load_prefixes(file):
        if problem.level not in sampled:
            raise InputError(f"{file}: {problem.id!r} needs a level of {world.name}, one of {[*world.levels]}")
        sampled[problem.level] += encode_prefixes(tokenizer, problem, prefixes)
        counts.update(prefix.ended for prefix in prefixes)
    return sampled, counts
