"""The heads of process reward models, and which family a folder holds. rollwise runs no remote code: it builds custom
architectures here from transformers' own decoders, with the weight names of their checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import nn
from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel

from rollwise.errors import InputError
from rollwise.names import SURENESS
from rollwise.rewards.layouts import CHAT, FAMILIES, QWEN_PRM, SKYWORK, TRL, Family
from rollwise.worlds import CHAT_TEMPLATE

Head = Callable[[torch.Tensor], torch.Tensor]
"""Hidden states (k, d) → numbers (k,); a score head gives scores in [0, 1]."""


class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):  # type: ignore[misc]
    """Qwen2.5-Math-PRM: Qwen2 with the weights `model.*`, then `score.0.*`, a ReLU and `score.2.*` to two labels."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.model = Qwen2Model(config)
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.num_labels))
        self.post_init()


class _ValueHead(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.summary = nn.Linear(width, 1)


class Qwen2ForPrmModel(Qwen2PreTrainedModel):  # type: ignore[misc]
    """Skywork-o1-Open-PRM: Qwen2 with the weights `model.*`, then `v_head.summary.*` to one number."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.v_head = _ValueHead(config.hidden_size)
        self.post_init()


MODEL_KINDS: dict[str, str | type] = {
    "labels": "AutoModelForTokenClassification",
    "words": "AutoModelForCausalLM",
    "two_layers": Qwen2ForProcessRewardModel,
    "value": Qwen2ForPrmModel,
}
"""Head → the class that loads a folder."""


def score_head(family: Family, model: Any, tokenizer: Any) -> Head:
    """The head that reads a family's score from hidden states. Raises InputError if the model cannot be of the
    family.
    """
    match family.head:
        case "labels" | "two_layers":
            return _label_head(model)
        case "value":
            return lambda hidden: torch.sigmoid(model.v_head.summary(hidden).double())[:, 0]
        case "words":
            assert family.words is not None
            return _word_head(family.words, model, tokenizer)


def _label_head(model: Any) -> Head:
    """The softmax of the label right over the two labels right and wrong."""
    names = [*model.config.id2label.values()]
    if len(names) != 2 and names[2:] != [SURENESS]:
        raise InputError(
            f"a reward model has two labels, wrong and right, and this model has {model.config.num_labels}: "
            "name another folder"
        )
    if not hasattr(model, "score"):
        raise InputError(f"{type(model).__name__} is no decoder, so rollwise cannot keep prefixes of it; serve it")
    right = right_label(model.config)
    return lambda hidden: torch.softmax(model.score(hidden)[:, :2].double(), dim=-1)[:, right]


def _word_head(texts: tuple[str, str], model: Any, tokenizer: Any) -> Head:
    """The softmax of the first word over the two words, each the last token of its text, as the next token."""
    words = [last_token(tokenizer, text) for text in texts]
    if words[0] == words[1]:
        raise InputError(
            "this tokenizer has the same token for + and -, the words of the family's score: name another family"
        )
    output = model.get_output_embeddings()
    weight = output.weight[words]
    bias = None if output.bias is None else output.bias[words]
    return lambda hidden: torch.softmax(nn.functional.linear(hidden, weight, bias).double(), dim=-1)[:, 0]


LOG_CONCENTRATIONS = (-3.0, 7.0)
"""The range of log κ: from a coin that has all but landed to a chance known as if from a thousand completions."""


def concentration_head(model: Any) -> Head | None:
    """The head that reads a model's concentration κ (k,) from hidden states; None for a model without the label."""
    names = [*getattr(model.config, "id2label", {}).values()]
    if names[2:] != [SURENESS]:
        return None
    return lambda hidden: model.score(hidden)[:, 2].double().clamp(*LOG_CONCENTRATIONS).exp()


def last_token(tokenizer: Any, text: str) -> int:
    """The last token of a text that is tokenized by itself."""
    return int(tokenizer(text, add_special_tokens=False)["input_ids"][-1])


_RIGHT = {"right", "correct", "good", "positive", "true", "+", "yes"}


def right_label(config: Any) -> int:
    """Which of two labels means right: the label whose name says so, else label 1, as in TRL."""
    names = {int(label): str(name).lower() for label, name in (config.id2label or {}).items()}
    named = [label for label in (0, 1) if names.get(label) in _RIGHT]
    return named[0] if len(named) == 1 else 1


def detect_family(folder: FilePath, tokenizer: Any) -> Family:
    """The family that a folder's architecture and tokenizer show.

    Raises InputError if they show none, as with causal language models: a model that scores by `+` and `-` looks like
    any other.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architectures = config.get("architectures") or []
    if "Qwen2ForProcessRewardModel" in architectures:
        return QWEN_PRM
    if "Qwen2ForPrmModel" in architectures:
        return SKYWORK
    if any(name.endswith("ForTokenClassification") for name in architectures):
        ours = SURENESS in (config.get("id2label") or {}).values() or tokenizer.chat_template == CHAT_TEMPLATE
        return CHAT if ours else TRL
    stored = ", ".join(architectures) or "a model of no stated kind"
    raise InputError(
        f"{folder} holds {stored}, from which the family of reward model does not show: name it, as in "
        f"math_shepherd:{folder}; there are: {', '.join(FAMILIES)}"
    )
