"""The names of a search's parts, and the files behind a name."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from rollwise.allocation import STRATEGIES
from rollwise.models import known_folder
from rollwise.plugins import is_own_file, plugin_files

WORLDS = ("countdown", "stories", "stories-even")

ADAPTED = {
    "policy": {"gsm8k": ("gsm8k", "policy"), "gsm8k-early": ("gsm8k", "policy-early")},
    "reward": {"gsm8k": ("gsm8k", "reward")},
}
"""Bundled models that are adapters, which have a name in every world: part → name → world and folder. `rollwise models
get WORLD` makes them whole models.
"""

ADAPTED_WORLDS = tuple(dict.fromkeys(world for names in ADAPTED.values() for world, _ in names.values()))
"""The worlds of these models, which `rollwise models get` names."""

DIRECTIONS = ("hidden", "state", "text", "minilm")

FAMILY = {
    "policy": {"trained": "policy", "small": "policy-small", "large": "policy-large"},
    "reward": {"trained": "reward", "weak": "reward-weak"},
}
"""A world's bundled models: part → name → folder."""

OURS = {
    "strategy": (*STRATEGIES,),
    "policy": (*FAMILY["policy"], *ADAPTED["policy"], "demonstrator"),
    "reward": (*FAMILY["reward"], *ADAPTED["reward"], "confidence", "sums", "none", "dial", "worth"),
    "directions": DIRECTIONS,
    "world": (*WORLDS, "gsm8k", "text"),
}
"""Part → rollwise's own names, which no package may take."""

SURENESS = "log_concentration"
"""The label under which a reward model reports how sure it is of its score."""

NAMED_FAMILY = re.compile(r"(?P<family>(?!hf:)[a-z_]+):(?P<folder>.+)")
"""A reward model's folder, or its name on the hub, with its family before it."""


def bundled(world: str, part: str, name: str = "trained") -> Path:
    """The folder of a world's bundled model, whether or not it exists; part and name as in FAMILY."""
    return Path(__file__).parent / "worlds" / "models" / world / FAMILY[part][name]


def bundled_named(world: str, part: str, name: str) -> Path | None:
    """The folder of a bundled model by its name: one of FAMILY in that world, or one of ADAPTED in any world.
    None for any other name; the folder need not exist.
    """
    if name in ADAPTED.get(part, ()):
        own, folder = ADAPTED[part][name]
        return bundled(own, part).parent / folder
    return bundled(world, part, name) if name in FAMILY.get(part, ()) else None


def default_reward(world: str, served: bool) -> str:
    """The reward of a search that names none: trained or confidence. `served` says that the policy is a server's.

    For a world of your own it is trained, and an error then says how to train one. The reward models of ADAPTED_WORLDS
    have to be named: none is shown to be better than the confidence, which costs nothing.
    """
    return "confidence" if served or world in ("text", *ADAPTED_WORLDS) else "trained"


def adapters(world: str) -> list[Path]:
    """The folders of a world's bundled adapters, in alphabetical order."""
    return sorted(file.parent for file in bundled(world, "policy").parent.glob("*/base.json"))


def bundled_belief(world: str, policy: str, reward: str) -> Path | None:
    """The belief file of a bundled policy and its reward model, by their names in a world; None if there is none."""
    writer, judge = bundled_named(world, "policy", policy), bundled_named(world, "reward", reward)
    if writer is None or judge is None or writer.parent != judge.parent:
        return None
    own = (writer.name, judge.name) == (FAMILY["policy"]["trained"], FAMILY["reward"]["trained"])
    file = writer.parent / "belief.json"
    return file if own and file.is_file() else None


def named_path(name: str) -> Path:
    """The folder in "FOLDER" and "family:FOLDER", or that a model's name stands for; it need not exist."""
    match = None if Path(name).is_dir() else NAMED_FAMILY.fullmatch(name)
    name = match["folder"] if match else name
    return known_folder(name) or Path(name)


_DECIDING = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


def part_files(world: str, part: str, name: str) -> list[Path]:
    """The files, apart from rollwise itself, that decide what a part does.

    They are those of a model's folder, the file of a `file.py:name`, or the modules of an installed package. A name
    that stands for none of these has no files.
    """
    if is_own_file(name):
        return plugin_files(part, name)
    if (folder := bundled_named(world, part, name)) is not None:
        return _model_files(folder)
    if name in OURS[part]:
        return []
    models = (*FAMILY, "directions")
    return (_model_files(named_path(name)) if part in models else []) or plugin_files(part, name)


def _model_files(folder: Path) -> list[Path]:
    return sorted(file for kind in _DECIDING for file in folder.glob(kind))


def digest_of(content: bytes) -> str:
    """Sixteen hexadecimal digits that identify a content."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def digest_of_files(files: Iterable[Path]) -> str:
    """The digest of the files' contents in order; "" if there are no files."""
    contents = [file.read_bytes() for file in files]
    return digest_of(b"".join(contents)) if contents else ""


@functools.cache
def part_digest(world: str, part: str, name: str) -> str:
    """The digest of a part's files, "" if it has none. It is taken once, as models are loaded once."""
    return digest_of_files(part_files(world, part, name))
