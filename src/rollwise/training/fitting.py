"""The training loop of all bundled models: seeded, resumable, and on a GPU if there is one.

Every batch is keyed by (seed, step), so a run that was stopped and resumed sees the same data as an uninterrupted run.
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

from rollwise.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Batch = dict[str, "torch.Tensor"]
Progress = Callable[[int, int, float], None]
"""(step, steps, mean loss)."""

MAKERS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""The number of processes that prepare batches for a GPU."""


@dataclass(frozen=True)
class TrainingOptions:
    """The options of a training run.

    A batch holds examples of about `batch_tokens` tokens in all, including padding. The learning rate warms up, then
    falls along a cosine to a twentieth. With `bfloat16`, matrix products are computed in bfloat16; everything else
    stays in single precision, including the weights.
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


def use_threads(count: int) -> None:
    """Make torch compute with `count` threads. Raises InputError if the count is below 1."""
    import torch

    if count < 1:
        raise InputError(f"--threads has to be at least 1, not {count}")
    torch.set_num_threads(count)


def device_name() -> str:
    """The name of the GPU that models are trained on, or CPU."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def digest_of(*files: Path) -> str:
    """A digest of the contents of these files, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def fit(
    model: PreTrainedModel,
    batch_at: Callable[[int], Batch],
    loss_of: Callable[[PreTrainedModel, Batch], torch.Tensor],
    options: TrainingOptions,
    folder: Path,
    progress: Progress,
    source: str = "",
    checkpoint_seconds: float = math.inf,
) -> float:
    """Train the model in place, with checkpoints in `folder`. Returns the mean loss of the last hundred steps.

    Parameters that take no gradient stay as they are, and checkpoints leave them out. A checkpoint is written after
    every `options.checkpoint_every` steps and after `checkpoint_seconds`, whichever comes first.

    Training uses a GPU if there is one. Then other processes prepare the batches, and attention is PyTorch's scaled dot
    product.

    `source` identifies the initial weights and the data. If the folder holds a checkpoint with the same options, shape
    and source, training resumes from it. Raises InputError if the checkpoint differs in any of these.
    """
    import torch

    home = next(model.parameters()).device
    device = torch.device("cuda" if torch.cuda.is_available() else home)
    if device.type == "cuda":
        model.set_attn_implementation("sdpa")
    model.to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=options.weight_decay, fused=True
    )
    shape = [list(parameter.shape) for parameter in trained]
    origin: dict[str, object] = {"options": asdict(options), "shape": shape, "source": source}
    first, losses = _load_checkpoint(model, optimizer, origin, folder)
    model.train()
    steps = range(first, options.steps)
    saved = time.monotonic()
    for step, on_host in zip(steps, batches(batch_at, steps, ahead=device.type == "cuda"), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = options.rate_at(step)
        batch = {name: tensor.to(device) for name, tensor in on_host.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bfloat16):
            loss = loss_of(model, batch)
        losses = [*losses[-99:], _optimise(model, optimizer, loss)]
        progress(step + 1, options.steps, sum(losses) / len(losses))
        due = time.monotonic() - saved >= checkpoint_seconds
        if due or (step + 1) % options.checkpoint_every == 0 or step + 1 == options.steps:
            _save_checkpoint(model, optimizer, origin, folder, step + 1, losses)
            saved = time.monotonic()
    model.to(home).eval()
    return sum(losses) / max(1, len(losses))


def _optimise(model: PreTrainedModel, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    """Take an optimiser step with clipped gradients. Returns the loss."""
    import torch

    loss.backward()
    torch.nn.utils.clip_grad_norm_([each for group in optimizer.param_groups for each in group["params"]], 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def batches(batch_at: Callable[[int], Batch], steps: range, ahead: bool) -> Iterator[Batch]:
    """The batches of these steps in order. With `ahead`, other processes prepare them, if processes can be forked."""
    if not ahead or "fork" not in multiprocessing.get_all_start_methods():
        return map(batch_at, steps)
    from torch.utils.data import DataLoader

    loader: DataLoader[Batch | InputError] = DataLoader(
        _Batches(batch_at), sampler=steps, batch_size=None, num_workers=MAKERS, multiprocessing_context="fork"
    )
    return map(_raise_error, loader)


@dataclass(frozen=True)
class _Batches:
    """A torch data set of batches. An InputError is returned as an item, because torch would wrap a raised error."""

    batch_at: Callable[[int], Batch]

    def __getitem__(self, step: int) -> Batch | InputError:
        try:
            return self.batch_at(step)
        except InputError as error:
            return error


def _raise_error(batch: Batch | InputError) -> Batch:
    if isinstance(batch, InputError):
        raise batch
    return batch


def _save_checkpoint(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    origin: dict[str, object],
    folder: Path,
    step: int,
    losses: list[float],
) -> None:
    from safetensors.torch import save_file

    trained = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
    tensors = {f"model.{name}": tensor.detach().clone().contiguous() for name, tensor in trained}
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
                f"{file} was written by a run with other {', '.join(changed)}; resume with the same settings, or give "
                "another --out folder"
            )
        parameters = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
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
    """Write a model in half precision as safetensors, with tokenizer and chat template, for the stock Auto classes."""
    import copy

    import torch

    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
