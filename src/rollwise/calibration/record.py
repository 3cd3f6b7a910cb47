"""What a reward is believed to say: the record of a fit, which turns rewards into beliefs, as a file can hold it."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from rollwise.calibration.estimators import Curve, average_of, log_odds
from rollwise.core import Belief, FloatArray, IntArray
from rollwise.errors import InputError

VERSION = 3
INDEPENDENT = 1e-6
"""The correlation of candidates that share nothing; a belief's lies above 0."""
Method = Literal["moments", "likelihood"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, by bootstrap over problems."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DepthFit:
    """What is believed of prefixes with `first` to `last` steps: the mean's curve, and the concentration κ by moments
    and by beta-binomial likelihood, of which `concentration` is the one in use.
    """

    first: int
    last: int
    prefixes: int
    problems: int
    curve: Curve
    concentration: float
    moments: Estimate
    likelihood: Estimate

    def __post_init__(self) -> None:
        knots, means = self.curve.rewards, self.curve.means
        rising = all(a < b for a, b in pairwise(knots)) and all(a <= b for a, b in pairwise(means))
        if not knots or len(knots) != len(means) or not rising or not all(0 < mean < 1 for mean in means):
            raise InputError(
                f"depth {self.first}: a curve rises with the reward, between 0 and 1, a mean for each reward"
            )
        if not self.first <= self.last:
            raise InputError(f"depths run from the first to the last, not from {self.first} to {self.last}")
        if not self.concentration > 0:
            raise InputError(f"depth {self.first}: a concentration is above 0, not {self.concentration}")


@dataclass(frozen=True)
class Within:
    """What holds among candidates of one problem: their log-odds ℓ become shift + level · ℓ̄ + share · (ℓ - ℓ̄), ℓ̄ the
    average of those at hand. The `shifts` belong to the runs of depths.
    """

    share: Estimate
    level: float
    shifts: tuple[float, ...]

    def chances(self, odds: FloatArray, around: FloatArray, run: IntArray) -> FloatArray:
        """The chances (k,) that ℓ (k,) become, by ℓ̄ (k,) and the number of each one's run of depths (k,)."""
        drawn = np.array(self.shifts)[run] + self.level * around + self.share.value * (odds - around)
        return np.asarray(1 / (1 + np.exp(-drawn)), dtype=np.float64)


@dataclass(frozen=True)
class Ended:
    """What a finished path's reward says of its answer: `within` of the log-odds of the reward itself, for a vote."""

    solutions: int
    problems: int
    within: Within

    def chances(self, rewards: FloatArray) -> FloatArray:
        """The chance to be right of each finished path (k,) of one problem, by their rewards in [0, 1]."""
        odds, all_alike = log_odds(rewards), np.zeros(len(rewards), dtype=np.int64)
        return self.within.chances(odds, average_of(odds, all_alike, np.ones(len(odds))), all_alike)


@dataclass(frozen=True)
class Bin:
    """Prefixes whose score lies in one tenth of [0, 1]: how many, their mean score, the share of completions right."""

    prefixes: int
    score: float
    share: float


@dataclass(frozen=True)
class Reliability:
    """How well scores are chances: expected calibration error, area under the curve against the outcome of completions
    (None where all end alike), the Brier score of a completion, and the bins behind them.
    """

    error: float
    area: float | None
    brier: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Source:
    """What a calibration was fitted on: names and digests of the parts ("" where unknown), counts, and the command."""

    world: str = ""
    policy: str = ""
    policy_digest: str = ""
    reward: str = ""
    reward_digest: str = ""
    prefixes_digest: str = ""
    temperature: float | None = None
    problems: int = 0
    prefixes: int = 0
    completions: int = 0
    rollwise: str = ""
    command: str = ""


def remarks_on(fitted: Source, used: Source) -> list[str]:
    """Where a belief was fitted on something else than what a search uses, as far as both are known.

    Models that are the same file by file are the same under any name.
    """
    told = []
    for name in ("world", "policy", "reward", "temperature"):
        before, now = getattr(fitted, name), getattr(used, name)
        marks = [getattr(one, f"{name}_digest", "") for one in (fitted, used)]
        if before in ("", None) or now in ("", None) or (marks[0] and marks[0] == marks[1]):
            continue
        if before != now:
            told.append(f"the belief was fitted for the {name} {before}, the search uses {now}")
        elif all(marks):
            told.append(f"the belief was fitted for another {name} that was called {before} too")
    return told


@dataclass(frozen=True)
class Calibration:
    """A belief for any reward at any depth, with how it was fitted.

    `within` says how much of a difference in log-odds holds among paths of one problem, a share in [0, 1]: the curves
    are of all problems, some harder than others. `ended` is about finished paths, for votes. `correlation` ρ is the
    share of the doubt that prefixes of one direction have in common, `correlation_across` the same for different
    directions of one problem and depth; `size_exponent` α is how much a direction's log-odds rise with the log of its
    size among those of one problem and depth, given the rewards. They are None where the prefixes do not tell.
    """

    depths: tuple[DepthFit, ...]
    method: Method
    within: Within | None
    ended: Ended | None
    correlation: Estimate | None
    correlation_across: Estimate | None
    size_exponent: Estimate | None
    before: Reliability
    after: Reliability
    source: Source
    version: int = VERSION

    def __post_init__(self) -> None:
        if not self.depths or any(a.last >= b.first for a, b in pairwise(self.depths)):
            raise InputError("a calibration needs depths, shallowest first and none twice")
        if self.within is not None and not 0 <= self.within.share.value <= 1:
            raise InputError(f"the share that holds within a problem lies in 0 to 1, not at {self.within.share.value}")
        if self.ended is not None and not self.ended.within.share.value >= 0:
            raise InputError(f"the share that holds in a vote is at least 0, not {self.ended.within.share.value}")
        of_ended = None if self.ended is None else self.ended.within
        for told, count in ((self.within, len(self.depths)), (of_ended, 1)):
            if told is not None and len(told.shifts) != count:
                raise InputError(f"{len(told.shifts)} shifts are told where {count} are wanted, one a run of depths")
        if self.correlation is not None and not 0 < self.correlation.value <= 1:
            raise InputError(f"a correlation lies above 0 and up to 1, not {self.correlation.value}")

    def belief(self, rewards: FloatArray, depths: IntArray) -> Belief:
        """The belief about candidates of one problem, of these rewards (k,) in [0, 1] and depths (k,) in steps.

        A depth takes the fit that holds it, else the one below; before the first it is the first, beyond the last the
        last. The means' log-odds are drawn in as `Within` says, with the average of those of their depth. Where nothing
        holds within a problem, or its prefixes never differed, candidates are independent too, whatever the correlation
        found, so that rollouts go evenly over paths and not over directions: crowded directions are the better ones
        by more than a size exponent says. Where no correlation was fitted it is 1 (paths of one direction share their
        chance), where no size exponent was it is 0 (their number says nothing).
        """
        firsts = [one.first for one in self.depths]
        place = np.maximum(np.searchsorted(firsts, depths, side="right") - 1, 0)
        means = np.empty(len(rewards))
        for index in np.unique(place):
            means[place == index] = self.depths[index].curve(rewards[place == index])
        if self.within is not None:
            odds, groups = log_odds(means), np.unique(depths, return_inverse=True)[1]
            means = self.within.chances(odds, average_of(odds, groups, np.ones(len(odds))), place)
        concentrations = np.array([one.concentration for one in self.depths])[place]
        if self.within is None or self.within.share.value == 0:
            return Belief(means, concentrations, INDEPENDENT)
        correlation = 1.0 if self.correlation is None else self.correlation.value
        size_exponent = 0.0 if self.size_exponent is None else self.size_exponent.value
        return Belief(means, concentrations, correlation, size_exponent=size_exponent)

    def as_dict(self) -> dict[str, Any]:
        """The calibration as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, values: Any) -> Calibration:
        """A calibration of `as_dict`'s values. Raises InputError for a field that is missing, unknown or of the wrong
        kind, and for another version.
        """
        version = values.get("version") if isinstance(values, dict) else None
        if version != VERSION:
            raise InputError(
                f"this is no belief of version {VERSION}, but of {version!r}, which does not say all that is read "
                "today: fit one on the same prefixes by rollwise calibrate"
            )
        made: Calibration = _read(cls, values, "belief")
        return made


def _read(kind: Any, value: Any, where: str) -> Any:
    """A value of JSON as a dataclass, a tuple, a number or a text, by its annotation."""
    if is_dataclass(kind):
        return _read_record(kind, value, where)
    if get_origin(kind) is types.UnionType:
        return None if value is None else _read(get_args(kind)[0], value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where}: a list is wanted, not {value!r:.60}")
        return tuple(_read(get_args(kind)[0], one, f"{where}[{index}]") for index, one in enumerate(value))
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise InputError(f"{where}: one of {', '.join(get_args(kind))} is wanted, not {value!r:.60}")
        return value
    wanted = {float: (int, float), int: (int,), str: (str,)}[kind]
    if not isinstance(value, wanted) or isinstance(value, bool) or (kind is float and not np.isfinite(value)):
        raise InputError(f"{where}: a {kind.__name__} is wanted, not {value!r:.60}")
    return kind(value)


def _read_record(kind: Any, value: Any, where: str) -> Any:
    known = get_type_hints(kind)
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: an object with {', '.join(known)} is wanted, not {value!r:.60}")
    for name in [*(name for name in value if name not in known), *(name for name in known if name not in value)]:
        told = "is missing" if name in known else "is unknown"
        raise InputError(
            f"{where}: the field {name!r} {told}; there are: {', '.join(one.name for one in fields(kind))}"
        )
    return kind(**{name: _read(known[name], value[name], f"{where}.{name}") for name in known})
