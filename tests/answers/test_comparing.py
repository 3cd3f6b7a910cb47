"""Pairs of answers with their verdict by hand, and properties that every comparison and every partition must have."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.answers import count_ballots, equivalent, grade, group
from rollwise.answers.comparing import Likeness, UndecidedError, compare, reading_of
from rollwise.answers.evaluation import Numbers, exact
from rollwise.answers.rounding import FEWEST_DIGITS
from rollwise.errors import InputError

PATIENCE = 30.0
NUMBERS = Numbers()
SAME = [
    ("5/2", "2 ½"),
    ("12", "$12$"),
    ("73", "73."),
    ("73", "\\(73\\)"),
    ("73", "`73`"),
    ("x^2", "x**2"),
    ("-2\\pi", "-2π"),
    ("\\frac{\\pi}{2}", "π/2"),
    ("\\frac32", "1½"),
    ("\\frac32", "1\\frac12"),
    ("\\frac32", "1\\,\\frac{1}{2}"),
    ("10000", "10 000"),
    ("10000", "10{,}000"),
    ("1000000", "1,000,000"),
    ("1/6", "0.1\\overline{6}"),
    ("1/6", "0.1\\bar6"),
    ("50\\%", "50"),
    ("50\\%", "50%"),
    ("0.5", "50\\%"),
    ("90^\\circ", "90"),
    ("90^\\circ", "90°"),
    ("90", "90 degrees"),
    ("18", "\\$18"),
    ("18", "$18"),
    ("\\$18", "18 dollars"),
    ("USD 18", "$18"),
    ("US\\$18", "18"),
    ("HK$18", "$18"),
    ("Rs. 50", "₹50"),
    ("1,200円", "1200 yen"),
    ("5 €", "EUR 5"),
    ("72個", "72"),
    ("72\\text{ 个}", "72"),
    ("-12.5元", "-12.5"),
    ("12 \\text{ cm}", "12cm"),
    ("12 \\text{ cm}", "12 centimeters"),
    ("5\\text{ m/s}", "5 m/s"),
    ("15\\mbox{ cm}^2", "15 cm²"),
    ("15\\mbox{ cm}^2", "15 square centimeters"),
    ("C", "\\text{(C)}"),
    ("C", "C."),
    ("C", "(C) 12"),
    ("C", "C) 12"),
    ("C", "\\textbf{C}"),
    ("\\text{(C)}", "C"),
    ("C", "**C**"),
    ("C", "Option C"),
    ("3,5", "5, 3"),
    ("\\{3,5\\}", "3, 5"),
    ("x=1 \\text{ or } x=2", "x=2, x=1"),
    ("1,2", "x=1 or x=2"),
    ("Evelyn", "\\text{Evelyn}"),
    ("east", "\\text{East}"),
    ("\\sqrt{2}", "sqrt(2)"),
    ("\\sqrt{2}", "√2"),
    ("2\\sqrt{2}", "sqrt(8)"),
    ("2\\sqrt 2", "2*sqrt(2)"),
    ("\\frac{\\sqrt{3}}{3}", "1/\\sqrt{3}"),
    ("\\tfrac12", "\\dfrac{1}{2}"),
    ("(x+1)(x-1)", "x^2-1"),
    ("y=2x+3", "2x+3"),
    ("y = 2x+3", "2x - y + 3 = 0"),
    ("x\\ge 3", "[3,\\infty)"),
    ("x \\in [-2,7]", "-2\\le x\\le 7"),
    ("-2 \\leq x \\leq 7", "[-2,7]"),
    ("(-\\infty,2)\\cup(3,\\infty)", "x<2 or x>3"),
    ("1\\pm\\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}"),
    ("\\cot x", "\\frac{\\cos x}{\\sin x}"),
    ("\\log_2 8", "3"),
    ("\\ln(e^2)", "2"),
    ("i^2", "-1"),
    ("6.022e23", "6.022\\times 10^{23}"),
    ("5!", "120"),
    ("\\binom{5}{2}", "10"),
    ("|−3|", "3"),
    ("\\infty", "infinity"),
    ("\\emptyset", "∅"),
    ("\\emptyset", "\\{\\}"),
    ("x_1", "x_{1}"),
    ("101_2", "101_{2}"),
    ("101_2", "101₂"),
    ("x^{10}", "x¹⁰"),
    ("\\pi r^2", "pi*r^2"),
    ("2e", "2\\mathrm{e}"),
    ("100", "\\boxed{100}"),
    ("0.5", ".5"),
    ("1{,}234", "1234"),
    ("a=5", "5"),
    ("3.0", "3"),
    ("\\frac{1}{2}", "\\frac{2}{4}"),
    ("-\\frac12", "\\frac{-1}{2}"),
    ("\\left(\\frac{3}{5},\\frac{8}{3}\\right]", "(3/5, 8/3]"),
    ("f(x)=x^2", "x^2"),
    ("11\\sqrt5+11", "11(1+\\sqrt5)"),
    ("2^{10}", "1024"),
    ("x y", "yx"),
    ("\\text{True}", "True"),
    ("\\mathrm{cm}", "cm"),
    ("5", "5 apples"),
    ("\\text{No}", "no"),
    ("12\\,\\mathrm{cm}", "12 \\text{ cm}"),
    ("0.25", "1/4"),
    ("1.5e-3", "0.0015"),
    ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt2}{2}"),
    ("$\\frac{1}{2}$", "**1/2**"),
    ("3:4", "3 : 4"),
    ("⅓", "1/3"),
    ("x³", "x^3"),
    ("2π", "2 \\pi"),
    ("5 > x", "x < 5"),
    ("−7", "-7"),
    ("1,000.50", "1000.5"),
    ("\\frac{a}{b}", "a/b"),
    ("10^{-34}", "1e-34"),
    ("24", "24 \\text{ hours}"),
    ("4 \\text{ hours}", "4 hrs"),
    ("\\text{A}", "(A)"),
    ("\\mathbf{A}", "A"),
    ("25\\pi", "25 pi"),
    ("3+4i", "4i+3"),
    ("x=\\frac{1}{2}", "\\frac12"),
    ("\\mathbb{R}", "\\mathbb R"),
    ("ABC", "\\text{ABC}"),
    ("$1,000$", "1000"),
    ("\\$1,000", "1000"),
    ("2.50", "\\$2.5"),
    ("75\\%", "75 percent"),
    ("2^{1/2}", "\\sqrt2"),
    ("4^{1/2}", "2"),
    ("8^{2/3}", "4"),
    ("\\angle ABC", "∠ABC"),
    ("3\\text{-}5", "3-5"),
]
DIFFERENT = [
    ("5", "5..."),
    ("7", "7√(3)"),
    ("7√(3)", "7"),
    ("2", "2 hours 45 minutes"),
    ("5", "5+"),
    ("5", "5\\"),
    ("5", "5("),
    ("5", "5/"),
    ("5", "5 ="),
    ("x", "x +"),
    ("12", "12,"),
    ("1,2", "1,2,\\ldots"),
    ("1, 2, 3", "1, 2, 3, \\ldots"),
    ("1/50!", "1/52!"),
    ("1/2^{30}", "1/2^{31}"),
    ("10^{-20}", "10^{-21}"),
    ("10^{-20}", "0"),
    ("e^{-50}", "e^{-51}"),
    ("\\frac{\\pi}{10^{20}}", "\\frac{\\pi}{10^{21}}"),
    ("0.333", "1/3"),
    ("0.33", "1/3"),
    ("3.14", "\\pi"),
    ("3.1415", "\\pi"),
    ("TEA", "EAT"),
    ("ab", "ac"),
    ("stop", "pots"),
    ("AB", "BA"),
    ("\\triangle ABC", "\\triangle ACB"),
    ("\\overline{AB}", "\\overline{AC}"),
    ("\\text{no}", "\\text{on}"),
    ("x_1", "x_2"),
    ("x_1", "x"),
    ("a_n", "a_{n+1}"),
    ("101_2", "5"),
    ("12\\text{ m}", "12\\text{ cm}"),
    ("5 kg", "5 g"),
    ("5 m", "5 s"),
    ("5 \\text{ m}^2", "5 \\text{ m}"),
    ("5 cm^2", "5 cm^3"),
    ("5 mph", "5 km/h"),
    ("5 dollars", "5 cents"),
    ("USD 5", "EUR 5"),
    ("M$5", "5"),
    ("R$5", "$5"),
    ("5€", "$5"),
    ("3人", "3個"),
    ("5万", "5"),
    ("3割", "3"),
    ("2倍", "2"),
    ("3以上", "3"),
    ("12時30分", "12"),
    ("5\\%", "5^\\circ"),
    ("A", "B"),
    ("(A)", "B"),
    ("(C) 12", "B"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", "(2,1)"),
    ("x=5", "y=5"),
    ("x>3", "x\\ge3"),
    ("x>3", "x<3"),
    ("1+\\sqrt2", "1-\\sqrt2"),
    ("\\sqrt{x^2}", "x"),
    ("x+1", "x"),
    ("12m", "12"),
    ("3x", "3y"),
    ("1/2", "2"),
    ("\\{1,2\\}", "\\{1,3\\}"),
    ("2\\pi", "2"),
    ("5^\\circ", "6^\\circ"),
    ("\\infty", "-\\infty"),
    ("1", "\\infty"),
    ("yes", "no"),
    ("10", "10!"),
    ("3 4", "34"),
    ("3 4", "12"),
    ("1 \\text{ or } 2", "1"),
    ("\\int x dx", "x"),
    ("\\sum_{k=1}^n k", "k"),
    ("n \\text{ is even}", "n"),
    ("2 \\text{ R } 3", "2"),
    ("2 R 3", "2"),
    ("4:30", "4"),
    ("3:4", "3:5"),
    ("x^2+", "x^2"),
    ("\\frac{1}{2", "1/2"),
    ("0.1", "0.10000001"),
    ("99999999", "100000000"),
    ("1e-10", "2e-10"),
    ("1/1000000007", "1/1000000009"),
    ("\\log x", "\\ln x"),
    ("|x|", "x"),
    ("100000000.1", "100000000.2"),
    ("", "0"),
    ("0.\\overline{3}", "0.3"),
    ("1 \\frac12", "\\frac12"),
    ("12_5", "12_{6}"),
    ("5 miles", "5 kilometers"),
    ("3.1415927", "3.1415926"),
    ("2.71828", "2.71829"),
]
POOL = [
    *("(3,\\infty)", "x>3", "x \\in (3, \\infty)", "12", "12 cm", "12 \\text{ m}", "12.0", "24/2", "x=12", "y = 12"),
    *("50%", "0.5", "1/2", "½", "\\sqrt{17}", "4.1231", "4.123105", "4.12310562561766", "17^{1/2}", "LISTEN"),
    *("SILENT", "listen", "C", "(C) 12", "\\text{C}", "3, 5", "5, 3", "{3,5}", "101_2", "101_3", "5-", "", "\\frac{"),
    *("0.33333", "1/3", "0.333333", "0.\\overline{3}", "x+1", "1+x", "\\pi", "3.1416", "355/113"),
]
PIECES = [
    *"0123456789.,;:+-*/^_!(){}[]|<>=&'$% xyzABCnei√π½²₃°∞",
    *(
        "\\frac",
        "\\sqrt",
        "\\text{ cm}",
        "\\text{",
        "\\pi",
        "\\left(",
        "\\right]",
        "\\cup",
        "\\pm",
        "\\{",
        "\\}",
        "\\\\",
    ),
    *(
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        " or ",
        "sin",
        "log",
        "**",
        "\\overline{3}",
        "cm",
        " m",
        "hours",
        "\\ldots",
    ),
]


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_same(gold: str, answer: str) -> None:
    assert equivalent(gold, answer, PATIENCE)
    assert equivalent(answer, gold, PATIENCE)


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold: str, answer: str) -> None:
    assert not equivalent(gold, answer, PATIENCE)
    assert not equivalent(answer, gold, PATIENCE)


@pytest.mark.parametrize(
    ("exact_text", "decimal", "same"),
    [
        ("\\sqrt{17}", "4.1231", True),  # five significant digits, correctly rounded
        ("\\sqrt{17}", "4.123", False),  # four
        ("\\sqrt{17}", "4.1232", False),  # wrong in the last
        ("\\sqrt{17}", "4.12310562561766", True),
        ("\\pi", "3.1416", True),
        ("\\pi", "3.1415", False),  # cut off, not rounded
        ("1/3", "0.33333", True),
        ("1/3", "0.3333", False),
        ("3.1415927", "3.14159", True),
        ("0.3", "0.30000000000000004", True),  # noise of floating point
        ("12345", "12345.4", False),
        ("0.00001234567", "1.2346e-5", True),
    ],
)
def test_a_rounded_decimal_needs_five_significant_digits(exact_text: str, decimal: str, same: bool) -> None:
    assert FEWEST_DIGITS == 5
    assert equivalent(exact_text, decimal, PATIENCE) is same
    assert equivalent(decimal, exact_text, PATIENCE) is same


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("1 1/2", "3/2"),
        ("12 \\text{ cm}", "12 centimeter"),
        ("2 hours 45 minutes", "text 2 hours 45 minutes"),
        ("\\textbf{(C) } 12", "choice C"),
        ("101_2", "101_2"),
        ("x≥3", "x >= 3"),
        ("LISTEN", "text LISTEN"),
        ("0.10", "0.10"),
        ("2^{19999}", "2^19999"),
        ("1.5e-10", "0.00000000015"),
    ],
)
def test_a_reading_says_what_was_understood(answer: str, read: str) -> None:
    assert str(reading_of(answer)) == read


@settings(max_examples=300, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_any_text_is_read_and_equals_itself(text: str) -> None:
    assert str(reading_of(text)) is not None
    assert compare(reading_of(text), reading_of(text)) is Likeness.SAME


@pytest.mark.parametrize(
    "text", ["(" * 500, "-" * 1999, "1+" * 900 + "1", "9" * 3000, "{" * 300 + "}" * 300, "1^" * 199 + "1"]
)
def test_long_texts_are_read_quickly(text: str) -> None:
    assert str(reading_of(text))
    assert not equivalent(text, "\\pi", PATIENCE)


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), min_size=2, max_size=2))
def test_the_comparison_is_symmetric(texts: list[str]) -> None:
    left, right = map(reading_of, texts)
    assert compare(left, right, NUMBERS) is compare(right, left, NUMBERS)


def test_the_comparison_of_the_pool_is_symmetric() -> None:
    for left, right in itertools.combinations(map(reading_of, POOL), 2):
        assert compare(left, right, NUMBERS) is compare(right, left, NUMBERS)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), answers=st.lists(st.sampled_from([*POOL, None]), max_size=12))
def test_no_order_changes_the_groups(data: st.DataObject, answers: list[str | None]) -> None:
    order = data.draw(st.permutations(range(len(answers))))
    labels = group(answers, seconds=PATIENCE)
    shuffled = group([answers[index] for index in order], seconds=PATIENCE)
    assert [[labels[i] == labels[j] for j in order] for i in order] == (shuffled[:, None] == shuffled).tolist()
    weights = [(index * 7) % 5 / 4 for index in range(len(answers))]
    assert count_ballots(answers, weights) == count_ballots(
        [answers[index] for index in order], [weights[index] for index in order]
    )


def test_a_left_out_unit_joins_only_if_it_is_clear_which() -> None:
    assert group(["12", "12 cm", "12 centimeters"]).tolist() == [0, 0, 0]
    assert group(["12", "12 cm", "12 m"]).tolist() == [0, 1, 2]
    assert group(["x=5", "5", "x = 5"]).tolist() == [0, 0, 0]
    assert group(["x=5", "5", "y=5"]).tolist() == [0, 1, 2]


def test_the_winner_does_not_depend_on_the_order() -> None:
    answers, weights = ["x>3", "5", "(3,\\infty)"], [0.4, 0.6, 0.3]
    for order in itertools.permutations(range(3)):
        ballots = count_ballots([answers[i] for i in order], [weights[i] for i in order])
        assert [(ballot.answer, ballot.paths) for ballot in ballots] == [("x>3", 2), ("5", 1)]


@given(a=st.fractions(), b=st.fractions())
def test_fractions_compare_exactly(a: Fraction, b: Fraction) -> None:
    texts = [rf"\frac{{{value.numerator}}}{{{value.denominator}}}" for value in (a, b)]
    assert [exact(node) for node in (reading_of(text).node for text in texts) if node] == [a, b]
    assert bool(compare(reading_of(texts[0]), reading_of(texts[1]))) is (a == b)


def test_irrational_values_are_left_to_the_worker() -> None:
    with pytest.raises(UndecidedError):
        compare(reading_of("\\sqrt{8}"), reading_of("2\\sqrt{2}"))


def test_graders() -> None:
    assert grade("0.5", "\\frac12").right
    assert not grade("0.5", "\\frac12", "text").right
    assert grade("\\dfrac12", "\\frac12", "text").right
    assert grade("(C) 12", "C", "choice").right
    assert not grade("12", "C", "choice").right
    assert not grade("12", "12", "choice").right
    with pytest.raises(InputError, match="no grader is called 'numbers'"):
        grade("1", "1", "numbers")
