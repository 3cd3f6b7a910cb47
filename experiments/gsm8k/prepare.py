"""Makes the data of GSM8K's recipe: solutions as steps, split into parts by the hash of their question."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solutions import Solution, read_solution, with_other_numbers

from rollwise.errors import InputError
from rollwise.numerics import keyed_generator

SHARES = (("policy", 0.7), ("reward", 0.2), ("validation", 0.1))
"""The parts of the training questions, and the share of each."""
WINDOW = 13
"""Two questions that share this many words in a row, numbers left out, count as the same text."""

Row = Mapping[str, Any]


def part_of(question: str) -> str:
    """The part that a question belongs to, drawn by the hash of its words: questions that differ in their numbers only
    are in the same part.
    """
    drawn = int(hashlib.sha256(" ".join(words(question)).encode()).hexdigest()[:12], 16) / 16**12
    for name, share in SHARES:
        if drawn < share:
            return name
        drawn -= share
    return SHARES[-1][0]


def words(question: str) -> tuple[str, ...]:
    """The words of a question in lower case, without its numbers."""
    return tuple(re.findall(r"[a-z]+", question.lower()))


def runs(text: Sequence[str]) -> set[tuple[str, ...]]:
    """All runs of WINDOW words."""
    return {tuple(text[start : start + WINDOW]) for start in range(len(text) - WINDOW + 1)}


class Overlap:
    """Says whether a question is, or nearly is, one of the test questions."""

    def __init__(self, tests: Iterable[str]) -> None:
        texts = [words(test) for test in tests]
        self.whole, self.parts = set(texts), set().union(*map(runs, texts))

    def of(self, question: str) -> str | None:
        """Why a question is too close to a test question; None if it is not."""
        text = words(question)
        if text in self.whole:
            return "a test question but for its numbers"
        return f"shares {WINDOW} words in a row with a test question" if runs(text) & self.parts else None


def prepare(
    rows: Sequence[Row], tests: Sequence[str], folder: Path, copies: int, seed: int, report: Callable[[int, int], None]
) -> dict[str, Any]:
    """Write policy.jsonl, reward.jsonl, validation.jsonl and dropped.jsonl; return the counts, also in data.json.

    `rows` have a `question` and an `answer` as GSM8K writes them. Of each question of the part policy, up to `copies`
    copies with other numbers follow it. Every row that is not used stands in dropped.jsonl with the reason.
    """
    overlap, counts, reasons = Overlap(tests), Counter[str](), Counter[str]()
    parts: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in SHARES}
    dropped: list[dict[str, Any]] = []
    for place, row in enumerate(rows):
        question, text = _texts(row, place)
        found = read_solution(text)
        reason = found if isinstance(found, str) else overlap.of(question)
        if isinstance(found, str) or reason is not None:
            reasons[str(reason)] += 1
            dropped.append({"row": place, "reason": reason, "question": question})
            continue
        name, key = part_of(question), f"gsm8k-train-{place}"
        parts[name].append(_line(key, question, found))
        counts["without an annotated sum"] += found.sums == 0
        counts["sums checked"] += found.sums
        if name == "policy":
            more = list(_copies(key, question, text, copies, seed))
            counts["copies with other numbers"] += len(more)
            parts[name] += more
        report(place + 1, len(rows))
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (*parts.items(), ("dropped", dropped)):
        content = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(content, encoding="utf-8")
    facts = {
        "rows": len(rows),
        **{name: len(lines) for name, lines in parts.items()},
        **counts,
        "dropped": dict(reasons),
        "test questions": len(tests),
        "seed": seed,
    }
    (folder / "data.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def _texts(row: Row, place: int) -> tuple[str, str]:
    question, text = row.get("question"), row.get("answer")
    if not isinstance(question, str) or not isinstance(text, str):
        raise InputError(f"row {place + 1} of --data has no texts 'question' and 'answer', as the rows of GSM8K have")
    return question, text


def _line(key: str, question: str, solution: Solution) -> dict[str, Any]:
    return {
        "id": key,
        "question": question,
        "steps": list(solution.steps),
        "answer": solution.answer,
        "level": max(1, solution.sums),
    }


def _copies(key: str, question: str, text: str, copies: int, seed: int) -> Iterable[dict[str, Any]]:
    seen = {question}
    for copy in range(copies):
        made = with_other_numbers(question, text, keyed_generator("other numbers", seed, key, copy))
        if made is None or made[0] in seen:
            continue
        seen.add(made[0])
        solution = read_solution(made[1])
        assert isinstance(solution, Solution)
        yield _line(f"{key}-{copy + 1}", made[0], solution)


def read_part(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a part. Raises InputError if it was not made."""
    file = folder / f"{name}.jsonl"
    if not file.is_file():
        raise InputError(f"{file} does not exist: make it by `recipe.py data --data gsm8k_train.jsonl` first")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
