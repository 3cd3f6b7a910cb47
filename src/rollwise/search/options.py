"""How options are declared: once, as fields of a pydantic model.

A field's type, default, bounds and description make the flag of a command, the field of a TOML file and the row of the
reference page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from rollwise.errors import InputError

START = "Start here"
ALLOCATION = "Allocation and vote"
SAMPLING = "Sampling and limits"
SERVER = "Model and server"
QUESTIONS = "Questions"
RUN = "Run"
OUTPUT = "Output"

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Shown:
    """Where an option stands in the help, and its default as text if that depends on other options.

    `flag` names the flag if it differs from the field; an `argument` has no flag. A `repeatable` flag gives one entry
    of a list each time.
    """

    group: str
    default: str | None = None
    flag: str | None = None
    argument: bool = False
    repeatable: bool = False


class Options(BaseModel):
    """Options that are checked once and never change. Unknown keys are refused; as JSON, infinity is "Infinity"."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, ser_json_inf_nan="strings")


def _listed(given: Any) -> Any:
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given


Listed = BeforeValidator(_listed)
"""Lets a text with commas stand for a list."""


def _whole_numbers(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return [int(part) for part in given.split(",")]
    except ValueError:
        raise ValueError(f"give whole numbers with commas between them, like 3,4,5, not {given!r}") from None


def _escaped(given: Any) -> Any:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return given
    if "" in texts:
        raise ValueError("give text of at least one character")
    return tuple(text.replace("\\n", "\n") for text in texts)


Texts = Annotated[tuple[str, ...], BeforeValidator(_escaped)]
r"""Texts in which \n stands for a line break; a single text stands for a list of one."""

Names = Annotated[tuple[str, ...], Listed]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_whole_numbers)]


def validated(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """A model with these fields. Raises InputError with the first thing that is wrong."""
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        names = _fields_at(first["loc"], model) if first["type"] == "extra_forbidden" else ()
        known = f"{closest(str(first['loc'][-1]), names)}; the fields are: {', '.join(names)}" if names else ""
        raise InputError(f"{name}: {first['msg'].removeprefix('Value error, ')}{known}") from None


def _fields_at(place: Sequence[int | str], model: type[BaseModel]) -> tuple[str, ...]:
    """The names of the fields of the table in which an unknown field stands; none if they are not known."""
    for part in place[:-1]:
        field = model.model_fields.get(str(part))
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not tables:
            return ()
        model = tables[0]
    return tuple(model.model_fields)


def closest(given: str, known: Iterable[str]) -> str:
    """A question for the known name that was probably meant; "" if none is like what was given."""
    found = get_close_matches(given, list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""
