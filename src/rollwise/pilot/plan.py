"""The plan of a pilot, made before any result: how many questions and settings fit into the time or the tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rollwise.core import read_fields
from rollwise.errors import InputError
from rollwise.pilot.power import detectable_gain
from rollwise.pilot.split import hashed_order, split_ids
from rollwise.pilot.tuning import settings_grid

FEWEST = 12
"""The fewest questions that a comparison is made on."""
ENOUGH = 100
"""With fewer questions to compare, the small grid leaves more of them."""
TUNED = 0.3
"""The share of the questions that is tuned on."""
PROBED = 4
"""Questions that the rate is measured on; they belong to the tuning part."""
PATHS, POINTS, COMPLETIONS = 4, 2, 4
"""Samples of a question for the calibration, prefixes of each that are completed, and completions of a prefix. Of a
world's questions all prefixes are completed."""
_CALIBRATED = 40  # the most questions that a belief is fitted on
_CALIBRATION = 44  # rollouts of a question there, counted as whole ones: 4 samples and 4 halves of about 20 prefixes
_ASSUMED_LOSS = 0.08  # share of questions that differ either way without a gain; the comparison measures it
FAMILIES_COMPARED = 4
MOST_DEARER = 8.0
"""Plain sampling gets at most so many times the rollouts of the setting that it is compared with."""


@dataclass(frozen=True)
class Rate:
    """What a rollout takes, measured: computed tokens of all models, and seconds of the whole machine.

    `plain` are those of plain sampling, the others those of a search with its reward model and embedder.
    """

    tokens: float
    seconds: float
    plain_tokens: float
    plain_seconds: float

    @property
    def dearer(self) -> float:
        """How many rollouts of plain sampling cost as much as one of a search; at most MOST_DEARER."""
        return min(MOST_DEARER, max(1.0, self.tokens / max(self.plain_tokens, 1e-9)))


@dataclass(frozen=True)
class Rollouts:
    """Rollouts of searches and of plain sampling."""

    searched: float
    plain: float

    def tokens(self, rate: Rate) -> float:
        """The tokens that they take."""
        return self.searched * rate.tokens + self.plain * rate.plain_tokens

    def seconds(self, rate: Rate) -> float:
        """The seconds that they take."""
        return self.searched * rate.seconds + self.plain * rate.plain_seconds


@dataclass(frozen=True)
class Plan:
    """What a pilot will do, written down before its first result.

    `settings` are tuned on the questions `tune`, `calibrated` of which fit the belief; the best of each family and
    plain sampling are compared on `compare`. `rollouts`, `tokens` and `seconds` are what all of it is expected to take,
    `detectable` the gain that the comparison can probably find (None if none). The tuning takes the share `tuned_by` of
    the time, and with the comparison of the settings `searched_by`.
    """

    budget: int
    settings: tuple[str, ...]
    tune: tuple[str, ...]
    compare: tuple[str, ...]
    calibrated: int
    rollouts: int
    tokens: float
    seconds: float
    detectable: float | None
    worthwhile: float
    tuned_by: float
    searched_by: float

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain values."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Plan:
        """The plan in what `as_dict` returned and JSON kept."""
        return read_fields(cls, values, "the plan", exact=True)


@dataclass(frozen=True)
class Wanted:
    """What a plan is made for: at most `tokens` and `seconds`; `soft` and `believed` as in `settings_grid`; `larger`
    says that a larger policy is compared too.
    """

    budget: int
    tokens: float
    seconds: float
    soft: bool
    believed: bool
    larger: bool
    worthwhile: float
    seed: int = 0


def make_plan(ids: Sequence[str], wanted: Wanted, rate: Rate) -> Plan:
    """The plan that compares as many of the questions `ids` as fit. Raises InputError if too few do."""
    plans = []
    for size in ("full", "small"):
        settings = settings_grid(size, wanted.soft, wanted.believed)
        count = next((n for n in range(len(ids), 0, -1) if _fits(n, settings, wanted, rate)), 0)
        plans.append((settings, count))
        if count == len(ids) or _compared(count) >= ENOUGH:
            break
    settings, count = plans[-1]
    if _compared(count) < FEWEST:
        least = next(n for n in range(1, 10 * FEWEST) if _compared(n) >= FEWEST)
        raise InputError(_too_little(len(ids), least, _whole(_rollouts(least, settings, wanted, rate)), rate))
    chosen = set(hashed_order(ids, wanted.seed)[:count])
    tune, compare = split_ids([one for one in ids if one in chosen], count - _compared(count), wanted.seed)
    parts = _rollouts(count, settings, wanted, rate)
    rollouts = _whole(parts)
    shares = [part.seconds(rate) / rollouts.seconds(rate) for part in parts]
    return Plan(
        budget=wanted.budget,
        settings=settings,
        tune=tune,
        compare=compare,
        calibrated=_calibrated(count) if wanted.believed else 0,
        rollouts=round(rollouts.searched + rollouts.plain),
        tokens=rollouts.tokens(rate),
        seconds=rollouts.seconds(rate),
        detectable=detectable_gain(len(compare), _ASSUMED_LOSS, wanted.worthwhile),
        worthwhile=wanted.worthwhile,
        tuned_by=shares[0],
        searched_by=shares[0] + shares[1],
    )


def _fits(count: int, settings: Sequence[str], wanted: Wanted, rate: Rate) -> bool:
    rollouts = _whole(_rollouts(count, settings, wanted, rate))
    return rollouts.tokens(rate) <= wanted.tokens and rollouts.seconds(rate) <= wanted.seconds


def _too_little(questions: int, least: int, rollouts: Rollouts, rate: Rate) -> str:
    if questions < least:
        return f"a pilot needs at least {least} questions, and there are {questions}: give more"
    minutes, tokens = rollouts.seconds(rate) / 60, rollouts.tokens(rate)
    return (
        f"the smallest pilot, with {least} questions, takes about {max(1, math.ceil(minutes / 0.9))} minutes and "
        f"{tokens / 0.9:,.0f} tokens here: give more by --minutes or --tokens, or a smaller --budget"
    )


def _compared(count: int) -> int:
    """How many of `count` questions are compared on."""
    return count - max(PROBED, round(TUNED * count)) if count > PROBED else 0


def calibration_rollouts(questions: int) -> int:
    """About how many whole rollouts the calibration takes on so many questions."""
    return _CALIBRATION * questions


def _calibrated(count: int) -> int:
    return min(_CALIBRATED, count - _compared(count))


def _rollouts(count: int, settings: Sequence[str], wanted: Wanted, rate: Rate) -> list[Rollouts]:
    """The rollouts of a pilot on `count` questions: to tune, to compare the settings, and of plain sampling.

    On each compared question plain sampling runs with a quarter of the budget, with it, and with as much as costs the
    same as a search.
    """
    compared = _compared(count)
    tuned = count - compared
    calibration = calibration_rollouts(_calibrated(count)) if wanted.believed else 0
    return [
        Rollouts(wanted.budget * tuned * len(settings), calibration),
        Rollouts(wanted.budget * compared * FAMILIES_COMPARED, 0),
        Rollouts(0, wanted.budget * compared * (0.25 + 1 + rate.dearer + (1.5 if wanted.larger else 0))),
    ]


def _whole(parts: Sequence[Rollouts]) -> Rollouts:
    return Rollouts(sum(part.searched for part in parts), sum(part.plain for part in parts))
