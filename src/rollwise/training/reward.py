"""Training a process reward model: the policy's trunk, and a head that tells each step's worth and how sure it is."""

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
from rollwise.training.policy import Batch, Progress, TrainingOptions, device_name, digest_of, fit, save_half

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

REWARD_OPTIONS = TrainingOptions(steps=5000, learning_rate=1e-3)
LABELS = ("wrong", "right", SURENESS)


@dataclass(frozen=True)
class Example:
    """A solution as tokens, with the positions of its step ends, the label in [0, 1] at each, NaN where unknown, and
    how many completions the label is the mean of.
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
    """A solution as the reward model reads it: prompt, steps, and the end-of-text token where the solution ended. A
    label is a single completion's unless said otherwise.
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
    """The longest of a problem's prefixes, each labelled at every step with the worth of what it is up to there."""
    known = {(prefix.steps, prefix.ended): prefix for prefix in prefixes}
    inner = {prefix.steps[:-1] for prefix in prefixes}
    examples = []
    for prefix in prefixes:
        if prefix.ended or prefix.steps not in inner:
            there = [*(known.get((prefix.steps[:depth], False)) for depth in range(1, prefix.depth)), prefix]
            worth = [math.nan if one is None else one.worth for one in there]
            completions = [1 if one is None else one.completions for one in there]
            examples.append(encode(tokenizer, problem, prefix.steps, prefix.ended, worth, completions))
    return examples


def draw_examples(
    world: World,
    tokenizer: PreTrainedTokenizerFast,
    sampled: Mapping[int, Sequence[Example]],
    options: TrainingOptions,
    step: int,
) -> list[Example]:
    """The examples of one step, all of one kind and so of like length, up to `batch_tokens`.

    A share of the batches of whole problems that grows from none to all is of the policy's own solutions (`sampled`, by
    level), labelled by what their completions came to. All others are attempts drawn anew, labelled by whether a right
    answer is within reach, which it is at half their steps or so: from them the model learns the arithmetic.
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
    """Tokens (rows, length), labels (rows, length), NaN where no step ends, and the completions behind each label."""
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
    """-log of the beta-binomial chance of the right completions at the step ends, by completion.

    c of n are right with chance ∝ B(c + κμ, n - c + κ(1 - μ)) / B(κμ, κ(1 - μ)). The mean μ is the softmax of the first
    two labels, log κ the third. A single completion tells of μ alone: its term is the cross entropy, whose expectation
    is least at the true worth.
    """
    import torch

    logits = model(input_ids=batch["input_ids"], use_cache=False).logits
    known = ~batch["labels"].isnan()
    count = batch["completions"][known].double()
    right = batch["labels"][known] * count
    told = logits[known].double()
    mean = torch.softmax(told[:, :2], dim=-1)[:, 1].clamp(1e-6, 1 - 1e-6)
    concentration = told[:, 2].clamp(*LOG_CONCENTRATIONS).exp()

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
    """Train a reward model on a file of completed prefixes, from the weights of the policy in the folder `trunk`; the
    finished model lies in `folder`/`name`. Returns what was done. Raises InputError where a problem of the file has no
    level of the world, since batches are drawn by level.
    """
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    _, tokenizer = load_checkpoint(trunk, "AutoModelForCausalLM")
    torch.manual_seed(options.seed)
    trusted = {"trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(trunk, id2label=dict(enumerate(LABELS)), **trusted)
    config.classifier_dropout = 0.0
    model = AutoModelForTokenClassification.from_pretrained(
        trunk, config=config, dtype=torch.float32, use_safetensors=True, attn_implementation="eager", **trusted
    )
    sampled: dict[int, list[Example]] = {level: [] for level in world.levels}
    counts = Counter[bool]()
    for problem, many in load_prefixes(prefixes):
        if problem.level not in sampled:
            raise InputError(f"{prefixes}: {problem.id!r} needs a level of {world.name}, one of {[*world.levels]}")
        sampled[problem.level] += encode_prefixes(tokenizer, problem, many)
        counts.update(prefix.ended for prefix in many)
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
