"""Converts a GGUF file to a folder of safetensors, once. The quantised weights are written out in half precision."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollwise.errors import InputError, MissingExtraError
from rollwise.models.places import converted_folder

EXTRA = "local,gguf"
LARGEST_HALF = 65504.0
"""The largest number of half precision."""


def can_convert() -> bool:
    """Whether the packages are installed that reading a GGUF file takes."""
    return all(importlib.util.find_spec(name) for name in ("gguf", "accelerate", "torch", "transformers"))


def convert(file: Path, folder: Path | None = None, facts: Mapping[str, Any] | None = None) -> Path:
    """The folder with the model of a GGUF file as safetensors, with its tokenizer and chat template.

    Without `folder`, it lies in the cache, and a file that did not change is converted once. `facts` are written beside
    the model, in `origin.json`. Raises MissingExtraError if a package is missing, and InputError if the file cannot be
    read or its architecture is unknown.
    """
    target = folder or converted_folder(file)
    if (target / "config.json").is_file():
        return target
    if not can_convert():
        raise MissingExtraError(f"a GGUF file in this process ({file.name})", EXTRA)
    print(f"converting {file.name} to safetensors, once, into {target}", file=sys.stderr)
    _check_vocabulary(file)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _write(file, unfinished)
    (unfinished / "origin.json").write_text(
        json.dumps({"file": file.name, **(facts or {})}, indent=2) + "\n", encoding="utf-8"
    )
    unfinished.rename(target)
    return target


def _field(file: Path, name: str) -> Any:
    """A field of a GGUF file's metadata; None if it has none, or is no GGUF file."""
    from gguf import GGUFReader

    try:
        field = GGUFReader(file).fields.get(name)
    except Exception:  # a file that is cut off fails anywhere; loading it says why
        return None
    return None if field is None else field.contents()


def _check_vocabulary(file: Path) -> None:
    """Raise InputError for a vocabulary of a kind that transformers would read as another one."""
    kind = _field(file, "tokenizer.ggml.model")
    if kind not in (None, "gpt2", "llama"):
        raise InputError(
            f"{file} is a GGUF file with a vocabulary of the kind {kind!r}, which cannot be converted: serve it instead"
        )


def _write(file: Path, folder: Path) -> None:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    named: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **named)
        tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **named)
    except Exception as error:  # a file that is cut off or of an unknown architecture fails anywhere
        reason = (str(error).splitlines() or [""])[0][:160]
        raise InputError(
            f"{file} is a GGUF file that cannot be converted ({type(error).__name__}: {reason}): serve it instead"
        ) from None
    model.requires_grad_(False)
    # the weights are plain numbers now; what says otherwise keeps transformers from saving them
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if all(float(parameter.abs().max()) < LARGEST_HALF for parameter in model.parameters()):
        model = model.half()
    model.save_pretrained(folder)
    split_as_the_file_says(tokenizer, file)
    tokenizer.save_pretrained(folder)


def split_as_the_file_says(tokenizer: Any, file: Path) -> None:
    """Make a byte-level tokenizer split text before it merges bytes, as the GGUF file's `tokenizer.ggml.pre` says.

    transformers takes the rule of GPT-2 for every Llama. SmolLM's rule keeps each digit apart first. A rule that is not
    known here is told on standard error.
    """
    from tokenizers import pre_tokenizers

    rule = _field(file, "tokenizer.ggml.pre") or "default"
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    if type(splitter).__name__ != "ByteLevel" or rule in ("default", "gpt-2"):
        return
    if rule == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), splitter]
        )
    else:
        print(f"{file.name}: text is split by GPT-2's rule, not by {rule!r}, so some tokens differ", file=sys.stderr)
