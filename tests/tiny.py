"""Tiny random models and tokenizers, built in the test: real classes and real layouts, a few thousand weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\n<|eot_id|>{% for message in messages %}<|start_header_id|>{{ message['role'] }}"
    "<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def tiny_model(kind: str, tokenizer: Any, seed: int = 0, **options: Any) -> Any:
    """A random model for a tokenizer, in evaluation mode. `kind` is a transformers class such as "LlamaForCausalLM"."""
    torch.manual_seed(seed)
    model_class = getattr(transformers, kind)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 160,
        "initializer_range": 0.3,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind.endswith("ForTokenClassification"):
        shape |= {"num_labels": 2, "classifier_dropout": 0.0}
    return model_class(model_class.config_class(**shape | options)).eval()


def saved(folder: Path, kind: str, tokenizer: Any, **options: Any) -> Path:
    """Save a tiny model of a class and its tokenizer in a folder; return the folder."""
    tiny_model(kind, tokenizer, **options).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def word_tokenizer(words: Sequence[str], special: Sequence[str] = (), **options: Any) -> Any:
    """A fast tokenizer of whole words, each with the space before it; line breaks are words. The ids are those of the
    special tokens in their order, then of the words in theirs. If `opened_by` is given, that token precedes every text,
    as most tokenizers do with their `bos_token`.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    names = list(dict.fromkeys(["<unk>", *special, *words]))
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n\n|\n| ?[^\s]+| "), behavior="isolated")
    if bos := options.pop("opened_by", None):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, names.index(bos))]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", additional_special_tokens=list(special), **options
    )


def words_of(*texts: str) -> list[str]:
    """The words of texts, split as `word_tokenizer` splits them between control tokens, in order of appearance."""
    parts = [part for text in texts for part in re.split(r"<[^<>\s]+>", text)]
    return list(dict.fromkeys(word for part in parts for word in re.findall(r"\n\n|\n| ?[^\s]+| ", part)))


def byte_tokenizer(texts: Sequence[str], special: Sequence[str], **options: Any) -> Any:
    """A byte-level BPE tokenizer trained on texts that are pre-split as Qwen2 and Llama 3 do."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=list(special),
        clean_up_tokenization_spaces=False,
        **options,
    )
