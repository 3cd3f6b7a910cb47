"""Rows of Parquet files, of folders, and of public data sets by name, read by pyarrow and the library `datasets`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollwise.data.rows import Row
from rollwise.errors import InputError, MissingExtraError

EXTRA = "data"
_REPOSITORY = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<part>[\w.-]+))?(?::(?P<split>[\w.-]+))?")
_FOLDER_SPLIT = re.compile(r"(?P<folder>.+?)(?::(?P<split>[\w.-]+))?")


@dataclass(frozen=True)
class Hosted:
    """A data set on the Hugging Face hub: its repository, its part ("" for the only one) and its split."""

    repository: str
    part: str = ""
    split: str = ""


NAMES: dict[str, Hosted] = {
    "MATH-500": Hosted("HuggingFaceH4/MATH-500", "", "test"),
    "AIME-2024": Hosted("HuggingFaceH4/aime_2024", "", "train"),
    "AIME-2025": Hosted("math-ai/aime25", "", "test"),
    "GSM8K": Hosted("openai/gsm8k", "main", "test"),
}
"""Name → where the data set lies."""


def hosted(name: str) -> Hosted | None:
    """The data set of one of NAMES, in any case, or of `hf:owner/name[/part][:split]`; None for any other name."""
    for known, place in NAMES.items():
        if known.lower() == name.lower():
            return place
    match = _REPOSITORY.fullmatch(name)
    return Hosted(match["repository"], match["part"] or "", match["split"] or "") if match else None


def read_hosted(name: str, place: Hosted) -> list[Row]:
    """The rows of a data set on the hub, or of its copy in the cache. Raises InputError if it cannot be fetched."""
    library = _library(f"the data set {name}")
    try:
        found = library.load_dataset(place.repository, place.part or None)
    except Exception as error:  # the network, the hub and the files may each fail in their own way
        raise InputError(
            f"cannot fetch {name} from the Hugging Face hub ({_first_line(error)}): where there is a network, run `hf "
            f"download {place.repository} --repo-type dataset --local-dir {place.repository.rpartition('/')[2]}`, and "
            "give that folder or a file of it by --data"
        ) from None
    return _rows(_chosen(name, found, place.split))


def folder_of(name: str) -> tuple[Path, str] | None:
    """The folder and the split of `FOLDER[:split]`; None if there is no such folder."""
    match = _FOLDER_SPLIT.fullmatch(name)
    for folder, split in [(name, ""), *([(match["folder"], match["split"] or "")] if match else [])]:
        if Path(folder).is_dir():
            return Path(folder), split
    return None


def read_folder(folder: Path, split: str) -> list[Row]:
    """The rows of a data set in a folder: as `datasets` saves it, or of its Parquet, JSON or CSV files."""
    library = _library(f"the folder {folder}")
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))
    try:
        found = library.load_from_disk(str(folder)) if saved else library.load_dataset(str(folder))
    except Exception as error:  # any fault of any file
        raise InputError(
            f"{folder} holds no data set that can be read ({_first_line(error)}): give one of its files by --data"
        ) from None
    return _rows(_chosen(str(folder), found, split))


def read_parquet(file: Path) -> list[Row]:
    """The rows of a Parquet file. Raises InputError if it cannot be read."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(f"the Parquet file {file}", EXTRA) from error
    try:
        return _rows(parquet.read_table(file).to_pylist())
    except Exception as error:  # pyarrow raises many kinds
        raise InputError(f"cannot read {file} as Parquet: {_first_line(error)}; give another file to --data") from None


def _library(what: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(what, EXTRA) from error
    datasets.disable_progress_bars()
    return datasets


def _chosen(name: str, found: Any, split: str) -> Iterable[Mapping[str, Any]]:
    """The rows of the split that was named; else of the only split, or of `test`. Raises InputError."""
    if not isinstance(found, dict):
        return found
    wanted = split or (next(iter(found)) if len(found) == 1 else "test")
    if wanted not in found:
        raise InputError(f"{name} has the splits {', '.join(found)}; name one, like {name}:{next(iter(found))}")
    return found[wanted]


def _rows(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    return [Row(number, record) for number, record in enumerate(records, start=1)]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]:.200}"
