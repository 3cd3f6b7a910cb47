"""Decides which answers are the same mathematics.

Numbers, texts, choices and units are compared here. Values that need many digits may take forever (a tower of powers);
a worker process (`rollwise.answers.worker`) computes them and is killed at a time limit. The functions may be called
from any thread.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import numpy.typing as npt

from rollwise.answers.arithmetic import evaluate
from rollwise.answers.comparing import Likeness, Reading, UndecidedError, number_reading, reading_of
from rollwise.answers.comparing import compare as likeness_of
from rollwise.core import IntArray
from rollwise.errors import EngineError, InputError

_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)
_SPELLINGS = str.maketrans({"−": "-", "–": "-", "×": r" \times ", "÷": r" \div ", "\u00a0": " "})


def equivalent(gold: str, answer: str, seconds: float = 5.0) -> bool:
    """Whether an answer is right for a gold answer: the same mathematics, the same words or the same choice.

    Grading forgives a unit or a `x =` that one side leaves out, and a correctly rounded decimal of at least
    `FEWEST_DIGITS` significant digits. An answer that cannot be read to its end is compared as text.
    Returns False if the comparison takes longer than `seconds`. Waiting for the single worker does not count.
    """
    plain_gold, plain_answer = _plain(gold), _plain(answer)
    if plain_gold == plain_answer:
        return True
    gold_value, answer_value = _value(plain_gold), _value(plain_answer)
    if gold_value is not None and answer_value is not None:
        return gold_value == answer_value
    try:
        return bool(likeness_of(reading_of(gold), reading_of(answer)))
    except UndecidedError:
        return bool(worker.call("likeness", gold, answer, seconds=seconds))


def group(
    answers: Sequence[str | None], compare: str = "mathematics", seconds: float = 10.0, pair_seconds: float = 2.0
) -> IntArray:
    """Labels (n,): equal for answers that are the same mathematics, numbered in order of appearance, -1 for None.

    The groups do not depend on the order of the answers. Answers that are exactly the same go together, directly or
    through others. Answers that differ in something forgiven, such as a unit left out, join them if every two answers
    of the joint group are the same or forgiven: 12 joins 12 cm, but stays alone if there is also 12 m.

    With compare="text" only the spelling counts; this is enough for answers that are checked one by one anyway.
    Arithmetic on whole numbers is compared by its exact value. The worker compares all pairs of texts that need many
    digits in one call. If that call takes longer than `seconds`, the worker looks for the texts that take longer
    than `pair_seconds` on their own, which differ from all others, and compares the rest pair by pair.

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
    """For each text, the index of one text that stands for its group."""
    values = list(map(_value, texts))
    keys = (
        [
            replace(text_reading, text="") if value is None else value
            for value, text_reading in zip(values, map(_reading, texts, values), strict=True)
        ]
        if None in values
        else values
    )
    first_of_key: dict[Any, int] = {}
    firsts = [first_of_key.setdefault(key, index) for index, key in enumerate(keys)]
    if len(first_of_key) == 1 or None not in values:
        return firsts
    compared = list(first_of_key.values())
    readings = [_reading(texts[index], values[index]) for index in compared]
    table = _likenesses([texts[index] for index in compared], readings, seconds, pair_seconds)
    leader_of = dict(zip(compared, (compared[position] for position in _partition(table)), strict=True))
    return [leader_of[first] for first in firsts]


def _reading(text: str, value: Fraction | None) -> Reading:
    return reading_of(text) if value is None else number_reading(value)


def _likenesses(
    texts: Sequence[str], readings: Sequence[Reading], seconds: float, pair_seconds: float
) -> npt.NDArray[np.int8]:
    """How alike every two answers are, (n, n), as `Likeness`."""
    table = np.full((len(texts), len(texts)), Likeness.SAME, dtype=np.int8)
    undecided: list[tuple[int, int]] = []
    for pair in itertools.combinations(range(len(texts)), 2):
        try:
            table[pair] = table[pair[::-1]] = likeness_of(readings[pair[0]], readings[pair[1]])
        except UndecidedError:
            undecided.append(pair)
    if undecided:
        found = worker.call("likenesses", texts, undecided, seconds=seconds)
        if found is None:
            hanging = {
                index
                for index in {index for pair in undecided for index in pair}
                if worker.call("evaluates", texts[index], seconds=pair_seconds) is None
            }
            found = [
                Likeness.DIFFERENT
                if hanging & {left, right}
                else worker.call("likeness", texts[left], texts[right], seconds=pair_seconds) or Likeness.DIFFERENT
                for left, right in undecided
            ]
        for pair, likeness in zip(undecided, found, strict=True):
            table[pair] = table[pair[::-1]] = likeness
    return table


def _partition(table: npt.NDArray[np.int8]) -> list[int]:
    """For each answer, the first answer of its group; the groups depend only on the table of `Likeness`, (n, n).

    Groups are connected by SAME. Those that FORGIVEN connects are joined if all their answers are alike.
    """
    same = _components(table == Likeness.SAME)
    joined = _components((table != Likeness.DIFFERENT) | (same[:, None] == same))
    for group_of_all in np.unique(joined):
        members = np.flatnonzero(joined == group_of_all)
        pairs = np.ix_(members, members)
        if not np.all((table[pairs] != Likeness.DIFFERENT) | (same[members][:, None] == same[members])):
            joined[members] = same[members]
    return [int(leader) for leader in joined]


def _components(linked: npt.NDArray[np.bool_]) -> IntArray:
    """For each row of a symmetric table, (n, n), the first row that it is connected to."""
    first = np.full(len(linked), -1, dtype=np.int64)
    for start in range(len(linked)):
        waiting = [start] if first[start] < 0 else []
        while waiting:
            row = waiting.pop()
            if first[row] < 0:
                first[row] = start
                waiting.extend(np.flatnonzero(linked[row] & (first < 0)))
    return first


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


class Worker:
    """A handle on a worker process, which handles one call at a time.

    The process runs a module that prints "ready", then reads one JSON request per line and writes one JSON reply per
    line. It starts on first use. It is killed at a time limit, and the next call starts a new one.
    """

    START_SECONDS = 120.0

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        atexit.register(self.stop)
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
                reply = self._replies.get(timeout=seconds)
                if not reply:  # the process ended
                    self.stop()
                return json.loads(reply or "null")
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
        pipe = subprocess.PIPE
        process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", env=environment)
        self._process, self._replies = process, queue.Queue()
        threading.Thread(target=self._read, args=(process, self._replies), daemon=True).start()
        try:
            ready = self._replies.get(timeout=self.START_SECONDS) == "ready\n"
        except queue.Empty:
            ready = False
        if not ready:
            self.stop()
            raise EngineError(
                f"the process that compares answers did not start: `{' '.join(self._command)}`; its error stands above"
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


worker = Worker("rollwise.answers.worker")
"""The process that computes values with many digits."""
