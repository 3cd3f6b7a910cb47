"""Turns a model's name into the folder that it is loaded from, and fetches or converts what is not there yet."""

from __future__ import annotations

from pathlib import Path

from rollwise.errors import InputError
from rollwise.models.catalogue import CATALOGUE
from rollwise.models.gguf import can_convert, convert
from rollwise.models.hub import download
from rollwise.models.places import hub_name, is_hub_name, known_folder


def model_folder(name: str) -> Path | None:
    """The folder of a hub's name, a GGUF file or a short name; None for any other name, and for a GGUF file if the
    packages to convert it are not installed.

    A model of the hub is downloaded at its first use; a model of the catalogue has to be fetched by the user. Raises
    InputError if the model cannot be had.
    """
    folder = known_folder(name)
    if folder is None:
        return None
    if is_hub_name(name):
        return folder if (folder / "config.json").is_file() else download(hub_name(name))
    if name in CATALOGUE:
        if not (folder / "config.json").is_file():
            raise InputError(f"{name} is not on this machine yet: run `rollwise models get {name}` first")
        return folder
    return convert(Path(name)) if can_convert() else None
