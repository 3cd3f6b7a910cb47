"""The same value in the many ways in which people and models write it, by kind, each beside what it must not equal."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.answers import equivalent, grade, group
from rollwise.answers.comparing import reading_of

PATIENCE = 30.0
KINDS: dict[str, list[list[str]]] = {
    "repeating decimals": [
        ["1/3", "0.(3)", ".(3)", "0.\\overline{3}"], ["1/6", "0.1(6)"], ["0.3"], ["0.6", "3/5"], ["0.(6)"],
    ],
    "powers of ten": [
        ["3 x 10^5", "3 × 10^5", "3e5", "3*10^5", "3x10^{5}", "3\\,\\text{x}\\,10^5", "3·10⁵", "300000"],
        ["3 x 10^-5", "3 \\times 10^{-5}", "0.00003"],
        ["1\\text{e}3", "1\\mathrm{e}3", "1E3", "1000"],
        ["3x^5", "3 x^5"],
        ["3x"],
        ["10x", "x \\cdot 10"],
        ["x \\cdot 10^5", "10^5x"],
    ],
    "absolute values": [["|x|", "\\lvert x \\rvert", "\\left|x\\right|", "\\vert x\\vert", "abs(x)"], ["x"], ["-|x|"]],
    "sets by a condition": [
        ["(3,\\infty)", "\\{x \\mid x > 3\\}", "\\{x : x>3\\}", "{y | y > 3}", "\\{x\\in\\mathbb{R}: 3<x\\}", "x > 3"],
        ["[3,\\infty)", "\\{x \\mid x \\ge 3\\}"],
        ["(2,3)", "\\{x \\mid 2<x<3\\}", "\\{x \\mid x>2 \\text{ and } x<3\\}", "x>2 and x<3", "]2,3["],
        ["x<2 and x>3", "(-\\infty,2)\\cup(3,\\infty)", "\\{x \\mid x<2 \\text{ or } x>3\\}",
         "x<2 or x>3", "(-inf,2) U (3,inf)"],
        ["\\{x \\in \\mathbb{Z} \\mid x > 3\\}"],
        ["x>2 and x>3"],
        ["x>2 or x>3"],
        ["(-\\infty,\\infty)", "\\mathbb{R}", "ℝ", "all real numbers"],
    ],
    "vectors": [
        ["\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}", "(1,2)", "⟨1,2⟩"],
        ["\\{1,2\\}", "1, 2"],
        ["(2,1)", "\\begin{pmatrix}2\\\\1\\end{pmatrix}"],
        ["\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "[[1,2],[3,4]]"],
        ["(1,2,3,4)"],
    ],
    "points": [["(3,5)", "x=3, y=5", "(x,y)=(3,5)", "y=5 and x=3"], ["(5,3)", "x=5, y=3"]],
    "words that change a number": [
        ["5"], ["5 more"], ["5 less"], ["5 left"], ["5 times"], ["5 each"], ["5 squared"], ["5 halves"], ["5 dozen"],
        ["5 million", "5\\text{ million}", "5*10^6"], ["5 fewer"], ["5 am"], ["4 July", "July 4", "4th of July"], ["4"],
        ["3 hundred twenty"], ["300"],
    ],
    "words for a value": [
        ["seven", "7", "\\text{Seven}", "The answer is 7", "= 7", "\"7\"", "≈ 7"], ["seventeen"], ["eight"],
    ],
    "approximations": [
        ["\\sqrt{10}", "\\sqrt{10} \\approx 3.16", "x = \\sqrt{10} ≈ 3.16"],
        ["3.16", "x \\approx 3.16"],
        ["2x \\approx 3"],
        ["2x"],
    ],
    "times of day": [
        ["3:45 pm", "3:45 PM", "3:45\\text{ p.m.}"], ["3:45 am"], ["345"], ["3:46 pm"], ["5 pm", "5:00 p.m."],
    ],
    "ratios": [["3:4", "3∶4", "3 \\colon 4", "3 to 4"], ["4:3"], ["3/4"], ["6:8"], ["3:04"]],
    "degrees": [
        ["1/2", "\\sin 30^\\circ", "\\sin(30°)", "\\sin(\\pi/6)"],
        ["\\sin 30"],
        ["30^\\circ, 60^\\circ", "30, 60", "60°, 30°"],
        ["\\pi/4", "\\tan^{-1}(1)", "\\arctan 1"],
    ],
    "bases": [["1010_2", "1010_{\\text{two}}", "1010_{two}", "(1010)_2", "1010 base 2"], ["1010"], ["10"]],
    "binomials and fractions": [["10", "{5 \\choose 2}", "_5C_2", "{}^5C_2"], ["5/2", "{5 \\over 2}"], ["C(5,2)"]],
    "indices and exponents": [["x_{1}^{2}", "x_1^2"], ["x_{12}"], ["\\sum_{i=1}^{10} i"], ["\\sum_{i=1}^{9} i"]],
    "units": [
        ["9.8 m/s^2", "9.8\\ \\mathrm{m\\,s^{-2}}", "9.8 m s⁻²"], ["9.8 m/s"],
        ["1 km/h", "1 km per hour"], ["2/3 cup", "2/3 cups"], ["16\\pi\\text{ in}^2", "16π square inches"],
    ],
    "colours and lines": [["12", "\\underline{12}", "\\textcolor{red}{12}", "{\\color{blue}12}"], ["21"]],
    "choices": [
        ["B", "(B)", "b)", "(b)", "b.", "\\text{(b)}", "option b"], ["C", "c)", "(C)"], ["(D) 12", "d) 12"], ["x"],
    ],
    "remainders": [["5 \\pmod 7", "5 (mod 7)", "5 \\bmod 7"], ["5 \\pmod 8"], ["5"]],
}  # fmt: skip
PAIRS_SAME = [
    (kind, *pair) for kind, groups in KINDS.items() for each in groups for pair in itertools.combinations(each, 2)
]
PAIRS_DIFFERENT = [
    (kind, left, right)
    for kind, groups in KINDS.items()
    for first, second in itertools.combinations(groups, 2)
    for left, right in itertools.product(first, second)
]
POOL = sorted({text for groups in KINDS.values() for each in groups for text in each} | {"b", "no", "n o", "o n"})


@pytest.mark.parametrize(("kind", "gold", "answer"), PAIRS_SAME)
def test_same(kind: str, gold: str, answer: str) -> None:
    assert equivalent(gold, answer, PATIENCE)
    assert equivalent(answer, gold, PATIENCE)


@pytest.mark.parametrize(("kind", "gold", "answer"), PAIRS_DIFFERENT)
def test_different(kind: str, gold: str, answer: str) -> None:
    assert not equivalent(gold, answer, PATIENCE)
    assert not equivalent(answer, gold, PATIENCE)


@settings(max_examples=150, deadline=None)
@given(pair=st.lists(st.sampled_from(POOL), min_size=2, max_size=2))
def test_grading_is_symmetric_and_everything_equals_itself(pair: list[str]) -> None:
    left, right = pair
    assert equivalent(left, left, PATIENCE)
    assert equivalent(left, right, PATIENCE) is equivalent(right, left, PATIENCE)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
def test_no_order_changes_the_groups(data: st.DataObject, kind: str) -> None:
    near = [text for each in KINDS[kind] for text in each] + ["b", "no", "n o", "o n"]
    answers = data.draw(st.lists(st.sampled_from(near) | st.sampled_from(POOL), max_size=10))
    order = data.draw(st.permutations(range(len(answers))))
    labels = group(answers, seconds=PATIENCE)
    shuffled = group([answers[index] for index in order], seconds=PATIENCE)
    assert (labels[order][:, None] == labels[order]).tolist() == (shuffled[:, None] == shuffled).tolist()


@pytest.mark.parametrize("answers", [["b", "b.", "B"], ["no", "n o", "o n"], ["3:45", "3:45 pm", "3:45 PM"]])
def test_every_order_gives_the_same_groups(answers: list[str]) -> None:
    found = set()
    for order in itertools.permutations(answers):
        labels = dict(zip(order, group(order).tolist(), strict=True))
        found.add(frozenset(frozenset(text for text in answers if labels[text] == label) for label in labels.values()))
    assert len(found) == 1


def test_what_is_forgiven_joins_a_group_only_if_all_of_it_is_alike() -> None:
    column, row = "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1 & 2\\end{pmatrix}"
    assert group([column, "(1,2)"]).tolist() == [0, 0]
    assert group([column, "(1,2)", row]).tolist() == [0, 1, 2]
    assert group(["(3,\\infty)", "\\{x \\mid x>3\\}", "x>3", "\\{y : y>3\\}"]).tolist() == [0, 0, 0, 0]
    assert group(["(3,\\infty)", "x>3", "y>3"]).tolist() == [0, 1, 2]
    assert group(["3:45", "3:45 pm", "3:45 am"]).tolist() == [0, 1, 2]


@given(
    whole=st.integers(0, 99),
    fixed=st.text("0123456789", max_size=3),
    period=st.text("0123456789", min_size=1, max_size=4),
)
def test_a_repeating_decimal_is_its_series(whole: int, fixed: str, period: str) -> None:
    digits = len(period)
    value = Fraction(int(f"{whole}{fixed}"), 10 ** len(fixed))
    value += Fraction(int(period), 10 ** len(fixed)) * Fraction(1, 10**digits) / (1 - Fraction(1, 10**digits))
    text = f"{whole}.{fixed}({period})"
    assert equivalent(str(value), text, PATIENCE)
    assert not equivalent(str(value + Fraction(1, 10**9)), text, PATIENCE)


@given(mantissa=st.integers(1, 999), power=st.integers(-12, 12), other=st.integers(-12, 12))
def test_powers_of_ten_have_one_value_in_every_spelling(mantissa: int, power: int, other: int) -> None:
    spellings = ["{} x 10^{}", "{} × 10^{{{}}}", "{}e{}", "{}*10^{}", "{} \\cdot 10^{{{}}}", "{}x10**{}"]
    value = str(mantissa * Fraction(10) ** power)
    for spelling in spellings:
        assert equivalent(value, spelling.format(mantissa, power), PATIENCE)
        assert equivalent(value, spelling.format(mantissa, other), PATIENCE) is (power == other)


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("b)", "B", True),
        ("(b)", "(B)", True),
        ("b.", "B", True),
        ("\\textbf{b)}", "\\text{(B)}", True),
        ("(b) 12", "B", True),
        ("option b", "B", True),
        ("b", "B", False),
        ("c)", "B", False),
        ("(b)", "b", True),
        ("(b)", "c", False),
        ("(A) and (B)", "A", False),
        ("A, B", "A", False),
    ],
)
def test_small_letters_of_choices(answer: str, gold: str, right: bool) -> None:
    assert grade(answer, gold).right is right
    assert equivalent(answer, gold, PATIENCE) is right


def test_the_grader_for_choices_takes_small_letters() -> None:
    assert grade("b)", "B", "choice").right
    assert grade("b", "B", "choice").right
    assert not grade("c)", "B", "choice").right
    assert not grade("xy", "B", "choice").right


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("5 more", "text 5 more"),
        ("\\{x \\mid x > 3\\}", "(3, infinity)"),
        ("3 to 4", "3:4"),
        ("5 p.m.", "5:00 pm"),
        ("x>2 and x>3", "text x>2 and x>3"),
        ("b)", "choice b"),
        ("(b)", "b"),
        ("\\int_0^1 x\\,dx", "text \\int_0^1 x dx"),
    ],
)
def test_a_reading_says_what_was_understood(answer: str, read: str) -> None:
    assert str(reading_of(answer)) == read
