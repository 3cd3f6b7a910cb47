"""Trains policies: small Llamas that learn from the demonstrations of a world."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rollwise.core import World
from rollwise.errors import InputError
from rollwise.names import FAMILY
from rollwise.numerics import keyed_generator
from rollwise.training.fitting import Batch, Progress, TrainingOptions, device_name, fit, save_half
from rollwise.worlds import build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True)
class PolicyShape:
    """The size of a policy: a Llama with tied embeddings."""

    hidden: int = 192
    layers: int = 5
    heads: int = 6
    feed_forward: int = 512


SHAPES = {
    "small": PolicyShape(hidden=96, layers=4, heads=3, feed_forward=256),
    "base": PolicyShape(),
    "large": PolicyShape(hidden=256, layers=6, heads=8, feed_forward=688),
}
"""The three sizes, with about 0.5, 2.4 and 5 million parameters for a world's vocabulary."""


def policy_name(size: str) -> str:
    """The name of the folder of a policy of this size. Raises InputError for an unknown size."""
    if size not in SHAPES:
        raise InputError(f"no size is called {size!r}; choose one of {', '.join(SHAPES)}")
    return FAMILY["policy"]["trained" if size == "base" else size]


def new_policy(shape: PolicyShape, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """A freshly initialised Llama for this tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=tokenizer.model_max_length,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation="eager",
        )
    )


def demonstration_batch(world: World, tokenizer: PreTrainedTokenizerFast, options: TrainingOptions, step: int) -> Batch:
    """The batch of a step: demonstrations according to the curriculum. Only tokens of the solution have a label."""
    import torch

    rng = keyed_generator("training", world.name, options.seed, step)
    shares = next(shares for until, shares in world.curriculum.stages if step < until * options.steps)
    kinds, probabilities = list(shares), list(shares.values())
    rows: list[tuple[list[int], int]] = []
    longest = 0
    while (len(rows) + 1) * longest <= options.batch_tokens:
        level, after = kinds[int(rng.choice(len(kinds), p=probabilities))]
        problem, steps = world.demonstration(rng, level, after)
        question = [{"role": "user", "content": problem.question}]
        solution = [{"role": "assistant", "content": world.separator.join(steps)}]
        prompt = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(question + solution, tokenize=False)
        prompt_ids, ids = tokenizer([prompt, whole], add_special_tokens=False)["input_ids"]
        rows.append((ids, len(prompt_ids)))
        longest = max(longest, len(ids))
    inputs = torch.full((len(rows), longest), tokenizer.pad_token_id)
    labels = torch.full((len(rows), longest), -100)
    for row, (ids, prompt_length) in enumerate(rows):
        inputs[row, : len(ids)] = torch.tensor(ids)
        labels[row, prompt_length : len(ids)] = torch.tensor(ids[prompt_length:])
    return {"input_ids": inputs, "labels": labels}


def train_policy(
    world: World, folder: Path, options: TrainingOptions, shape: PolicyShape, progress: Progress, name: str = "policy"
) -> dict[str, object]:
    """Train a policy on a world's demonstrations and write it to `folder`/`name`. Returns facts about the training."""
    tokenizer = build_tokenizer(world.literals)
    model = new_policy(shape, tokenizer, options.seed)
    started = time.perf_counter()
    loss = fit(
        model,
        lambda step: demonstration_batch(world, tokenizer, options, step),
        lambda trained, batch: trained(**batch, use_cache=False).loss,
        options,
        folder / f"{name}-checkpoint",
        progress,
    )
    save_half(model, tokenizer, folder / name)
    return {
        "parameters": model.num_parameters(),
        "steps": options.steps,
        "seed": options.seed,
        "loss": round(loss, 4),
        "seconds_this_run": round(time.perf_counter() - started),
        "device": device_name(),
    }
