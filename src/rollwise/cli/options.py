"""Option values that several commands read."""

from __future__ import annotations

from pathlib import Path

from rollwise.errors import InputError


def check_folder(folder: Path, option: str) -> None:
    """Raise InputError where a folder can neither be there nor be made, before hours go into what it should hold."""
    nearest = next((one for one in (folder, *folder.parents) if one.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise InputError(f"{option}: {nearest} is a file; give a folder")


def check_writable(file: Path, option: str) -> None:
    """Raise InputError where a file can not be written: it is a folder, or its own folder does not exist."""
    if file.is_dir():
        raise InputError(f"{option}: {file} is a folder; give a file")
    if not file.absolute().parent.is_dir():
        raise InputError(f"{option}: the folder {file.parent} does not exist; make it first")


def whole_numbers(text: str, option: str) -> list[int]:
    """The whole numbers of a list like `3,4,5`."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} takes whole numbers with commas between them, like 3,4,5, not {text!r}") from None
