"""The figures of a route with their bounds: what people look at, what Prometheus reads, and what is an alarm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from rollwise.numerics import wilson_interval
from rollwise.service.drift import calibration_error, stability_index
from rollwise.service.recent import FEATURES, Seen, golden, judged, latest, questions
from rollwise.service.settings import Alarms, Route
from rollwise.service.stages import Stage
from rollwise.service.store import Store

_CHUNKS = 16
"""The most points of a small chart."""


@dataclass(frozen=True)
class Indicator:
    """A figure of a rule, or of the whole route if `rule` is "".

    `low` and `high` are its 95 % interval, if it is a share. `bound` is the least or, with `most`, the largest value
    that is no alarm; None if none is declared. `samples` searches made it, of at least `needed`. `series` are its
    values in equally many searches each, the oldest first.
    """

    name: str
    rule: str
    value: float | None
    bound: float | None
    most: bool
    samples: int
    needed: int
    low: float | None = None
    high: float | None = None
    series: tuple[float | None, ...] = ()

    @property
    def alarm(self) -> bool:
        """Whether enough searches put the figure beyond its bound."""
        if self.value is None or self.bound is None or self.samples < self.needed:
            return False
        return self.value > self.bound if self.most else self.value < self.bound

    def as_dict(self) -> dict[str, Any]:
        """The figure as plain values, with `alarm`."""
        return asdict(self) | {"alarm": self.alarm}


@dataclass(frozen=True)
class Sample:
    """The searches that the figures of a rule are made of; `first` and `last` are the ends of its judged searches whose
    reward is known, equally many.
    """

    answers: Sequence[Seen] = ()
    shadows: Sequence[Seen] = ()
    golden: Sequence[Seen] = ()
    judged: Sequence[Seen] = ()
    first: Sequence[Seen] = ()
    last: Sequence[Seen] = ()


def sample_of(store: Store, name: str, rule: str, alarms: Alarms) -> Sample:
    """The latest searches of a rule of a route."""
    asked = golden(store, name, rule, alarms.window)
    ends = _ends(store, name, rule, alarms.reference)
    return Sample(
        answers=latest(store, name, rule, "answer", alarms.window),
        shadows=latest(store, name, rule, "shadow", alarms.window),
        golden=asked,
        judged=judged(store, name, rule, alarms.window),
        first=ends[0],
        last=ends[1],
    )


def _ends(store: Store, name: str, rule: str, limit: int) -> tuple[list[Seen], list[Seen]]:
    """The first and the latest searches whose reward and whose truth is known, of equally many."""
    first = [seen for seen in judged(store, name, rule, 2 * limit, oldest=True) if seen.reward is not None]
    size = min(limit, len(first) // 2)
    last = [seen for seen in judged(store, name, rule, 2 * limit) if seen.reward is not None]
    return first[:size], last[len(last) - size :]


def indicators(store: Store, name: str, route: Route, stage: Stage) -> list[Indicator]:
    """The figures of a route's first, current and candidate rule, and of its questions."""
    alarms, first = route.alarms, route.ladder[0].name
    rules = [rule for rule in (stage.current, stage.candidate) if rule is not None]
    samples = {rule: sample_of(store, name, rule, alarms) for rule in dict.fromkeys([first, *rules])}
    needed = alarms.samples if route.gate is None else route.gate.samples
    found: list[Indicator] = []
    for rule in dict.fromkeys(rules):
        found += _of_rule(rule, samples[rule], alarms, needed)
        if rule != first:
            found.append(_return(rule, samples[first], samples[rule], alarms, needed))
        found += _calibration(rule, samples[rule], alarms)
    return found + input_drift(*questions(store, name, alarms.reference), alarms)


Figure = Callable[[Sequence[Seen]], float | None]


def _share(of: Callable[[Seen], bool]) -> Figure:
    return lambda seen: sum(map(of, seen)) / len(seen) if seen else None


def _seconds(level: float) -> Figure:
    return lambda seen: float(np.quantile([each.seconds for each in seen], level)) if seen else None


def _for_each(name: str, of: Callable[[Seen], bool]) -> Figure:
    """The sum of a field over the searches for each that `of` is true of."""

    def figure(seen: Sequence[Seen]) -> float | None:
        count = sum(map(of, seen))
        return sum(getattr(each, name) for each in seen) / count if count else None

    return figure


def _saved(seen: Sequence[Seen]) -> float | None:
    spared, whole = sum(each.saved for each in seen), sum(each.saved + each.spent for each in seen)
    return spared / whole if whole else None


def _directions(seen: Sequence[Seen]) -> float | None:
    return float(np.mean([each.directions for each in seen])) if seen else None


