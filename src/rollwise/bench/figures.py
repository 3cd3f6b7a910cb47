"""Computes the figures of a report from the results of a bench. It draws nothing and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rollwise.bench.columns import Arm
from rollwise.bench.comparisons import Comparison, Saving, differences, saving, values_of, with_baseline
from rollwise.bench.places import options_of
from rollwise.bench.summary import Row, Summary, summarise
from rollwise.core import Problem, Usage
from rollwise.errors import InputError
from rollwise.search import ROLES

if TYPE_CHECKING:
    from rollwise.bench.grid import Cell
    from rollwise.bench.history import Run
    from rollwise.bench.prices import Prices
    from rollwise.bench.store import Outcome, Result

MARGIN = 0.02
"""How much worse in accuracy a strategy may be and still count as not inferior."""


@dataclass(frozen=True)
class RoleCost:
    """What a role's model used for a search in the mean; FLOPs and seconds are None if they are unknown."""

    generated: float
    prefilled: float
    cached: float
    flops: float | None
    seconds: float | None


@dataclass(frozen=True)
class Cost:
    """The mean cost of a search of a strategy at a budget, over the searches that did not raise.

    `flops` is the sum over the roles, None if one of them is unknown. `tokens` counts those that a model computed:
    generated, or read anew. `latency` is the mean of the seconds of a search, with its 50th and 95th percentile.
    `money` is None without prices.
    """

    strategy: str
    budget: int
    accuracy: float
    roles: Mapping[str, RoleCost]
    flops: float | None
    tokens: float
    latency: float
    latency_50: float
    latency_95: float
    money: float | None


@dataclass(frozen=True)
class Match:
    """Two strategies at one budget, question by question: how often each was right on more seeds than the other."""

    one: str
    other: str
    budget: int
    questions: int
    wins: int
    losses: int

    @property
    def ties(self) -> int:
        """The questions on which both were right as often."""
        return self.questions - self.wins - self.losses


@dataclass(frozen=True)
class Asked:
    """A question, and by (strategy, budget) how many of its searches were right, and how many there are."""

    problem: Problem
    right: Mapping[Arm, tuple[int, int]]


@dataclass(frozen=True)
class Failure:
    """A search that raised, and what it raised."""

    cell: Cell
    problem: str
    error: str


@dataclass(frozen=True)
class Figures:
    """Everything that a report shows of a run.

    `comparisons` are of accuracy, each strategy with the baseline at the same budget, corrected together.
    """

    name: str
    strategies: tuple[str, ...]
    budgets: tuple[int, ...]
    baseline: str
    seeds: int
    facts: Mapping[str, Any]
    summary: Summary
    comparisons: tuple[Comparison, ...]
    costs: tuple[Cost, ...]
    savings: tuple[Saving, ...]
    matches: tuple[Match, ...]
    asked: tuple[Asked, ...]
    failures: tuple[Failure, ...]
    currency: str | None

    def row(self, strategy: str, budget: int) -> Row | None:
        """The row of a strategy at a budget over all levels; None if it has no result."""
        return next((row for row in self.summary.rows if (row.strategy, row.budget) == (strategy, budget)), None)

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain values, without the texts of the questions."""
        values = {
            name: getattr(self, name) for name in ("name", "strategies", "budgets", "baseline", "seeds", "currency")
        }
        return values | {
            "facts": dict(self.facts),
            "summary": self.summary.as_dict(),
            "comparisons": [asdict(each) | {"told_apart": each.told_apart} for each in self.comparisons],
            "costs": [asdict(each) for each in self.costs],
            "savings": [asdict(each) | {"saved": each.saved} for each in self.savings],
            "matches": [asdict(each) | {"ties": each.ties} for each in self.matches],
            "failures": [vars(each.cell) | {"problem": each.problem, "error": each.error} for each in self.failures],
        }


def figures_of(run: Run, baseline: str | None = None, margin: float = MARGIN, prices: Prices | None = None) -> Figures:
    """The figures of a run.

    `baseline` is the strategy that the others are compared with; left out, it is the run's own. `margin` is that of
    non-inferiority, a share in [0, 1]. Raises InputError if the run has no result or lacks the baseline.
    """
    where = ", ".join(map(str, run.places))
    base = run.baseline if baseline is None else baseline
    if base not in run.strategies:
        raise InputError(f"--baseline: {base!r} is not among the strategies of {where}: {', '.join(run.strategies)}")
    if not run.results:
        raise InputError(f"{where} holds no results yet: rollwise bench {options_of(run.places[0])} --resume")
    results = run.in_order
    summary = summarise(results, base, run.planned)
    values = values_of(results)
    arms = [(row.strategy, row.budget) for row in summary.rows]
    budgets = sorted({budget for _, budget in arms})
    experiment = run.experiment
    facts = {"begun": experiment.created, "rollwise": experiment.version, **experiment.config}
    return Figures(
        name=_name(run),
        strategies=tuple(label for label in run.strategies if any(label == strategy for strategy, _ in arms)),
        budgets=tuple(budgets),
        baseline=base,
        seeds=len({cell.seed for cell in run.homes}),
        facts=facts | experiment.environment | experiment.sources,
        summary=summary,
        comparisons=with_baseline(results, base),
        costs=tuple(_cost(row, _outcomes(results, (row.strategy, row.budget)), prices) for row in summary.rows),
        savings=_savings(values, run.strategies, base, margin),
        matches=_matches(values, run.strategies, budgets),
        asked=_asked(run.problems, values),
        failures=tuple(
            Failure(result.cell, result.problem, result.outcome.error)
            for result in results
            if result.outcome.error is not None
        ),
        currency=None if prices is None else prices.currency,
    )


def _name(run: Run) -> str:
    """What was asked, and of which policy where the run names one."""
    config = run.experiment.config
    asked = config.get("data") or config.get("world") or "bench"
    search = config.get("search")
    policy = search.get("policy") if isinstance(search, dict) else None
    asked = ", ".join(Path(str(each)).name for each in (asked if isinstance(asked, list | tuple) else [asked]))
    return f"{asked}, {policy}" if policy else asked


def _outcomes(results: Sequence[Result], arm: Arm) -> list[Outcome]:
    """The outcomes of an arm's searches that did not raise."""
    return [
        result.outcome
        for result in results
        if (result.cell.label, result.cell.budget) == arm and result.outcome.error is None
    ]


