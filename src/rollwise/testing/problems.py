"""The contract of a part that only poses problems and grades answers, `rollwise.core.Problems`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rollwise.core import Problem, Problems
from rollwise.errors import InputError
from rollwise.testing.contract import promised, refused, require

SEEDS = 4
"""How many problems of each level are drawn."""
ODD_ANSWERS = ("", " ", "\\frac{", "no such answer", "∞ × 0", "(" * 500, "\x00", "9^{9^{9}}")
"""What a model may put into a box: an answer of any form is graded, never refused."""


def check_problems(
    problems: Problems, questions: Iterable[str] = (), right: Callable[[Problem], str | None] | None = None
) -> None:
    """Raise ContractError unless a part poses problems and grades answers as `rollwise.core.Problems` says.

    The checks read the problems of the part's levels, and the typed `questions`: give some for a part without levels.
    `right` returns a right answer to a problem, or None if it knows none. By default this is the problem's gold answer,
    or None for a part that is `checkable`, where the gold answer may be a target rather than an answer.
    """
    with promised("a part that poses problems has the members of rollwise.core.Problems"):
        _check_members(problems)
    known = right or (lambda problem: None if problems.checkable else problem.answer)
    posed: list[Problem] = []
    with promised("problem(level, seed, split) draws a problem, or raises an InputError"):
        posed += [problem for level in problems.levels for problem in _drawn(problems, level)]
        for wrong in (
            (min(problems.levels, default=1) - 1, 0, "test"),
            (max(problems.levels, default=0) + 1, 0, "test"),
        ):
            refused(functools.partial(problems.problem, *wrong), f"there is no problem {wrong}")
    with promised("parse(question) returns the problem that a question poses, or raises an InputError"):
        posed += [_parsed(problems, question) for question in questions]
        refused(functools.partial(problems.parse, " "), "an empty question poses no problem")
    require(posed, "there is something to check", "give check_problems some questions, because it has no levels")
    for problem in posed:
        with promised("remark(problem) returns a sentence or None"):
            remark = problems.remark(problem)
            require(remark is None or isinstance(remark, str), "a remark is a text or None", f"found {remark!r:.80}")
        with promised("is_right(problem, answer) grades any answer"):
            _check_grading(problems, problem, known(problem))


def _check_members(problems: Any) -> None:
    require(isinstance(problems.name, str) and problems.name, "`name` is a text", f"found {problems.name!r}")
    separator = problems.separator
    require(
        isinstance(separator, str) and separator, "`separator` is the text between two steps", f"found {separator!r}"
    )
    require(isinstance(problems.checkable, bool), "`checkable` is True or False", f"found {problems.checkable!r}")
    levels: Sequence[Any] = problems.levels
    whole = all(isinstance(level, int) and not isinstance(level, bool) for level in levels)
    require(whole and list(levels) == sorted(set(levels)), "`levels` are whole numbers, easiest first", f"{levels!r}")
    for method in ("problem", "parse", "remark", "is_right"):
        require(callable(getattr(problems, method)), f"`{method}` is a method")


def _drawn(problems: Problems, level: int) -> list[Problem]:
    """The first problems of a level, as far as there are so many."""
    first = [problem for seed in range(SEEDS) if (problem := _draw(problems, level, seed)) is not None]
    require(first, "every level has a problem", f"level {level} has none for the seeds 0 to {SEEDS - 1}")
    again = [problem for seed in range(SEEDS) if (problem := _draw(problems, level, seed)) is not None]
    require(first == again, "(level, seed) names a problem: it is the same at every call")
    for problem in first:
        _check_problem(problems, problem)
        require(problem.level == level, "a problem names its level", f"found {problem.level!r} in level {level}")
    questions = {problem.question for problem in first}
    require(len({problem.id for problem in first}) == len(questions), "different questions have different ids")
    return first


def _draw(problems: Problems, level: int, seed: int) -> Problem | None:
    try:
        return problems.problem(level, seed)
    except InputError:  # a part with few problems may run out of seeds
        return None


def _parsed(problems: Problems, question: str) -> Problem:
    problem = problems.parse(question)
    require(problem == problems.parse(question), "parse returns the same problem at every call", repr(question)[:80])
    _check_problem(problems, problem)
    return problem


def _check_problem(problems: Problems, problem: Any) -> None:
    require(isinstance(problem, Problem), "a problem is a rollwise.core.Problem", f"found {problem!r:.80}")
    require(problem.id and problem.question.strip(), "a problem has an id and a question", f"found {problem!r:.120}")
    require(problem.world == problems.name, "a problem names its world", f"found {problem.world!r}")
    require(problem.answer is None or isinstance(problem.answer, str), "a gold answer is a text", f"{problem.answer!r}")


def _check_grading(problems: Problems, problem: Problem, right: str | None) -> None:
    answers = [*ODD_ANSWERS, *([] if right is None else [right])]
    verdicts = [problems.is_right(problem, answer) for answer in answers]
    kinds = {type(verdict).__name__ for verdict in verdicts} - {"bool", "bool_"}
    require(not kinds, "is_right returns True or False", f"found {', '.join(kinds)}")
    again = [problems.is_right(problem, answer) for answer in answers]
    require(verdicts == again, "an answer has the same grade at every call", repr(problem.question)[:80])
    require(not verdicts[ODD_ANSWERS.index("no such answer")], "a wrong answer is wrong", "'no such answer' is right")
    if right is not None:
        require(verdicts[-1], "a right answer is right", f"{right!r} is wrong for {problem.question!r:.120}")
