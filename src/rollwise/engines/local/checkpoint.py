"""Loading a model that lies in a folder: safetensors only, no remote code, the right device and precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollwise.errors import InputError, MissingExtraError


def load_checkpoint(folder: Path, kind: str | type, dtype: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a folder, by the stock transformers class `kind` or one of our own, in evaluation mode.

    Half-precision weights are computed with in float32 on a CPU and as stored on a GPU, unless `dtype` names another
    precision. Raises InputError where the folder holds no such model, also where it holds another kind, whose head
    would have to be made up, or weights that are not safetensors.
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
    precision = getattr(torch, dtype) if dtype else (torch.float32 if device == "cpu" else "auto")
    options = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
    made_as: Any = getattr(transformers, kind) if isinstance(kind, str) else kind
    model, loading = made_as.from_pretrained(
        folder, dtype=precision, ignore_mismatched_sizes=True, output_loading_info=True, **options
    )
    _check_kind(folder, made_as.__name__, model, loading)
    return model.to(device).eval(), load_tokenizer(folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder. Raises InputError where the folder holds no model or no tokenizer that can be read."""
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("a model in this process", "local") from error
    _check_files(folder)
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder} holds no tokenizer that can be read; add its tokenizer.json ({reason})") from error


def _check_files(folder: Path) -> None:
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no model: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder} holds no weights as safetensors, and nothing else is read: convert them with "
            "AutoModel.from_pretrained(...).save_pretrained(...) where you trust the folder"
        )


def _check_kind(folder: Path, kind: str, model: Any, loading: Mapping[str, Any]) -> None:
    """Raise InputError where the folder lacks weights of the model, or holds them in other shapes, or is a classifier
    and none was wanted: a head that is tied to the embeddings is never missing.
    """
    made_up = sorted({*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])})
    held = ", ".join(model.config.architectures or []) or "a model of no stated kind"
    classifies = kind.endswith("ForCausalLM") and held.endswith("Classification")
    if not made_up and not classifies:
        return
    why = f"its weights do not fit, first of all {made_up[0]}" if made_up else "it was trained to classify"
    raise InputError(f"{folder} holds {held}, and {type(model).__name__} is wanted: {why}; name another folder")
