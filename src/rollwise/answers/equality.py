"""Decides which answers are the same mathematics.

A computer algebra system may hang on an answer. Therefore comparisons run in a worker process
(`rollwise.answers.worker`), which is killed at a time limit. The functions may be called from any thread.
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
from collections.abc import Sequence
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
    """Whether two answers are the same mathematics. math-verify compares them, gold first.

    Returns False if the comparison takes longer than `seconds`. Waiting for the single worker does not count.
    """
    plain_gold, plain_answer = _plain(gold), _plain(answer)
    if plain_gold == plain_answer:
        return True
    gold_value, answer_value = _value(plain_gold), _value(plain_answer)
    if gold_value is not None and answer_value is not None:
        return gold_value == answer_value
    return bool(_worker.call("same", plain_gold, plain_answer, seconds=seconds))


def group(
    answers: Sequence[str | None], compare: str = "mathematics", seconds: float = 10.0, pair_seconds: float = 2.0
) -> IntArray:
    """Labels (n,): equal for answers that are the same mathematics, numbered in order of appearance, -1 for None.

    With compare="text" only the spelling counts; this is enough for answers that are checked one by one anyway.
    Arithmetic on whole numbers is compared by its exact value. If any answer is something else, the worker compares
    all texts in one call, with one text for each arithmetic value. If that call takes longer than `seconds`, the worker
    compares pair by pair, and a pair that takes longer than `pair_seconds` counts as different.

    Raises InputError if `compare` is unknown.
    """
    if compare not in ("mathematics", "text"):
        raise InputError(f"no comparison is called {compare!r}; choose mathematics or text")
    texts = list(dict.fromkeys(_plain(answer) for answer in answers if answer is not None))
    leaders = list(range(len(texts)))
    if compare == "mathematics" and len(texts) > 1:
        leaders = _leaders_among(texts, seconds, pair_seconds)
    label_of_leader: dict[int, int] = {}
    label_of_text = {}
    for text, leader in zip(texts, leaders, strict=True):
        label_of_text[text] = label_of_leader.setdefault(leader, len(label_of_leader))
    return np.array([-1 if answer is None else label_of_text[_plain(answer)] for answer in answers], dtype=np.int64)


def _leaders_among(texts: Sequence[str], seconds: float, pair_seconds: float) -> list[int]:
    """For each text, the index of the first text that is the same mathematics."""
    values = list(map(_value, texts))
    first_of_value: dict[Fraction | str, int] = {}
    firsts = [
        first_of_value.setdefault(text if value is None else value, index)
        for index, (text, value) in enumerate(zip(texts, values, strict=True))
    ]
    if len(first_of_value) == 1 or None not in values:
        return firsts
    compared = list(first_of_value.values())
    compared_texts = [texts[index] for index in compared]
    positions = _worker.call("leaders", compared_texts, seconds=seconds)
    if positions is None:
        positions = _leaders_pair_by_pair(compared_texts, pair_seconds)
    leader_of = {index: compared[position] for index, position in zip(compared, positions, strict=True)}
    return [leader_of[first] for first in firsts]


def _value(text: str) -> Fraction | None:
    """The exact value of a whole number or of arithmetic on whole numbers; None for every other text."""
    if _WHOLE.fullmatch(text):
        return Fraction(text)
    try:
        return evaluate(text)[0]
    except InputError:
        return None


def _plain(answer: str) -> str:
    """The answer with uniform signs and single spaces."""
    return " ".join(answer.translate(_SPELLINGS).split())


def _leaders_pair_by_pair(texts: Sequence[str], seconds: float) -> list[int]:
    leaders: list[int] = []
    for index, text in enumerate(texts):
        earlier = dict.fromkeys(leaders)
        equal = (leader for leader in earlier if _worker.call("same", texts[leader], text, seconds=seconds))
        leaders.append(next(equal, index))
    return leaders


class _Worker:
    """A handle on the worker process, which handles one call at a time.

    The process starts on first use. It is killed at a time limit, and the next call starts a new one.
    """

    START_SECONDS = 120.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.Queue[str] = queue.Queue()

    def call(self, task: str, *arguments: Any, seconds: float) -> Any:
        """The task's result; None if it failed or took longer than `seconds`."""
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
            except BaseException:  # interrupted: nobody waits for the reply that is still to come
                self.stop()
                raise

    def _started(self) -> subprocess.Popen[str]:
        """The running process. Raises EngineError if it does not start."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        paths = [str(FilePath(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "rollwise.answers.worker"]
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
            raise EngineError(
                "the process that compares answers did not start; check that math-verify is installed: "
                "python -c 'import math_verify'"
            )
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
