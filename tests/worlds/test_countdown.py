"""The numbers game against brute force over expression trees, and against plain Python arithmetic."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollwise.answers.arithmetic import evaluate
from rollwise.core import Problem
from rollwise.errors import InputError
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.countdown_play import LEVELS, held_out_split
from rollwise.worlds.countdown_rules import can_reach
from rollwise.worlds.tokenizer import END, UNKNOWN, build_tokenizer

WORLD = Countdown()
PYTHON = str.maketrans({"−": "-", "×": "*", "÷": "/"})


@cache
def values(numbers: tuple[int, ...]) -> frozenset[int]:
    """The values of all expression trees over the sorted numbers whose nodes are whole numbers above zero."""
    if len(numbers) == 1:
        return frozenset(numbers)
    found = set()
    for size in range(1, len(numbers)):
        for chosen in combinations(range(len(numbers)), size):
            left = values(tuple(numbers[i] for i in chosen))
            right = values(tuple(numbers[i] for i in range(len(numbers)) if i not in chosen))
            found |= {result for a in left for b in right for result in (a + b, a - b, a * b, Fraction(a, b))}
    return frozenset(int(result) for result in found if result > 0 and result.denominator == 1)


def canonical(problem: Problem) -> tuple[tuple[int, ...], int]:
    *numbers, target = map(int, re.findall(r"\d+", problem.question))
    return tuple(sorted(numbers)), target


def replay(problem: Problem, steps: Sequence[str]) -> Iterator[tuple[int, ...]]:
    """The numbers left after each step according to Python's arithmetic; asserts that every step follows."""
    left = Counter(canonical(problem)[0])
    for step in steps:
        operation, remaining = step.split(", left: ")
        a, operator, b, _, result = operation.translate(PYTHON).split()
        used = Counter([int(a), int(b)])
        assert used <= left
        assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b), "/": Fraction(int(a), int(b))}[
            operator
        ] == int(result)
        assert int(result) > 0
        left = left - used + Counter([int(result)])
        assert remaining == " ".join(map(str, sorted(left.elements())))
        yield tuple(sorted(left.elements()))


def demonstrations(level: int, count: int, after: int = 0) -> list[tuple[Problem, list[str]]]:
    rng = np.random.default_rng([level, after])
    return [WORLD.demonstration(rng, level, after) for _ in range(count)]


@pytest.mark.parametrize(("level", "after"), [(3, 0), (5, 0), (5, 2)])
def test_attempts_are_valid_games_without_held_out_states(level: int, after: int) -> None:
    rng = np.random.default_rng(level)
    attempts = [WORLD.attempt(rng, level, after) for _ in range(80)]
    rights = 0
    for problem, steps in attempts:
        numbers, target = canonical(problem)
        *moves, _ = steps
        assert WORLD.step_is_valid(problem, steps)
        assert len(moves) == len(numbers) - 1
        states = [(tuple(sorted(numbers))), *replay(problem, moves)]
        assert all(held_out_split(state, target) == "train" for state in states if len(state) > 2)
        right = states[-1] == (target,)
        assert WORLD.reachable(problem, steps) == right
        rights += right
    assert 0 < rights < 80


@pytest.mark.parametrize(("count", "instances", "largest"), [(2, 150, 30), (3, 150, 25), (4, 120, 15), (5, 6, 9)])
def test_the_oracle_agrees_with_brute_force(count: int, instances: int, largest: int) -> None:
    rng = np.random.default_rng(count)
    outcomes = Counter[bool]()
    for _ in range(instances):
        numbers = tuple(sorted(map(int, rng.integers(1, largest + 1, count))))
        makeable = values(numbers)
        for target in {*map(int, rng.integers(1, 200, 8)), *map(int, rng.choice(sorted(makeable), 4))}:
            assert can_reach(numbers, target) == (target in makeable), (numbers, target)
            outcomes[target in makeable] += 1
    assert min(outcomes[True], outcomes[False]) >= instances


