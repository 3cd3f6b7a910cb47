"""Groups recorded answers by mathematics and by text, and prints every pair that the two treat differently.

    python experiments/recorded_groups.py ../shared/data/recorded_votes

Each file is JSON lines with `all_answers`, a list of [answer, tokens], and `gold_answer`. A pair is printed once per
file, with the question's number: JOINED if only mathematics puts both in one group, SPLIT if only text does. The last
line of each file counts the questions whose majority is right with either grouping, right by `equivalent`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rollwise.answers import equivalent, group, weighted_majority
from rollwise.answers.comparing import reading_of


def differing_pairs(answers: Sequence[str]) -> list[tuple[str, str, str]]:
    """(JOINED or SPLIT, text, other text) for each pair of texts that the two comparisons treat differently."""
    texts = list(dict.fromkeys(answers))
    by_text, by_mathematics = group(texts, compare="text"), group(texts)
    found = []
    for left, right in itertools.combinations(range(len(texts)), 2):
        together = by_mathematics[left] == by_mathematics[right]
        if together != (by_text[left] == by_text[right]):
            found.append(("JOINED" if together else "SPLIT", texts[left], texts[right]))
    return found


def majority_is_right(answers: Sequence[str], gold: str, compare: str) -> bool:
    verdict = weighted_majority(group(answers, compare=compare), np.ones(len(answers)))
    return verdict.voter is not None and equivalent(gold, answers[verdict.voter])


def report(file: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answers = [answer for answer, _ in row["all_answers"] if (answer or "").strip()]
        counts["questions"] += 1
        for verdict, left, right in differing_pairs(answers):
            counts[verdict] += 1
            print(f"{row['problem_num']:>4} {verdict} {left!r} {right!r}")
        for compare in ("text", "mathematics"):
            counts[f"majority right by {compare}"] += majority_is_right(answers, row["gold_answer"], compare)
        counts["texts unread"] += sum(reading_of(text).node is None for text in set(answers))
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", default="*.jsonl", help="pattern of the files' names")
    given = parser.parse_args(arguments)
    for file in sorted(given.folder.glob(given.files)):
        print(f"== {file.name}")
        print(f"   {dict(report(file))}")


if __name__ == "__main__":
    main()
