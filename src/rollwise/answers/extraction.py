"""Taking an answer out of a solution."""

from __future__ import annotations

import re

from rollwise.core import Path, Problem, World, whole_steps

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")


def last_boxed(text: str) -> str | None:
    r"""What stands inside the last balanced \boxed{…} or \fbox{…} of a text; None where there is none.

    A box that was cut off before its closing brace does not count, nor does an empty one.
    """
    insides = (_balanced(text, box.end()) for box in reversed(list(_BOX.finditer(text))))
    return next((inside.strip() for inside in insides if inside is not None and inside.strip()), None)


def answer_of(path: Path) -> str | None:
    """What a path answers; None where it did not end by itself or boxed nothing."""
    return last_boxed(path.text) if path.ended else None


def on_course(world: World, problem: Problem, path: Path) -> bool:
    """The truth about a path: whether its answer is right, or, before its end, whether a right one is within reach."""
    if path.ended:
        answer = answer_of(path)
        return answer is not None and world.is_right(problem, answer)
    return world.reachable(problem, whole_steps(path.text, world.separator))


def _balanced(text: str, start: int) -> str | None:
    depth, escaped = 1, False
    for position in range(start, len(text)):
        character = text[position]
        if escaped or character == "\\":
            escaped = not escaped
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return text[start:position]
    return None
