"""Answers that are not boxed: the forms in which models give them, and which form a search reads."""

import pytest

from rollwise.answers import read_answers
from rollwise.answers.forms import FORMS, check_form, find_form
from rollwise.core import Path, Step, Stop
from rollwise.errors import InputError


def path(text: str, stop: Stop = Stop.END) -> Path:
    return Path((0,), (Step(text, 3, stop),))


@pytest.mark.parametrize(
    ("form", "text", "answer"),
    [
        ("gsm8k", "48 + 24 = 72\n#### 72", "72"),
        ("gsm8k", "#### $1,234", "1234"),
        ("gsm8k", "#### 3\nno, #### 4.", "4"),
        ("gsm8k", "## 72", None),
        ("answer-is", "So the answer is 14.", "14"),
        ("answer-is", "The answer to the question is 3.5.", "3.5"),
        ("answer-is", "**Answer:** 14 clips", "14"),
        ("answer-is", "Answer:\n\n72", "72"),
        ("answer-is", "The final answer is: \\( 14 \\).", "14"),
        ("answer-is", "The final answer is $\\frac{1}{2}$.", "\\frac{1}{2}"),
        ("answer-is", "the answer would be Paris", "Paris"),
        ("answer-is", "The answer is 3 or 4.", "3 or 4"),
        ("answer-is", "The answer is 2x + 1.", "2x + 1"),
        ("answer-is", "I cannot say.", None),
        ("bold", "She sold **72** clips.", "72"),
        ("bold", "**Step 1:** add. **72 clips**", "72"),
        ("bold", "**Step 1:** add.", None),
        ("last-number", "Altogether 48 + 24 = 72 clips.", "72"),
        ("last-number", "It costs $1,200.50.", "1200.50"),
        ("last-number", "It is -5", "-5"),
        ("last-number", "9 - 5 = 5-1", "1"),
        ("last-number", "none at all", None),
        ("boxed", "\\boxed{72}", "72"),
        ("Result: (.+)", "Result: 7\nResult: 8\n", "8"),
    ],
)
def test_a_form_reads_its_answer(form: str, text: str, answer: str | None) -> None:
    assert find_form(form)(text) == answer


@pytest.mark.parametrize("wrong", ["(", "gsm8", "(a)(b)", "no group"])
def test_a_form_that_nothing_can_read_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="last-number"):
        check_form(wrong)


def test_every_form_and_auto_are_known() -> None:
    for name in ("auto", *FORMS):
        check_form(name)


def test_boxes_count_alone_if_any_path_boxed() -> None:
    reading = read_answers([path("\\boxed{1}"), path("The answer is 2."), path("\\boxed{3}", Stop.LENGTH)])
    assert (reading.answers, reading.form) == (("1", None, None), "boxed")
    assert (reading.unread, reading.cut, reading.example, reading.note) == (1, 1, "The answer is 2.", None)


def test_without_a_box_the_form_that_reads_most_paths_is_read() -> None:
    reading = read_answers([path("#### 1"), path("#### 2"), path("The answer is 3")])
    assert (reading.answers, reading.form, reading.unread) == (("1", "2", "3"), "last-number", 0)
    reading = read_answers([path("24 + 2\n#### 26"), path("#### 26"), path("no idea")])
    assert (reading.answers, reading.form) == (("26", "26", None), "gsm8k")
    assert (reading.unread, reading.example) == (1, "no idea")
    assert reading.note is not None
    assert "2 of 3 paths" in reading.note
    assert "--answer gsm8k" in reading.note


def test_a_chosen_form_reads_nothing_else() -> None:
    reading = read_answers([path("The answer is 3"), path("#### 4")], "gsm8k")
    assert (reading.answers, reading.form, reading.unread) == ((None, "4"), "gsm8k", 1)
    reading = read_answers([path("The answer is 3")], "boxed")
    assert (reading.answers, reading.unread) == ((None,), 1)
    assert reading.note is not None


def test_a_path_that_was_cut_has_no_answer() -> None:
    reading = read_answers([path("So 3 + 4 = 7, and", Stop.LENGTH)])
    assert (reading.answers, reading.unread, reading.cut) == ((None,), 0, 1)
    assert (reading.example, reading.note) == ("So 3 + 4 = 7, and", None)
    assert read_answers([]).example is None


def test_a_long_last_line_is_shortened() -> None:
    example = read_answers([path("a\n" + "b" * 500)]).example
    assert example == "…" + "b" * 120
