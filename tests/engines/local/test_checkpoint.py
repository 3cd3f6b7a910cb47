"""A folder's model is loaded as its own kind or refused: rollwise never invents a head."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from transformers import LlamaConfig

from rollwise.engines.local.checkpoint import load_checkpoint
from rollwise.errors import InputError
from rollwise.rewards.local import LocalReward
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.tokenizer import build_tokenizer

torch.set_num_threads(1)

TOKENIZER: Any = build_tokenizer(Countdown().literals)
POLICY, REWARD = "AutoModelForCausalLM", "AutoModelForTokenClassification"


def saved(folder: Path, kind: str, **options: Any) -> Path:
    """Save a tiny random model of a class in a folder; return the folder."""
    return tiny.saved(folder, kind, TOKENIZER, **options)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(("kind", "wanted"), [("LlamaForCausalLM", POLICY), ("LlamaForTokenClassification", REWARD)])
def test_a_model_of_the_wanted_kind_is_loaded(tmp_path: Path, kind: str, wanted: str, tied: bool) -> None:
    model, _ = load_checkpoint(saved(tmp_path, kind, tie_word_embeddings=tied), wanted)
    assert type(model).__name__ == kind


def test_threads_load_models_at_the_same_time(tmp_path: Path) -> None:
    folder = saved(tmp_path, "LlamaForCausalLM", tie_word_embeddings=True)
    weights, _ = load_checkpoint(folder, POLICY)
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: load_checkpoint(folder, POLICY)[0], range(40)))
    for model in loaded:
        assert model.lm_head.weight is model.model.embed_tokens.weight
        torch.testing.assert_close(model.state_dict(), weights.state_dict())


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(
    ("kind", "wanted", "named"),
    [
        ("LlamaForCausalLM", REWARD, "LlamaForTokenClassification"),
        ("LlamaForSequenceClassification", REWARD, "LlamaForTokenClassification"),
        ("LlamaForTokenClassification", POLICY, "LlamaForCausalLM"),
    ],
)
def test_a_model_of_another_kind_is_refused(tmp_path: Path, kind: str, wanted: str, named: str, tied: bool) -> None:
    with pytest.raises(InputError, match=rf"holds {kind}, and {named} is wanted"):
        load_checkpoint(saved(tmp_path, kind, tie_word_embeddings=tied), wanted)


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "LlamaForTokenClassification", num_labels=3)
    config = LlamaConfig.from_pretrained(folder, local_files_only=True)
    config.num_labels = 2
    config.save_pretrained(folder)
    with pytest.raises(InputError, match=r"do not fit, first of all score\."):
        load_checkpoint(folder, REWARD)


def test_a_reward_model_has_two_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"two labels.* has 3"):
        LocalReward.load(saved(tmp_path, "LlamaForTokenClassification", num_labels=3))
