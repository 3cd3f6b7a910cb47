"""How the bundled models are trained: seeded, resumable, on whatever device there is.

Every batch is named by (seed, step), so a run that was stopped and resumed sees the same data as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rollwise.core import World
from rollwise.errors import InputError
from rollwise.names import FAMILY
from rollwise.numerics import keyed_generator
from rollwise.worlds import build_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Batch = dict[str, "torch.Tensor"]
Progress = Callable[[int, int, float], None]

MAKERS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""How many processes make batches ahead beside a GPU."""


@dataclass(frozen=True)
class TrainingOptions:
    """One training run. A batch holds examples up to about `batch_tokens`, padding counted; the learning rate warms up,
    then falls on a cosine to a twentieth. With `bfloat16` products of matrices are computed in it, everything else and
    the weights in single precision.
    """

    steps: int = 7500
    batch_tokens: int = 2048
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.05
    seed: int = 0
    checkpoint_every: int = 500
    bfloat16: bool = True

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


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
"""One family in three sizes, of about 0.5, 2.4 and 5 million parameters with a world's vocabulary."""


def policy_name(size: str) -> str:
    """The folder that a policy of this size lies in, beside its relatives. Raises InputError for an unknown size."""
    if size not in SHAPES:
        raise InputError(f"no size is called {size!r}; there are: {', '.join(SHAPES)}")
    return FAMILY["policy"]["trained" if size == "base" else size]


def use_threads(count: int) -> None:
    """Let torch compute with so many threads. Raises InputError for fewer than one."""
    import torch

    if count < 1:
        raise InputError(f"--threads has to be at least 1, not {count}")
    torch.set_num_threads(count)


def device_name() -> str:
    """What models are trained on: the GPU by its name, or CPU."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def digest_of(*files: Path) -> str:
    """A name for what these files hold, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


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
    """The batch of one step: demonstrations by the curriculum, with the loss on the solution's tokens only."""
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


def fit(
    model: PreTrainedModel,
    batch_at: Callable[[int], Batch],
    loss_of: Callable[[PreTrainedModel, Batch], torch.Tensor],
    options: TrainingOptions,
    folder: Path,
    progress: Progress,
    source: str = "",
) -> float:
    """Train in place, on the GPU where there is one, with checkpoints in `folder`; return the mean loss of the last
    hundred steps. Beside a GPU other processes make the batches ahead, and attention is PyTorch's scaled dot product.

    `source` names what the model starts from and learns on. A folder that holds a checkpoint of the same options, shape
    and source is resumed; any other is refused.
    """
    import torch

    home = next(model.parameters()).device
    device = torch.device("cuda" if torch.cuda.is_available() else home)
    if device.type == "cuda":
        model.set_attn_implementation("sdpa")
    model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=options.weight_decay, fused=True
    )
    shape = [list(parameter.shape) for parameter in model.parameters()]
    origin: dict[str, object] = {"options": asdict(options), "shape": shape, "source": source}
    first, losses = _load_checkpoint(model, optimizer, origin, folder)
    model.train()
    steps = range(first, options.steps)
    for step, made in zip(steps, batches(batch_at, steps, ahead=device.type == "cuda"), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = options.rate_at(step)
        batch = {name: tensor.to(device) for name, tensor in made.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bfloat16):
            loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses = [*losses[-99:], float(loss.detach())]
        progress(step + 1, options.steps, sum(losses) / len(losses))
        if (step + 1) % options.checkpoint_every == 0 or step + 1 == options.steps:
            _save_checkpoint(model, optimizer, origin, folder, step + 1, losses)
    model.to(home).eval()
    return sum(losses) / max(1, len(losses))


def batches(batch_at: Callable[[int], Batch], steps: range, ahead: bool) -> Iterator[Batch]:
    """The batches of these steps in order; `ahead`, made by other processes before they are asked for, where processes
    can be forked.
    """
    if not ahead or "fork" not in multiprocessing.get_all_start_methods():
        return map(batch_at, steps)
    from torch.utils.data import DataLoader

    made: DataLoader[Batch | InputError] = DataLoader(
        _Batches(batch_at), sampler=steps, batch_size=None, num_workers=MAKERS, multiprocessing_context="fork"
    )
    return map(_given, made)


@dataclass(frozen=True)
class _Batches:
    """A data set of torch's: the batch of a step, or the InputError in its place, which torch would bury in another."""

    batch_at: Callable[[int], Batch]

    def __getitem__(self, step: int) -> Batch | InputError:
        try:
            return self.batch_at(step)
        except InputError as error:
            return error


def _given(made: Batch | InputError) -> Batch:
    if isinstance(made, InputError):
        raise made
    return made


def _save_checkpoint(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    origin: dict[str, object],
    folder: Path,
    step: int,
    losses: list[float],
) -> None:
    from safetensors.torch import save_file

    tensors = {f"model.{name}": tensor.detach().clone().contiguous() for name, tensor in model.named_parameters()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor.contiguous() for name, tensor in moments.items()}
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / "checkpoint.safetensors.new"
    facts = {"step": step, "losses": losses, **origin}
    save_file(tensors, fresh, metadata={"rollwise": json.dumps(facts)})
    fresh.replace(folder / "checkpoint.safetensors")


def _load_checkpoint(
    model: PreTrainedModel, optimizer: torch.optim.Optimizer, origin: dict[str, object], folder: Path
) -> tuple[int, list[float]]:
    import torch
    from safetensors import safe_open

    file = folder / "checkpoint.safetensors"
    if not file.exists():
        return 0, []
    with safe_open(file, "pt") as tensors:
        facts = json.loads(tensors.metadata()["rollwise"])
        changed = [name for name, value in origin.items() if facts.get(name) != value]
        if changed:
            raise InputError(
                f"{file} was made with other {', '.join(changed)}; resume with those, or name another --out folder"
            )
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors.get_tensor(f"model.{name}"))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key in tensors.keys():  # noqa: SIM118, a safe_open handle is no mapping
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = tensors.get_tensor(key)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return facts["step"], facts["losses"]


def save_half(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a model in half precision as safetensors, with its tokenizer and chat template, for stock Auto classes."""
    import copy

    import torch

    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_policy(
    world: World, folder: Path, options: TrainingOptions, shape: PolicyShape, progress: Progress, name: str = "policy"
) -> dict[str, object]:
    """Train a policy on a world's demonstrations; the finished model lies in `folder`/`name`. Returns what was done."""
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
