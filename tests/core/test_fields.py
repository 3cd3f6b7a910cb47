"""Dataclasses read from plain values: what is accepted, what is refused, and what the refusals say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from rollwise.core import read_fields
from rollwise.errors import InputError


@dataclass(frozen=True)
class Range:
    low: float
    high: float


@dataclass(frozen=True)
class Settings:
    count: int = 4
    share: float = 0.5
    name: str = "plain"
    mode: Literal["slow", "fast"] = "slow"
    limit: float | None = 1.0
    ranges: tuple[Range, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError("count is at least 0")


def read(**values: Any) -> Settings:
    return read_fields(Settings, values, "settings")


EVERYTHING = {
    "count": 3,
    "share": 1,
    "name": "x",
    "mode": "fast",
    "limit": None,
    "ranges": [{"low": 0, "high": 2.5}],
}


def test_values_take_the_types_of_their_fields() -> None:
    assert read() == Settings()
    settings = read(**EVERYTHING)
    assert settings == Settings(3, 1.0, "x", "fast", None, (Range(0.0, 2.5),))
    assert type(settings.share) is type(settings.ranges[0].low) is float
    assert read_fields(Settings, EVERYTHING, "settings", exact=True) == settings


def test_a_whole_number_may_be_written_as_a_float_and_an_infinity_is_a_number() -> None:
    assert type(read(count=4.0).count) is int
    assert read(count=1e300).count == int(1e300)
    assert read(share=math.inf).share == math.inf


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 1}, "settings has no field 'size'; it has: count, share, name, mode, limit, ranges"),
        ({"count": 2.5}, "settings: count takes a whole number, not 2.5"),
        ({"count": True}, "settings: count takes a whole number, not True"),
        ({"count": "4"}, "settings: count takes a whole number, not '4'"),
        ({"count": None}, "settings: count takes a whole number, not None"),
        ({"count": math.inf}, "settings: count takes a whole number, not inf"),
        ({"count": 10**400}, "settings: count takes a whole number, not 1000"),
        ({"share": 10**400}, "settings: share takes a number, not 1000"),
        ({"share": False}, "settings: share takes a number, not False"),
        ({"share": "half"}, "settings: share takes a number, not 'half'"),
        ({"limit": "none"}, "settings: limit takes a number, not 'none'"),
        ({"name": 1}, "settings: name takes a text, not 1"),
        ({"mode": "quick"}, "settings: mode takes 'slow' or 'fast', not 'quick'"),
        ({"ranges": 3}, "settings: ranges takes a list, not 3"),
        ({"ranges": [3]}, "settings: ranges[0] takes the fields low, high, not 3"),
        ({"ranges": [{"low": 1, "high": 2}, {"low": 1}]}, "settings: ranges[1] lacks the field 'high'"),
        ({"ranges": [{"low": 1, "high": 2, "top": 3}]}, "settings: ranges[0] has no field 'top'; it has: low, high"),
        ({"ranges": [{"low": 1, "high": "b"}]}, "settings: ranges[0].high takes a number, not 'b'"),
        ({"count": -1}, "count is at least 0"),
    ],
)
def test_other_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_fields(Settings, values, "settings")
    assert str(refusal.value).startswith(message)


def test_the_message_uses_the_noun_of_the_caller() -> None:
    with pytest.raises(InputError, match="strategy 'beam' has no option 'size'"):
        read_fields(Settings, {"size": 1}, "strategy 'beam'", noun="option")
    with pytest.raises(InputError, match="takes the options count"):
        read_fields(Settings, [], "strategy 'beam'", noun="option")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 3.0}, "count takes a whole number, not 3.0"),
        ({"share": math.nan}, "share takes a finite number, not nan"),
        ({"limit": math.inf}, "limit takes a finite number, not inf"),
        ({"ranges": [{"low": 1, "high": math.inf}]}, r"ranges\[0\].high takes a finite number"),
    ],
)
def test_an_exact_reading_takes_what_rollwise_writes(change: dict[str, Any], message: str) -> None:
    read_fields(Settings, EVERYTHING | {"count": 3}, "settings", exact=True)
    with pytest.raises(InputError, match=message):
        read_fields(Settings, EVERYTHING | change, "settings", exact=True)
    for name in EVERYTHING:
        rest = {other: value for other, value in EVERYTHING.items() if other != name}
        with pytest.raises(InputError, match=f"settings lacks the field '{name}'"):
            read_fields(Settings, rest, "settings", exact=True)


def test_an_annotation_that_cannot_be_read_is_a_bug_of_the_caller() -> None:
    @dataclass(frozen=True)
    class Flags:
        loud: bool = False

    with pytest.raises(TypeError, match=r"cannot read loud: <class 'bool'>"):
        read_fields(Flags, {"loud": True}, "flags")