def _of_rule(rule: str, sample: Sample, alarms: Alarms, needed: int) -> list[Indicator]:
    answers = sample.answers or sample.shadows  # a candidate in the shadow answers nobody
    ended = [seen for seen in answers if seen.ended]
    compared = [seen for seen in sample.shadows if seen.agrees is not None]
    grouped = [seen for seen in ended if seen.directions is not None]
    right, few = _share(lambda seen: bool(seen.right)), alarms.samples

    def figure(name: str, seen: Sequence[Seen], of: Figure, bound: float | None, most: bool = True) -> Indicator:
        return Indicator(name, rule, of(seen), bound, most, len(seen), few, series=_series(seen, of))

    found = [
        replace(
            _with_interval(figure("golden_accuracy", sample.golden, right, alarms.least_accuracy, False)), needed=needed
        ),
        _with_interval(figure("feedback_accuracy", sample.judged, right, alarms.least_accuracy, False)),
        _with_interval(
            figure("agreement", compared, _share(lambda seen: bool(seen.agrees)), alarms.least_agreement, False)
        ),
        _with_interval(figure("errors", answers, _share(lambda seen: seen.outcome == "failed"), alarms.most_errors)),
        _with_interval(figure("unanswered", ended, _share(lambda seen: not seen.answered), alarms.most_unanswered)),
        figure("seconds_50", ended, _seconds(0.5), None),
        figure("seconds_95", ended, _seconds(0.95), alarms.most_seconds),
        figure("seconds_99", ended, _seconds(0.99), None),
        figure("tokens", ended, _for_each("generated", lambda seen: seen.answered), alarms.most_tokens),
        figure("money", ended, _for_each("money", lambda seen: seen.answered), alarms.most_money),
        figure("saved", ended, _saved, alarms.least_saved, False),
        figure("directions", grouped, _directions, alarms.least_directions, False),
    ]
    return [each for each in found if each.samples]


def _with_interval(figure: Indicator) -> Indicator:
    if figure.value is None:
        return figure
    low, high = wilson_interval(figure.value * figure.samples, figure.samples)
    return replace(figure, low=low, high=high)


def _series(seen: Sequence[Seen], of: Figure) -> tuple[float | None, ...]:
    """The figure in at most _CHUNKS parts of the searches, each of five or more."""
    chunks = min(_CHUNKS, len(seen) // 5)
    if chunks < 2:
        return ()
    cuts = [len(seen) * chunk // chunks for chunk in range(chunks + 1)]
    return tuple(of(seen[start:end]) for start, end in pairwise(cuts))


_money_for_right = _for_each("money", lambda seen: bool(seen.right))


def _return(rule: str, first: Sample, sample: Sample, alarms: Alarms, needed: int) -> Indicator:
    """What a right answer costs under the first rule over what it costs under this one: above 1, the rule is cheaper.

    It is measured on golden questions that both rules have answered, else on what clients judged. None without prices.
    """
    common = {seen.question for seen in first.golden} & {seen.question for seen in sample.golden}
    pairs = [[seen for seen in each.golden if seen.question in common] for each in (first, sample)]
    if len(common) < needed:
        pairs, needed = [list(first.judged), list(sample.judged)], alarms.samples
    before, after = (_money_for_right(side) for side in pairs)
    spent = sum(seen.money for seen in pairs[1])
    value = before / after if before and after else 0.0 if before and spent else None
    return Indicator("return", rule, value, alarms.least_return, False, min(map(len, pairs)), needed)


def _calibration(rule: str, sample: Sample, alarms: Alarms) -> list[Indicator]:
    """The calibration error of the winners' rewards in the latest judged searches, and by how much it has grown since
    the first. Without judged searches the golden ones give the error, and no drift.
    """
    latest_ = sample.last or [seen for seen in sample.golden if seen.reward is not None]
    if not latest_:
        return []
    error, count = _error_of(latest_), len(latest_)
    found = [Indicator("calibration_error", rule, error, None, True, count, alarms.samples)]
    if sample.last:
        grown, bound = error - _error_of(sample.first), alarms.most_calibration_drift
        found.append(Indicator("calibration_drift", rule, grown, bound, True, count, alarms.samples))
    return found


def _error_of(seen: Sequence[Seen]) -> float:
    rights = np.array([float(bool(each.right)) for each in seen])
    return calibration_error(np.array([each.reward for each in seen], dtype=np.float64), rights)


def input_drift(first: Sequence[Sequence[int]], last: Sequence[Sequence[int]], alarms: Alarms) -> list[Indicator]:
    """For each of FEATURES the stability index of the latest questions against the first ones."""
    if not last:
        return []
    sides = np.array(first, dtype=np.float64), np.array(last, dtype=np.float64)
    return [
        Indicator(
            f"drift_{feature}",
            "",
            stability_index(sides[0][:, place], sides[1][:, place]),
            alarms.most_input_drift,
            True,
            len(last),
            alarms.samples,
        )
        for place, feature in enumerate(FEATURES)
    ]


def bounds_of(found: Sequence[Indicator]) -> Mapping[str, float]:
    """The declared bound of each figure, by its name."""
    return {each.name: each.bound for each in found if each.bound is not None}
