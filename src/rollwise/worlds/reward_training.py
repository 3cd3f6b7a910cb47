"""Training a process reward model: the policy's trunk, a head of two labels, the truth after each step as target."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rollwise.core import Problem
from rollwise.engines.checkpoint import load_checkpoint
from rollwise.numerics import keyed_generator
from rollwise.worlds.rollouts import Rollout, load
from rollwise.worlds.training import Batch, Progress, TrainingOptions, fit, save_half

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

REWARD_OPTIONS = TrainingOptions(steps=6000, learning_rate=1e-3, checkpoint_every=500)


@dataclass(frozen=True)
class Example:
    """A solution as tokens, with the positions of its step ends and the label (0 or 1) at each."""

    tokens: tuple[int, ...]
    ends: tuple[int, ...]
    labels: tuple[int, ...]


def encode(tokenizer: PreTrainedTokenizerFast, problem: Problem, rollout: Rollout) -> Example:
    """A rollout as the reward model reads it: prompt, steps, and the end-of-text token where the solution ended."""
    messages = [{"role": "user", "content": problem.question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    tokens = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ends = []
    for index, step in enumerate(rollout.steps):
        tokens += tokenizer(step, add_special_tokens=False)["input_ids"]
        if rollout.ended and index == len(rollout.steps) - 1:
            tokens.append(tokenizer.eos_token_id)
        ends.append(len(tokens) - 1)
    return Example(tuple(tokens), tuple(ends), tuple(map(int, rollout.reachable)))


def example_batches(examples: Sequence[Example], options: TrainingOptions) -> list[list[int]]:
    """Indices of the examples of every batch, up to `batch_tokens` of like length, in an order that the seed decides.

    Each pass over the examples is shuffled anew.
    """
    batches: list[list[int]] = []
    turn = 0
    while len(batches) < options.steps:
        rng = keyed_generator("reward batches", options.seed, turn)
        noise = rng.random(len(examples)) * 6
        order = np.argsort([len(example.tokens) + jitter for example, jitter in zip(examples, noise, strict=True)])
        fresh: list[list[int]] = [[]]
        for index in map(int, order):
            longest = max(len(examples[one].tokens) for one in [*fresh[-1][-1:], index])
            if fresh[-1] and (len(fresh[-1]) + 1) * longest > options.batch_tokens:
                fresh.append([])
            fresh[-1].append(index)
        batches += [fresh[index] for index in rng.permutation(len(fresh))]
        turn += 1
    return batches[: options.steps]


def to_batch(examples: Sequence[Example], padding: int) -> Batch:
    """Tokens (rows, length) and labels (rows, length), -100 where no step ends."""
    import torch

    longest = max(len(example.tokens) for example in examples)
    tokens = torch.full((len(examples), longest), padding)
    labels = torch.full((len(examples), longest), -100)
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        labels[row, list(example.ends)] = torch.tensor(example.labels)
    return {"input_ids": tokens, "labels": labels}


def label_loss(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Cross entropy at the step ends."""
    import torch

    logits = model(input_ids=batch["input_ids"], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)


def train_reward(
    policy_folder: Path, rollouts: Path, folder: Path, options: TrainingOptions, progress: Progress
) -> dict[str, Any]:
    """Train a reward model on labelled rollouts, from the policy's weights; it lies in `folder`/reward afterwards."""
    import torch
    from transformers import AutoModelForTokenClassification

    _, tokenizer = load_checkpoint(policy_folder, "AutoModelForCausalLM")
    torch.manual_seed(options.seed)
    model = AutoModelForTokenClassification.from_pretrained(
        policy_folder,
        num_labels=2,
        classifier_dropout=0.0,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    examples = [encode(tokenizer, problem, one) for problem, many in load(rollouts) for one in many]
    batches = example_batches(examples, options)
    started = time.perf_counter()
    loss = fit(
        model,
        lambda step: to_batch([examples[index] for index in batches[step]], tokenizer.pad_token_id),
        label_loss,
        options,
        folder / "reward-checkpoint",
        progress,
    )
    save_half(model, tokenizer, folder / "reward")
    return {
        "parameters": model.num_parameters(),
        "rollouts": len(examples),
        "labelled_steps": sum(len(example.labels) for example in examples),
        "steps": options.steps,
        "seed": options.seed,
        "loss": round(loss, 4),
        "seconds_this_run": round(time.perf_counter() - started),
    }
