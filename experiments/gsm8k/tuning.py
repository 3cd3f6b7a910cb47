"""Fine-tunes a language model on solutions, by LoRA or in full, and ships the change as an adapter."""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

from rollwise.engines import messages
from rollwise.engines.local import load_checkpoint
from rollwise.errors import InputError, MissingExtraError
from rollwise.numerics import keyed_generator
from rollwise.training.fitting import Batch, TrainingOptions, device_name, digest_of, fit, save_half
from rollwise.worlds import Gsm8k

if TYPE_CHECKING:
    import torch

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The matrices of a decoder's layers that are trained."""
METHODS = {"lora": 1e-3, "full": 1e-4}
"""Method → its learning rate."""
CHECKPOINT_SECONDS = 300.0
ROWS = 256
"""How many tokens have their logits in memory at once."""
IGNORED = -100
"""The label of a token that is not learnt."""

Report = Callable[[int, int, str], None]
"""(steps done, steps, note)."""


@dataclass(frozen=True)
class Tuning:
    """The options of a training: `method` is lora or full, `rank` the rank of the adapter, and a batch holds about
    `batch_tokens` tokens with padding. The early checkpoint is taken after the share `early` of the steps. `adapter` is
    the folder of the adapter to start from; None for a new one. Matrix products are computed in `dtype`;
    None takes bfloat16 on a GPU and float32 on a processor.
    """

    method: str = "lora"
    rank: int = 16
    epochs: float = 2.0
    batch_tokens: int = 4096
    learning_rate: float | None = None
    early: float = 0.15
    seed: int = 0
    adapter: str | None = None
    dtype: str | None = None

    def options(self, steps: int) -> TrainingOptions:
        """The options of the training loop. Raises InputError for an unknown method."""
        if self.method not in METHODS:
            raise InputError(f"--method takes {' or '.join(METHODS)}, not {self.method!r}")
        rate = self.learning_rate or METHODS[self.method]
        warmup = max(1, min(100, steps // 20))
        brief = device_name() != "CPU" if self.dtype is None else self.dtype == "bfloat16"
        return TrainingOptions(steps, self.batch_tokens, rate, warmup, 0.0, self.seed, 10**9, brief)


@dataclass(frozen=True)
class Encoded:
    """A question and its solution as tokens; the first `prompt` of them are not learnt."""

    tokens: tuple[int, ...]
    prompt: int


def encode(tokenizer: Any, question: str, steps: Sequence[str]) -> Encoded:
    """A solution as the policy will see it: the chat of `rollwise solve`, the steps, the end of the text."""
    world = Gsm8k()
    chat = messages(world.parse(question))
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    solution = tokenizer(world.separator.join(steps), add_special_tokens=False)["input_ids"]
    return Encoded((*start, *solution, tokenizer.eos_token_id), len(start))


def plan(lengths: Sequence[int], batch_tokens: int, epochs: float, seed: int) -> list[list[int]]:
    """The examples of every step. Examples of like length share a batch, so that little of it is padding, and no two
    solutions share a row; each epoch has its own order.
    """
    steps: list[list[int]] = []
    for epoch in range(math.ceil(epochs)):
        rng = keyed_generator("order", seed, epoch)
        noisy = [(length + rng.random() * 8, index) for index, length in enumerate(lengths)]
        batches: list[list[int]] = []
        longest = 0
        for _, index in sorted(noisy):
            longest = max(longest, lengths[index])
            if not batches or (len(batches[-1]) + 1) * longest > batch_tokens:
                batches.append([])
                longest = lengths[index]
            batches[-1].append(index)
        order = rng.permutation(len(batches))
        share = min(1.0, epochs - epoch)
        steps += [batches[place] for place in order[: max(1, round(share * len(batches)))]]
    return steps


def solution_batch(examples: Sequence[Encoded], padding: int) -> Batch:
    """Tokens and labels, each (rows, length). Padding stands on the right, where no real token attends to it."""
    import torch

    longest = max(len(example.tokens) for example in examples)
    tokens = torch.full((len(examples), longest), padding)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        labels[row, example.prompt : len(example.tokens)] = torch.tensor(example.tokens[example.prompt :])
    return {"input_ids": tokens, "labels": labels}


def solution_loss(model: Any, batch: Batch) -> torch.Tensor:
    """The mean cross entropy of the learnt tokens. Only at these are logits computed: a vocabulary is large."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = causal.model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    following = batch["labels"][:, 1:]
    learnt = following != IGNORED
    return cross_entropy(hidden[learnt], causal.lm_head.weight, following[learnt])


def cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy of hidden states (n, width) with labels (n,) under frozen output weights (vocabulary,
    width).

    Value and gradient are computed a few rows at a time, so that the logits of a whole batch, which weigh more than the
    model, never lie in memory together.
    """
    loss: torch.Tensor = _cross_entropy().apply(hidden, weight, labels)
    return loss


@cache
def _cross_entropy() -> Any:
    import torch

    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            dtype = torch.bfloat16 if torch.is_autocast_enabled(hidden.device.type) else hidden.dtype
            total, weight = hidden.new_zeros((), dtype=torch.float32), weight.to(dtype)
            gradient = torch.empty_like(hidden)
            with torch.autocast(hidden.device.type, enabled=False):
                for start in range(0, len(hidden), ROWS):
                    part, right = hidden[start : start + ROWS].to(dtype), labels[start : start + ROWS, None]
                    logits = (part @ weight.T).float()
                    log_sum = logits.logsumexp(-1, keepdim=True)
                    total += (log_sum - logits.gather(-1, right)).sum()
                    share = logits.sub_(log_sum).exp_()
                    share.scatter_add_(-1, right, share.new_full(right.shape, -1.0))
                    gradient[start : start + ROWS] = (share.to(dtype) @ weight) / len(hidden)
            ctx.save_for_backward(gradient)
            return total / len(hidden)

        @staticmethod
        def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
            (gradient,) = ctx.saved_tensors
            return gradient * upstream, None, None

    return CrossEntropy


def trainable(model: Any, tuning: Tuning, heads: Iterable[str] = ()) -> Any:
    """The model with only those parameters open to training that the method trains, and the modules `heads`.

    LoRA adds matrices of the given rank beside the layers' own. In full training the layers' own matrices change;
    embeddings and norms stay as they are, so that an adapter can hold the whole change.
    """
    if tuning.method == "lora":
        return adapted(model, tuning.rank, heads, tuning.adapter)
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        parameter.requires_grad_(parts[-2] in LINEAR or parts[0] in heads)
    return model


def adapted(model: Any, rank: int, heads: Iterable[str] = (), start: str | None = None) -> Any:
    """The model with an adapter of a rank: that of the folder `start`, else one that changes nothing yet.

    Raises MissingExtraError without peft, and InputError if the adapter does not fit.
    """
    try:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise MissingExtraError("training by LoRA", "tune") from error
    import torch

    torch.manual_seed(0)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(LINEAR), modules_to_save=list(heads) or None)
    made = get_peft_model(model, config)
    _multiply_once(made)
    if start is not None:
        from safetensors.torch import load_file

        file = Path(start) / "adapter_model.safetensors"
        try:
            loaded = set_peft_model_state_dict(made, load_file(file))
        except (OSError, RuntimeError) as error:
            reason = (str(error).splitlines() or [""])[0][:160]
            raise InputError(f"--adapter: {file} is no adapter of rank {rank} of this model ({reason})") from None
        if loaded.unexpected_keys:
            raise InputError(f"--adapter: {file} changes {loaded.unexpected_keys[0]}, which this model does not have")
    return made


def _multiply_once(model: Any) -> None:
    """Let every adapted matrix multiply its input once, with the adapter added to it, and not once more for each of the
    adapter's two matrices. Values and gradients are those of peft; on a processor a step takes two thirds of the time.
    """
    from peft.tuners.lora import Linear

    for module in model.modules():
        if isinstance(module, Linear):
            module.forward = MethodType(_adapted_product, module)


def _adapted_product(module: Any, inputs: torch.Tensor) -> torch.Tensor:
    (name,) = module.active_adapters
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    product: torch.Tensor = _adapted_linear().apply(inputs, module.base_layer.weight, down, up, module.scaling[name])
    return product


@cache
def _adapted_linear() -> Any:
    import torch

    class AdaptedLinear(torch.autograd.Function):
        """inputs (…, in) times the transpose of weight (out, in) + scale · up (out, rank) · down (rank, in)."""

        @staticmethod
        def forward(
            ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scale: float
        ) -> torch.Tensor:
            device = inputs.device.type
            dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype
            inputs, weight, down, up = (each.to(dtype) for each in (inputs, weight, down, up))
            whole = torch.addmm(weight, up, down, alpha=scale)
            ctx.save_for_backward(inputs, whole, down, up)
            ctx.scale = scale
            return inputs @ whole.T

        @staticmethod
        def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
            inputs, whole, down, up = ctx.saved_tensors
            rows, gradient = inputs.flatten(0, -2), upstream.flatten(0, -2)
            of_down = ((gradient @ up).T @ rows).mul_(ctx.scale)
            of_up = (gradient.T @ (rows @ down.T)).mul_(ctx.scale)
            return upstream @ whole if ctx.needs_input_grad[0] else None, None, of_down, of_up, None

    return AdaptedLinear


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model as a whole in half precision, and its adapter, if it has one, to the folder `adapter` beside."""
    whole = copy.deepcopy(model)
    if hasattr(whole, "merge_and_unload"):
        save_adapter(model, folder / "adapter")
        whole = whole.merge_and_unload()
    save_half(whole, tokenizer, folder)


def save_adapter(model: Any, folder: Path) -> None:
    """Write an adapter in half precision, as peft reads it."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    model.peft_config["default"].save_pretrained(folder)
    halves = {name: each.detach().half().cpu().contiguous() for name, each in get_peft_model_state_dict(model).items()}
    save_file(halves, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def save_change(change: Mapping[str, Any], folder: Path) -> None:
    """Write weights that are added to a model, such as a head, as an adapter that changes no matrix of it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    settings = {"peft_type": "LORA", "task_type": "TOKEN_CLS", "r": 1, "lora_alpha": 1, "target_modules": []}
    _write(folder / "adapter_config.json", settings)
    halves = {f"base_model.model.{name}": each.detach().half().contiguous() for name, each in change.items()}
    save_file(halves, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def pack_adapter(made: Path, base: str, folder: Path) -> None:
    """Write the adapter of a trained model as rollwise bundles it, to `folder`. `base` is the model that it changes: a
    name of the catalogue, or the folder's name of another adapter beside this one.

    Raises InputError if the model was not trained by LoRA.
    """
    adapter = made / "adapter"
    if not (adapter / "adapter_model.safetensors").is_file():
        raise InputError(f"{made} has no adapter to be packed: train it with --method lora")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(adapter / "adapter_model.safetensors", folder)
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    settings = {name: settings[name] for name in ("peft_type", "task_type", "r", "lora_alpha", "target_modules")}
    settings["target_modules"] = sorted(settings["target_modules"])
    _write(folder / "adapter_config.json", {**settings, "base_model_name_or_path": base})
    _write(folder / "base.json", {"base": base})
    config = json.loads((made / "config.json").read_text(encoding="utf-8"))
    if config["architectures"] != ["LlamaForCausalLM"]:
        _write(folder / "config.json", config)


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def tune_policy(
    base: Path, lines: Sequence[dict[str, Any]], tuning: Tuning, folder: Path, report: Report
) -> dict[str, Any]:
    """Train a policy on the lines of a part and write it to `folder`/policy, and its early checkpoint to
    `folder`/policy-early. Returns facts about the training. A stopped training goes on from its last checkpoint.
    """
    model, tokenizer = load_checkpoint(base, "AutoModelForCausalLM", "float32")
    examples = [encode(tokenizer, line["question"], line["steps"]) for line in lines]
    steps = plan([len(example.tokens) for example in examples], tuning.batch_tokens, tuning.epochs, tuning.seed)
    options = tuning.options(len(steps))
    model = trainable(model, tuning)
    model.set_attn_implementation("eager")  # with rows this short, faster on a processor than sdpa; a GPU takes sdpa
    watch = Watch(report, [sum(len(examples[index].tokens) for index in step) for step in steps])
    early = max(1, round(tuning.early * len(steps)))

    def progress(step: int, total: int, loss: float) -> None:
        watch.tell(step, total, loss)
        if step == early:
            save(model, tokenizer, folder / "policy-early")

    loss = fit(
        model,
        lambda step: solution_batch([examples[index] for index in steps[step]], tokenizer.pad_token_id),
        solution_loss,
        options,
        folder / "policy-checkpoint",
        progress,
        source=f"{digest_of(base / 'model.safetensors')} {digest_lines(lines)} {asdict(tuning)}",
        checkpoint_seconds=CHECKPOINT_SECONDS,
    )
    save(model, tokenizer, folder / "policy")
    return {
        **asdict(tuning),
        **watch.facts(),
        "examples": len(lines),
        "steps": len(steps),
        "early": early,
        "loss": loss,
    }


def held_out_loss(policy: Path, lines: Sequence[dict[str, Any]], batch_tokens: int, report: Report) -> dict[str, Any]:
    """The mean cross entropy of the solutions of `lines`, in nats a token: on questions that a policy has not seen, it
    tells whether more training would help or harm.
    """
    import torch

    model, tokenizer = load_checkpoint(policy, "AutoModelForCausalLM", "float32")
    examples = [encode(tokenizer, line["question"], line["steps"]) for line in lines]
    total, tokens = 0.0, 0
    steps = plan([len(example.tokens) for example in examples], batch_tokens, 1, 0)
    with torch.inference_mode():
        for done, step in enumerate(steps, 1):
            count = sum(len(examples[index].tokens) - examples[index].prompt for index in step)
            batch = solution_batch([examples[index] for index in step], tokenizer.pad_token_id)
            total, tokens = total + float(solution_loss(model, batch)) * count, tokens + count
            report(done, len(steps), f"loss {total / tokens:.3f}")
    return {"questions": len(lines), "tokens": tokens, "loss": round(total / tokens, 4)}


def measured_rate(
    base: Path, lines: Sequence[dict[str, Any]], tuning: Tuning, folder: Path, count: int = 12
) -> tuple[float, int]:
    """Real tokens a second of a few steps of a training, the first left out, and the tokens of an epoch."""
    model, tokenizer = load_checkpoint(base, "AutoModelForCausalLM", "float32")
    examples = [encode(tokenizer, line["question"], line["steps"]) for line in lines]
    lengths = [len(example.tokens) for example in examples]
    steps = plan(lengths, tuning.batch_tokens, 1, tuning.seed)[:count]
    seen: list[tuple[float, int]] = []

    def progress(step: int, total: int, loss: float) -> None:
        seen.append((time.monotonic(), sum(lengths[index] for index in steps[step - 1])))

    fit(
        trainable(model, tuning),
        lambda step: solution_batch([examples[index] for index in steps[step]], tokenizer.pad_token_id),
        solution_loss,
        tuning.options(len(steps)),
        folder,
        progress,
        source=str(time.time_ns()),
    )
    (folder / "checkpoint.safetensors").unlink()
    passed = max(1e-9, seen[-1][0] - seen[0][0])
    return sum(tokens for _, tokens in seen[1:]) / passed, sum(lengths)


def digest_lines(lines: Sequence[dict[str, Any]]) -> str:
    """What identifies the examples, in their order."""
    import hashlib

    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


class Watch:
    """Counts real tokens and seconds of a training, and tells its rate and loss."""

    def __init__(self, report: Report, tokens: Sequence[int]) -> None:
        self.report, self.tokens = report, tokens
        self.since, self.seen, self.started = time.monotonic(), 0, time.monotonic()

    def tell(self, step: int, total: int, loss: float) -> None:
        """A step is done."""
        self.seen += self.tokens[step - 1]
        self.report(step, total, f"loss {loss:.3f}, {self.rate:,.0f} tokens/s")

    @property
    def rate(self) -> float:
        """Real tokens a second, in this run."""
        return self.seen / max(1e-9, time.monotonic() - self.started)

    def facts(self) -> dict[str, Any]:
        """Tokens in all, and the rate, seconds and device of this run."""
        return {
            "tokens": sum(self.tokens),
            "tokens_per_second": round(self.rate, 1),
            "seconds_this_run": round(time.monotonic() - self.started),
            "device": device_name(),
        }
