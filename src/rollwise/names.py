"""What the parts of a search are called, and the files behind a name."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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

SURENESS = "log_concentration"
"""The label by which a reward model says how sure it is of its score."""

NAMED_FAMILY = re.compile(r"(?P<family>[a-z_]+):(?P<folder>.+)")
"""A reward model's folder with its family named before it."""


def bundled(world: str, part: str, name: str = "trained") -> Path:
    """The folder of a world's bundled model, whether it is there or not; part and name as in FAMILY."""
    return Path(__file__).parent / "worlds" / "models" / world / FAMILY[part][name]


def belief_file(name: str, world: str, policy: Any, reward: Any) -> Path | None:
    """The file that a belief's name stands for. "auto" is the world's own, where there is one and policy and reward
    are the world's own too; else None, as "model" is, which is what the reward model says itself.
    """
    if name == "model":
        return None
    if name != "auto":
        return Path(name)
    own = bundled(world, "policy").parent / "belief.json"
    return own if (policy, reward) == ("trained", "trained") and own.is_file() else None


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