def _cost(row: Row, outcomes: Sequence[Outcome], prices: Prices | None) -> Cost:
    roles = {role: _role_cost(role, outcomes) for role in ROLES if any(role in each.usage for each in outcomes)}
    parts = [role.flops for role in roles.values()]
    known = [flops for flops in parts if flops is not None]
    seconds = [outcome.seconds for outcome in outcomes] or [0.0]
    middle, late = np.quantile(seconds, [0.5, 0.95])
    return Cost(
        strategy=row.strategy,
        budget=row.budget,
        accuracy=row.measures["accuracy"].mean,
        roles=roles,
        flops=sum(known) if outcomes and len(known) == len(parts) else row.flops,
        tokens=sum(role.generated + role.prefilled for role in roles.values()),
        latency=float(np.mean(seconds)),
        latency_50=float(middle),
        latency_95=float(late),
        money=None if prices is None or not outcomes else float(np.mean([prices.money(each) for each in outcomes])),
    )


def _role_cost(role: str, outcomes: Sequence[Outcome]) -> RoleCost:
    usages = [outcome.usage.get(role, Usage()) for outcome in outcomes]

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if len(known) == len(values) else None

    return RoleCost(
        generated=float(np.mean([usage.generated for usage in usages])),
        prefilled=float(np.mean([usage.prefilled for usage in usages])),
        cached=float(np.mean([usage.cached for usage in usages])),
        flops=mean([outcome.flops_of.get(role) for outcome in outcomes]),
        seconds=mean([outcome.seconds_of.get(role) for outcome in outcomes]),
    )


def _savings(
    values: Mapping[Arm, Mapping[tuple[str, int], float]], strategies: Sequence[str], base: str, margin: float
) -> tuple[Saving, ...]:
    """How few rollouts each strategy, the baseline too, needs to be as good as the baseline at its largest budget."""
    largest = max((budget for label, budget in values if label == base), default=None)
    if largest is None:
        return ()
    return tuple(saving(values, strategy, (base, largest), margin) for strategy in strategies)


def _matches(
    values: Mapping[Arm, Mapping[tuple[str, int], float]], strategies: Sequence[str], budgets: Sequence[int]
) -> tuple[Match, ...]:
    matches = []
    for budget in budgets:
        for one, other in combinations(strategies, 2):
            gaps = differences(values.get((one, budget), {}), values.get((other, budget), {})).values()
            if gaps:
                wins, losses = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
                matches.append(Match(one, other, budget, len(gaps), wins, losses))
    return tuple(matches)


def _asked(problems: Sequence[Problem], values: Mapping[Arm, Mapping[tuple[str, int], float]]) -> tuple[Asked, ...]:
    counts: dict[str, dict[Arm, tuple[int, int]]] = {problem.id: {} for problem in problems}
    for arm, trials in values.items():
        for (problem, _), value in trials.items():
            right, searches = counts[problem].get(arm, (0, 0))
            counts[problem][arm] = (right + round(value), searches + 1)
    return tuple(Asked(problem, counts[problem.id]) for problem in problems)
