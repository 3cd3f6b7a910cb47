"""Log-odds and chances: inverses of each other, with exact ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollwise.numerics import chances_of, log_odds, shift_log_odds


@given(st.floats(1e-300, 1 - 1e-12))
def test_log_odds_and_chances_are_inverses(chance: float) -> None:
    logits = log_odds(np.array([chance]))
    assert logits[0] == pytest.approx(math.log(chance) - math.log1p(-chance), rel=1e-9, abs=1e-9)
    assert chances_of(logits)[0] == pytest.approx(chance, rel=1e-9)


def test_certain_chances_have_infinite_log_odds_unless_a_margin_bounds_them() -> None:
    certain = np.array([0.0, 1.0])
    assert log_odds(certain).tolist() == [-math.inf, math.inf]
    assert chances_of(log_odds(certain)).tolist() == [0.0, 1.0]
    assert log_odds(certain, 1e-6).tolist() == log_odds(np.array([1e-6, 1 - 1e-6])).tolist()


@given(st.floats(0.001, 0.999), st.floats(-20, 20))
def test_a_shift_multiplies_the_odds(chance: float, shift: float) -> None:
    odds = chance / (1 - chance) * math.exp(shift)
    assert shift_log_odds(np.array([chance]), np.array([shift]))[0] == pytest.approx(odds / (1 + odds), rel=1e-9)


def test_a_huge_shift_makes_chances_certain_and_no_shift_changes_no_bit() -> None:
    chances = np.array([0.0, 5e-324, 0.1, 0.3, 1 - 1e-16, 1.0])
    assert shift_log_odds(chances, np.full(6, 1e300)).tolist() == [0, 1, 1, 1, 1, 1]
    assert shift_log_odds(chances, np.full(6, -1e300)).tolist() == [0, 0, 0, 0, 0, 1]
    assert shift_log_odds(chances, np.zeros(6)).tolist() == chances.tolist()
