"""Draws the stories of each level and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollwise.numerics import keyed_generator
from rollwise.worlds.story_questions import Clause, Kind, Story, faults_end_wrong, readings

SMALLEST_NUMBER, LARGEST_NUMBER = 12, 480
"""The bounds of everyone's number, however the turned clauses are read."""
HELD_OUT_SHARE = 0.05
"""The share of all stories in the test split, and that in the validation split."""

NAMES = ("Ann", "Ben", "Cal", "Dee", "Eli", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Leo", "Mia")
"""The names of a story's people, in order. With random names, small policies took thousands of training steps to learn
who comes next.
"""

THINGS = ("apples", "beads", "cards", "coins", "marbles", "shells", "stamps", "stones")


@dataclass(frozen=True, slots=True)
class Level:
    """The number of clauses of each sort in a level's stories."""

    plain: int
    turned: int
    together: int


LEVELS = {1: Level(1, 1, 0), 2: Level(1, 1, 1), 3: Level(2, 1, 2), 4: Level(2, 2, 2), 5: Level(3, 2, 3)}


def held_out_split(story: Story) -> str:
    """The split of a story, "test", "validation" or "train", from a hash of the story without its words."""
    draw = keyed_generator("stories split", story.canonical).random()
    return "test" if draw < HELD_OUT_SHARE else "validation" if draw < 2 * HELD_OUT_SHARE else "train"


def draw_story(rng: np.random.Generator, level: Level) -> Story:
    """A story of a level in which every fault ends wrong, and every reading ends at a different number.

    All numbers lie in SMALLEST_NUMBER..LARGEST_NUMBER, however the turned clauses are read. Every clause uses the
    number of the person before, so each fault affects the last number.
    """
    while True:
        story = _draft(rng, level)
        if story is None:
            continue
        different_ends = len(set(readings(story)[:, -1].tolist())) == 2**level.turned
        if different_ends and faults_end_wrong(story):
            return story


def _draft(rng: np.random.Generator, level: Level) -> Story | None:
    """A story with numbers in range; None if the draw left the range."""
    sorts = ["plain"] * level.plain + ["turned"] * level.turned + ["together"] * level.together
    first = int(rng.integers(level.plain + level.turned))
    rest = [sort for place, sort in enumerate(sorts) if place != first]
    order = [sorts[first], *(rest[int(place)] for place in rng.permutation(len(rest)))]
    base = int(rng.integers(SMALLEST_NUMBER, min(60, _ceiling(level.together)) + 1))
    ranges, clauses = [(base, base)], list[Clause]()
    for place, sort in enumerate(order):
        drawn = _draw_clause(rng, sort, ranges, _ceiling(order[place + 1 :].count("together")))
        if drawn is None:
            return None
        clause, new_range = drawn
        clauses.append(clause)
        ranges.append(new_range)
    return Story(base, tuple(clauses), NAMES[: len(ranges)], THINGS[int(rng.integers(len(THINGS)))])


def _ceiling(together: int) -> int:
    """The largest number that may be followed by `together` two-way clauses; each more than doubles a number."""
    return LARGEST_NUMBER if together == 0 else 2 * _ceiling(together - 1) // 5


_SORTS = {
    "plain": (Kind.MORE, Kind.FEWER, Kind.TIMES),
    "turned": (Kind.TURNED_MORE, Kind.TURNED_FEWER),
    "together": (Kind.TOGETHER,),
}


def _draw_clause(
    rng: np.random.Generator, sort: str, ranges: Sequence[tuple[int, int]], ceiling: int
) -> tuple[Clause, tuple[int, int]] | None:
    """A clause about the last person, and the range of the new number over all readings; None if no clause fits.

    The new number stays in SMALLEST_NUMBER..ceiling. `ranges` holds the range of each person's number so far.
    """
    last = len(ranges) - 1
    several = [(other, last) for other in range(last)] if sort == "together" else [(last,)]
    options = [(kind, people) for kind in _SORTS[sort] for people in several]
    for place in rng.permutation(len(options)):
        kind, people = options[int(place)]
        low, high = (sum(ends) for ends in zip(*(ranges[person] for person in people), strict=True))
        largest = _largest_amount(kind, low, high, ceiling)
        if largest >= 2:
            amount = int(rng.integers(2, largest + 1))
            if kind in (Kind.TIMES, Kind.TOGETHER):
                return Clause(kind, amount, people), (low * amount, high * amount)
            down = amount if kind is not Kind.MORE else -amount
            up = amount if kind is not Kind.FEWER else -amount
            return Clause(kind, amount, people), (low - down, high + up)
    return None


def _largest_amount(kind: Kind, low: int, high: int, ceiling: int) -> int:
    """The largest number that a clause may state if the known number lies in low..high."""
    below, above = low - SMALLEST_NUMBER, min(99, ceiling - high)
    match kind:
        case Kind.TIMES | Kind.TOGETHER:
            return min(4 if kind is Kind.TIMES else 3, ceiling // high)
        case Kind.MORE:
            return above
        case Kind.FEWER:
            return below
        case _:
            return min(below, above)
