"""Loading a model from a folder: safetensors only, no remote code, on the right device in the right precision."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollwise.errors import InputError, MissingExtraError

_LOADING = threading.Lock()
"""transformers changes modules of torch while it loads a model, so a second thread that loads at the same time gets a
model without its tied weights."""


def load_checkpoint(folder: Path, kind: str | type, dtype: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder, in evaluation mode. `kind` is the name of a transformers class, or a class.

    Without `dtype`, a GPU computes in the precision of the stored weights and a CPU in float32. Raises InputError if
    the folder holds no model, weights that are not safetensors, or a model of another kind, whose head transformers
    would have to invent.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError("a model in this process", "local") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    _check_files(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    default = "auto" if device == "cuda" else torch.float32
    model_class: Any = getattr(transformers, kind) if isinstance(kind, str) else kind
    with _LOADING:
        model, loading = model_class.from_pretrained(
            folder,
            dtype=getattr(torch, dtype) if dtype else default,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    _check_kind(folder, model_class.__name__, model, loading)
    return model.to(device).eval(), load_tokenizer(folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder. Raises InputError if the folder holds no model, or no tokenizer that loads."""
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("a model in this process", "local") from error
    _check_files(folder)
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder} holds no tokenizer that loads; add its tokenizer.json ({reason})") from error


def _check_files(folder: Path) -> None:
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no model: it has no config.json; name the folder of a model")
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder} holds no weights as safetensors, the only format that rollwise reads; if you trust the folder, "
            "convert them with AutoModel.from_pretrained(...).save_pretrained(...)"
        )


def _check_kind(folder: Path, wanted: str, model: Any, loading: Mapping[str, Any]) -> None:
    """Raise InputError if the folder lacks weights of the model or holds them in other shapes.

    Also if it holds a classifier and a causal model is wanted: a head that is tied to the embeddings is never missing.
    """
    unloaded = sorted({*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])})
    stored = ", ".join(model.config.architectures or []) or "a model of no stated kind"
    is_classifier = wanted.endswith("ForCausalLM") and stored.endswith("Classification")
    if not unloaded and not is_classifier:
        return
    reason = f"its weights do not fit, first of all {unloaded[0]}" if unloaded else "it was trained to classify"
    raise InputError(f"{folder} holds {stored}, and {type(model).__name__} is wanted: {reason}; name another folder")
