"""Training a process reward model: the policy's trunk, a head of two labels, the truth after each step as target."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from rollwise.core import Path, Problem, Step, Stop, World
from rollwise.engines.checkpoint import load_checkpoint
from rollwise.numerics import keyed_generator
from rollwise.worlds.rollouts import Rollout, label_rollout, load
from rollwise.worlds.training import Batch, Progress, TrainingOptions, fit, save_half

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

REWARD_OPTIONS = TrainingOptions(steps=5000, learning_rate=1e-3)


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


def draw_examples(
    world: World,
    tokenizer: PreTrainedTokenizerFast,
    sampled: Mapping[int, Sequence[Example]],
    options: TrainingOptions,
    step: int,
) -> list[Example]:
    """The examples of one step, all of one kind and so of like length, up to `batch_tokens`.

    A share of the batches of whole problems that grows from none to all is of the policy's own rollouts (`sampled`, by
    level), which hold its slips and its base rates. All others are attempts drawn anew, which are right at half their
    steps or so: from them the model learns the arithmetic.
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
            example = encode(tokenizer, problem, label_rollout(world, problem, path))
        examples.append(example)
        longest = max(longest, len(example.tokens))
    return examples


def _steps(texts: Sequence[str], separator: str) -> Iterator[Step]:
    for text in texts[:-1]:
        yield Step(text + separator, 0, Stop.STEP)
    yield Step(texts[-1], 0, Stop.END)


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


def _digest(*files: FilePath) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def train_reward(
    world: World,
    policy_folder: FilePath,
    rollouts: FilePath,
    folder: FilePath,
    options: TrainingOptions,
    progress: Progress,
) -> dict[str, Any]:
    """Train a reward model on labelled rollouts, from the policy's weights; it lies in `folder`/reward afterwards."""
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    _, tokenizer = load_checkpoint(policy_folder, "AutoModelForCausalLM")
    torch.manual_seed(options.seed)
    trusted = {"trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(policy_folder, num_labels=2, **trusted)
    config.classifier_dropout = 0.0
    model = AutoModelForTokenClassification.from_pretrained(
        policy_folder, config=config, dtype=torch.float32, use_safetensors=True, **trusted
    )
    sampled: dict[int, list[Example]] = {}
    for problem, many in load(rollouts):
        sampled.setdefault(problem.level or 0, []).extend(encode(tokenizer, problem, one) for one in many)
    started = time.perf_counter()
    loss = fit(
        model,
        lambda step: to_batch(draw_examples(world, tokenizer, sampled, options, step), tokenizer.pad_token_id),
        label_loss,
        options,
        folder / "reward-checkpoint",
        progress,
        source=_digest(policy_folder / "model.safetensors", rollouts),
    )
    save_half(model, tokenizer, folder / "reward")
    return {
        "parameters": model.num_parameters(),
        "rollouts": sum(map(len, sampled.values())),
        "steps": options.steps,
        "seed": options.seed,
        "loss": round(loss, 4),
        "seconds_this_run": round(time.perf_counter() - started),
    }
