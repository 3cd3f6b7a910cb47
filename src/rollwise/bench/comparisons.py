"""Paired statistics of many strategies against a baseline: simultaneous intervals, non-inferiority, wins and losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from rollwise.bench.columns import Arm
from rollwise.core import FloatArray
from rollwise.numerics import bootstrap_interval, detectable_difference, keyed_generator

if TYPE_CHECKING:
    from rollwise.bench.store import Result

CONFIDENCE, POWER = 0.95, 0.8
_BLOCK = 1 << 22  # how many values are resampled at once, which bounds the memory


@dataclass(frozen=True)
class Comparison:
    """A measure of an arm minus that of another arm, paired by question.

    `low` and `high` are the 95 % bootstrap interval of this difference alone; `joint_low` and `joint_high` hold for all
    comparisons together. `detectable` is the true difference at which the joint interval excludes 0 with a chance of
    80 %; None if it is unknown. `wins`, `losses` and `ties` count questions.
    """

    strategy: str
    budget: int
    against: str
    against_budget: int
    questions: int
    mean: float
    low: float
    high: float
    joint_low: float
    joint_high: float
    detectable: float | None
    wins: int
    losses: int
    ties: int

    @property
    def told_apart(self) -> bool:
        """Whether the joint interval excludes 0."""
        return self.joint_low > 0 or self.joint_high < 0


@dataclass(frozen=True)
class Saving:
    """The smallest measured budget at which a strategy is not inferior to the baseline at its budget.

    `budget` is None if there is none. `reached_at` is where the strategy's mean accuracy reaches that of the baseline,
    interpolated on log N between measured budgets; None if it does not within them. `low` is the lower end of the 95 %
    interval of the difference at `budget`.
    """

    strategy: str
    baseline: str
    baseline_budget: int
    margin: float
    budget: int | None
    mean: float | None
    low: float | None
    reached_at: float | None

    @property
    def saved(self) -> float | None:
        """The share of the baseline's rollouts that the smaller budget saves."""
        return None if self.budget is None else 1 - self.budget / self.baseline_budget


def values_of(results: Sequence[Result]) -> dict[Arm, dict[tuple[str, int], float]]:
    """Whether each search was right, by arm and trial: (strategy, budget) → (problem, seed) → 1 or 0."""
    values: dict[Arm, dict[tuple[str, int], float]] = {}
    for result in results:
        cell = result.cell
        values.setdefault((cell.label, cell.budget), {})[result.problem, cell.seed] = float(result.outcome.right)
    return values


