"""Stop rules: when a vote that is still being taken may end, because its winner is decided or almost certain."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from rollwise.answers.voting import BELIEVED, verified
from rollwise.core import BoolArray, FloatArray, IntArray
from rollwise.errors import InputError

_NOISE = 1e-9  # votes round their sums to 12 digits; a lead below this is none


@dataclass(frozen=True)
class Standing:
    """How a vote stands after `seen` answers, each with one vote. The fields broadcast, so they may hold many votes.

    `leader` and `runner_up` count the votes of the two strongest answers, `remaining` the answers still to come.
    `streak` says how many of the latest answers are the same. Answers that could not be read count in `seen` only.
    """

    leader: ArrayLike
    runner_up: ArrayLike
    seen: ArrayLike
    remaining: ArrayLike
    streak: ArrayLike = 0


@dataclass(frozen=True)
class StopRule:
    """A stop rule by its name. `decides` says of each standing whether the vote ends there.

    `level` is the confidence of `likely` and `predictive`; None for the other rules.
    """

    name: str
    decides: Callable[[Standing], BoolArray]
    level: float | None = None


def lossless(leader: ArrayLike, runner_up: ArrayLike, remaining: ArrayLike) -> BoolArray:
    """Whether the leader wins whatever comes: leader - runner-up > remaining.

    `leader` and `runner_up` are votes or sums of weights. `remaining` is the most that all answers to come can weigh:
    their number, if weights lie in [0, 1]. A lead of exactly that much is not enough, because it may end in a tie.
    """
    return np.asarray(np.subtract(leader, runner_up) > np.asarray(remaining) + _NOISE)


def likely_risk(leader: ArrayLike, runner_up: ArrayLike) -> FloatArray:
    """The chance that the runner-up b is in truth at least as common as the leader a: P(Bin(a + b + 1, 1/2) <= b).

    This is adaptive consistency (Aggarwal et al., 2305.11860) in closed form: with a uniform prior on the leader's
    share p of the two, p ~ Beta(a + 1, b + 1) and P(p < 1/2) is that tail. It assumes that answers are independent,
    count the same, and that no third answer matters. It does not know how many answers are still to come.
    """
    from scipy.special import bdtr

    a, b = np.asarray(leader, dtype=np.float64), np.asarray(runner_up, dtype=np.float64)
    return np.asarray(bdtr(b, (a + b + 1).astype(np.int64), 0.5), dtype=np.float64)


def predictive_risk(leader: ArrayLike, runner_up: ArrayLike, remaining: ArrayLike) -> FloatArray:
    """The chance that the runner-up draws level with the leader within the answers to come.

    All `remaining` R answers are supposed to go to these two. With a uniform prior on their shares, X of them go to the
    runner-up b, X ~ BetaBinomial(R, b + 1, a + 1), and the risk is P(b + X >= a + R - X). It assumes what `likely_risk`
    assumes. It is 0 where `lossless` holds, and tends to `likely_risk` as R grows.
    """
    a, b, left = np.broadcast_arrays(leader, runner_up, remaining)
    kinds, places = np.unique(np.stack([a, b, left]).reshape(3, -1).astype(np.int64), axis=1, return_inverse=True)
    risks = np.array([_catch_up(*map(int, kind)) for kind in kinds.T], dtype=np.float64)
    return risks[places.reshape(-1)].reshape(a.shape)


@lru_cache(maxsize=1 << 16)
def _catch_up(leader: int, runner_up: int, remaining: int) -> float:
    """The risk of one vote, as the shorter of two equal sums.

    The first goes over X. The second reads the draws of old and new answers in the order of their uniform numbers: the
    runner-up gets k new ones if at most b of the first k + b numbers are old, which is a hypergeometric tail.
    """
    from scipy.special import betaln

    a, b, least = leader + 1, runner_up + 1, max(0, -((runner_up - leader - remaining) // 2))
    if least > remaining:
        return 0.0
    if remaining - least < runner_up:
        more = np.arange(least, remaining + 1)
        terms = _log_choose(remaining, more) + betaln(b + more, a + remaining - more) - betaln(b, a)
    else:
        first = least + runner_up
        old = np.arange(max(0, first - remaining), runner_up + 1)
        terms = _log_choose(a + runner_up, old) + _log_choose(remaining, first - old)
        terms = terms - _log_choose(a + runner_up + remaining, first)
    return min(1.0, float(np.exp(terms).sum()))


def _log_choose(n: int, k: ArrayLike) -> FloatArray:
    from scipy.special import gammaln

    return np.asarray(gammaln(n + 1) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n + 1, k)), dtype=np.float64)


def _by_margin(standing: Standing) -> BoolArray:
    return lossless(standing.leader, standing.runner_up, standing.remaining)


def _never(standing: Standing) -> BoolArray:
    return np.zeros(np.shape(standing.seen), dtype=np.bool_)


def _likely(level: float) -> Callable[[Standing], BoolArray]:
    def decides(standing: Standing) -> BoolArray:
        risk = likely_risk(standing.leader, standing.runner_up)
        return _leads(standing) & ((risk <= 1 - level) | _by_margin(standing))

    return decides


def _predictive(level: float) -> Callable[[Standing], BoolArray]:
    def decides(standing: Standing) -> BoolArray:
        risk = predictive_risk(standing.leader, standing.runner_up, standing.remaining)
        return _leads(standing) & ((risk <= 1 - level) | _by_margin(standing))

    return decides


def _leads(standing: Standing) -> BoolArray:
    return np.asarray(np.greater(standing.leader, standing.runner_up))


def _first(count: int) -> Callable[[Standing], BoolArray]:
    return lambda standing: np.asarray(np.greater_equal(standing.seen, count))


def _window(size: int) -> Callable[[Standing], BoolArray]:
    """Early-stopping self-consistency (Li et al., 2401.10480): answers come in windows; one that agrees ends it."""

    def decides(standing: Standing) -> BoolArray:
        closed = np.remainder(standing.seen, size) == 0
        return np.asarray(closed & np.greater_equal(standing.streak, size))

    return decides


_RULE = re.compile(r"(?P<kind>[a-z]+)(?:\((?P<value>\d+(?:\.\d+)?|\.\d+)\))?", re.ASCII)
_PLAIN = {"never": _never, "lossless": _by_margin}
_CONFIDENT = {"likely": _likely, "predictive": _predictive}
_COUNTED = {"first": _first, "window": _window}
_DEFAULT_LEVEL = 0.95
STOP_RULES = "never, lossless, likely(0.95), predictive(0.95), first(16), window(5)"
"""The forms of a rule's name."""


