"""The process that runs a grader of the user's own, `python -m rollwise.answers.own_grader FILE.py:FUNCTION`.

It prints "ready", then reads one JSON request per line, ["right", answer, gold], and writes one JSON reply per line:
true, false, or the text of what the function raised. What the function prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rollwise.plugins import load_file


def verdict(function: Any, answer: str, gold: str) -> bool | str:
    """Whether the function finds the answer right; a text if it raised or returned nothing."""
    try:
        right = function(answer, gold)
    except Exception as error:  # a user's function may raise anything
        return f"raised {type(error).__name__}: {error}"
    return "returned None, which is neither True nor False" if right is None else bool(right)


def serve(name: str) -> None:
    """Answer requests until standard input ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    function = load_file(name, "grader")
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        _, answer, gold = json.loads(line)
        print(json.dumps(verdict(function, answer, gold)), file=replies, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
