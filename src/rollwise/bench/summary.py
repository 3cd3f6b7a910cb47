"""Summarises a bench: a row for each strategy and budget, with paired differences to a baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rollwise.core import FloatArray, Usage
from rollwise.numerics import bootstrap_intervals, detectable_difference, keyed_generator, wilson_interval
from rollwise.search import ROLES

if TYPE_CHECKING:
    from rollwise.bench.store import Outcome, Result

Trial = tuple[str, int]
"""(problem, seed): two strategies are compared on the same trials."""
MeasureOf = Callable[["Result"], float]

MEASURES: dict[str, MeasureOf] = {
    "accuracy": lambda result: float(result.outcome.right),
    "coverage": lambda result: float(result.outcome.covered),
    "pass_rate": lambda result: result.outcome.right_paths / result.cell.budget,
}
"""Whether the voted answer is right, whether any path is right, and right paths as a share of the budget."""


def measures_of(results: Iterable[Result]) -> dict[str, MeasureOf]:
    """MEASURES, and for each further vote in any of the results whether its answer was right."""

    def right_by(vote: str) -> MeasureOf:
        return lambda result: float(result.outcome.votes.get(vote, False))

    return MEASURES | {vote: right_by(vote) for result in results for vote in result.outcome.votes}


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
    """The summary of results, with differences to the strategy labelled `baseline`.

    `planned` is the planned number of results. A question's value is the mean over its seeds, and bootstraps resample
    questions, the same ones for all rows of equally many. A difference uses the problems and seeds that both strategies
    have. Accuracy and coverage have Wilson intervals with the questions as trials; the pass rate and costs have
    bootstrap intervals.
    """
    levels = sorted({result.level for result in results if result.level is not None})
    measures = measures_of(results)
    groups = _drafts(results, measures, baseline, None)
    for level in levels if len(levels) > 1 else []:
        groups += _drafts([result for result in results if result.level == level], measures, baseline, level)
    rows = _finished(groups)
    errors = dict.fromkeys(result.outcome.error for result in results if result.outcome.error is not None)
    return Summary(
        baseline=baseline,
        planned=len(results) if planned is None else planned,
        results=len(results),
        errors=tuple(str(error) for error in errors),
        rows=tuple(row for row in rows if row.level is None),
        by_level=tuple(row for row in rows if row.level is not None),
    )


@dataclass(frozen=True)
class _Values:
    """A measure by question, and its difference to the baseline by question; None for the baseline."""

    own: FloatArray
    gaps: FloatArray | None


@dataclass(frozen=True)
class _Draft:
    """A row before its intervals are known: the results of a strategy at a budget, the values of each measure, and
    the costs by question.
    """

    strategy: str
    budget: int
    level: int | None
    group: Mapping[Trial, Result]
    values: Mapping[str, _Values]
    costs: Mapping[str, FloatArray]

    @property
    def resampled(self) -> list[FloatArray]:
        """The values whose intervals are bootstrapped: the pass rate, the costs, and every difference."""
        own = [values.own for name, values in self.values.items() if name == "pass_rate"]
        own += [costs for costs in self.costs.values() if len(costs)]
        return own + [values.gaps for values in self.values.values() if values.gaps is not None and len(values.gaps)]


def _drafts(
    results: Sequence[Result], measures: Mapping[str, MeasureOf], baseline: str, level: int | None
) -> list[_Draft]:
    groups: dict[tuple[str, int], dict[Trial, Result]] = {}
    for result in results:
        group = groups.setdefault((result.cell.label, result.cell.budget), {})
        group[result.problem, result.cell.seed] = result
    drafts = []
    for (label, budget), group in groups.items():
        base = None if label == baseline else groups.get((baseline, budget))
        values = {name: _values(measure, group, base) for name, measure in measures.items()}
        drafts.append(_Draft(label, budget, level, group, values, _costs(group)))
    return drafts


def _costs(group: Mapping[Trial, Result]) -> dict[str, FloatArray]:
    """What the searches that did not raise cost, by question."""
    ran = {trial: result.outcome for trial, result in group.items() if result.outcome.error is None}
    costs = {"tokens": {trial: _computed(outcome) for trial, outcome in ran.items()}}
    if all(map(_flops_known, ran.values())):
        costs["flops"] = {trial: outcome.flops for trial, outcome in ran.items()}
    costs["seconds"] = {trial: outcome.seconds for trial, outcome in ran.items()}
    return {name: _by_question(values) for name, values in costs.items()}


def _computed(outcome: Outcome) -> float:
    """The tokens that all models generated or read anew."""
    return float(sum(used.generated + used.prefilled for used in outcome.usage.values()))


def _values(measure: MeasureOf, group: Mapping[Trial, Result], base: Mapping[Trial, Result] | None) -> _Values:
    own = _by_question({trial: measure(result) for trial, result in group.items()})
    if base is None:
        return _Values(own, None)
    shared = {trial: measure(result) - measure(base[trial]) for trial, result in group.items() if trial in base}
    return _Values(own, _by_question(shared))


def _finished(drafts: Sequence[_Draft]) -> list[Row]:
    """The rows of drafts. All bootstraps of equally many questions resample the same questions, at once."""
    by_size: dict[int, list[FloatArray]] = {}
    for values in (values for draft in drafts for values in draft.resampled):
        by_size.setdefault(len(values), []).append(values)
    intervals: dict[int, tuple[float, float]] = {}
    for size, columns in by_size.items():
        found = bootstrap_intervals(np.stack(columns, axis=1), keyed_generator("questions", size))
        intervals |= {id(values): (low, high) for values, (low, high) in zip(columns, found.tolist(), strict=True)}
    return [_row(draft, intervals) for draft in drafts]


def _row(draft: _Draft, intervals: Mapping[int, tuple[float, float]]) -> Row:
    group = draft.group
    ran = [result.outcome for result in group.values() if result.outcome.error is None]
    roles = [role for role in ROLES if any(role in outcome.usage for outcome in ran)]
    return Row(
        strategy=draft.strategy,
        budget=draft.budget,
        level=draft.level,
        questions=len({problem for problem, _ in group}),
        results=len(group),
        errors=len(group) - len(ran),
        failed=sum(outcome.failed for outcome in ran),
        unplaced=sum(outcome.unplaced for outcome in ran),
        unread=sum(outcome.unread for outcome in ran),
        cut=sum(outcome.cut for outcome in ran),
        measures={name: _measure(values, intervals) for name, values in draft.values.items()},
        tokens={role: _mean_usage([outcome.usage.get(role, Usage()) for outcome in ran]) for role in roles},
        flops=_flops(ran),
        rounds=_mean([outcome.rounds for outcome in ran]),
        seconds=_mean([outcome.seconds for outcome in ran]),
        costs={
            name: Interval(float(values.mean()), *intervals[id(values)])
            for name, values in draft.costs.items()
            if len(values)
        },
    )


def _flops(ran: Sequence[Outcome]) -> float | None:
    """The mean FLOPs of searches; None if those of a model that computed are unknown."""
    return _mean([outcome.flops for outcome in ran]) if all(map(_flops_known, ran)) else None


def _flops_known(outcome: Outcome) -> bool:
    """Whether each role that computed has its FLOPs. An older version stored their sum only."""
    if not outcome.flops_of:
        return outcome.flops > 0
    return all(role in outcome.flops_of for role, used in outcome.usage.items() if used.generated + used.prefilled)


def _measure(values: _Values, intervals: Mapping[int, tuple[float, float]]) -> Measure:
    own, gaps = values.own, values.gaps
    low, high = intervals.get(id(own)) or wilson_interval(float(own.sum()), len(own))
    difference = None
    if gaps is not None and len(gaps):
        difference = Difference(float(gaps.mean()), *intervals[id(gaps)], detectable_difference(gaps))
    return Measure(float(own.mean()), low, high, difference)


def _by_question(values: Mapping[Trial, float]) -> FloatArray:
    """For each problem, the mean of its values over the seeds."""
    problems: dict[str, list[float]] = {}
    for (problem, _), value in values.items():
        problems.setdefault(problem, []).append(value)
    return np.array([_mean(each) for each in problems.values()])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def _mean_usage(usages: Sequence[Usage]) -> dict[str, float]:
    return {name: _mean([getattr(usage, name) for usage in usages]) for name in Usage.__dataclass_fields__}