def differences(one: Mapping[tuple[str, int], float], other: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """For each problem, the mean difference over the seeds that both have."""
    by_problem: dict[str, list[float]] = {}
    for (problem, seed), value in one.items():
        if (problem, seed) in other:
            by_problem.setdefault(problem, []).append(value - other[problem, seed])
    return {problem: sum(each) / len(each) for problem, each in by_problem.items()}


def compare(
    values: Mapping[Arm, Mapping[tuple[str, int], float]], pairs: Sequence[tuple[Arm, Arm]]
) -> list[Comparison]:
    """The comparisons of pairs of arms, with intervals that hold for all of them together.

    A question's value is the mean over its seeds, and a question is drawn with all its seeds. The spread of these means
    already holds the spread between seeds, so drawing seeds again would count it twice. The joint intervals are those
    of the max-t bootstrap (Romano and Wolf, 2005): mean ± c · s / √n, with c the 95 % quantile, over resampled
    questions, of the largest |resampled mean − mean| / (s / √n) of all comparisons. For few questions c is widened as
    Student's t is against the normal distribution. Arms that are equal on every question get ± `unseen_share`. Pairs
    without a shared trial are left out.
    """
    found = [(pair, differences(values.get(pair[0], {}), values.get(pair[1], {}))) for pair in pairs]
    found = [(pair, each) for pair, each in found if each]
    if not found:
        return []
    problems = list(dict.fromkeys(problem for _, each in found for problem in each))
    table = np.array([[each.get(problem, math.nan) for _, each in found] for problem in problems])
    critical = joint_critical_value(table)
    return [_comparison(pair, np.array(list(each.values())), critical, len(found)) for pair, each in found]


def with_baseline(results: Sequence[Result], baseline: str) -> tuple[Comparison, ...]:
    """The accuracy of each strategy minus that of the baseline at the same budget, corrected together."""
    values = values_of(results)
    return tuple(compare(values, [(arm, (baseline, arm[1])) for arm in values if arm[0] != baseline]))


def joint_critical_value(table: FloatArray, resamples: int = 10_000) -> float:
    """The number c of standard errors within which all means of the columns of `table` lie together with chance 95 %.

    `table` (n, arms) holds a question in each row; NaN where an arm lacks the question. The number is never below that
    of a single mean. Infinity if no arm has two questions.
    """
    present = ~np.isnan(table)
    counts = present.sum(axis=0)
    if counts.max(initial=0) < 2:
        return math.inf
    filled = np.where(present, table, 0.0)
    means = filled.sum(axis=0) / np.maximum(counts, 1)
    errors = np.array([standard_error(table[present[:, arm], arm]) for arm in range(table.shape[1])])
    usable = (counts >= 2) & (errors > 0) & np.isfinite(errors)
    widened = _widened(int(counts[counts >= 2].min()))
    single = float(ndtri(0.5 + CONFIDENCE / 2))
    if not usable.any():
        return single * widened
    generator = keyed_generator("joint", *table.shape)
    block = max(1, _BLOCK // len(table))
    largest = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.multinomial(len(table), np.full(len(table), 1 / len(table)), size=size).astype(np.float64)
        weight = drawn @ present[:, usable].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            moved = np.abs((drawn @ filled[:, usable]) / weight - means[usable]) / errors[usable]
        largest.append(np.nan_to_num(moved).max(axis=1))
    return max(single, float(np.quantile(np.concatenate(largest), CONFIDENCE))) * widened


def standard_error(values: FloatArray) -> float:
    """The standard error s / √n of the mean of values (n,); infinity for fewer than two.

    If all are equal but not 0, a further value of 0 is assumed, because a few questions that agree prove little.
    """
    if len(values) < 2:
        return math.inf
    spread = values if np.ptp(values) > 0 or values[0] == 0 else np.append(values, 0.0)
    return float(spread.std(ddof=1)) / math.sqrt(len(values))


def _widened(questions: int) -> float:
    """The width of Student's interval over that of the bootstrap, whose means spread by √((n - 1) / n) · s / √n."""
    share = 0.5 + CONFIDENCE / 2
    return float(stdtrit(questions - 1, share)) / float(ndtri(share)) / math.sqrt((questions - 1) / questions)


def unseen_share(questions: int, comparisons: int = 1) -> float:
    """The largest share of questions with a difference that is compatible with seeing none among so many questions.

    It is 1 − (α / 2)^(1/n), with α = 5 % divided by the number of comparisons (Bonferroni). A mean difference is then
    at most that large, because a question's difference lies in [-1, 1].
    """
    return 1 - float(((1 - CONFIDENCE) / 2 / comparisons) ** (1 / questions))


def _comparison(pair: tuple[Arm, Arm], values: FloatArray, critical: float, comparisons: int) -> Comparison:
    ((strategy, budget), (against, against_budget)), mean = pair, float(values.mean())
    error = standard_error(values)
    half = unseen_share(len(values), comparisons) if error == 0 else critical * error
    low, high = bootstrap_interval(values, keyed_generator("questions", len(values)))
    return Comparison(
        strategy=strategy,
        budget=budget,
        against=against,
        against_budget=against_budget,
        questions=len(values),
        mean=mean,
        low=low,
        high=high,
        joint_low=max(-1.0, mean - half),
        joint_high=min(1.0, mean + half),
        detectable=_detectable(values, critical),
        wins=int((values > 0).sum()),
        losses=int((values < 0).sum()),
        ties=int((values == 0).sum()),
    )


def _detectable(values: FloatArray, critical: float) -> float | None:
    level = 2 * (1 - float(ndtr(critical)))
    return None if level <= 0 else detectable_difference(values, POWER, level)


def saving(
    values: Mapping[Arm, Mapping[tuple[str, int], float]], strategy: str, baseline: Arm, margin: float
) -> Saving:
    """How few rollouts a strategy needs to be as good as the baseline at a budget, but for `margin`.

    A budget is not inferior if the lower end of the 95 % paired bootstrap interval lies above −margin. If all questions
    are equal, that end is −`unseen_share`. Budgets are tested from the baseline's down until one fails, so that testing
    several does not raise the chance of an error.
    """
    budgets = sorted(budget for label, budget in values if label == strategy and budget <= baseline[1])
    smallest: tuple[int, float, float] | None = None
    for budget in reversed(budgets):
        each = differences(values[strategy, budget], values.get(baseline, {}))
        if not each:
            break
        array = np.array(list(each.values()))
        low = 0.0 if (strategy, budget) == baseline else _lower_end(array)
        if low <= -margin or len(array) < 2:
            break
        smallest = (budget, float(array.mean()), low)
    found, mean, low_end = smallest or (None, None, None)
    return Saving(strategy, *baseline, margin, found, mean, low_end, _reached_at(values, strategy, baseline, budgets))


def _lower_end(values: FloatArray) -> float:
    """The lower end of the 95 % interval of the mean of paired differences (n,)."""
    if np.ptp(values) == 0:
        return float(values[0]) - unseen_share(len(values))
    return bootstrap_interval(values, keyed_generator("questions", len(values)))[0]


def _reached_at(
    values: Mapping[Arm, Mapping[tuple[str, int], float]], strategy: str, baseline: Arm, budgets: Sequence[int]
) -> float | None:
    """The N at which the mean reaches the baseline's, interpolated on log N between measured budgets."""
    gaps = []
    for budget in budgets:
        each = differences(values[strategy, budget], values.get(baseline, {}))
        if each:
            gaps.append((budget, sum(each.values()) / len(each)))
    if not gaps or all(gap < 0 for _, gap in gaps):
        return None
    place = next(index for index, (_, gap) in enumerate(gaps) if gap >= 0)
    if place == 0:
        return float(gaps[0][0])
    (fewer, below), (more, above) = gaps[place - 1], gaps[place]
    if above == 0:
        return float(more)
    part = -below / (above - below)
    return float(math.exp(math.log(fewer) + part * math.log(more / fewer)))
