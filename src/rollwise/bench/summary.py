"""Summarises a bench: a row for each strategy and budget, with paired differences to a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rollwise.bench.columns import COUNTS, Columns, columns_of
from rollwise.core import FloatArray, IntArray
from rollwise.numerics import bootstrap_intervals, detectable_difference, keyed_generator, wilson_interval
from rollwise.search import ROLES

if TYPE_CHECKING:
    from rollwise.bench.store import Result


@dataclass(frozen=True)
class Difference:
    """The difference of a measure to the baseline, paired by question: the mean, and its 95 % bootstrap interval.

    `detectable` is the true difference that this number of questions would detect with a chance of 80 %; None if it
    cannot be computed.
    """

    mean: float
    low: float
    high: float
    detectable: float | None


@dataclass(frozen=True)
class Measure:
    """The mean of a measure with its 95 % interval, and its difference to the baseline (None for the baseline)."""

    mean: float
    low: float
    high: float
    difference: Difference | None


@dataclass(frozen=True)
class Interval:
    """A mean over questions with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """The measures of a strategy at a budget and the mean cost of a search, over all levels or at a single level.

    `costs` are what a question costs, the mean over its seeds: `tokens` that all models generated or read anew,
    `flops`, left out if unknown, and `seconds`.

    `results` counts problems × seeds. `errors` counts searches that raised; these count as not solved and have no cost.
    In the other searches, `failed` counts lost rollouts and `unplaced` counts paths whose direction could not be found;
    `unread` counts finished paths without a readable answer, `cut` those that a limit cut off.
    """

    strategy: str
    budget: int
    level: int | None
    questions: int
    results: int
    errors: int
    failed: int
    unplaced: int
    measures: dict[str, Measure]
    tokens: dict[str, dict[str, float]]
    flops: float | None
    rounds: float
    seconds: float
    unread: int = 0
    cut: int = 0
    costs: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """All rows of a bench: over all levels, and by level. `by_level` is empty if there is only a single level."""

    baseline: str
    planned: int
    results: int
    errors: tuple[str, ...]
    rows: tuple[Row, ...]
    by_level: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return asdict(self)


def summarise(results: Sequence[Result], baseline: str, planned: int | None = None) -> Summary:
    """The summary of results, with differences to the strategy labelled `baseline`; see `summarise_columns`."""
    return summarise_columns(columns_of(results), baseline, planned)


def summarise_columns(columns: Columns, baseline: str, planned: int | None = None) -> Summary:
    """The summary of results in columns, with differences to the strategy labelled `baseline`.

    `planned` is the planned number of results. A question's value is the mean over its seeds, and bootstraps resample
    questions, the same ones for all rows of equally many. A difference uses the problems and seeds that both strategies
    have. Accuracy and coverage have Wilson intervals with the questions as trials; the pass rate and costs have
    bootstrap intervals.
    """
    levels = columns.levels
    groups = _drafts(columns, baseline, None)
    for level in levels if len(levels) > 1 else []:
        groups += _drafts(columns, baseline, level)
    rows = _finished(columns, groups)
    return Summary(
        baseline=baseline,
        planned=len(columns) if planned is None else planned,
        results=len(columns),
        errors=columns.errors,
        rows=tuple(row for row in rows if row.level is None),
        by_level=tuple(row for row in rows if row.level is not None),
    )


def _measures(columns: Columns) -> dict[str, FloatArray]:
    """The measures of each result: whether the voted answer is right, whether any path is right, right paths as a
    share of the budget, and for each further vote whether its answer was right.
    """
    budgets = np.array([budget for _, budget in columns.arms], dtype=np.float64)
    figures = columns.figures
    pass_rate = figures["right_paths"] / budgets[columns.arm]
    return {"accuracy": figures["right"], "coverage": figures["covered"], "pass_rate": pass_rate, **columns.votes}


@dataclass(frozen=True)
class _Values:
    """A measure by question, and its difference to the baseline by question; None for the baseline."""

    own: FloatArray
    gaps: FloatArray | None


@dataclass(frozen=True)
class _Draft:
    """A row before its intervals are known: the places of its results, the values of each measure, and the costs by
    question.
    """

    arm: int
    level: int | None
    places: IntArray
    values: Mapping[str, _Values]
    costs: Mapping[str, FloatArray]

    @property
    def resampled(self) -> list[FloatArray]:
        """The values whose intervals are bootstrapped: the pass rate, the costs, and every difference."""
        own = [values.own for name, values in self.values.items() if name == "pass_rate"]
        own += [costs for costs in self.costs.values() if len(costs)]
        return own + [values.gaps for values in self.values.values() if values.gaps is not None and len(values.gaps)]


