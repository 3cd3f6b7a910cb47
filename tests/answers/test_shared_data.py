"""Golds and judged pairs of public data sets, read beside the repository; skipped where they are absent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollwise.answers import equivalent
from rollwise.answers.comparing import reading_of

SHARED = Path(os.environ.get("ROLLWISE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
DATA = SHARED / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")
GOLDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "math500.jsonl": lambda row: str(row["answer"]),
    "aime24.jsonl": lambda row: str(row["answer"]),
    "aime25.jsonl": lambda row: str(row["answer"]),
    "gsm8k_test.jsonl": lambda row: str(row["answer"]).partition("####")[2].strip(),
    "gsm8k_train.jsonl": lambda row: str(row["answer"]).partition("####")[2].strip(),
    "svamp.json": lambda row: str(row["Answer"]),
}
FORGIVEN = {frozenset({"5", "x=5"})}
"""Neighbours that are equal as a value although their texts differ."""


def golds_of(name: str) -> list[str]:
    text = (DATA / name).read_text(encoding="utf-8")
    rows = json.loads(text) if name.endswith(".json") else map(json.loads, text.splitlines())
    return [GOLDS[name](row) for row in rows]


def check(golds: list[str], step: int) -> None:
    for index in range(0, len(golds) - 1, step):
        gold, neighbour = golds[index], golds[index + 1]
        assert equivalent(gold, gold), gold
        equal = gold == neighbour or frozenset({gold, neighbour}) in FORGIVEN
        value, other = reading_of(gold), reading_of(neighbour)
        equal = equal or (value.node == other.node and value.unit == other.unit and value.node is not None)
        assert equivalent(gold, neighbour) is equal, (gold, neighbour)
        assert equivalent(neighbour, gold) is equal, (gold, neighbour)


@pytest.mark.parametrize("name", GOLDS)
def test_a_gold_equals_itself_and_not_its_neighbour(name: str) -> None:
    golds = golds_of(name)
    check(golds, max(1, len(golds) // 60))


@pytest.mark.heavy
@pytest.mark.parametrize("name", GOLDS)
def test_every_gold_equals_itself_and_not_its_neighbour(name: str) -> None:
    check(golds_of(name), 1)


def test_judged_pairs() -> None:
    cases = [json.loads(line) for line in (DATA / "answer_cases.jsonl").read_text(encoding="utf-8").splitlines()]
    decided = [case for case in cases if case["same"] is not None]
    assert decided
    for case in decided:
        assert equivalent(case["gold"], case["answer"]) is case["same"], case
        assert equivalent(case["answer"], case["gold"]) is case["same"], case