@settings(max_examples=150)
@given(numbers=st.lists(st.integers(1, 12), min_size=3, max_size=4), target=st.integers(1, 60), data=st.data())
def test_reachable_after_any_legal_moves_agrees_with_brute_force(
    numbers: list[int], target: int, data: st.DataObject
) -> None:
    problem = WORLD.parse(f"Use {' '.join(map(str, numbers))} to make {target}")
    table, steps = list(numbers), list[str]()
    while len(table) > 1:
        a, b = (table.pop(data.draw(st.integers(0, len(table) - 1))) for _ in range(2))
        operator, result = ("×", a * b) if data.draw(st.booleans()) else ("−", a - b) if a > b else ("+", a + b)
        table.append(result)
        steps.append(f"{a} {operator} {b} = {result}, left: {' '.join(map(str, sorted(table)))}")
        assert WORLD.step_is_valid(problem, steps)
        assert WORLD.state(problem, steps) == (tuple(sorted(table)), False)
        assert WORLD.reachable(problem, steps) == (target in values(tuple(sorted(table))))


AFTER = [*((level, 0) for level in LEVELS), (4, 1), (5, 1), (5, 2)]


@pytest.mark.parametrize(("level", "after"), AFTER)
def test_every_demonstration_is_right_at_every_step(level: int, after: int) -> None:
    shape = LEVELS[level]
    for problem, steps in demonstrations(level, 60, after):
        numbers, target = canonical(problem)
        assert problem.answer == str(target)
        assert len(numbers) == shape.count - after
        assert min(numbers) >= 1
        assert after or max(numbers) <= shape.largest
        assert shape.low <= target <= shape.high
        *moves, answer = steps
        for depth, left in enumerate(replay(problem, moves), start=1):
            assert WORLD.step_is_valid(problem, steps[:depth])
            assert WORLD.state(problem, steps[:depth]) == (left, False)
            assert WORLD.reachable(problem, steps[:depth])
            assert target in values(left)
        assert len(left) == 1
        expression = answer.removeprefix(r"Answer: \boxed{").removesuffix("}")
        exact = eval(re.sub(r"(\d+)", r"Fraction(\1)", expression.translate(PYTHON)), {"Fraction": Fraction})
        assert exact == target
        assert sorted(map(int, re.findall(r"\d+", expression))) == list(numbers)
        assert WORLD.step_is_valid(problem, steps)
        assert WORLD.reachable(problem, steps)
        assert WORLD.is_right(problem, expression)


def test_the_splits_share_no_problem() -> None:
    drawn = {
        split: {
            canonical(WORLD.problem(level, seed, split)) for level in LEVELS for seed in range(160 if level < 3 else 20)
        }
        for split in ("test", "validation", "train")
    }
    assert all(len(forms) > 250 for forms in drawn.values())
    assert not drawn["test"] & drawn["validation"]
    assert not drawn["test"] & drawn["train"]
    assert not drawn["validation"] & drawn["train"]


def test_no_demonstration_passes_through_a_held_out_state() -> None:
    held_out = {
        canonical(WORLD.problem(level, seed, split))
        for split in ("test", "validation")
        for level, count in ((1, 500), (2, 60), (3, 60))
        for seed in range(count)
    }
    passed = set()
    for level, after in AFTER:
        for problem, steps in demonstrations(level, 1000 if level in (1, 3) else 200, after):
            numbers, target = canonical(problem)
            states = [numbers, *replay(problem, steps[:-1])]
            passed |= {(state, target) for state in states if len(state) >= 3}
    assert len(passed) > 2000
    assert not passed & held_out


def test_level_and_seed_determine_a_problem() -> None:
    assert WORLD.problem(3, 7) == Countdown().problem(3, 7)
    assert WORLD.problem(3, 7) != WORLD.problem(3, 8)
    assert WORLD.problem(3, 7).id == "countdown-test-3-7"
    for wrong in ((0, 1, "test"), (6, 1, "test"), (1, 1, "dev")):
        with pytest.raises(InputError, match=r"levels 1 to 5|test, validation or train"):
            WORLD.problem(*wrong)


