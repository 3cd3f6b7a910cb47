"""Plays strategies on many instances of a world with known chances, and returns failure, regret and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from rollwise.allocation import split_settings, split_variants
from rollwise.core import Allocator, FloatArray
from rollwise.errors import InputError
from rollwise.registry import find_strategy
from rollwise.simulation.play import Laboratory, Outcome
from rollwise.simulation.processes import spread


@dataclass(frozen=True)
class Setting:
    """A point of a sweep: a world, the budget, and the swept value as the table shows it (None without a sweep)."""

    world: Laboratory
    budget: int
    value: float | str | None = None


@dataclass(frozen=True)
class Mean:
    """A mean over instances, with half the width of its 95 % normal interval."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: FloatArray) -> Mean:
        """Returns the mean of values (n,). With fewer than two values the interval is infinite."""
        half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
        return cls(float(values.mean()), half)


@dataclass(frozen=True)
class Line:
    """The result of a strategy at a setting. All values are shares, not points.

    `failure` is the chance that no rollout is right, and `regret` is how far that is above the ceiling's. `difference`
    is the regret minus the baseline's on the same instances, or None for the baseline itself. `right_share` is the
    share of right rollouts. `voted` is how often the vote is right, or None in a world without votes.
    """

    strategy: str
    failure: Mean
    regret: Mean
    difference: Mean | None
    right_share: Mean
    voted: Mean | None


@dataclass(frozen=True)
class Found:
    """The results at a setting, over the instances that were played.

    `value` is the swept value. `least` is the mean failure of the `ceiling`. `informed` is the regret of the best
    allocation given only what strategies see, or None if that is not computed. `lines` hold a result for each strategy.
    """

    budget: int
    value: float | str | None
    instances: int
    ceiling: str
    least: float
    informed: Mean | None
    lines: tuple[Line, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns the results as plain values."""
        return asdict(self)


AT_ONCE = 50
"""How many instances of a setting are played together; an interrupt loses those that are not finished."""


class Batch(NamedTuple):
    """The number of a setting, and the numbers of the instances of it that one call of `Study.play` plays."""

    setting: int
    instances: range


def read_contenders(text: str) -> dict[str, Allocator]:
    """Returns the allocators in a list such as `rebase:reward_temperature=0.2, dora, mine.py:best`, by their labels."""
    labels = split_variants(text)
    if not labels:
        raise InputError("give at least one strategy")
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"{label} is given twice; give each strategy once")
    bound = {}
    for label in labels:
        name, options = split_settings(label)
        bound[label] = find_strategy(name).bind(options)
    return bound


@dataclass
class Study:
    """Plays the same strategies on every instance of every setting; `run` plays, and `found` works at any time.

    Instance i of every setting is drawn from (seed, i) alone. So strategies, budgets and swept values differ by what
    they do, and not by luck. `baseline` names the strategy that the others are compared with: by default rebase, or the
    first strategy without it. `played` holds the outcomes by the setting's number.
    """

    settings: Sequence[Setting]
    contenders: Mapping[str, Allocator]
    instances: int = 1000
    seed: int = 0
    baseline: str | None = None
    played: dict[int, list[Outcome]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.instances < 1 or not self.settings or not self.contenders:
            raise InputError("a study takes at least one setting, one strategy and one instance")
        if any(setting.budget < 1 for setting in self.settings):
            raise InputError("a budget is at least 1 rollout")
        if self.baseline is None:
            self.baseline = "rebase" if "rebase" in self.contenders else next(iter(self.contenders))
        if self.baseline not in self.contenders:
            known = ", ".join(self.contenders)
            raise InputError(f"baseline: {self.baseline!r} is not among the strategies: {known}")

    @property
    def size(self) -> int:
        """The number of instances of all settings together."""
        return len(self.settings) * self.instances

    def run(self, on_instance: Callable[[int], None] = lambda done: None, jobs: int = 1) -> None:
        """Plays every instance that has not been played, setting by setting, in up to `jobs` processes.

        It calls `on_instance` with the number of finished instances after each. The results do not depend on `jobs`.
        """
        missing = [
            Batch(number, range(first, min(first + AT_ONCE, self.instances)))
            for number in range(len(self.settings))
            for first in range(len(self.played.get(number, ())), self.instances, AT_ONCE)
        ]
        with spread(self.play, missing, jobs) as results:
            for (number, instances), outcomes in zip(missing, results, strict=True):
                for index, outcome in zip(instances, outcomes, strict=True):
                    self.played.setdefault(number, []).append(outcome)
                    on_instance(number * self.instances + index + 1)

    def play(self, batch: Batch) -> list[Outcome]:
        """Plays some instances of a setting under every strategy."""
        setting = self.settings[batch.setting]
        return setting.world.play(self.seed, batch.instances, setting.budget, tuple(self.contenders.values()))

    def found(self) -> list[Found]:
        """Returns the results of the settings that have begun, so far."""
        return list(self._found())

    def _found(self) -> Iterator[Found]:
        for number, played in self.played.items():
            if not played:
                continue
            setting = self.settings[number]
            least = np.array([outcome.least for outcome in played])
            informed = [outcome.informed for outcome in played if outcome.informed is not None]
            yield Found(
                setting.budget,
                setting.value,
                len(played),
                setting.world.ceiling(setting.budget),
                float(least.mean()),
                Mean.of(np.array(informed) - least) if len(informed) == len(played) else None,
                tuple(self._lines(played, least)),
            )

    def _lines(self, played: Sequence[Outcome], least: FloatArray) -> Iterator[Line]:
        labels = list(self.contenders)
        failure = np.stack([outcome.failure for outcome in played])
        right = np.stack([outcome.right_share for outcome in played])
        votes = [outcome.voted for outcome in played if outcome.voted is not None]
        voted = np.stack(votes) if votes else None
        base = failure[:, labels.index(str(self.baseline))]
        for column, label in enumerate(labels):
            yield Line(
                label,
                Mean.of(failure[:, column]),
                Mean.of(failure[:, column] - least),
                None if label == self.baseline else Mean.of(failure[:, column] - base),
                Mean.of(right[:, column]),
                None if voted is None else Mean.of(voted[:, column]),
            )


def sweep(world: Any, name: str | None, values: Sequence[float | str], budgets: Sequence[int]) -> list[Setting]:
    """Returns a setting for each budget and each value of the world's field `name`; if it is None, for each budget."""
    if name is None:
        return [Setting(world, budget) for budget in budgets]
    worlds = [(value, replace(world, **{name: value})) for value in values]
    return [Setting(variant, budget, value) for budget in budgets for value, variant in worlds]