def _drafts(columns: Columns, baseline: str, level: int | None) -> list[_Draft]:
    """A draft for each arm that has results, on one level or on all."""
    measures, trial = _measures(columns), columns.trial
    chosen = np.ones(len(columns), dtype=bool) if level is None else columns.leveled & (columns.level == level)
    groups = {arm: np.flatnonzero(chosen & (columns.arm == arm)) for arm in range(len(columns.arms))}
    drafts = []
    for arm, places in groups.items():
        if not len(places):
            continue
        label, budget = columns.arms[arm]
        base = None
        if label != baseline and (baseline, budget) in columns.arms:
            base = groups[columns.arms.index((baseline, budget))]
        own = _by_question(columns.problem, places, {name: values[places] for name, values in measures.items()})
        gaps: dict[str, FloatArray] = {}
        if base is not None and len(base):
            _, mine, theirs = np.intersect1d(trial[places], trial[base], assume_unique=True, return_indices=True)
            ours, others = places[mine], base[theirs]
            found = {name: values[ours] - values[others] for name, values in measures.items()}
            gaps = _by_question(columns.problem, ours, found)
        values = {name: _Values(own[name], gaps.get(name)) for name in measures}
        drafts.append(_Draft(arm, level, places, values, _costs(columns, places)))
    return drafts


def _costs(columns: Columns, places: IntArray) -> dict[str, FloatArray]:
    """What the searches that did not raise cost, by question."""
    ran = places[~columns.raised[places]]
    costs = {"tokens": columns.computed, "flops": columns.figures["flops"], "seconds": columns.figures["seconds"]}
    if columns.unknown[ran].any():
        del costs["flops"]
    return _by_question(columns.problem, ran, {name: values[ran] for name, values in costs.items()})


def _by_question(problem: IntArray, places: IntArray, values: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """For each question at these places, the mean of each measure over the seeds."""
    _, question, often = np.unique(problem[places], return_inverse=True, return_counts=True)
    return {name: np.bincount(question, weights=each, minlength=len(often)) / often for name, each in values.items()}


def _finished(columns: Columns, drafts: Sequence[_Draft]) -> list[Row]:
    """The rows of drafts. All bootstraps of equally many questions resample the same questions, at once."""
    by_size: dict[int, list[FloatArray]] = {}
    for values in (values for draft in drafts for values in draft.resampled):
        by_size.setdefault(len(values), []).append(values)
    intervals: dict[int, tuple[float, float]] = {}
    for size, several in by_size.items():
        found = bootstrap_intervals(np.stack(several, axis=1), keyed_generator("questions", size))
        intervals |= {id(values): (low, high) for values, (low, high) in zip(several, found.tolist(), strict=True)}
    return [_row(columns, draft, intervals) for draft in drafts]


def _row(columns: Columns, draft: _Draft, intervals: Mapping[int, tuple[float, float]]) -> Row:
    ran = draft.places[~columns.raised[draft.places]]
    figures = {name: values[ran] for name, values in columns.figures.items()}
    label, budget = columns.arms[draft.arm]
    return Row(
        strategy=label,
        budget=budget,
        level=draft.level,
        questions=len(np.unique(columns.problem[draft.places])),
        results=len(draft.places),
        errors=len(draft.places) - len(ran),
        failed=int(figures["failed"].sum()),
        unplaced=int(figures["unplaced"].sum()),
        unread=int(figures["unread"].sum()),
        cut=int(figures["cut"].sum()),
        measures={name: _measure(values, intervals) for name, values in draft.values.items()},
        tokens=_tokens(columns, draft, len(ran)),
        flops=None if columns.unknown[ran].any() else _mean(figures["flops"]),
        rounds=_mean(figures["rounds"]),
        seconds=_mean(figures["seconds"]),
        costs={
            name: Interval(float(values.mean()), *intervals[id(values)])
            for name, values in draft.costs.items()
            if len(values)
        },
    )


def _tokens(columns: Columns, draft: _Draft, searches: int) -> dict[str, dict[str, float]]:
    """What each role used in a search in the mean; a role that no search used is left out."""
    sums: dict[str, FloatArray] = {}
    for spent in columns.spent:
        if spent.arm == draft.arm and draft.level in (None, spent.level):
            sums[spent.role] = sums.get(spent.role, np.zeros(len(COUNTS))) + spent.counts
    return {role: dict(zip(COUNTS, (sums[role] / searches).tolist(), strict=True)) for role in ROLES if role in sums}


def _measure(values: _Values, intervals: Mapping[int, tuple[float, float]]) -> Measure:
    own, gaps = values.own, values.gaps
    low, high = intervals.get(id(own)) or wilson_interval(float(own.sum()), len(own))
    difference = None
    if gaps is not None and len(gaps):
        difference = Difference(float(gaps.mean()), *intervals[id(gaps)], detectable_difference(gaps))
    return Measure(float(own.mean()), low, high, difference)


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else 0.0
