"""Reads a dataclass from plain values, such as a JSON file or the options that a user gives."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from rollwise.errors import InputError

Record = TypeVar("Record")


def read_fields(kind: type[Record], values: Any, where: str, *, noun: str = "field", exact: bool = False) -> Record:
    """Returns a `kind`, a dataclass, built from a mapping of field names to plain values.

    The annotations of the fields say what each takes: int, float, str, Literal, `X | None`, tuple[X, ...], or another
    dataclass, which is read from its own mapping. A float also takes an int, and an int takes 4.0. A bool is not
    a number, and neither is an int too large for a float. A field that `values` lacks keeps its default.

    `where` names the source in error messages, and `noun` is what they call a field. Set `exact` for a file that
    rollwise wrote itself: then every field must be present, every float finite, and 4.0 is not an int.

    Raises InputError for an unknown or missing field and for a value of the wrong type, and TypeError for an annotation
    that is not listed above. Errors that the dataclass raises itself pass through.
    """
    record: Record = _Reader(where, noun, exact).record(kind, values, "")
    return record


@dataclass(frozen=True)
class _Reader:
    """The arguments of `read_fields`. A path is a field's place in the outermost record, like `depths[0].prefixes`."""

    where: str
    noun: str
    exact: bool

    def record(self, kind: Any, values: Any, path: str) -> Any:
        annotations = get_type_hints(kind)
        known = ", ".join(annotations) or "none"
        if not isinstance(values, Mapping):
            self.refuse(path, f"takes the {self.noun}s {known}, not {values!r:.60}")
        for name in values:
            if name not in annotations:
                self.refuse(path, f"has no {self.noun} {name!r}; it has: {known}")
        for field in fields(kind):
            optional = field.default is not MISSING or field.default_factory is not MISSING
            if field.name not in values and (self.exact or not optional):
                self.refuse(path, f"lacks the {self.noun} {field.name!r}; it takes: {known}")
        prefix = f"{path}." if path else ""
        return kind(**{name: self.value(annotations[name], given, prefix + name) for name, given in values.items()})

    def value(self, annotation: Any, value: Any, path: str) -> Any:
        if is_dataclass(annotation):
            return self.record(annotation, value, path)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is types.UnionType and len(arguments) == 2 and arguments[1] is types.NoneType:
            return None if value is None else self.value(arguments[0], value, path)
        if origin is tuple:
            if not isinstance(value, list | tuple):
                self.refuse(path, f"takes a list, not {value!r:.60}")
            return tuple(self.value(arguments[0], entry, f"{path}[{index}]") for index, entry in enumerate(value))
        if origin is Literal:
            if value not in arguments:
                self.refuse(path, f"takes {' or '.join(map(repr, arguments))}, not {value!r:.60}")
            return value
        if annotation is str:
            if not isinstance(value, str):
                self.refuse(path, f"takes a text, not {value!r:.60}")
            return value
        if annotation is int:
            return self.whole_number(value, path)
        if annotation is float:
            return self.number(value, path)
        raise TypeError(
            f"read_fields cannot read {path}: {annotation}; its docstring lists the annotations that it knows"
        )

    def whole_number(self, value: Any, path: str) -> int:
        number = _as_float(value)
        if number is None or not number.is_integer() or (self.exact and not isinstance(value, int)):
            self.refuse(path, f"takes a whole number, not {value!r:.60}")
        return int(value)

    def number(self, value: Any, path: str) -> float:
        number = _as_float(value)
        if number is None or (self.exact and not math.isfinite(number)):
            self.refuse(path, f"takes a {'finite ' if self.exact else ''}number, not {value!r:.60}")
        return number

    def refuse(self, path: str, problem: str) -> NoReturn:
        subject = f"{self.where}: {path}" if path else self.where
        raise InputError(f"{subject} {problem}")


def _as_float(value: Any) -> float | None:
    """A number as a float; None for a bool, an int too large for a float, and anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
