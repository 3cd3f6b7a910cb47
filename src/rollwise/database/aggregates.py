"""Aggregates of columns that give the same on SQLite and on PostgreSQL, which has no sum of truth values."""

from __future__ import annotations

from typing import Any

from rollwise.errors import MissingExtraError

try:
    from sqlalchemy import BigInteger, Double, Integer, case, cast, func
except ImportError as error:
    raise MissingExtraError("the store of runs", "bench") from error


def count_where(condition: Any) -> Any:
    """How many rows fulfil a condition."""
    return func.count(case((condition, 1)))


def mean(column: Any) -> Any:
    """The mean of numbers, as a float; None without any."""
    return func.avg(cast(column, Double))


def share(column: Any) -> Any:
    """The share of the truth values that are true; None without any."""
    return func.avg(cast(cast(column, Integer), Double))


def total(column: Any) -> Any:
    """The sum of whole numbers; None without any."""
    return cast(func.sum(column), BigInteger)
