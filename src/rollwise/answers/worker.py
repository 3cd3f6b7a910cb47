"""The process that compares answers with many digits, `python -m rollwise.answers.worker`.

It prints "ready", then reads one JSON request per line and writes one JSON reply per line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rollwise.answers.comparing import Likeness, compare, reading_of
from rollwise.answers.evaluation import Numbers

_NUMBERS = Numbers()


def likeness(left: str, right: str) -> int:
    """How alike two answers are, as a `Likeness`."""
    return int(compare(reading_of(left), reading_of(right), _NUMBERS))


def likenesses(texts: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """How alike the answers of each pair of indices are. Answers that no value can be found for are different."""
    found = []
    for left, right in pairs:
        try:
            found.append(likeness(texts[left], texts[right]))
        except Exception:  # an evaluation broke, so nothing shows that the answers are the same
            found.append(int(Likeness.DIFFERENT))
    return found


def evaluates(text: str) -> bool:
    """True as soon as every value of an answer is computed, whatever it is."""
    node = reading_of(text).node
    if node is not None:
        _NUMBERS.evaluate(node)
    return True


def constant(text: str) -> float | None:
    """The value of an answer that is a real number; None for any other answer."""
    node = reading_of(text).node
    return None if node is None else _NUMBERS.constant(node)


TASKS: dict[str, Callable[..., Any]] = {
    "likeness": likeness,
    "likenesses": likenesses,
    "evaluates": evaluates,
    "constant": constant,
}


def serve() -> None:
    """Answer requests until standard input ends. A task that raises is answered with null."""
    import mpmath  # noqa: F401, imported before the first time limit starts

    print("ready", flush=True)
    for line in sys.stdin:
        task, *arguments = json.loads(line)
        try:
            reply = TASKS[task](*arguments)
        except Exception:  # an evaluation broke, so nothing shows that the answers are the same
            reply = None
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    try:
        serve()
    except BrokenPipeError:  # the parent process ended; this keeps the interpreter from flushing into the closed pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
