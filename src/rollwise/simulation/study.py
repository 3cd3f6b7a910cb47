"""Strategies over many instances of a world with known chances: failure, regret, and their intervals."""

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
from rollwise.simulation.play import Laboratory, Played
from rollwise.simulation.processes import spread


@dataclass(frozen=True)
class Setting:
    """One point of a sweep: a world, the budget, and what the table calls the swept value (None without a sweep)."""

    world: Laboratory
    budget: int
    value: float | str | None = None


@dataclass(frozen=True)
class Mean:
    """A mean over instances, with its 95 % normal interval."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: FloatArray) -> Mean:
        """Of values (n,); without at least two the interval is infinite."""
        half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
        return cls(float(values.mean()), half)


@dataclass(frozen=True)
class Line:
    """One strategy at one setting: the chance that no rollout is right, how far that is above the ceiling's (regret),
    the regret minus the baseline's on the same instances (None for the baseline), the share of right rollouts, and how
    often the vote is right (None where there is none). All are shares, not points.
    """

    strategy: str
    failure: Mean
    regret: Mean
    difference: Mean | None
    right_share: Mean
    voted: Mean | None


@dataclass(frozen=True)
class Found:
    """What a setting's instances say: the budget, the swept value, the ceiling and its mean failure, the regret of the
    best that can be done by what strategies see (None where that is not known), and the lines.
    """

    budget: int
    value: float | str | None
    instances: int
    ceiling: str
    least: float
    informed: Mean | None
    lines: tuple[Line, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


AT_ONCE = 50
"""So many instances of a setting are played together; an interrupt loses those that are not done."""


class Turn(NamedTuple):
    """Instances of a setting, all by number."""

    setting: int
    instances: range


def read_contenders(text: str) -> dict[str, Allocator]:
    """The allocators of a list such as `rebase:reward_temperature=0.2, dora, mine.py:best`, by their labels."""
    labels = split_variants(text)
    if not labels:
        raise InputError("give at least one strategy")
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"{label} is given twice; give each once")
    bound = {}
    for label in labels:
        name, options = split_settings(label)
        bound[label] = find_strategy(name).bind(options)
    return bound


@dataclass
class Study:
    """Settings × instances under the same strategies; `run` fills it, and what is there can be read at any time.

    Instance i of every setting is drawn from (seed, i) alone, so strategies, budgets and values of a sweep differ by
    what they do and not by luck. `baseline` names the strategy that others are compared with.
    """

    settings: Sequence[Setting]
    contenders: Mapping[str, Allocator]
    instances: int = 1000
    seed: int = 0
    baseline: str | None = None
    played: dict[int, list[Played]] = field(default_factory=dict)

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
        """How many instances the whole study has."""
        return len(self.settings) * self.instances

    def run(self, on_instance: Callable[[int], None] = lambda done: None, jobs: int = 1) -> None:
        """Play every instance that is missing, setting by setting; `on_instance` is told how many are done.

        Up to `jobs` processes divide them; what is found is the same for any number.
        """
        missing = [
            Turn(number, range(first, min(first + AT_ONCE, self.instances)))
            for number in range(len(self.settings))
            for first in range(len(self.played.get(number, ())), self.instances, AT_ONCE)
        ]
        with spread(self.play, missing, jobs) as several:
            for (number, instances), played in zip(missing, several, strict=True):
                for index, one in zip(instances, played, strict=True):
                    self.played.setdefault(number, []).append(one)
                    on_instance(number * self.instances + index + 1)

    def play(self, turn: Turn) -> list[Played]:
        """Some instances of one setting under every strategy."""
        setting = self.settings[turn.setting]
        return setting.world.play(self.seed, turn.instances, setting.budget, tuple(self.contenders.values()))

    def found(self) -> list[Found]:
        """What the settings that have begun say so far."""
        return list(self._found())

    def _found(self) -> Iterator[Found]:
        for number, played in self.played.items():
            if not played:
                continue
            setting = self.settings[number]
            least = np.array([one.least for one in played])
            informed = [one.informed for one in played if one.informed is not None]
            yield Found(
                setting.budget,
                setting.value,
                len(played),
                setting.world.ceiling(setting.budget),
                float(least.mean()),
                Mean.of(np.array(informed) - least) if len(informed) == len(played) else None,
                tuple(self._lines(played, least)),
            )

    def _lines(self, played: Sequence[Played], least: FloatArray) -> Iterator[Line]:
        labels = list(self.contenders)
        failure = np.stack([one.failure for one in played])
        right = np.stack([one.right_share for one in played])
        votes = [one.voted for one in played if one.voted is not None]
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
    """A setting for every budget and every value of the world's field `name`; without a name one for every budget."""
    if name is None:
        return [Setting(world, budget) for budget in budgets]
    worlds = [(value, replace(world, **{name: value})) for value in values]
    return [Setting(one, budget, value) for budget in budgets for value, one in worlds]
