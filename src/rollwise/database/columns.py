"""Types of columns that hold the same values in SQLite and in PostgreSQL."""

from __future__ import annotations

import json
import re
from typing import Any

from rollwise.errors import MissingExtraError

try:
    from sqlalchemy import JSON, BigInteger, Dialect, Integer, String, Text, TypeDecorator
    from sqlalchemy.types import TypeEngine
except ImportError as error:
    raise MissingExtraError("the store of runs", "bench") from error

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Whole(TypeDecorator[int]):
    """A whole number of 64 bits."""

    impl = Integer
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """BIGINT, which SQLite calls INTEGER."""
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else BigInteger())


class Json(TypeDecorator[Any]):
    """A value as JSON text. Infinity is allowed, which PostgreSQL's own JSON type refuses. None is NULL."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """TEXT on PostgreSQL, JSON on SQLite."""
        return dialect.type_descriptor(Text() if dialect.name == "postgresql" else JSON(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The value as it goes into the column."""
        return json.dumps(value) if dialect.name == "postgresql" and value is not None else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The value as it was given."""
        return json.loads(value) if dialect.name == "postgresql" and value is not None else value


class PlainText(TypeDecorator[str]):
    """Text of any origin. Characters that a database cannot hold, NUL and lone surrogates, become U+FFFD."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it goes into the column."""
        return None if value is None else storable(value)


def storable(text: str) -> str:
    """The text as a database can hold it."""
    return _UNSTORABLE.sub("�", text)
