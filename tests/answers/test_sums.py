"""Sums in a text: they are found, checked exactly, and put right."""

from __future__ import annotations

import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollwise.answers.sums import NUMBER, is_right, number, put_right, sums_of

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
SIGNS = {"*": ["*", "x", "×", r"\times", r"\cdot"], "/": ["/", "÷", r"\div"], "+": ["+"], "-": ["-", "−"]}


def read(text: str) -> list[tuple[str, str, bool]]:
    return [(each.expression, each.result, each.is_wrong) for each in sums_of(text)]


@pytest.mark.parametrize(
    ("text", "sums"),
    [
        ("48+24 = 72 clips", [("48+24", "72", False)]),
        (r"So $\frac{48}{2} = 24$ clips", [("(48)/(2)", "24", False)]),
        (r"it costs \$5 * \$3 = \$16.", [("5 *  $3", "16", True)]),
        ("He has 2 * 3 = 6 * 4 = 24", [("6 * 4", "24", False)]),
        ("100% - 80% = 20 %", [("100% - 80%", "20%", False)]),
        ("100 - 50 = 50% are left", [("100 - 50", "50%", False)]),
        ("15/60 = 30%", [("15/60", "30%", True)]),
        ("10/3 = 3.33", [("10/3", "3.33", False)]),
        ("1,000*3 = 3,200", [("1,000*3", "3,200", True)]),
    ],
)
def test_sums_are_found_and_checked(text: str, sums: list[tuple[str, str, bool]]) -> None:
    assert read(text) == sums


@pytest.mark.parametrize(
    "text",
    [
        "x = 5",
        "2x - 3 = 5",
        "s+55-20=90",
        "X*11/4 + 10 = $340",
        "100 basketballs x (10 / 100) = 10 basketballs",
        "50/ 1/2 = 100",
        "6:00+48=6:48 PM",
        "22 - 16 = 16 + x - 16",
        r"1{,}200 \times 3 = 3{,}600",
        "3 1/2 + 1 = 5",
        "12cm*(3/4) = 8cm",
        "$2,430 – ($1,250 + $850) = $2,430 – $2,100",
        r"\boxed{5} = 5",
    ],
)
def test_what_is_unclear_is_no_sum(text: str) -> None:
    assert not [each for each in sums_of(text) if each.is_wrong]


@given(st.integers(1, 999), st.sampled_from("+-*/"), st.integers(1, 99), st.integers(-5, 5), st.data())
def test_a_sum_is_wrong_if_python_says_so(left: int, sign: str, right: int, off: int, data: st.DataObject) -> None:
    exact = Fraction(OPERATORS[sign](Fraction(left), right))
    shown = int(exact) + off
    written = data.draw(st.sampled_from(SIGNS[sign]))
    found = list(sums_of(f"She has {left} {written} {right} = {shown} things."))
    if shown < 0:
        return
    close = exact == shown or (exact.denominator > 1 and abs(exact - shown) < 1)
    assert [each.is_wrong for each in found] == [not close]


@given(st.integers(1, 999), st.sampled_from("+-*/"), st.integers(1, 99), st.integers(0, 9999))
def test_a_sum_that_was_put_right_is_right(left: int, sign: str, right: int, shown: int) -> None:
    text = f"She has {left} {sign} {right} = {shown} things. The answer is \\boxed{{{shown}}}."
    put = put_right(text, "How many?")
    (found,) = sums_of(put)
    if OPERATORS[sign](left, right) >= 0:
        assert not found.is_wrong
        boxed = NUMBER.search(put, put.index("boxed"))
        assert boxed is not None
        assert number(boxed[0]) == number(put[found.start : found.end])
        assert put_right(put, "How many?") == put
    else:
        assert put == text


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("48+24 = 74 clips, so 74 in all.", "48+24 = 72 clips, so 72 in all."),
        ("7+8=14, and 14*2=30", "7+8=15, and 15*2=30"),
        ("6*1.25=$9.00", "6*1.25=$7.50"),
        ("1,000*3 = 3,200", "1,000*3 = 3,000"),
        ("1/400 = .5", "1/400 = 0.0025"),
        ("5 - 6 = 1 mile", "5 - 6 = 1 mile"),
        (r"3 \times 4 = 13", r"3 \times 4 = 12"),
        ("no sum", "no sum"),
    ],
)
def test_a_wrong_result_is_put_right_where_it_is_repeated(text: str, right: str) -> None:
    assert put_right(text, "How many?") == right


@pytest.mark.parametrize(
    "text",
    [
        "1 " * 20_000 + "x =" * 2_000,
        "=" + " " * 50_000 + "x",
        "9" * 9_000 + " + 1 = " + "9" * 9_000,
        "1+" * 20_000 + "1 = 3",
        "=1" * 20_000,
        "\\frac{" * 5_000 + "1 = 2",
        "1/" * 50 + "1 = 2, 3/0 = 4",
    ],
)
def test_a_hostile_text_is_left_as_it_is(text: str) -> None:
    assert put_right(text, "9" * 9_000) == text
    assert not [each for each in sums_of(text) if each.is_wrong and "/0" not in each.expression]


def test_thousands_of_wrong_sums_are_put_right() -> None:
    assert put_right("1+1=3 " * 1_000, "How many?") == "1+1=2 " * 1_000


def test_a_number_of_the_question_changes_only_in_the_box() -> None:
    text = "9*2 = 20 apples and 20 pears. \\boxed{20}"
    assert put_right(text, "There are 20 pears.") == "9*2 = 18 apples and 20 pears. \\boxed{18}"


def test_a_rounded_result_is_right_to_its_last_digit() -> None:
    assert is_right("10/3", "3.33")
    assert is_right("10/3", "3")
    assert not is_right("10/4", "4")
    assert is_right("3 1/2 + 1", "5") is None
