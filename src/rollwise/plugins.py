"""Your own parts: from a file by `file.py:name`, or under the name that an installed package registers.

Packages are consulted only for names that are not rollwise's own, so an installed package slows down and changes
nothing else.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from rollwise.errors import InputError

GROUPS = {
    "strategy": "rollwise.strategies",
    "policy": "rollwise.policies",
    "reward": "rollwise.rewards",
    "directions": "rollwise.directions",
    "world": "rollwise.worlds",
}
"""Part of a search → the group of entry points under which packages register theirs."""


def is_own_file(name: str) -> bool:
    """Whether a name has the form `file.py:name`."""
    return ".py:" in name


def load_file(name: str, what: str) -> Any:
    """What `file.py:name` refers to. `what` names the wanted part in messages.

    Raises InputError if the file or the name in it does not exist, or the file cannot be imported.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file} does not exist; give your own {what} as path/to/file.py:name")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    try:
        # not by the loader: its bytecode cache overlooks an edit within a second that keeps the file's size
        exec(compile(path.read_bytes(), file, "exec"), module.__dict__)
    except Exception as error:
        raise InputError(f"{file} could not be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise InputError(f"{file} defines no {attribute!r}; name the {what} in it as {file}:name")
    return getattr(module, attribute)


def offered(part: str, ours: Collection[str]) -> list[str]:
    """The names that installed packages register for a part, sorted.

    Raises InputError if a package registers one of rollwise's own names.
    """
    entries = importlib.metadata.entry_points(group=GROUPS[part])
    for entry in entries:
        if entry.name in ours:
            raise InputError(
                f"the package {_package(entry)} registers {entry.name!r} in {GROUPS[part]}, which is a name of "
                "rollwise's own: rename it there, or uninstall the package"
            )
    return sorted({entry.name for entry in entries})


def load_offered(part: str, name: str, ours: Collection[str]) -> Any:
    """What an installed package registers under a name; None if no package does.

    Raises InputError if several packages do, if it cannot be loaded, or if a package registers one of rollwise's names.
    """
    if name not in offered(part, ours):
        return None
    entry = _entry(part, name)
    try:
        return entry.load()
    except Exception as error:  # a package may raise anything while it is imported
        raise InputError(
            f"the package {_package(entry)} offers {name!r} in {GROUPS[part]}, but {entry.value} could not be loaded: "
            f"{type(error).__name__}: {error}; update the package, or uninstall it"
        ) from error


def made(given: Any, method: str, name: str, what: str, factories: bool = True) -> Any:
    """A part: what was given if it has that method, else what a class returns when called without arguments.

    With `factories`, a function counts like a class. Raises InputError if the result lacks the method.
    """
    found = given
    if isinstance(given, type) or (factories and callable(given) and not hasattr(given, method)):
        try:
            found = given()
        except Exception as error:  # a user's code may raise anything
            raise InputError(f"{name} returned no {what}: {type(error).__name__}: {error}") from error
    if isinstance(found, type) or not callable(getattr(found, method, None)):
        raise InputError(
            f"{name} is no {what}: it needs the method {method}, or has to return a {what} when called without "
            "arguments"
        )
    return found


def plugin_files(part: str, name: str) -> list[Path]:
    """The files that decide what a user's part does; nothing is imported.

    They are the file of a `file.py:name`, or every Python file of an installed package's module; else none.
    """
    if is_own_file(name):
        return [Path(name.rpartition(":")[0])]
    entries = importlib.metadata.entry_points(group=GROUPS[part], name=name)
    return [file for entry in entries for file in _module_files(entry.module)]


def _entry(part: str, name: str) -> EntryPoint:
    entries: Sequence[EntryPoint] = list(importlib.metadata.entry_points(group=GROUPS[part], name=name))
    if len({entry.value for entry in entries}) > 1:
        packages = ", ".join(sorted({_package(entry) for entry in entries}))
        raise InputError(f"several packages offer {name!r} in {GROUPS[part]}: {packages}; uninstall all but one")
    return entries[0]


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module


def _module_files(module: str) -> list[Path]:
    """The Python files of a module's top package, or the module's single file."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None:
        return []
    folders = spec.submodule_search_locations
    if folders is None:
        return [Path(spec.origin)] if spec.origin else []
    return sorted(file for folder in folders for file in Path(folder).rglob("*.py"))
