"""What the parts of a search are called, and the files behind a name."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from rollwise.allocation import STRATEGIES
from rollwise.plugins import is_own_file, plugin_files

WORLDS = ("countdown", "stories", "stories-even")

DIRECTIONS = ("hidden", "state", "lineage", "text", "minilm")

FAMILY = {
    "policy": {"trained": "policy", "small": "policy-small", "large": "policy-large"},
    "reward": {"trained": "reward", "weak": "reward-weak"},
}
"""A world's own models: part → name → the folder it lies in, beside the others."""

OURS = {
    "strategy": (*STRATEGIES,),
    "policy": (*FAMILY["policy"], "demonstrator"),
    "reward": (*FAMILY["reward"], "confidence", "dial", "worth"),
    "directions": DIRECTIONS,
    "world": (*WORLDS, "text"),
}
"""Part → the names that are rollwise's own, which no package may take."""

NAMED_FAMILY = re.compile(r"(?P<family>[a-z_]+):(?P<folder>.+)")
"""A reward model's folder with its family named before it."""


def bundled(world: str, part: str, name: str = "trained") -> Path:
    """The folder of a world's bundled model, whether it is there or not; part and name as in FAMILY."""
    return Path(__file__).parent / "worlds" / "models" / world / FAMILY[part][name]


def named_path(name: str) -> Path:
    """The folder in "FOLDER" and "family:FOLDER"."""
    match = None if Path(name).is_dir() else NAMED_FAMILY.fullmatch(name)
    return Path(match["folder"] if match else name)


_DECIDING = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


def part_files(world: str, part: str, name: str) -> list[Path]:
    """The files that decide what a part does beside rollwise itself: those of a model's folder, a `file.py:name`'s one,
    an installed package's; none where a name stands for none of them.
    """
    if is_own_file(name):
        return plugin_files(part, name)
    if name in FAMILY.get(part, ()):
        return _model_files(bundled(world, part, name))
    if name in OURS[part]:
        return []
    return (_model_files(named_path(name)) if part in FAMILY else []) or plugin_files(part, name)


def _model_files(folder: Path) -> list[Path]:
    return sorted(file for kind in _DECIDING for file in folder.glob(kind))


def digest_of(content: bytes) -> str:
    """Sixteen hexadecimal digits that name a content."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def digest_of_files(files: Iterable[Path]) -> str:
    """The digest of files one after the other; "" where there are none."""
    contents = [file.read_bytes() for file in files]
    return digest_of(b"".join(contents)) if contents else ""


@functools.cache
def part_digest(world: str, part: str, name: str) -> str:
    """The digest of a part's files, "" where it has none. Taken once: models are loaded once too."""
    return digest_of_files(part_files(world, part, name))
