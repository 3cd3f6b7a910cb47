"""Graders against worked cases, and the golds of public data sets against themselves and their neighbours."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from rollwise.answers import Grader, find_grader
from rollwise.errors import EngineError, InputError

SHARED = Path(os.environ.get("ROLLWISE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"


@pytest.mark.parametrize(
    ("name", "gold", "right", "wrong"),
    [
        ("math", "\\frac{1}{2}", ["0.5", "1/2", "\\dfrac12"], ["0.6", "", "2"]),
        ("integer", "70", ["70", "70.0", "$70$", "x = 70", "140/2", "70 apples"], ["71", "70.5", "seventy", ""]),
        ("integer", "033", ["33", "\\text{33}"], ["330"]),
        ("integer", "70000", ["70,000", "\\$70{,}000"], ["70", "7000"]),
        ("number", "3.5", ["7/2", "3.500001", "3.5 cm"], ["3.51", "about", ""]),
        ("number(0.01)", "1.41", ["\\sqrt{2}", "1.42", "1.40"], ["1.43", "-1.41"]),
        ("number(1%)", "200", ["198", "202"], ["197", "203"]),
        ("text", "Paris ", ["Paris", " Paris"], ["paris", "Paris.", ""]),
        ("choice", "B", ["B", "(B)", "b", "B. Paris", "\\text{(B)}", "**B**", "[B]"], ["A", "C", "bad", ""]),
        (
            "choice",
            "(C)",
            ["The answer is C.", "I choose option (C) because A is wrong.", "C) 12"],
            ["The answer is D."],
        ),
    ],
)
def test_worked_cases(name: str, gold: str, right: list[str], wrong: list[str]) -> None:
    grader = find_grader(name)
    grader.refuse_unreadable(gold)
    assert [answer for answer in right if not grader.right(gold, answer)] == []
    assert [answer for answer in wrong if grader.right(gold, answer)] == []


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The capital is Paris, so the answer is (B).", "B"),
        ("Answer: D", "D"),
        ("Option A is false. Option C is true.\n\nTherefore the correct choice is **C**", "C"),
        ("We exclude (A) first. So the answer is \\boxed{\\text{E}}", "E"),
        ("The only one that fits is (D), as computed.", "D"),
        ("The answer is a good one.", None),
        ("The answer is A good guess", None),
        ("Points (A) and (B) lie on a line.", None),
        ("The answer is 42.", None),
    ],
)
def test_a_choice_is_read_from_prose(text: str, letter: str | None) -> None:
    grader = find_grader("choice")
    assert grader.reads(text) is (letter is not None)
    if letter is not None:
        assert grader.right(letter, text)


@pytest.mark.parametrize(
    ("name", "answers", "labels"),
    [
        ("math", ["1/2", "0.5", None, "2"], [0, 0, -1, 1]),
        ("integer", ["7", "7.0", "x=7", "odd", "odd", None, "8"], [0, 0, 0, 1, 1, -1, 2]),
        ("number(0.1)", ["1", "1.3", "1.05", "odd", "1.1", None], [0, 1, 0, 2, 0, -1]),
        ("choice", ["B", "(b)", "the answer is B.", "C", None], [0, 0, 0, 1, -1]),
        ("text", ["a", "a ", "A"], [0, 0, 1]),
    ],
)
def test_what_counts_as_one_answer_in_a_vote(name: str, answers: list[str | None], labels: list[int]) -> None:
    assert find_grader(name).group(answers).tolist() == labels


@pytest.mark.parametrize(
    ("name", "gold"),
    [
        ("integer", "1/2"),
        ("integer", "a dozen"),
        ("number", "x + 1"),
        ("choice", "F"),
        ("choice", "3"),
        ("text", "  "),
        ("math", ""),
        ("math", "She buys three apples for two dollars each, and then she has to pay six dollars, " * 2),
    ],
)
def test_a_gold_that_cannot_be_read_is_refused(name: str, gold: str) -> None:
    with pytest.raises(InputError, match="gold"):
        find_grader(name).refuse_unreadable(gold)


def test_unknown_graders_are_refused() -> None:
    for name in ("maths", "number(x)", "number()", "choice(F)"):
        with pytest.raises(InputError, match="no grader is called"):
            find_grader(name)


def own(folder: Path, body: str) -> Grader:
    file = folder / "mine.py"
    file.write_text(body, encoding="utf-8")
    return find_grader(f"{file}:judge")


def test_an_own_grader_that_hangs_or_crashes_costs_one_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollwise.answers.graders.SECONDS", 60.0)
    grader = own(
        tmp_path,
        "import os\n"
        "def judge(answer, gold):\n"
        "    print('a line on standard output')\n"
        "    while answer == 'hang': pass\n"
        "    if answer == 'exit': os._exit(3)\n"
        "    if answer == 'raise': raise KeyError('x')\n"
        "    return None if answer == 'none' else answer[::-1] == gold\n",
    )
    assert grader.right("abc", "cba")
    for answer, told in [
        ("hang", "longer than"),
        ("exit", "ended its process"),
        ("raise", "raised KeyError: 'x'"),
        ("none", "returned None"),
    ]:
        with monkeypatch.context() as patched:
            patched.setattr("rollwise.answers.graders.SECONDS", 0.5 if answer == "hang" else 60.0)
            with pytest.raises(EngineError, match=told):
                grader.right("abc", answer)
        assert grader.right("abc", "cba")
        assert not grader.right("abc", "abc")
    assert grader.group(["a", "a", "b", None]).tolist() == [0, 0, 1, -1]


@pytest.mark.parametrize(
    "body", ["judge = 3\n", "def judge(answer): return True\n", "def other(a, b): return True\n", "1/0\n"]
)
def test_an_own_grader_that_cannot_be_called_is_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(InputError):
        own(tmp_path, body)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is absent")
@pytest.mark.parametrize("name", ["aime24.jsonl", "aime25.jsonl", "gsm8k_test.jsonl"])
@pytest.mark.parametrize("grader", ["integer", "number", "text"])
def test_a_gold_is_right_for_itself_and_not_for_its_neighbour(name: str, grader: str) -> None:
    lines = (SHARED / name).read_text(encoding="utf-8").splitlines()
    golds = [str(json.loads(line)["answer"]).rpartition("####")[2].strip() for line in lines]
    reader = find_grader(grader)
    for gold, neighbour in itertools.pairwise(golds):
        assert reader.right(gold, gold)
        assert reader.right(gold, neighbour) is (gold.replace(",", "") == neighbour.replace(",", ""))
