"""The truth about a path, as the problems' own checks see it."""

from __future__ import annotations

from rollwise.answers import answer_of
from rollwise.core import CheckedProblems, Path, Problem, whole_steps


def on_course(world: CheckedProblems, problem: Problem, path: Path) -> bool:
    """Whether a finished path's answer is right; for an unfinished path, whether it can still reach a right answer."""
    if path.ended:
        answer = answer_of(path)
        return answer is not None and world.is_right(problem, answer)
    return world.reachable(problem, whole_steps(path.text, world.separator))
