"""Taking an answer out of a solution, and telling which answers are the same mathematics.

Comparing can hang (a computer algebra system is asked), so it runs in a worker process that is killed at a time limit;
it may be called from any thread.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from rollwise.answers.arithmetic import evaluate
from rollwise.core import IntArray
from rollwise.errors import EngineError, InputError

_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)
_SPELLINGS = str.maketrans({"−": "-", "–": "-", "×": r" \times ", "÷": r" \div ", "\u00a0": " "})


def equivalent(gold: str, answer: str, seconds: float = 5.0) -> bool:
    """Whether two answers are the same mathematics (math-verify, gold first). False where that takes longer than
    `seconds`, not counting the wait for the one worker.
    """
    one, other = _plain(gold), _plain(answer)
    if one == other:
        return True
    values = _value(one), _value(other)
    if None not in values:
        return values[0] == values[1]
    return bool(_worker.call("same", one, other, seconds=seconds))


def group(
    answers: Sequence[str | None], compare: str = "mathematics", seconds: float = 10.0, pair_seconds: float = 2.0
) -> IntArray:
    """Labels (n,), equal for answers that are the same mathematics, numbered in order of appearance; -1 for None.

    With compare="text" only spelling counts, for answers that are checked one by one anyway. Arithmetic on whole
    numbers is compared by its exact value. Where there is anything else, one answer of each value and all others go to
    the worker at once; where that outlasts `seconds`, they go one by one, and a pair that outlasts `pair_seconds`
    counts as different.
    """
    if compare not in ("mathematics", "text"):
        raise InputError(f"no comparison is called {compare!r}; there are: mathematics, text")
    texts = list(dict.fromkeys(_plain(answer) for answer in answers if answer is not None))
    leaders = list(range(len(texts)))
    if compare == "mathematics" and len(texts) > 1:
        leaders = _leaders_in(texts, seconds, pair_seconds)
    label_of_leader: dict[int, int] = {}
    label_of_text = {}
    for text, leader in zip(texts, leaders, strict=True):
        label_of_text[text] = label_of_leader.setdefault(leader, len(label_of_leader))
    return np.array([-1 if answer is None else label_of_text[_plain(answer)] for answer in answers], dtype=np.int64)


def _leaders_in(texts: Sequence[str], seconds: float, pair_seconds: float) -> list[int]:
    """For each text the first one that is the same mathematics."""
    values = list(map(_value, texts))
    first_of: dict[Fraction | str, int] = {}
    firsts = [
        first_of.setdefault(text if value is None else value, index)
        for index, (text, value) in enumerate(zip(texts, values, strict=True))
    ]
    if len(first_of) == 1 or None not in values:
        return firsts
    left = list(first_of.values())
    asked = [texts[index] for index in left]
    told = _worker.call("leaders", asked, seconds=seconds)
    found = dict(zip(left, _group_slowly(asked, pair_seconds) if told is None else told, strict=True))
    return [left[found[first]] for first in firsts]


def _value(text: str) -> Fraction | None:
    """What a whole number or arithmetic on them comes to; None for everything else."""
    if _WHOLE.fullmatch(text):
        return Fraction(text)
    try:
        return evaluate(text)[0]
    except InputError:
        return None


def _plain(answer: str) -> str:
    return " ".join(answer.translate(_SPELLINGS).split())


def _group_slowly(texts: Sequence[str], seconds: float) -> list[int]:
    leaders: list[int] = []
    for index, text in enumerate(texts):
        earlier = dict.fromkeys(leaders)
        same = (one for one in earlier if _worker.call("same", texts[one], text, seconds=seconds))
        leaders.append(next(same, index))
    return leaders


# The worker process, `python -m rollwise.answers.equality`, reads one JSON request a line and writes one reply a line.


def _parsed(text: str) -> list[Any]:
    from math_verify import parse

    return parse(f"${text}$", parsing_timeout=None)


def _same(gold: str, answer: str) -> bool:
    from math_verify import verify

    return verify(_parsed(gold), _parsed(answer), timeout_seconds=None)


def _leaders(texts: Sequence[str]) -> list[int]:
    """For each text the first text that it equals; its own index where it equals none before it."""
    from math_verify import verify

    parsed = [_parsed(text) for text in texts]
    leaders: list[int] = []
    for index in range(len(texts)):
        earlier = dict.fromkeys(leaders)
        same = (one for one in earlier if parsed[one] and verify(parsed[one], parsed[index], timeout_seconds=None))
        leaders.append(next(same, index) if parsed[index] else index)
    return leaders


_TASKS: dict[str, Callable[..., Any]] = {"same": _same, "leaders": _leaders}


def _serve() -> None:
    import logging

    import math_verify  # noqa: F401, loaded before the first time limit starts

    logging.disable()
    print("ready", flush=True)
    for line in sys.stdin:
        task, *arguments = json.loads(line)
        try:
            reply = _TASKS[task](*arguments)
        except Exception:  # whatever broke inside a parser, the answers were not shown to be the same
            reply = None
        print(json.dumps(reply), flush=True)


class _Worker:
    """The worker process, started at first use, killed at a time limit and then started anew; one call at a time."""

    START_SECONDS = 120.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.Queue[str] = queue.Queue()

    def call(self, task: str, *arguments: Any, seconds: float) -> Any:
        """The task's result; None where it failed or took longer than `seconds`."""
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps([task, *arguments]) + "\n")
                process.stdin.flush()
                return json.loads(self._replies.get(timeout=seconds) or "null")
            except (queue.Empty, OSError):
                self.stop()
                return None
            except BaseException:  # interrupted: the reply to come belongs to nobody
                self.stop()
                raise

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        paths = [str(FilePath(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "rollwise.answers.equality"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", env=environment)
        self._process, self._replies = process, queue.Queue()
        threading.Thread(target=self._read, args=(process, self._replies), daemon=True).start()
        try:
            ready = self._replies.get(timeout=self.START_SECONDS) == "ready\n"
        except queue.Empty:
            ready = False
        if not ready:
            self.stop()
            raise EngineError("the process that compares answers did not start; is math-verify installed?")
        return process

    def _read(self, process: subprocess.Popen[str], replies: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            replies.put(line)
        replies.put("")

    def stop(self) -> None:
        """End the process; the next call starts a new one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


_worker = _Worker()
atexit.register(_worker.stop)

if __name__ == "__main__":
    try:
        _serve()
    except BrokenPipeError:  # whoever asked was ended and reads nothing more, not at the interpreter's end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
