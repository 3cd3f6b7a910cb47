"""The process that compares answers with math-verify, `python -m rollwise.answers.worker`.

It prints "ready", then reads one JSON request per line and writes one JSON reply per line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


def _parsed(text: str) -> list[Any]:
    from math_verify import parse

    return parse(f"${text}$", parsing_timeout=None)


def same(gold: str, answer: str) -> bool:
    """Whether math-verify finds that the answer equals the gold answer."""
    from math_verify import verify

    return verify(_parsed(gold), _parsed(answer), timeout_seconds=None)


def leaders(texts: Sequence[str]) -> list[int]:
    """For each text, the index of the first text that it equals; its own index if it equals no earlier text."""
    from math_verify import verify

    parsed = [_parsed(text) for text in texts]
    found: list[int] = []
    for index, expression in enumerate(parsed):
        equal = (
            leader
            for leader in dict.fromkeys(found)
            if parsed[leader] and verify(parsed[leader], expression, timeout_seconds=None)
        )
        found.append(next(equal, index) if expression else index)
    return found


TASKS: dict[str, Callable[..., Any]] = {"same": same, "leaders": leaders}


def serve() -> None:
    """Answer requests until standard input ends. A task that raises is answered with null."""
    import logging

    import math_verify  # noqa: F401, imported before the first time limit starts

    logging.disable()
    print("ready", flush=True)
    for line in sys.stdin:
        task, *arguments = json.loads(line)
        try:
            reply = TASKS[task](*arguments)
        except Exception:  # a parser broke, so nothing shows that the answers are the same
            reply = None
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    try:
        serve()
    except BrokenPipeError:  # the parent process ended; this keeps the interpreter from flushing into the closed pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