def find_stop_rule(name: str) -> StopRule:
    """The stop rule of a name: never, lossless, likely(CONFIDENCE), predictive(CONFIDENCE), first(N) or window(W).

    The confidence is 0.95 if it is left out. Raises InputError for any other name.
    """
    match = _RULE.fullmatch(name.replace(" ", ""))
    kind, value = (match["kind"], match["value"]) if match else ("", None)
    if kind in _PLAIN and value is None:
        return StopRule(kind, _PLAIN[kind])
    if kind in _CONFIDENT:
        level = _DEFAULT_LEVEL if value is None else float(value)
        if not 0.5 <= level < 1:
            raise InputError(f"{name}: the confidence lies between 0.5 and 1, such as {kind}(0.95)")
        return StopRule(f"{kind}({level:g})", _CONFIDENT[kind](level), level)
    if kind in _COUNTED and value is not None and value.isdigit() and int(value) >= 1:
        return StopRule(f"{kind}({int(value)})", _COUNTED[kind](int(value)))
    raise InputError(f"no stop rule is called {name!r}; give one like {STOP_RULES}")


def vote_decided(vote: str, labels: IntArray, weights: FloatArray, remaining: int, right: IntArray) -> bool:
    """Whether a vote of `rollwise.answers.VOTES`, or `verified`, has its winner whatever `remaining` more voters bring.

    `labels` (n,) are the groups of the answers, -1 for none; `weights` and `right` (n,) are those of the voters so far,
    and voters to come rank after them. Weights have to lie in [0, 1]: with any other, nothing is decided before the
    end. What is assumed of the answers to come is that they do not regroup those that are there.

    `believed_majority` is never decided before the end: a belief compares each path with the average of all, so paths
    to come change the weights of those that are there.
    """
    voters = labels >= 0
    if vote == BELIEVED or not voters.any() or not np.all((weights >= 0) & (weights <= 1)):
        return False
    if vote == "verified":
        best = verified(labels, weights, right).voter
        return best is not None and bool(weights[best] >= 1)
    if vote == "best_of_n":
        return bool(weights[voters].max() >= 1)
    ones = np.ones(len(labels))
    first, second = top_two(labels, weights if vote == "weighted_majority" else ones)
    return bool(lossless(first, second, remaining))


def top_two(labels: IntArray, votes: FloatArray) -> tuple[float, float]:
    """The two largest sums of votes among the labels (n,), of which -1 stands for no answer; 0 where there is none."""
    voters = labels >= 0
    sums = np.sort(np.bincount(labels[voters], votes[voters])) if voters.any() else np.zeros(0)
    second, first = np.concatenate([np.zeros(2), sums])[-2:]
    return float(first), float(second)
