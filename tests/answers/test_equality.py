"""Boxes against worked examples, equality against exact arithmetic and known identities, and a worker that hangs."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from rollwise.answers.equality import _SPELLINGS, equivalent, group, worker
from rollwise.answers.extraction import last_boxed

TOWER = "9^{9^{9^{9^9}}}"
IRRATIONAL = (r"\sqrt{8}", r"2\sqrt{2}")  # only the worker compares these
PATIENCE = 30.0  # seconds; only a busy machine needs that long
few = settings(max_examples=20)
BALANCED = st.recursive(
    st.sampled_from(["", "a", "1 ", r"\{", r"\}", r"\frac"]),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda parts: "{" + "}{".join(parts) + "}"),
    max_leaves=8,
)
TERMS = st.recursive(
    st.integers(1, 9).map(lambda value: (str(value), Fraction(value))),
    lambda inner: st.tuples(inner, st.sampled_from("+−×÷"), inner).map(lambda parts: combined(*parts)),
    max_leaves=4,
)


def combined(left: tuple[str, Fraction], sign: str, right: tuple[str, Fraction]) -> tuple[str, Fraction]:
    """The text and value of an operation on two terms; a division by zero becomes a sum."""
    (left_text, a), (right_text, b) = left, right
    if sign == "÷" and b == 0:
        sign = "+"
    values = {"+": a + b, "−": a - b, "×": a * b, "÷": a / b if b else a}
    return f"({left_text} {sign} {right_text})", values[sign]


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{ 42 }", "42"),
        (r"\fbox{7}", "7"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{\}}", r"\}"),
        (r"\boxed{1 \\{2} \\}", r"1 \\{2} \\"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\fbox{1} \boxed{2}", "2"),
        (r"\boxed{1} \fbox{2}", "2"),
        (r"\boxed{1} \boxed{2", "1"),
        (r"\boxed{1} \boxed{ }", "1"),
        (r"\boxed{\text{a \boxed{3}}}", "3"),
        (r"\boxed{1 + \frac{2}{3}", None),
        (r"\boxed{}", None),
        (r"\boxed", None),
        ("{42}", None),
        ("", None),
        (r"\boxed{3},  and" + "\n" * 50 + r"\boxed{5}", "3, 5"),
    ],
)
def test_last_boxed(text: str, inside: str | None) -> None:
    assert last_boxed(text) == inside


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"\boxed{" * 20_000, None),
        (r"\boxed{" * 20_000 + r"\boxed{7}", "7"),
        (r"\boxed{3}," + "\n" * 100_000 + r"\boxed{5}", "3, 5"),
        (r"\boxed{3}" + " \n" * 50_000 + r"so \boxed{5}", "5"),
        (r"\boxed{3}" + " and" * 25_000 + r"\boxed{5}", "5"),
    ],
    ids=["never closed", "one closed", "lines between", "a word between", "words between"],
)
def test_the_text_of_a_model_in_a_loop_is_read(text: str, inside: str | None) -> None:
    """Time in proportion to the square of these texts would be many minutes."""
    assert last_boxed(text) == inside


@given(inside=BALANCED, around=st.text("ab{}\\ ", max_size=8))
def test_a_balanced_box_is_found_anywhere_in_a_text(inside: str, around: str) -> None:
    assert last_boxed(f"{around} \\boxed{{{inside}1}} {around}") == f"{inside}1".strip()


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"\frac{1}{2}", "1/2"),
        (r"\frac12", "2/4"),
        ("1,000", "1000"),
        ("x + y", "y + x"),
        ("(x+1)^2", "x^2 + 2x + 1"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        ("6 ÷ 2", "3"),
        ("2×3", r"2 \cdot 3"),
        ("−3", "-3"),
        ("5 – 2", "3"),
        ("(3 + 5) * 2", "2 × (5 + 3)"),
        ("(1,2)", "(1, 4/2)"),
        ("[0, 1)", "[0, 2/2)"),
        (r"\{1, 2\}", r"\{2, 1\}"),
        ("x = 5", "5"),
        ("$5$", "5"),
    ],
)
def test_equal_mathematics(gold: str, answer: str) -> None:
    assert equivalent(gold, answer, PATIENCE)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3", "4"),
        ("1/3", "0.3"),
        ("x", "y"),
        ("6 ÷ 2", "2 ÷ 6"),
        ("5 − 2", "2 − 5"),
        ("(1,2)", "(2,1)"),
        ("[0, 1)", "[0, 1]"),
        ("1", ""),
        ("1", r"\frac{"),
    ],
)
def test_different_mathematics(gold: str, answer: str) -> None:
    assert not equivalent(gold, answer, PATIENCE)


@few
@given(part=st.integers(-60, 60), whole=st.integers(1, 30), factor=st.integers(2, 9))
def test_fractions_are_equal_when_their_values_are(part: int, whole: int, factor: int) -> None:
    assert equivalent(rf"\frac{{{part}}}{{{whole}}}", f"{part * factor}/{whole * factor}", PATIENCE)
    assert not equivalent(rf"\frac{{{part}}}{{{whole}}}", f"{part * factor + 1}/{whole * factor}", PATIENCE)


@few
@given(term=TERMS)
def test_arithmetic_equals_its_value(term: tuple[str, Fraction]) -> None:
    text, value = term
    assert equivalent(str(value), text, PATIENCE)
    assert not equivalent(str(value + 1), text, PATIENCE)


def test_group_numbers_answers_as_they_appear() -> None:
    answers = ["1/2", None, "3", "0.5", r"\frac{1}{2}", "6 ÷ 2", None, "x", "1/2"]
    assert group(answers, seconds=PATIENCE).tolist() == [0, -1, 1, 0, 0, 1, -1, 2, 0]


@pytest.mark.parametrize("answers", [[], [None], [None, "7"], ["7", "7", None]])
def test_group_of_at_most_one_answer(answers: Sequence[str | None]) -> None:
    assert group(answers).tolist() == [-1 if answer is None else 0 for answer in answers]


def test_group_by_text_compares_spelling_only() -> None:
    assert group(["2 × 3", "6", "2  ×  3", "5 − 1", "5 - 1"], compare="text").tolist() == [0, 1, 0, 2, 2]


def test_whole_numbers_need_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "call", lambda *_, **__: pytest.fail("the worker was called"))
    assert group(["12", None, "7", "012", "−7", "-7", " 7 "]).tolist() == [0, -1, 1, 0, 2, 2, 1]
    assert equivalent("12", "012")
    assert not equivalent("12", "13")


@few
@given(terms=st.lists(TERMS, min_size=2, max_size=5, unique_by=lambda term: term[0]))
def test_arithmetic_is_grouped_by_its_value_as_math_verify_groups_it(terms: list[tuple[str, Fraction]]) -> None:
    texts, values = [text.translate(_SPELLINGS) for text, _ in terms], [value for _, value in terms]
    parsed = [parse(f"${text}$", parsing_timeout=None) for text in texts]
    firsts = [next(i for i, other in enumerate(parsed) if verify(other, each, timeout_seconds=None)) for each in parsed]
    assert firsts == [values.index(value) for value in values]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "call", lambda *_, **__: pytest.fail("the worker was called"))
        labels = group([text for text, _ in terms])
    assert (labels[:, None] == labels).tolist() == [[value == other for value in values] for other in values]


def test_the_worker_compares_one_text_for_each_value(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[list[str]] = []

    def likenesses(task: str, texts: list[str], pairs: list[tuple[int, int]], seconds: float) -> list[int]:
        compared.extend([texts[left], texts[right]] for left, right in pairs)
        return [2 if "pi" in texts[left] + texts[right] else 0 for left, right in pairs]

    monkeypatch.setattr(worker, "call", likenesses)
    assert group(["2 × 3", "6.0", "1 + 5", "(4", "4", "2 + 2", None, "6"]).tolist() == [0, 0, 0, 1, 2, 2, -1, 0]
    assert compared == []
    answers = ["2 × 3", r"\pi + 6 - \pi", "6.0", "1 + 5", "(4", "4 + 2", None, "6"]
    assert group(answers).tolist() == [0, 0, 0, 0, 1, 0, -1, 0]
    assert compared == [[r"2 \times 3", r"\pi + 6 - \pi"], [r"\pi + 6 - \pi", "6.0"]]


def test_group_refuses_an_unknown_comparison() -> None:
    with pytest.raises(ValueError, match="spelling"):
        group(["1/2", "0.5"], compare="spelling")


def test_many_threads_may_compare_at_once() -> None:
    pairs = [
        (rf"\sqrt{{{index + 2}}}", rf"\frac{{{index + 2 + index % 2}}}{{\sqrt{{{index + 2}}}}}") for index in range(24)
    ]
    with ThreadPoolExecutor(8) as pool:
        equal = list(pool.map(lambda pair: equivalent(pair[0], pair[1], PATIENCE), pairs))
    assert equal == [index % 2 == 0 for index in range(24)]


def test_a_comparison_that_hangs_is_killed_and_the_next_one_works() -> None:
    assert equivalent(*IRRATIONAL, PATIENCE)
    hung = worker._process
    assert hung is not None
    start = time.monotonic()
    assert not equivalent(TOWER, "1", seconds=1)
    assert time.monotonic() - start < 60
    assert hung.poll() is not None
    assert equivalent(*IRRATIONAL, PATIENCE)


def test_the_worker_writes_nothing_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    worker.stop()
    assert equivalent(*IRRATIONAL, PATIENCE)
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_died_is_replaced() -> None:
    assert equivalent(*IRRATIONAL, PATIENCE)
    assert worker._process is not None
    worker._process.kill()
    worker._process.wait()
    assert equivalent(*IRRATIONAL, PATIENCE)


def test_an_interrupted_comparison_does_not_answer_for_the_next_one() -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupted

    def compare() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        equivalent(TOWER, "1", seconds=PATIENCE)

    assert equivalent(*IRRATIONAL, PATIENCE)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):
            compare()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert equivalent(*IRRATIONAL, PATIENCE)


def test_one_hanging_answer_does_not_spoil_the_group() -> None:
    assert group([r"\sqrt{8}", TOWER, r"2\sqrt{2}"], seconds=1, pair_seconds=8).tolist() == [0, 1, 0]