@pytest.mark.parametrize(
    "step",
    [
        "2 + 3 = 6, left: 4 6",
        "2 + 3 = 5, left: 4 6",
        "2 + 3 = 5, left: 5",
        "2 + 3 = 5, left: 3 4 5",
        "2 + 9 = 11, left: 3 4 11",
        "2 + 2 = 4, left: 3 4 4",
        "2 − 3 = 1, left: 1 4",
        "2 − 3 = -1, left: -1 4",
        "3 ÷ 2 = 1, left: 1 4",
        "4 − 4 = 0, left: 0 2 3",
        "2 + 3 = 5",
        "2 + 3 = 5, left: ",
        "2 ^ 3 = 8, left: 4 8",
        "first I add two and three",
        "",
        pytest.param(f"{'2' * 5000} + 3 = 5, left: 4 5", id="a number that Python refuses to read"),
        pytest.param(f"2 + 3 = 5, left: 4 {'5' * 5000}", id="such a number among those left"),
    ],
)
def test_a_broken_step_is_detected_and_later_steps_do_not_repair_it(step: str) -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 20")
    assert WORLD.step_is_valid(problem, ["2 + 3 = 5, left: 4 5"])
    assert WORLD.reachable(problem, ["2 + 3 = 5, left: 4 5"])
    for steps in ([step], [step, "4 × 5 = 20, left: 20"], ["2 + 3 = 5, left: 4 5", step]):
        assert not WORLD.step_is_valid(problem, steps)
        assert not WORLD.reachable(problem, steps)


def test_steps_after_a_broken_step_or_after_the_answer_are_broken() -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 10")
    assert WORLD.step_is_valid(problem, ["2 × 3 = 6, left: 4 6", "4 + 6 = 10, left: 10"])
    for steps in (
        ["2 + 3 = 6, left: 4 6", "4 + 6 = 10, left: 10"],
        ["2 × 3 = 6, left: 4 6", r"Answer: \boxed{4 + 2 × 3}", "4 + 6 = 10, left: 10"],
    ):
        assert not WORLD.step_is_valid(problem, steps)
        assert not WORLD.reachable(problem, steps)


def test_a_finished_solution_is_judged_by_its_answer() -> None:
    problem = WORLD.parse("Use 2, 3, 4 to make 20")
    moves = ["2 + 3 = 5, left: 4 5", "4 × 5 = 20, left: 20"]
    for answer, right in {
        "(2 + 3) × 4": True,
        "4*(3+2)": True,
        r"4 \times (2 + 3)": True,
        "4 × 5": False,
        "2 × 3 + 4": False,
        "(2 + 3) × 4 + 0": False,
        "20": False,
        "": False,
        "twenty": False,
    }.items():
        assert WORLD.is_right(problem, answer) == right
        if answer:
            assert WORLD.reachable(problem, [*moves, f"Answer: \\boxed{{{answer}}}"]) == right


@pytest.mark.parametrize(
    "question",
    [
        "Use 18, 1, 13, 22, 7 to make 132",
        "use 18 1 13 22 7 to get 132.",
        "USE 18, 1, 13, 22 and 7 to reach 132!",
        "  Use 18,1,13,22,7, each once, to make 132\n",
        "Use 18, 1, 13, 22, 7, each once, with + - * / to make 132.",
        "Use 18, 1, 13, 22, 7, each once, with + − × ÷ to make 132.",
    ],
)
def test_a_question_may_be_spelled_in_many_ways(question: str) -> None:
    problem = WORLD.parse(question)
    assert problem.question == "Use 18, 1, 13, 22, 7, each once, with + − × ÷ to make 132."
    assert (problem.answer, problem.world) == ("132", "countdown")


@pytest.mark.parametrize(
    "question",
    [
        "",
        "What is 2 + 2?",
        "Use to make 5",
        "Use 5 to make 5",
        "Use 1, 2, 3, 4, 5, 6, 7, 8 to make 36",
        "Use 0, 4 to make 4",
        "Use 4, 10000 to make 4",
        "Use 3, 4 to make 0",
        "Use 3, 4 to make -1",
        "Use 3, 4 to make 3.5",
        "Use 3, 4 to make 7 or 12",
        "Use 4, -3 to make 1",
        "Use 1.5, 2 to make 3",
        "Use 1/2, 3 to make 2",
        "Use 3, x to make 7",
        f"Use {'9' * 5000}, 2 to make 3",
        f"Use {'1 ' * 20000}",
    ],
    ids=lambda question: question[:32],
)
def test_other_texts_get_a_clear_error(question: str) -> None:
    with pytest.raises(InputError, match=r"numbers game") as raised:
        WORLD.parse(question)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("expression", "value", "used"),
    [
        ("7", 7, (7,)),
        ("1 + 2 × 3", 7, (1, 2, 3)),
        ("(1 + 2) * 3 − 4", 5, (1, 2, 3, 4)),
        ("8 ÷ 3 / 2", Fraction(4, 3), (2, 3, 8)),
        (r"2 \times 3 \div 4 - 5 \cdot 6", Fraction(-57, 2), (2, 3, 4, 5, 6)),
        ("1 - (2 - 3)", 2, (1, 2, 3)),
        ("+".join(["1"] * 250), 250, (1,) * 250),
    ],
)
def test_expressions_have_their_exact_value(expression: str, value: Fraction, used: tuple[int, ...]) -> None:
    assert evaluate(expression) == (value, used)


