"""The record of a fitted calibration: it turns rewards into beliefs, and a file can hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from rollwise.calibration.estimators import Curve
from rollwise.calibration.regression import group_average, log_odds
from rollwise.core import Belief, FloatArray, IntArray, read_fields
from rollwise.errors import InputError

VERSION = 3
INDEPENDENT = 1e-6
"""The correlation of independent candidates; a belief's correlation has to lie above 0."""
Method = Literal["moments", "likelihood"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval from a bootstrap over problems."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DepthFit:
    """The fit for prefixes with `first` to `last` steps.

    `curve` maps a reward to the mean chance. `moments` and `likelihood` estimate the concentration κ in two ways;
    `concentration` is the value in use. `prefixes` and `problems` count the data. Raises InputError if the values
    make no sense.
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
                f"depth {self.first}: a curve needs a mean between 0 and 1 for each reward, and its means have to rise "
                "with the reward"
            )
        if not self.first <= self.last:
            raise InputError(f"a fit covers depths from the first to the last, not from {self.first} to {self.last}")
        if not self.concentration > 0:
            raise InputError(f"depth {self.first}: the concentration has to be above 0, not {self.concentration}")


@dataclass(frozen=True)
class Within:
    """How much of a difference in log-odds holds among candidates of one problem.

    Log-odds ℓ become shift + level · ℓ̄ + share · (ℓ - ℓ̄), where ℓ̄ is the average over the candidates at hand. There is
    one shift for each run of depths.
    """

    share: Estimate
    level: float
    shifts: tuple[float, ...]

    def chances(self, odds: FloatArray, around: FloatArray, run: IntArray) -> FloatArray:
        """The chances (k,), given ℓ as `odds` (k,) and ℓ̄ as `around` (k,).

        `run` (k,) numbers the run of depths of each candidate.
        """
        adjusted = np.array(self.shifts)[run] + self.level * around + self.share.value * (odds - around)
        return np.asarray(1 / (1 + np.exp(-adjusted)), dtype=np.float64)


@dataclass(frozen=True)
class Ended:
    """How a finished path's reward predicts that its answer is right, for a vote.

    `within` applies to the log-odds of the reward itself. `solutions` and `problems` count the data.
    """

    solutions: int
    problems: int
    within: Within

    def chances(self, rewards: FloatArray) -> FloatArray:
        """The chance that each finished path (k,) of one problem is right, given their rewards (k,) in [0, 1]."""
        odds, one_group = log_odds(rewards), np.zeros(len(rewards), dtype=np.int64)
        return self.within.chances(odds, group_average(odds, one_group, np.ones(len(odds))), one_group)


@dataclass(frozen=True)
class Bin:
    """Prefixes whose score lies in one tenth of [0, 1]: their number, mean score, and share of right completions."""

    prefixes: int
    score: float
    share: float


@dataclass(frozen=True)
class Reliability:
    """How well scores agree with chances.

    `error` is the expected calibration error, `area` the area under the ROC curve against the outcomes of completions
    (None if all completions end the same way), `brier` the Brier score of a completion. `bins` show the same by score.
    """

    error: float
    area: float | None
    brier: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Source:
    """What a calibration was fitted on: names and digests of the parts ("" if unknown), counts, and the command."""

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
    """A remark for each part in which a belief's source differs from what a search uses, as far as both are known.

    Models with equal digests are the same model under any name.
    """
    remarks = []
    for part in ("world", "policy", "reward", "temperature"):
        before, now = getattr(fitted, part), getattr(used, part)
        digest_before, digest_now = (getattr(source, f"{part}_digest", "") for source in (fitted, used))
        unknown = before in ("", None) or now in ("", None)
        if unknown or (digest_before and digest_before == digest_now):
            continue
        if before != now:
            remarks.append(f"the belief was fitted for the {part} {before}, but the search uses {now}")
        elif digest_before and digest_now:
            remarks.append(f"the belief was fitted for another {part} of the same name, {before}")
    return remarks


@dataclass(frozen=True)
class Calibration:
    """A fitted calibration: it gives a belief for any reward at any depth, and records how it was fitted.

    - `within` says how much of a difference in log-odds holds among the paths of one problem, as a share in [0, 1]. It
      is needed because the curves are fitted over all problems, and some problems are harder than others.
    - `ended` applies to finished paths, for votes.
    - `correlation` ρ is the share of the uncertainty that the prefixes of one direction have in common.
      `correlation_across` is the same for different directions of one problem and depth.
    - `size_exponent` α says how much a direction's log-odds rise with the log of its size, given the rewards, among the
      directions of one problem and depth.

    Fields are None if the prefixes say nothing about them. Raises InputError if the values make no sense.
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
            raise InputError("a calibration needs at least one fit, in order of depth and without overlap")
        if self.within is not None and not 0 <= self.within.share.value <= 1:
            raise InputError(
                f"the share that holds within a problem has to lie in [0, 1], not {self.within.share.value}"
            )
        if self.ended is not None and not self.ended.within.share.value >= 0:
            raise InputError(
                f"the share that holds in a vote has to be at least 0, not {self.ended.within.share.value}"
            )
        of_ended = None if self.ended is None else self.ended.within
        for within, runs in ((self.within, len(self.depths)), (of_ended, 1)):
            if within is not None and len(within.shifts) != runs:
                raise InputError(
                    f"the number of shifts has to be {runs}, one per run of depths, not {len(within.shifts)}"
                )
        if self.correlation is not None and not 0 < self.correlation.value <= 1:
            raise InputError(f"a correlation has to lie above 0 and at most at 1, not {self.correlation.value}")

    def belief(self, rewards: FloatArray, depths: IntArray) -> Belief:
        """The belief about candidates of one problem, given their rewards (k,) in [0, 1] and depths (k,) in steps.

        A depth uses the fit that covers it. A depth between two fits uses the shallower fit. Depths before the first
        fit use the first, and depths beyond the last fit use the last. `within` adjusts the log-odds of the means
        towards the average of their depth.

        If nothing holds within a problem, or if its prefixes never differed, candidates are independent whatever the
        fitted correlation is. Then rollouts go evenly over paths and not over directions, because crowded directions
        are better by more than a size exponent says.

        If no correlation was fitted it is 1: paths of one direction share their chance. If no size exponent was fitted
        it is 0: the number of paths says nothing.
        """
        firsts = [fit.first for fit in self.depths]
        place = np.maximum(np.searchsorted(firsts, depths, side="right") - 1, 0)
        means = np.empty(len(rewards))
        for index in np.unique(place):
            means[place == index] = self.depths[index].curve(rewards[place == index])
        if self.within is not None:
            odds, groups = log_odds(means), np.unique(depths, return_inverse=True)[1]
            means = self.within.chances(odds, group_average(odds, groups, np.ones(len(odds))), place)
        concentrations = np.array([fit.concentration for fit in self.depths])[place]
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
        """The calibration that `as_dict` gave as plain values.

        Raises InputError if the version is another, or if a field is missing, unknown or of the wrong type.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"a belief is a JSON object, not {values!r:.60}")
        if values.get("version") != VERSION:
            raise InputError(
                f"this belief has version {values.get('version')!r}, but rollwise reads version {VERSION}, which has "
                "other fields"
            )
        return read_fields(cls, values, "the belief", exact=True)
