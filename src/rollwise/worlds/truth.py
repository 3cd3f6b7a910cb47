"""The truth about a path, as the problems' own checks see it."""

from __future__ import annotations

from rollwise.answers import BOXED, answer_of
from rollwise.core import CheckedProblems, Path, Problem, whole_steps


def on_course(world: CheckedProblems, problem: Problem, path: Path, answer: str = BOXED) -> bool:
    """Whether a finished path's answer is right; for an unfinished path, whether it can still reach a right answer.

    `answer` is the form in which answers are read, see `rollwise.answers.FORMS`.
    """
    if path.ended:
        given = answer_of(path, answer)
        return given is not None and world.is_right(problem, given)
    return world.reachable(problem, whole_steps(path.text, world.separator))