Tree = int | tuple["Tree", str, "Tree"]
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.integers(0, 30), lambda parts: st.tuples(parts, st.sampled_from("+-*/"), parts), max_leaves=12
)


@given(TREES)
def test_expressions_have_the_same_value_as_in_python(tree: Tree) -> None:
    def text(part: Tree) -> str:
        return str(part) if isinstance(part, int) else f"({text(part[0])}) {part[1]} {text(part[2])}"

    shown = text(tree)
    try:
        expected = eval(re.sub(r"\d+", r"Fraction(\g<0>)", shown))
    except ZeroDivisionError:
        with pytest.raises(InputError):
            evaluate(shown)
    else:
        assert evaluate(shown) == (expected, tuple(sorted(map(int, re.findall(r"\d+", shown)))))


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "x",
        "abs(3)",
        "__import__('os').getpid()",
        "(1).real",
        "2 ** 3",
        "2 ^ 3",
        "5 // 2",
        "5 % 2",
        "-1",
        "1.5",
        "1e3",
        "True",
        "'a' * 3",
        "[1]",
        "1, 2",
        "1; 2",
        "1 if 2 else 3",
        "(y := 3)",
        "1 < 2",
        "1 +",
        "1\0",
        "1 / 0",
        "1 ÷ (2 − 2)",
        "9" * 501,
        "9**9**9**9**9",
        "(" * 240 + "1" + ")" * 240,
        "-" * 499 + "1",
    ],
    ids=lambda expression: repr(expression[:16]),
)
def test_anything_but_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(InputError):
        evaluate(expression)
    assert not WORLD.is_right(WORLD.parse("Use 1, 2 to make 3"), expression)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(WORLD.literals)


def chat(problem: Problem, steps: Sequence[str]) -> list[dict[str, str]]:
    answer = WORLD.separator.join(steps)
    return [{"role": "user", "content": problem.question}, {"role": "assistant", "content": answer}]


def test_text_survives_the_tokenizer_and_a_step_end_is_one_token(tokenizer: Any) -> None:
    separator = tokenizer.convert_tokens_to_ids(WORLD.separator)
    for level in LEVELS:
        for problem, steps in demonstrations(level, 30):
            text = WORLD.separator.join(steps)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text
            assert ids.count(separator) == len(steps) - 1
            pieces = [tokenizer(step + WORLD.separator, add_special_tokens=False)["input_ids"] for step in steps]
            assert [token for piece in pieces for token in piece][:-1] == ids
            whole = tokenizer.apply_chat_template(chat(problem, steps), tokenize=False)
            assert whole == f"<|user|>{problem.question}<|assistant|>{text}{END}"
    assert UNKNOWN in tokenizer.decode(tokenizer("Hello")["input_ids"])


def test_the_stock_auto_tokenizer_reads_the_folder(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert (again.eos_token, again.pad_token, again.unk_token) == (END, tokenizer.pad_token, UNKNOWN)
    for problem, steps in demonstrations(5, 5):
        texts = [each.apply_chat_template(chat(problem, steps), tokenize=False) for each in (tokenizer, again)]
        assert texts[0] == texts[1]
        assert again(texts[1])["input_ids"] == tokenizer(texts[0])["input_ids"]
        prompt = again.apply_chat_template(chat(problem, steps)[:1], tokenize=False, add_generation_prompt=True)
        assert prompt == f"<|user|>{problem.question}<|assistant|>"
