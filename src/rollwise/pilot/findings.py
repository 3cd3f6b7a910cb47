"""What a pilot found: the gain, what it costs, what may mislead. Computed from the results; it runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rollwise.bench import Prices, Run
from rollwise.calibration import Calibration
from rollwise.core import Usage
from rollwise.numerics import wilson_interval
from rollwise.pilot.cases import Case, cases_of
from rollwise.pilot.costs import TOKENS, CostOf, Searches, cost_by, searches_of
from rollwise.pilot.decision import Answer, Decision, decide
from rollwise.pilot.gain import Gain, paired_gain
from rollwise.pilot.plan import ENOUGH, MOST_DEARER, Plan, calibration_rollouts
from rollwise.pilot.tuning import FAMILIES, Score, family_of

_MANY = 0.05  # a share of unread or cut paths that is worth a warning
_CEILING = 0.95
_UNEQUAL = 0.95


@dataclass(frozen=True)
class Arm:
    """A way to search on the compared questions: its accuracy with Wilson's interval, and the mean cost of a question.

    `generated` are the mean tokens that the model generates for a question. `saved` is the share of rollouts that early
    stopping saved. `gain` is that over plain sampling at equal cost; None for plain sampling itself.
    """

    family: str
    label: str
    budget: int
    questions: int
    accuracy: float
    low: float
    high: float
    cost: float
    generated: float
    saved: float
    gain: Gain | None = None

    @property
    def cost_of_right(self) -> float | None:
        """The cost of a right answer; None if no answer is right."""
        return self.cost / self.accuracy if self.accuracy else None


@dataclass(frozen=True)
class Larger:
    """The larger model with plain sampling: its points, and the decision between it and the chosen setting.

    `matched` is the budget at which the larger model costs at most as much as the setting; its smallest if none does.
    The decision's gain is that of the setting over the larger model.
    """

    arms: tuple[Arm, ...]
    matched: int
    dearer: bool
    decision: Decision


@dataclass(frozen=True)
class Returns:
    """What the setting is worth on 1000 questions, against plain sampling at equal cost.

    `right` more answers are right, with its interval. `worth` is their value less the difference in cost, and
    `paid_back` after how many questions the pilot has paid for itself; None without the value of a right answer.
    """

    right: float
    low: float
    high: float
    more_cost: float
    worth: float | None
    paid_back: int | None


@dataclass(frozen=True)
class Caution:
    """What could mislead: the name of a sentence, and the values that it mentions."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """Everything that a pilot says.

    `chosen` is the setting that was tuned, `equal` the budget of plain sampling at equal cost. `arms` holds plain
    sampling at each of its budgets first and then the best setting of each family. `unit` is that of all costs, `spent`
    the cost of the whole pilot; the calibration's part of it is estimated from its number of rollouts.
    """

    plan: Plan
    decision: Decision
    chosen: Score
    equal: int
    arms: tuple[Arm, ...]
    larger: Larger | None
    returns: Returns
    unit: str
    spent: float
    cautions: tuple[Caution, ...]
    helped: tuple[Case, ...]
    hurt: tuple[Case, ...]
    facts: Mapping[str, Any]

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """Everything that was compared, the larger model last."""
        return (*self.arms, *(self.larger.arms if self.larger is not None else ()))

    @property
    def blind(self) -> bool:
        """Whether nothing is decided and the reward is not shown to tell paths of one question apart."""
        undecided = self.decision.answer == Answer.UNDECIDED
        return undecided and any(caution.name == "reward_blind" for caution in self.cautions)

    @property
    def chosen_arm(self) -> Arm:
        """The chosen setting on the compared questions."""
        return next(arm for arm in self.arms if arm.label == self.chosen.variant)

    @property
    def plain_arm(self) -> Arm:
        """Plain sampling at equal cost."""
        return next(arm for arm in self.arms if arm.family == "plain sampling" and arm.budget == self.equal)

    def as_dict(self) -> dict[str, Any]:
        """The findings as plain values."""
        values = asdict(self)
        for arm, shown in zip(self.arms, values["arms"], strict=True):
            shown["cost_of_right"] = arm.cost_of_right
        return values


@dataclass(frozen=True)
class Results:
    """The results of all stages: of the tuning, of the settings and of plain sampling on the compared questions."""

    runs: tuple[Run, ...]
    settings: Run
    plain: tuple[Run, ...]
    larger: Run | None
    belief: Calibration | None


def equal_budget(chosen: Searches, plain: Searches, cost: CostOf) -> int:
    """The rollouts with which plain sampling costs as much as the chosen setting, rounded up; at most MOST_DEARER times
    its budget. `plain` says what a rollout costs there, on the questions that both have.
    """
    shared = set(chosen.outcomes) & set(plain.outcomes)
    chosen, plain = chosen.within(shared), plain.within(shared)
    of_plain = plain.cost(cost)
    if of_plain <= 0:
        return plain.budget
    return int(np.clip(np.ceil(plain.budget * chosen.cost(cost) / of_plain), 1, MOST_DEARER * plain.budget))


def gain_between(one: Searches, other: Searches) -> Gain:
    """The paired gain of one way to search over another, on the questions that both have with the same seeds."""
    ours, theirs = one.right(), other.right()
    shared = [trial for trial in ours if trial in theirs]
    seeds: dict[str, int] = {}
    net: dict[str, int] = {}
    for trial in shared:
        seeds[trial[0]] = seeds.get(trial[0], 0) + 1
        net[trial[0]] = net.get(trial[0], 0) + int(ours[trial]) - int(theirs[trial])
    most = max(seeds.values(), default=1)
    return paired_gain(np.array([net[name] for name in net if seeds[name] == most], dtype=np.int64), most)


def findings_of(
    plan: Plan,
    chosen: Score,
    equal: int,
    results: Results,
    prices: tuple[Prices | None, Prices | None],
    value: float | None,
    facts: Mapping[str, Any],
) -> Findings:
    """The findings of a pilot. `prices` are those of the model and of the larger one."""
    cost, unit = cost_by(prices[0])
    plain = searches_of(result for run in results.plain for result in run.results)
    plain = dict(sorted(plain.items(), key=lambda cell: cell[1].budget))
    settings = searches_of(results.settings.results)
    done = set(plain["temperature", equal].outcomes) & set(settings[chosen.variant, plan.budget].outcomes)
    plain, settings = ({cell: one.within(done) for cell, one in each.items()} for each in (plain, settings))
    base, best = plain["temperature", equal], settings[chosen.variant, plan.budget]
    gain = gain_between(best, base)
    decision = decide(gain, plan.worthwhile)
    plain_arms = [_arm("plain sampling", one, cost, None) for one in plain.values()]
    arms = [_arm(family_of(one.label), one, cost, gain_between(one, base)) for one in settings.values()]
    arms.sort(key=lambda arm: [*FAMILIES].index(arm.family))
    spent = sum(cost(result.outcome) for run in results.runs for result in run.results)
    spent += calibration_rollouts(plan.calibrated) * base.cost(cost) / max(1, equal)
    larger = None
    if results.larger is not None:
        larger = _larger(results.larger, best, cost, prices, plan.worthwhile)
    helped, hurt = cases_of(results, base, best)
    return Findings(
        plan=plan,
        decision=decision,
        chosen=chosen,
        equal=equal,
        arms=(*plain_arms, *arms),
        larger=larger,
        returns=_returns(gain, best.cost(cost) - base.cost(cost), value, spent),
        unit=unit,
        spent=spent,
        cautions=tuple(_cautions(plan, decision, base, best, cost, unit, results.belief, larger)),
        helped=helped,
        hurt=hurt,
        facts=facts,
    )


def _arm(family: str, searches: Searches, cost: CostOf, gain: Gain | None) -> Arm:
    count = len(searches.outcomes)
    accuracy = searches.accuracy()
    low, high = wilson_interval(accuracy * count, count)
    ran = searches.ran
    grown = sum(outcome.finished + outcome.failed for outcome in ran)
    return Arm(
        family=family,
        label=searches.label,
        budget=searches.budget,
        questions=count,
        accuracy=accuracy,
        low=low,
        high=high,
        cost=searches.cost(cost),
        generated=searches.cost(lambda outcome: outcome.usage.get("policy", Usage()).generated),
        saved=max(0.0, 1 - grown / (searches.budget * len(ran))) if ran else 0.0,
        gain=gain,
    )


def _larger(
    run: Run, best: Searches, cost: CostOf, prices: tuple[Prices | None, Prices | None], worthwhile: float
) -> Larger:
    its_cost = cost_by(prices[1] or prices[0])[0]
    points = sorted(searches_of(run.results).values(), key=lambda one: one.budget)
    ours = best.cost(cost)
    affordable = [one for one in points if one.cost(its_cost) <= ours]
    matched = affordable[-1] if affordable else points[0]
    return Larger(
        arms=tuple(_arm("larger", one, its_cost, None) for one in points),
        matched=matched.budget,
        dearer=not affordable,
        decision=decide(gain_between(best, matched), worthwhile),
    )


def _returns(gain: Gain, more_cost: float, value: float | None, spent: float) -> Returns:
    worth = None if value is None else 1000 * (gain.mean * value - more_cost)
    return Returns(
        right=1000 * gain.mean,
        low=1000 * gain.low,
        high=1000 * gain.high,
        more_cost=1000 * more_cost,
        worth=worth,
        paid_back=int(np.ceil(1000 * spent / worth)) if worth is not None and worth > 0 else None,
    )


def _cautions(
    plan: Plan,
    decision: Decision,
    base: Searches,
    best: Searches,
    cost: CostOf,
    unit: str,
    belief: Calibration | None,
    larger: Larger | None,
) -> list[Caution]:
    """What could mislead, the gravest first."""
    gain, found = decision.gain, []

    def warn(condition: bool, name: str, **values: Any) -> None:
        if condition:
            found.append(Caution(name, values))

    warn(gain.questions < len(plan.compare), "unfinished", done=gain.questions, planned=len(plan.compare))
    warn(belief is not None and (belief.within is None or belief.within.share.value == 0), "reward_blind")
    warn(belief is None and plan.calibrated > 0, "no_belief")
    warn(belief is not None and belief.source.reward == "confidence", "confidence")
    warn(gain.questions < ENOUGH, "few_questions", questions=gain.questions)
    errors = len(base.outcomes) + len(best.outcomes) - len(base.ran) - len(best.ran)
    warn(errors > 0, "errors", errors=errors, searches=len(base.outcomes) + len(best.outcomes))
    for name in ("unread", "cut"):
        paths = sum(outcome.finished for outcome in (*base.ran, *best.ran))
        count = sum(getattr(outcome, name) for outcome in (*base.ran, *best.ran))
        warn(count > _MANY * paths, name, count=count, paths=paths, share=count / max(1, paths))
    lost = sum(outcome.failed for outcome in (*base.ran, *best.ran))
    warn(lost > 0, "lost", lost=lost)
    ratio = base.cost(cost) / best.cost(cost) if best.cost(cost) else 1.0
    warn(ratio < _UNEQUAL, "unequal", share=ratio)
    warn(base.accuracy() > _CEILING, "ceiling", accuracy=base.accuracy())
    warn(unit == TOKENS, "tokens")
    warn(larger is not None and unit == TOKENS, "larger_tokens")
    return found
