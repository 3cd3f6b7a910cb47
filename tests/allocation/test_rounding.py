"""Apportionment compared with exact arithmetic on integers and fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollwise.allocation.rounding import apportion, cumulative
from rollwise.core import IntArray
from rollwise.errors import InputError

ROUNDINGS = ("cumulative", "largest_remainder", "systematic", "divisor(0)", "divisor(0.5)", "divisor(1)", "paper")
MONOTONE = ("largest_remainder", "divisor(0)", "divisor(0.25)", "divisor(0.5)", "divisor(1)")
OFFSETS = (Fraction(0), Fraction(1, 4), Fraction(1, 2), Fraction(1))

quick = settings(max_examples=60)
sizes = st.integers(1, 80)
widths = st.integers(0, 300)
seeds = st.integers(0, 2**32 - 1)
whole_weights = sizes.flatmap(lambda size: st.lists(st.integers(1, 1000), min_size=size, max_size=size))
any_weights = whole_weights | sizes.flatmap(
    lambda size: st.lists(st.floats(1e-300, 1e300), min_size=size, max_size=size)
)


def rounded(weights: Sequence[float], width: int, rounding: str, seed: int = 0) -> IntArray:
    """Returns the counts, with an order and an offset drawn from the seed; seed 0 keeps the order."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(weights)) if seed else np.arange(len(weights))
    return apportion(np.array(weights, dtype=np.float64), width, rounding, order, lambda: generator)


def run_errors(counts: Sequence[int], weights: Sequence[int], width: int) -> IntArray:
    """Returns Σweights · |count - share| of every contiguous run, in exact integers."""
    total = sum(weights)
    drift = np.concatenate([[0], np.cumsum(np.array(counts)) * total - np.cumsum(np.array(weights)) * width])
    return np.abs(drift[:, None] - drift[None, :])


# All roundings


@pytest.mark.parametrize("rounding", ROUNDINGS)
@quick
@given(weights=any_weights, width=widths, seed=seeds)
def test_counts_are_whole_and_sum_to_the_width(rounding: str, weights: list[float], width: int, seed: int) -> None:
    counts = rounded(weights, width, rounding, seed)
    assert counts.dtype == np.int64
    assert counts.shape == (len(weights),)
    assert counts.min() >= 0
    assert counts.sum() == width


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("scale", [1e-310, 1e-150, 1e150, 1e308])
def test_only_the_ratios_of_the_weights_matter(rounding: str, scale: float) -> None:
    with np.errstate(over="raise", invalid="raise"):
        counts = rounded([scale, scale / 2, scale / 4, scale / 4], 16, rounding)
    assert counts.tolist() == [8, 4, 2, 2]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("width", [0, 1, 64])
def test_one_candidate_gets_everything(rounding: str, width: int) -> None:
    assert rounded([0.3], width, rounding).tolist() == [width]


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_a_share_of_zero_gets_no_rollout(rounding: str) -> None:
    assert rounded([0.0, 3.0, 0.0, 1.0, 0.0], 8, rounding).tolist() == [0, 6, 0, 2, 0]


@pytest.mark.parametrize(
    "name", ["", "rounded", "Cumulative", "divisor", "divisor(OFFSET)", "divisor(2)", "divisor(-1)"]
)
def test_an_unknown_rounding_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="offset" if name == "divisor(2)" else "no rounding is called"):
        rounded([1, 2], 3, name)


@pytest.mark.parametrize("rounding", MONOTONE)
@quick
@given(weights=whole_weights, width=widths)
def test_a_heavier_share_never_gets_less(rounding: str, weights: list[int], width: int) -> None:
    by_weight = sorted(range(len(weights)), key=lambda index: (weights[index], -index))
    assert np.all(np.diff(rounded(weights, width, rounding)[by_weight]) >= 0)  # equal ones: the earlier gets no less


def test_a_heavier_share_may_get_less_with_cumulative_rounding() -> None:
    assert rounded([40, 35, 25], 1, "cumulative").tolist() == [0, 1, 0]


# Largest remainder


@quick
@given(weights=whole_weights, width=widths)
def test_largest_remainder_is_hamiltons_method(weights: list[int], width: int) -> None:
    counts = rounded(weights, width, "largest_remainder").tolist()
    shares = [Fraction(weight * width, sum(weights)) for weight in weights]
    assert all(abs(count - share) < 1 for count, share in zip(counts, shares, strict=True))
    up = [share % 1 for count, share in zip(counts, shares, strict=True) if count > share]
    down = [share % 1 for count, share in zip(counts, shares, strict=True) if count <= share and share % 1]
    assert not up or not down or min(up) >= max(down)


# Cumulative and systematic


