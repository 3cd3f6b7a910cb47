"""Loading a model that lies in a folder: safetensors only, no remote code, the right device and precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rollwise.errors import InputError, MissingExtraError


def load_checkpoint(folder: Path, kind: str, dtype: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a folder, by the stock transformers class `kind`, in evaluation mode.

    Half-precision weights are computed with in float32 on a CPU and as stored on a GPU, unless `dtype` names another
    precision. Raises InputError where the folder holds no such model.
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
    model = getattr(transformers, kind).from_pretrained(folder, dtype=precision, **options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return model.to(device).eval(), tokenizer
