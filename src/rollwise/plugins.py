"""Components of your own: out of a file by `file.py:name`, or by the name under which an installed package offers them.

Packages are only asked where a name is not one of rollwise's, so nothing that is installed slows down or changes the
rest.
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
"""Part of a search → the group of entry points in which packages offer theirs."""


def is_own_file(name: str) -> bool:
    """Whether a name reads `file.py:name`."""
    return ".py:" in name


def load_file(name: str, what: str) -> Any:
    """What a `file.py:name` stands for. Raises InputError where there is no such file or name in it, or where the file
    cannot be imported; `what` says what was wanted.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file} does not exist; give your own {what} as path/to/file.py:name")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    try:
        # not by the loader: its bytecode cache takes an edit within a second that keeps the file's size for no edit
        exec(compile(path.read_bytes(), file, "exec"), module.__dict__)
    except Exception as error:
        raise InputError(f"{file} could not be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise InputError(f"{file} defines no {attribute!r}; name the {what} in it as {file}:name")
    return getattr(module, attribute)


def offered(part: str, ours: Collection[str]) -> list[str]:
    """The names under which installed packages offer a part, sorted. Raises InputError where one of them is ours: a
    name means one thing.
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
    """What an installed package offers under a name; None where none does. Raises InputError where several do, where
    it cannot be loaded, or where the group holds a name that is ours.
    """
    if name not in offered(part, ours):
        return None
    entry = _entry(part, name)
    try:
        return entry.load()
    except Exception as error:  # whatever a package may raise while it is imported
        raise InputError(
            f"the package {_package(entry)} offers {name!r} in {GROUPS[part]}, but {entry.value} could not be loaded: "
            f"{type(error).__name__}: {error}; update the package, or uninstall it"
        ) from error


def made(given: Any, method: str, name: str, what: str, factories: bool = True) -> Any:
    """A component: what was given, where it has that method, else what a class (with `factories` a function too) makes
    of no arguments. Raises InputError where neither leads to one.
    """
    found = given
    if isinstance(given, type) or (factories and callable(given) and not hasattr(given, method)):
        try:
            found = given()
        except Exception as error:  # whatever a user's own code may raise
            raise InputError(f"{name} makes no {what}: {type(error).__name__}: {error}") from error
    if isinstance(found, type) or not callable(getattr(found, method, None)):
        raise InputError(
            f"{name} is no {what}: it has to be one, with the method {method}, or to make one without arguments"
        )
    return found


def plugin_files(part: str, name: str) -> list[Path]:
    """The files that decide what a component of one's own does: the one of a `file.py:name`, every Python file of an
    installed package's module; none where the name is neither. Nothing is imported.
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
    """The Python files of the top package of a module, or the module's one."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None:
        return []
    folders = spec.submodule_search_locations
    if folders is None:
        return [Path(spec.origin)] if spec.origin else []
    return sorted(file for folder in folders for file in Path(folder).rglob("*.py"))