@quick
@given(weights=whole_weights, width=widths, seed=seeds)
def test_cumulative_keeps_every_run_within_one_of_its_share(weights: list[int], width: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(weights))
    counts = apportion(np.array(weights, dtype=np.float64), width, "cumulative", order)[order]
    along = [weights[index] for index in order]
    total = sum(weights)
    assert run_errors(counts.tolist(), along, width).max() < total
    half_up = [(2 * width * int(part) + total) // (2 * total) for part in np.cumsum(along)]
    assert np.cumsum(counts).tolist() == half_up


@quick
@given(weights=whole_weights, width=widths, offset=st.floats(0, 0.999))
def test_any_offset_keeps_every_run_within_one_of_its_share(weights: list[int], width: int, offset: float) -> None:
    shares = np.array(weights) * (width / sum(weights))
    counts = cumulative(shares, width, np.arange(len(weights)), offset)
    assert counts.sum() == width
    assert run_errors(counts.tolist(), weights, width).max() <= sum(weights)


@quick
@given(weights=st.lists(st.integers(1, 12), min_size=1, max_size=12), width=st.integers(0, 60))
def test_offsets_average_to_the_share_exactly(weights: list[int], width: int) -> None:
    total = sum(weights)
    shares = np.array(weights) * (width / total)
    # Cumulative shares are multiples of 1/total, so counts are constant between the offsets r/total and (r + 1)/total.
    order = np.arange(len(weights))
    summed = np.sum([cumulative(shares, width, order, (cell + 0.5) / total) for cell in range(total)], axis=0)
    assert np.all(summed == np.array(weights) * width)


def test_systematic_draws_its_offset_uniformly() -> None:
    weights, width, draws = np.array([5.0, 1.0, 3.0, 0.2, 0.8]), 7, 4000
    generator = np.random.default_rng(0)
    counts = [apportion(weights, width, "systematic", np.arange(5), lambda: generator) for _ in range(draws)]
    five_errors = 5 * 0.5 / np.sqrt(draws)
    np.testing.assert_allclose(np.mean(counts, axis=0), weights * width / 10, atol=five_errors)


def test_systematic_without_a_generator_is_refused() -> None:
    with pytest.raises(InputError, match="seed"):
        apportion(np.ones(2), 3, "systematic", np.arange(2))


# Divisor methods


def claim(weight: Fraction, count: int, offset: Fraction) -> tuple[int, Fraction]:
    """Returns weight / (count + offset), or its limit from above at 0 / 0; larger claims are served earlier."""
    return (0, weight / (count + offset)) if count + offset else (1, weight)


def check_divisor(weights: Sequence[float], width: int, offset: Fraction) -> None:
    """Asserts that the served claims are the `width` largest, as greedy serves them, whichever way ties go."""
    exact = [Fraction(weight) for weight in weights]
    everything = sorted((claim(weight, count, offset) for weight in exact for count in range(width)), reverse=True)
    counts = rounded(weights, width, f"divisor({float(offset)})").tolist()
    served = [claim(weight, seat, offset) for weight, count in zip(exact, counts, strict=True) for seat in range(count)]
    assert sorted(served, reverse=True) == everything[:width]


@pytest.mark.parametrize("offset", OFFSETS)
@quick
@given(weights=st.lists(st.integers(1, 60), min_size=1, max_size=9), width=st.integers(0, 30))
def test_divisor_serves_the_largest_claims(offset: Fraction, weights: list[int], width: int) -> None:
    check_divisor(weights, width, offset)


@pytest.mark.parametrize("offset", OFFSETS)
@quick
@given(exponents=st.lists(st.integers(0, 120), min_size=1, max_size=6), width=st.integers(0, 20))
@example(exponents=[0, 34], width=2)
def test_divisor_serves_the_largest_claims_of_softmax_like_weights(
    offset: Fraction, exponents: list[int], width: int
) -> None:
    check_divisor([2.0**-exponent for exponent in exponents], width, offset)


@pytest.mark.parametrize("rounding", MONOTONE)
def test_equal_claims_go_to_the_earlier_position(rounding: str) -> None:
    assert rounded([1, 1, 1, 1], 6, rounding).tolist() == [2, 2, 1, 1]


def test_votes_of_a_textbook() -> None:
    """The usual example of highest averages (Wikipedia, "D'Hondt method"): four parties, eight seats."""
    votes = [100_000, 80_000, 30_000, 20_000]
    assert rounded(votes, 8, "divisor(1)").tolist() == [4, 3, 1, 0]
    assert rounded(votes, 8, "divisor(0.5)").tolist() == [3, 3, 1, 1]
    assert rounded(votes, 8, "divisor(0)").tolist() == [3, 3, 1, 1]
    assert rounded(votes, 8, "largest_remainder").tolist() == [3, 3, 1, 1]


def test_the_first_united_states_apportionment() -> None:
    """Census of 1790 (Balinski and Young, Fair Representation): Jefferson's 105 seats became law in 1792, one for every
    33,000; Hamilton's 120 were vetoed.
    """
    populations = {
        "Connecticut": (236_841, 7, 8),
        "Delaware": (55_540, 1, 2),
        "Georgia": (70_835, 2, 2),
        "Kentucky": (68_705, 2, 2),
        "Maryland": (278_514, 8, 9),
        "Massachusetts": (475_327, 14, 16),
        "New Hampshire": (141_822, 4, 5),
        "New Jersey": (179_570, 5, 6),
        "New York": (331_589, 10, 11),
        "North Carolina": (353_523, 10, 12),
        "Pennsylvania": (432_879, 13, 14),
        "Rhode Island": (68_446, 2, 2),
        "South Carolina": (206_236, 6, 7),
        "Vermont": (85_533, 2, 3),
        "Virginia": (630_560, 19, 21),
    }
    people, jefferson, hamilton = (list(column) for column in zip(*populations.values(), strict=True))
    assert jefferson == [population // 33_000 for population in people]
    assert rounded(people, 105, "divisor(1)").tolist() == jefferson
    assert rounded(people, 120, "largest_remainder").tolist() == hamilton


# The paper's code


@quick
@given(parts=st.lists(st.integers(1, 16), max_size=40), width=widths)
@example(parts=[3] * 21, width=32)
@example(parts=[1] * 127, width=60)
def test_paper_rounds_half_to_even_then_pads_or_cuts(parts: list[int], width: int) -> None:
    total = 1 << sum(parts).bit_length()  # a power of two, so that floating point holds the halves exactly
    weights = [*parts, total - sum(parts)]
    copies: list[int] = []
    for index, weight in enumerate(weights):
        copies += [index] * round(Fraction(weight * width, total))
    copies = copies or list(range(len(weights)))
    while len(copies) < width:
        copies += copies[: width - len(copies)]
    assert rounded(weights, width, "paper").tolist() == [copies[:width].count(index) for index in range(len(weights))]
