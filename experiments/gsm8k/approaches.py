"""How far directions agree with what people call an approach: the sums that a first step computes.

    python experiments/gsm8k/approaches.py RUN

RUN is a bench with events. For each strategy that compares paths by similarity, and each question, the pairs of paths
after the first step are taken: those that compute the same sums against those that compute others. Reported are the
chance that a pair of the same sums is more similar than a pair of other sums (AUC, ties count half), averaged over the
questions with both kinds, and the pairs on which similarity and sums disagree most. For every strategy also how many
finished paths are right or hold a wrong sum, and the chance that a right one has a larger last reward, or a larger mean
log-probability, than a wrong one. For each strategy that compares paths also the T_s at which its directions are
nearest to approaches: a bench on validation questions tells which T_s to take.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from rollwise.answers import sums_of
from rollwise.bench.finding import stored
from rollwise.calibration import area_under_curve
from rollwise.core import Directions, FloatArray, IntArray
from rollwise.directions import uniqueness
from rollwise.errors import RollwiseError
from rollwise.numerics import bootstrap_interval, keyed_generator


@dataclass(frozen=True)
class Pair:
    """Two first steps, how similar a finder takes them to be, and whether they compute the same sums."""

    first: str
    second: str
    similarity: float
    same: bool


def approach(step: str) -> frozenset[str]:
    """The expressions that a step computes, such as {48/2}: without blanks, currency and the result, and with the terms
    of a product or a sum in one order.
    """
    return frozenset(_ordered("".join(each.expression.replace("$", "").split())) for each in sums_of(step))


def _ordered(expression: str) -> str:
    signs = {sign for sign in expression if sign in "+-*/()"}
    if signs not in ({"+"}, {"*"}):
        return expression
    (sign,) = signs
    return sign.join(sorted(expression.split(sign)))


@dataclass(frozen=True)
class Compared:
    """The first steps of a search that compute something (k), and how similar a finder takes them to be (k, k)."""

    steps: tuple[str, ...]
    similarity: FloatArray

    @property
    def groups(self) -> IntArray:
        """The approach of each step (k,), as a number."""
        names = {each: number for number, each in enumerate(dict.fromkeys(map(approach, self.steps)))}
        return np.array([names[approach(step)] for step in self.steps])

    def pairs(self) -> Iterator[Pair]:
        """Every pair of steps."""
        groups = self.groups
        for first, second in combinations(range(len(self.steps)), 2):
            same = bool(groups[first] == groups[second])
            yield Pair(self.steps[first], self.steps[second], float(self.similarity[first, second]), same)


def compared_of(records: Sequence[Mapping[str, Any]]) -> Compared | None:
    """The first steps of a search, which its strategy compared by similarity; None if it did not."""
    allocated = next((each for each in records if each["event"] == "allocated" and "similarity" in each), None)
    if allocated is None:
        return None
    texts = {each["path"]: each["text"] for each in records if each["event"] == "grown" and each["round"] == 0}
    paths = allocated["paths"]
    similarity = np.zeros((len(paths), len(paths)))
    similarity[np.tril_indices(len(paths), -1)] = allocated["similarity"]
    similarity += similarity.T + np.eye(len(paths))
    known = [place for place, path in enumerate(paths) if approach(texts.get(path, ""))]
    return Compared(tuple(texts[paths[place]].strip() for place in known), similarity[np.ix_(known, known)])


def temperature(searches: Sequence[Compared]) -> dict[str, Any]:
    """The T_s at which DORA's weights come nearest to one share for each approach, over searches that tune it.

    A direction of n steps should have γ = 1/n for each. Returned are the T_s of a grid with the least root mean square
    of ln γ + ln n over all steps, that error, and the error at the default T_s.
    """
    grid = [float(each) for each in 10.0 ** np.arange(-4, 0.26, 0.25)]

    def error(*value: float) -> float:
        off = [
            np.log(uniqueness(Directions(similarity=each.similarity), *value) * np.bincount(each.groups)[each.groups])
            for each in searches
        ]
        return float(np.sqrt(np.mean(np.concatenate(off) ** 2)))

    best = min(grid, key=error)
    return {
        "T_s": float(f"{best:.2g}"),
        "error": round(error(best), 3),
        "error at the default": round(error(), 3),
    }


@dataclass(frozen=True)
class End:
    """A finished path: whether it is right, its last reward, the mean log-probability of its tokens as the policy wrote
    them, and whether a sum in it is wrong.
    """

    right: bool
    reward: float
    logprob: float
    wrong_sum: bool


def ends_of(records: Sequence[Mapping[str, Any]]) -> list[End]:
    """The finished paths that are known to be right or wrong."""
    grown = {each["path"]: each for each in records if each["event"] == "grown"}
    ends = []
    for each in records:
        if each["event"] == "finished" and "right" in each:
            keys = each["path"].split(".")
            steps = [grown[".".join(keys[: place + 1])] for place in range(len(keys))]
            logprob = sum(step["logprob"] or 0.0 for step in steps) / sum(step["tokens"] for step in steps)
            wrong = any(found.is_wrong for step in steps for found in sums_of(step["text"]))
            ends.append(End(bool(each["right"]), float(steps[-1]["reward"]), logprob, wrong))
    return ends


def auc(values: Sequence[float], marks: Sequence[bool]) -> float | None:
    """The chance that a marked value is larger than one that is not; None without both kinds."""
    area = area_under_curve(np.array(values, dtype=np.float64), np.array(marks, dtype=np.int64))
    return area if math.isfinite(area) else None


def auc_of(ends: Sequence[End], name: str) -> float | None:
    """The AUC of a figure of finished paths for right ones."""
    return auc([getattr(end, name) for end in ends], [end.right for end in ends])


def told(questions: Sequence[Sequence[End]]) -> dict[str, Any]:
    """What is known of finished paths, and how well reward and confidence tell right from wrong ones: the AUC over all
    paths, and the mean of the AUC within a question.
    """
    ends = [end for question in questions for end in question]
    found: dict[str, Any] = {
        "paths": len(ends),
        "right": sum(end.right for end in ends),
        "with a wrong sum": sum(end.wrong_sum for end in ends),
        "right with a wrong sum": sum(end.right and end.wrong_sum for end in ends),
    }
    for name in ("reward", "logprob"):
        known = [value for question in questions if (value := auc_of(question, name)) is not None]
        found[f"auc of {name}"] = _rounded(auc_of(ends, name))
        found[f"auc of {name} within a question"] = _rounded(float(np.mean(known)) if known else None)
        found["questions with both"] = len(known)
    return found


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 3)


def agreement(questions: Iterable[Sequence[Pair]], examples: int = 3) -> dict[str, Any]:
    """The mean AUC with its 95 % bootstrap interval over questions, and the worst disagreements of either kind."""
    by_question = [pairs for pairs in questions if pairs]
    known = [auc([pair.similarity for pair in pairs], [pair.same for pair in pairs]) for pairs in by_question]
    values = np.array([value for value in known if value is not None])
    interval = bootstrap_interval(values, keyed_generator("approaches")) if len(values) else None
    different = [pair for pairs in by_question for pair in pairs if pair.first != pair.second]
    ranked = sorted(different, key=lambda pair: pair.similarity)
    return {
        "questions": len(values),
        "pairs": sum(map(len, by_question)),
        "same sums": round(float(np.mean([pair.same for pairs in by_question for pair in pairs])), 3),
        "auc": round(float(values.mean()), 3) if len(values) else None,
        "interval": interval and [round(each, 3) for each in interval],
        "same sums, least similar": [pair.__dict__ for pair in ranked if pair.same][:examples],
        "other sums, most similar": [pair.__dict__ for pair in reversed(ranked) if not pair.same][:examples],
    }


def measured(run: Path) -> dict[str, Any]:
    """Strategy → what its rewards tell, and its agreement if it compares paths, of a bench with events."""
    store, experiment = stored(run)
    searches: dict[str, list[Compared]] = {}
    ends: dict[str, list[list[End]]] = {}
    for result in store.results(experiment.id):
        events = store.events(experiment.id, result.cell, result.problem) or ()
        ends.setdefault(result.cell.label, []).append(ends_of(events))
        if (found := compared_of(events)) and len(found.steps) > 1:
            searches.setdefault(result.cell.label, []).append(found)
    return {label: {"ends": told(ends[label])} | directions(searches.get(label)) for label in ends}


def directions(searches: Sequence[Compared] | None) -> dict[str, Any]:
    """How far a finder's directions agree with approaches, and the T_s that suits them; nothing without searches."""
    if not searches:
        return {}
    return {"directions": agreement([list(each.pairs()) for each in searches]), "temperature": temperature(searches)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the agreement as JSON; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a bench that was run with --events")
    try:
        print(json.dumps(measured(parser.parse_args(arguments).run), indent=2))
    except RollwiseError as error:
        print(f"approaches.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
