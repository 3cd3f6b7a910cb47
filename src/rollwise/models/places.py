"""Where models lie on this machine. Nothing here loads a library or asks a server."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from rollwise.errors import InputError
from rollwise.models.catalogue import CATALOGUE

HUB = "hf:"
"""What stands before a name of the Hugging Face hub."""
_REPOSITORY = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def cache_folder() -> Path:
    """The folder that fetched and converted models are kept in: $ROLLWISE_CACHE, else the platform's cache folder."""
    if given := os.environ.get("ROLLWISE_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "rollwise" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rollwise"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollwise"


@dataclass(frozen=True)
class HubName:
    """A model on the Hugging Face hub: `owner/name`, and a branch, tag or commit; None for the hub's newest."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{HUB}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_hub_name(name: str) -> bool:
    """Whether a name is one of the hub."""
    return name.startswith(HUB)


def hub_name(name: str) -> HubName:
    """The parts of `hf:owner/name[@revision]`. Raises InputError for a name of another form."""
    match = _REPOSITORY.fullmatch(name)
    if match is None or ".." in name:
        raise InputError(f"{name!r} is no name on the Hugging Face hub: write hf:owner/name or hf:owner/name@revision")
    return HubName(match["repository"], match["revision"])


def models_folder() -> Path:
    """The part of the cache that holds models, a folder each."""
    return cache_folder() / "models"


def converted_folder(file: Path) -> Path:
    """The folder that a GGUF file is converted into; its name says path, size and time of the last change."""
    facts = file.stat()
    key = hashlib.sha256(f"{file.resolve()}\n{facts.st_size}\n{facts.st_mtime_ns}".encode()).hexdigest()[:16]
    return models_folder() / f"{file.stem}-{key}"


def hub_pointer(name: HubName) -> Path:
    """The file that says in which folder a model of the hub lies on this machine, once it is there as a whole."""
    text = f"{name.repository}@{name.revision or 'newest'}"
    return models_folder() / "hub" / f"{text.replace('/', '--')}.txt"


def known_folder(name: str) -> Path | None:
    """The folder on this machine that a hub's name, a GGUF file or a short name stands for; None for any other name.

    The folder need not exist yet.
    """
    if Path(name).is_dir():
        return None
    if is_hub_name(name):
        pointer = hub_pointer(hub_name(name))
        return Path(pointer.read_text(encoding="utf-8")) if pointer.is_file() else pointer.with_suffix("")
    if name.endswith(".gguf"):
        return converted_folder(Path(name)) if Path(name).is_file() else None
    return models_folder() / name if name in CATALOGUE else None
