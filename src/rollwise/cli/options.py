"""Flags made of an options model, and checks of option values that several commands share."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from rollwise.allocation import key_values
from rollwise.errors import InputError
from rollwise.search import Options, Shown

Run = Callable[[dict[str, Any]], None]


def command(model: type[Options], run: Run) -> Callable[..., None]:
    """A typer command whose flags are the fields of `model`.

    `run` gets what was given on the command line, by field; what was left out is not in it. The flags stand in the
    order of the fields, in the groups that their `Shown` names.
    """
    parameters = [_parameter(name, field) for name, field in model.model_fields.items()]

    def called(**values: Any) -> None:
        run({name: value for name, value in values.items() if value is not None and value != []})

    called.__doc__ = run.__doc__
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    return called


def shown(field: FieldInfo) -> Shown:
    """How a field is shown. Every field of an options model says so."""
    return next(mark for mark in field.metadata if isinstance(mark, Shown))


def flag_of(name: str, field: FieldInfo) -> str:
    """A field's flag, such as `--max-tokens`."""
    return f"--{shown(field).flag or name.replace('_', '-')}"


def default_text(field: FieldInfo) -> str:
    """A field's default as people read it."""
    if field.is_required():
        return "required"
    default = shown(field).default
    if default is not None:
        return default
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return str(value) if isinstance(value, int | float | str | Path) else "none"


def value_type(field: FieldInfo) -> type:
    """What a flag takes: bool (nothing), int, float, Path, dict (name=value, repeatable) or str."""
    kind = _plain_type(field.annotation)
    return kind if kind in (bool, int, float, Path, dict) else str


def _plain_type(annotation: Any) -> Any:
    """The one type of an annotation, without None and generic arguments."""
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return _plain_type(kinds[0]) if len(kinds) == 1 else str
    return get_origin(annotation) or annotation


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind, about, default = value_type(field), shown(field), default_text(field)
    ending = "" if kind in (bool, dict) or default in ("none", "required") else f" Default: {default}."
    text = f"{field.description}{ending}"
    if about.argument:
        info: Any = typer.Argument(help=text, show_default=False)
    else:
        info = typer.Option(flag_of(name, field), help=text, rich_help_panel=about.group, show_default=False)
    taken: Any = list[str] if kind is dict or about.repeatable else kind
    keyword = inspect.Parameter.KEYWORD_ONLY
    if field.is_required():
        return inspect.Parameter(name, keyword, annotation=Annotated[taken, info])
    return inspect.Parameter(name, keyword, default=None, annotation=Annotated[taken | None, info])


def settings(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The given fields with the `name=value` pairs of one of them as a dictionary."""
    return {**given, **({name: key_values(given[name])} if name in given else {})}


def document(values: Any) -> str:
    """Values as the JSON that `--json` prints."""
    return json.dumps(values, ensure_ascii=False, indent=2)


def check_folder(folder: Path, option: str) -> None:
    """Raise InputError if a folder neither exists nor can be made, before hours go into what it should hold."""
    nearest = next((parent for parent in (folder, *folder.parents) if parent.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise InputError(f"{option}: {nearest} is a file; give a folder")


def check_writable(file: Path, option: str) -> None:
    """Raise InputError if a file cannot be written: it is a folder, or its own folder does not exist."""
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
