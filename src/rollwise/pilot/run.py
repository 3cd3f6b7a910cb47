"""Runs a pilot from its plan to its findings."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rollwise
from rollwise.bench import Outcome, Prices, Run, read_prices
from rollwise.calibration import Calibration, Estimate
from rollwise.errors import InputError
from rollwise.pilot.costs import computed_tokens, cost_by, searches_of
from rollwise.pilot.findings import Findings, Results, equal_budget, findings_of
from rollwise.pilot.options import PilotOptions
from rollwise.pilot.plan import PROBED, Plan, Rate, Wanted, make_plan
from rollwise.pilot.split import hashed_order
from rollwise.pilot.stages import PLAIN, Meter, Show, Stages, keep_plan, kept_plan, problems_of
from rollwise.pilot.tuning import Score, best_of_families, choose
from rollwise.search import find_parts

MINUTES = 30.0
"""How long a pilot may take if nothing is said."""
STOP = {"stop_early": "lossless"}
_OWN = "weighted_majority"
"""The vote of a bench by default."""
_VOTES = ("majority", "best_of_n")
_BEFORE_EQUAL = 0.6  # the share of the time of plain sampling after which its equal budget begins
_PLANNED = 0.9  # the share of the time and the tokens that is planned; the rest is for what is not foreseen


@dataclass(frozen=True)
class Ready:
    """A pilot that is planned: its plan and the rate that it rests on."""

    plan: Plan
    rate: Rate


def prepare(options: PilotOptions, show: Show) -> Ready:
    """The plan of a pilot: the one in its folder, else a new one, for which the rate is measured. A dry run keeps
    neither the new plan nor what it measured, so that the next try may be another.

    Raises InputError if the plan in the folder was made with other options, or if too little is allowed.
    """
    options.refuse_unfit()
    if (kept := kept_plan(options)) is not None:
        return Ready(*kept)
    _check_parts(options)
    ids = [problem.id for problem in problems_of(options)]
    with _probing(options) as probing:
        rate = Stages(probing, show, Meter()).rate(hashed_order(ids, options.seed)[:PROBED])
    wanted = Wanted(
        budget=options.budget,
        tokens=_PLANNED * (options.tokens or math.inf),
        seconds=_PLANNED * 60 * _minutes(options),
        soft=options.soft,
        believed=True,
        larger=options.policy_larger is not None,
        worthwhile=options.worthwhile / 100,
        seed=options.seed,
    )
    plan = make_plan(ids, wanted, rate)
    if not options.dry_run:
        keep_plan(options, plan, rate)
    return Ready(plan, rate)


@contextmanager
def _probing(options: PilotOptions) -> Iterator[PilotOptions]:
    """The options by which the rate is measured: those of a dry run have a folder that is gone afterwards."""
    if not options.dry_run:
        yield options
        return
    with tempfile.TemporaryDirectory(prefix="rollwise-pilot-") as folder:
        yield options.model_copy(update={"out": Path(folder)})


def _check_parts(options: PilotOptions) -> None:
    """Raise InputError or EngineError for a name, a file or a server that cannot be used, before anything is spent."""
    _prices(options)
    find_parts(options.config().model_copy(update={"strategy": "dora"}))
    if options.policy_larger is not None:
        larger = {"policy": options.policy_larger, "strategy": "temperature"} | PLAIN
        find_parts(options.config().model_copy(update=larger))


def _minutes(options: PilotOptions) -> float:
    """How long the pilot may take; for ever if only tokens limit it."""
    return options.minutes or (MINUTES if options.tokens is None else math.inf)


def run_pilot(options: PilotOptions, ready: Ready, show: Show) -> Findings:
    """The findings of a pilot. Every stage keeps its results, so that it goes on after an interrupt.

    Raises InputError if not even two questions could be compared.
    """
    plan = ready.plan
    prices = _prices(options)
    pilot = _Running(options, plan, ready.rate, show)
    belief = pilot.belief()
    chosen = pilot.choice(belief, prices[0])
    results, equal = pilot.comparison(belief, chosen, prices[0])
    facts = {
        "rollwise": rollwise.__version__,
        "options": options.deciding(),
        "environment": dict(results.settings.experiment.environment),
        "sources": dict(results.settings.experiment.sources),
        "reward within a question": "" if belief is None or belief.within is None else _told(belief.within.share),
    }
    return findings_of(plan, chosen[0], equal, results, prices, options.value, facts)


def _prices(options: PilotOptions) -> tuple[Prices | None, Prices | None]:
    ours = None if options.prices is None else read_prices(options.prices)
    larger = None if options.prices_larger is None else read_prices(options.prices_larger)
    return ours, larger


class _Running:
    """A pilot that runs: its stages, and how much of its time and tokens each may take."""

    def __init__(self, options: PilotOptions, plan: Plan, rate: Rate, show: Show) -> None:
        self.options, self.plan, self.rate = options, plan, rate
        self.meter = Meter()
        self.stages = Stages(options, show, self.meter)
        self.began = time.monotonic()

    def _allow(self, share: float) -> None:
        """Let the next stages take the pilot to this share of its time and tokens."""
        outcomes = self._outcomes()
        taken = sum(outcome.seconds for outcome in outcomes) / self.options.at_once
        before = max(0.0, taken - (time.monotonic() - self.began))
        self.meter.until = self.began + 60 * _minutes(self.options) * share - before
        self.meter.tokens = sum(map(computed_tokens, outcomes))
        self.meter.most_tokens = (self.options.tokens or math.inf) * share

    def _bench(
        self, name: str, strategies: Sequence[str], budgets: Sequence[int], only: Sequence[str], **more: Any
    ) -> Run:
        events = bool(more.pop("events", False))
        return self.stages.bench(name, strategies, budgets, only, more, events)

    def _outcomes(self) -> list[Outcome]:
        """Every search of the pilot so far."""
        return [result.outcome for run in self.stages.runs() for result in run.results]

    def belief(self) -> Calibration | None:
        """The belief of the reward, fitted on the tuning part."""
        if not self.plan.calibrated:
            return None
        wanted = set(self.plan.tune[: self.plan.calibrated])
        return self.stages.belief([problem for problem in problems_of(self.options) if problem.id in wanted])

    def _believed(self, belief: Calibration | None) -> dict[str, Any]:
        return {} if belief is None else {"belief": str(self.stages.folder("belief.json"))}

    def choice(self, belief: Calibration | None, prices: Prices | None) -> list[Score]:
        """The tuned settings: the one that is declared for the decision, then the best of each family.

        It is written to choice.json, and read from there if it was made before.
        """
        file = self.stages.folder("choice.json")
        if file.is_file():
            return [Score(**each) for each in json.loads(file.read_text(encoding="utf-8"))]
        self._allow(self.plan.tuned_by)
        plan = self.plan
        labels = [label for label in plan.settings if belief is not None or not label.startswith("optimal")]
        votes = (*_VOTES, *(["believed_majority"] if belief is not None and belief.ended is not None else []))
        run = self._bench("tune/settings", labels, [plan.budget], plan.tune, votes=votes, **self._believed(belief))
        searches = searches_of(run.results)
        done = set.intersection(*(set(each.outcomes) for each in searches.values())) if searches else set()
        if len(searches) < len(labels) or not done:
            raise InputError(
                "the time or the tokens ran out before one question was tuned on: give more, in another --out"
            )
        scores = _scores([each.within(done) for each in searches.values()], votes, prices)
        chosen = [choose(scores), *best_of_families(scores)]
        file.write_text(json.dumps([vars(each) for each in chosen], ensure_ascii=False, indent=1) + "\n", "utf-8")
        return chosen

    def comparison(
        self, belief: Calibration | None, chosen: Sequence[Score], prices: Prices | None
    ) -> tuple[Results, int]:
        """The results on the compared questions, and the budget of plain sampling at equal cost."""
        plan, cost = self.plan, cost_by(prices)[0]
        self._allow(plan.searched_by)
        labels = list(dict.fromkeys(score.variant for score in chosen))
        shared = {**self._believed(belief), **STOP}
        settings = self._bench("compare/settings", labels, [plan.budget], plan.compare, events=True, **shared)
        best = searches_of(settings.results).get((chosen[0].variant, plan.budget))
        if best is None or len(best.outcomes) < 2:
            raise InputError("the time or the tokens ran out before two questions were compared: give more")
        self._allow(plan.searched_by + (1 - plan.searched_by) * _BEFORE_EQUAL)
        budgets = sorted({max(1, plan.budget // 4), plan.budget})
        plain = [self._bench("compare/plain", ["temperature"], budgets, plan.compare, **PLAIN, **STOP)]
        ordinary = searches_of(plain[0].results).get(("temperature", plan.budget))
        if ordinary is None:
            raise InputError("the time or the tokens ran out before plain sampling was compared: give more")
        equal = self._equal(equal_budget(best, ordinary, cost))
        self._allow(1.0)
        if equal not in budgets:
            plain.append(self._bench("compare/equal", ["temperature"], [equal], plan.compare, **PLAIN, **STOP))
        larger = None
        if self.options.policy_larger is not None:
            policy = {"policy": self.options.policy_larger}
            budgets = sorted({1, max(1, plan.budget // 4), plan.budget})
            larger = self._bench("compare/larger", ["temperature"], budgets, plan.compare, **PLAIN, **STOP, **policy)
        return Results(tuple(self.stages.runs()), settings, tuple(plain), larger, belief), equal

    def _equal(self, computed: int) -> int:
        """The budget at equal cost, kept in equal.json: it does not change when a stopped pilot goes on."""
        file = self.stages.folder("equal.json")
        if file.is_file():
            return int(json.loads(file.read_text(encoding="utf-8")))
        file.write_text(f"{computed}\n", encoding="utf-8")
        return computed


def _scores(searches: Sequence[Any], votes: Sequence[str], prices: Prices | None) -> list[Score]:
    """The score of every setting with every vote."""
    cost = cost_by(prices)[0]
    return [
        Score(
            one.label, vote, sum(one.right(None if vote == _OWN else vote).values()), len(one.outcomes), one.cost(cost)
        )
        for one in searches
        for vote in (_OWN, *votes)
    ]


_OWN = "weighted_majority"
"""The vote of a bench by default."""


def _told(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
