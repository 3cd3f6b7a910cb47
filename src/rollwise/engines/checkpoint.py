"""Loading a model that lies in a folder: safetensors only, no remote code, the right device and precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollwise.errors import InputError, MissingExtraError


def load_checkpoint(folder: Path, kind: str, dtype: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a folder, by the stock transformers class `kind`, in evaluation mode.

    Half-precision weights are computed with in float32 on a CPU and as stored on a GPU, unless `dtype` names another
    precision. Raises InputError where the folder holds no such model, also where it holds another kind, whose head
    would have to be made up.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError("a model in this process", "local") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no model: it has no config.json")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = getattr(torch, dtype) if dtype else (torch.float32 if device == "cpu" else "auto")
    options = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
    model, loading = getattr(transformers, kind).from_pretrained(
        folder, dtype=precision, ignore_mismatched_sizes=True, output_loading_info=True, **options
    )
    _check_kind(folder, kind, model, loading)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return model.to(device).eval(), tokenizer


def _check_kind(folder: Path, kind: str, model: Any, loading: Mapping[str, Any]) -> None:
    """Raise InputError where the folder lacks weights of the model, or holds them in other shapes, or is a classifier
    and none was wanted: a head that is tied to the embeddings is never missing.
    """
    made_up = sorted({*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])})
    held = ", ".join(model.config.architectures or []) or "a model of no stated kind"
    classifies = held.endswith("Classification") and not kind.endswith("Classification")
    if not made_up and not classifies:
        return
    why = f"its weights do not fit, first of all {made_up[0]}" if made_up else "it was trained to classify"
    raise InputError(f"{folder} holds {held}, and {type(model).__name__} is wanted: {why}; name another folder")
