"""Reads what tokens or hours cost, and turns a search into money."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollwise.core import Usage, read_fields
from rollwise.errors import InputError
from rollwise.search import ROLES

if TYPE_CHECKING:
    from rollwise.bench.store import Outcome

_MILLION, _HOUR = 1e6, 3600.0


@dataclass(frozen=True)
class TokenPrices:
    """What a million tokens of a role cost: generated, read anew (prefilled), and served from a cache."""

    generated: float = 0.0
    prefilled: float = 0.0
    cached: float = 0.0

    def money(self, usage: Usage) -> float:
        """What these tokens cost."""
        return sum(getattr(self, each.name) * getattr(usage, each.name) for each in fields(self)) / _MILLION


@dataclass(frozen=True)
class Prices:
    """Prices of tokens by role, or what an hour of the machine costs.

    `searches_at_once` searches share the machine, so each pays its seconds divided by it.
    """

    currency: str = "USD"
    per_hour: float | None = None
    searches_at_once: int = 1
    tokens: Mapping[str, TokenPrices] = field(default_factory=dict)

    def money(self, outcome: Outcome) -> float:
        """What a search cost."""
        if self.per_hour is not None:
            return self.per_hour * outcome.seconds / _HOUR / self.searches_at_once
        return sum(self.tokens[role].money(usage) for role, usage in outcome.usage.items() if role in self.tokens)


@dataclass(frozen=True)
class _Head:
    currency: str = "USD"
    per_hour: float | None = None
    searches_at_once: int = 1


def read_prices(file: Path) -> Prices:
    """The prices in a TOML file. Raises InputError if it cannot be used.

    It holds a table for each role that costs something, such as `[policy]` with `generated`, `prefilled` and `cached`,
    each the price of a million tokens. Or it holds `per_hour`, the price of an hour of the machine, and
    `searches_at_once`. `currency` names the currency.
    """
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; give a TOML file to --prices") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not TOML: {' '.join(str(error).split())}") from None
    tables = {role: given.pop(role) for role in ROLES if role in given}
    tokens = {role: read_fields(TokenPrices, table, f"{file}: [{role}]") for role, table in tables.items()}
    head = read_fields(_Head, given, str(file))
    prices = Prices(**vars(head), tokens=tokens)
    _refuse_odd(prices, file)
    return prices


def _refuse_odd(prices: Prices, file: Path) -> None:
    numbers: list[Any] = [price for role in prices.tokens.values() for price in vars(role).values()]
    numbers += [] if prices.per_hour is None else [prices.per_hour]
    if not all(0 <= number < math.inf for number in numbers):
        raise InputError(f"{file}: a price is a number from 0 on")
    if (prices.per_hour is None) == (not prices.tokens):
        raise InputError(f"{file}: give either per_hour, or a table of prices for some of {', '.join(ROLES)}")
    if prices.searches_at_once < 1:
        raise InputError(f"{file}: searches_at_once is at least 1")
