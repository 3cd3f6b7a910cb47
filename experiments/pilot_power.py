"""How often does a pilot advise introduction, without any gain and with the gain that it says it can find?

    python experiments/pilot_power.py --pilots 1000 --out docs/results/data/pilot-power.json

Each simulated pilot draws its questions, plays plain sampling and several settings on them, chooses a setting on the
tuning part with `choose`, and decides on the comparison part with `paired_gain` and `answer_of`: the functions that
`rollwise pilot` runs. A question has a chance p to be answered right, drawn from a Beta distribution with the row's
mean accuracy. A setting keeps plain sampling's result on a question with chance `kept`, else it draws anew; so plain
sampling and a setting share luck, as they do with common random numbers.

Rows with groups draw an effect of the group on every setting: a setting is better on one text and worse on another, and
no better on average. `told` says whether the pilot knows the groups.

Of each row, half the pilots have no true gain. From these comes the gain that pilots of this kind say they can find
(the mean of `detectable_gain` over the pilots). The other half has a true gain of that size, for every setting, or for
the first `gaining` settings only.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rollwise.core import FloatArray, IntArray
from rollwise.numerics import keyed_generator, wilson_interval
from rollwise.pilot import WORTHWHILE, Answer, Gain, Score, answer_of, choose, detectable_gain, paired_gain


@dataclass(frozen=True)
class Row:
    """A kind of pilot: its questions, its settings, how accurate plain sampling is, and how questions hang together."""

    title: str
    compared: int
    accuracy: float
    settings: int = 12
    tuned: int = 60
    kept: float = 0.6
    seeds: int = 1
    group: int = 1
    effect: float = 0.0
    told: bool = True
    gaining: int | None = None


ROWS = (
    Row("usual", 200, 0.6),
    Row("one setting", 200, 0.6, settings=1),
    Row("30 settings tuned on 30 questions", 200, 0.6, settings=30, tuned=30),
    Row("one of 12 settings gains", 200, 0.6, gaining=1),
    Row("few questions", 20, 0.3, tuned=10),
    Row("very few questions", 8, 0.3, tuned=4),
    Row("many questions", 1000, 0.6),
    Row("nearly always right", 200, 0.97),
    Row("nearly always wrong", 200, 0.03),
    Row("nothing in common with plain sampling", 200, 0.6, kept=0.0),
    Row("three seeds", 100, 0.6, seeds=3),
    Row("groups of 5, told", 200, 0.6, group=5, effect=0.2),
    Row("groups of 5, not told", 200, 0.6, group=5, effect=0.2, told=False),
)


def play(row: Row, gain: float, key: tuple[object, ...]) -> Gain:
    """The gain that one pilot measures, if every setting that gains truly gains `gain` over plain sampling."""
    draw = keyed_generator("pilot power", row.title, gain, *key)
    total = row.tuned + row.compared
    chance = draw.beta(2 * row.accuracy, 2 * (1 - row.accuracy), size=total)
    groups = np.arange(total) // row.group
    signs = draw.choice([-1.0, 1.0], size=(groups[-1] + 1, row.settings))[groups]
    plain = draw.random((total, row.seeds)) < chance[:, None]
    gains = [gain if row.gaining is None or one < row.gaining else 0.0 for one in range(row.settings)]
    rights = [_setting(draw, row, chance, plain, each, signs[:, one]) for one, each in enumerate(gains)]
    differences = [(right.sum(1) - plain.sum(1)).astype(np.int64) for right in rights]
    scores = [
        Score(str(one), "majority", int(right[: row.tuned].sum()), row.tuned * row.seeds, 1.0)
        for one, right in enumerate(rights)
    ]
    chosen: IntArray = differences[int(choose(scores).label)][row.tuned :]
    return paired_gain(chosen, row.seeds, groups[row.tuned :] if row.told else None)


def _setting(
    draw: np.random.Generator, row: Row, chance: FloatArray, plain: np.ndarray, gain: float, signs: FloatArray
) -> np.ndarray:
    """Whether a setting is right, (questions, seeds). Its expected gain is `gain` exactly, unless no room is left."""
    anew = draw.random(plain.shape) < chance[:, None]
    right = np.where(draw.random(plain.shape) < row.kept, plain, anew)
    moved = signs * row.effect  # the group's effect: as many questions won in one group as are lost in another
    headroom = np.minimum(row.accuracy, 1 - row.accuracy)
    up = draw.random(plain.shape) < np.maximum(0, moved)[:, None] * headroom / (1 - row.accuracy)
    down = draw.random(plain.shape) < np.maximum(0, -moved)[:, None] * headroom / row.accuracy
    right = np.where(up, True, np.where(down, False, right))
    return right | (draw.random(plain.shape) < gain / (1 - row.accuracy))


def measured(row: Row, pilots: int) -> dict[str, object]:
    """A row of the table: what pilots advise without a gain and with the gain they say they can find."""
    without = [play(row, 0.0, (number,)) for number in range(pilots)]
    said = [detectable_gain(one.questions, one.lost_rate, WORTHWHILE, one.design) for one in without]
    gain = float(np.mean([1.0 if one is None else one for one in said]))
    wrong = Counter(answer_of(one, WORTHWHILE) for one in without)
    found: Counter[Answer] | None = None
    if gain < 1 - row.accuracy:
        found = Counter(answer_of(play(row, gain, (number,)), WORTHWHILE) for number in range(pilots))
    low, high = wilson_interval(wrong[Answer.INTRODUCE], pilots)
    return {
        "row": row.title,
        "compared": row.compared,
        "advised": 100 * wrong[Answer.INTRODUCE] / pilots,
        "advised_low": 100 * low,
        "advised_high": 100 * high,
        "no_gain": 100 * (wrong[Answer.NO_GAIN] + wrong[Answer.HARM]) / pilots,
        "says": 100 * gain,
        "found": None if found is None else 100 * found[Answer.INTRODUCE] / pilots,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pilots", type=int, default=1000, help="simulated pilots of each kind and half")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = [measured(row, given.pilots) for row in ROWS]
    for row in found:
        print(row)
    if given.out is not None:
        given.out.write_text(json.dumps(_document(found), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _document(found: list[dict[str, object]]) -> dict[str, object]:
    columns = [
        {"title": "pilots"},
        {"title": "questions compared"},
        {"title": "no true gain: advise introduction, %"},
        {"title": "says it can find, points"},
        {"title": "with that gain: advise introduction, %"},
    ]
    rows = [
        [
            row["row"],
            row["compared"],
            {"mean": row["advised"], "low": row["advised_low"], "high": row["advised_high"]},
            row["says"],
            row["found"],
        ]
        for row in found
    ]
    command = "python experiments/pilot_power.py --pilots 1000 --out docs/results/data/pilot-power.json"
    return {"made_by": {"command": command, "models": "simulated"}, "columns": columns, "rows": rows}


if __name__ == "__main__":
    main()
