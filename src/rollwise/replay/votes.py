"""What votes and stop rules would have given on recorded answers: accuracy, and samples and tokens saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rollwise.answers import VOTES, Standing, StopRule, equivalent, group
from rollwise.core import BoolArray, FloatArray, IntArray
from rollwise.numerics import keyed_generator
from rollwise.replay.recorded import Recorded

Interval = tuple[float, float]
RESAMPLES = 2000


@dataclass(frozen=True)
class Played:
    """One question under R rules, each a mean over the random orders of its answers.

    `samples`, `tokens`, `agreement` and `right` are (R,): what a rule used, and how often its winner was that of all
    the answers in the same order, and right. `count`, `spent` and `full_right` belong to all answers. `single` is the
    share of right answers, `covered` whether there is any. `votes` says of each vote over all answers, in the recorded
    order, whether its winner is right. Without tokens or a gold answer, the figures that need them are NaN.
    """

    count: int
    spent: float
    samples: FloatArray
    tokens: FloatArray
    agreement: FloatArray
    right: FloatArray
    full_right: float
    single: float
    covered: float
    votes: dict[str, float]


@dataclass(frozen=True)
class RuleRow:
    """A stop rule over all questions, with 95 % intervals from a bootstrap over questions.

    `samples_saved` is the number of all answers divided by the number that the rule used, both summed over the
    questions; `tokens_saved` likewise. `samples_saved_by_question` is the mean over questions of each one's own factor,
    which is larger because easy questions count as much as hard ones. None stands for what was not recorded.
    """

    rule: str
    samples_saved: float
    samples_saved_interval: Interval
    tokens_saved: float | None
    tokens_saved_interval: Interval | None
    agreement: float
    agreement_interval: Interval
    accuracy: float | None
    accuracy_interval: Interval | None
    samples_saved_by_question: float


@dataclass(frozen=True)
class VotesReplay:
    """All rules over some questions; `accuracy` is that of all the answers' vote.

    `single` is the accuracy of one answer, `coverage` the share of questions with any right answer, and `votes` the
    accuracy of each vote over all answers. They are over the `graded` questions, those with a gold answer.
    """

    questions: int
    graded: int
    samples: int
    tokens: int | None
    accuracy: float | None
    single: float | None
    coverage: float | None
    votes: dict[str, float]
    rules: tuple[RuleRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """The replay as plain values."""
        return asdict(self)


def play(question: Recorded, rules: Sequence[StopRule], orders: IntArray, compare: str = "mathematics") -> Played:
    """One question's answers under the rules, in the orders (S, n), each a permutation of the answers.

    Answers are grouped once, by `compare` as in `rollwise.answers.group`. Empty answers have no vote and cost a sample.
    A winner is right if it is the same mathematics as the gold answer.
    """
    labels = group(question.answers, compare)
    right = _rights(question, labels)
    standing, leaders = standings(labels[orders])
    spent = np.full(orders.shape, np.nan) if question.tokens is None else np.array(question.tokens)[orders]
    spent = spent.cumsum(axis=1)
    last = orders.shape[1] - 1
    each = np.arange(len(orders))
    ends = [_first_end(rule.decides(standing)) for rule in rules]
    winners = [leaders[each, end] for end in ends]
    return Played(
        count=last + 1,
        spent=float(spent[0, last]),
        samples=np.array([end.mean() + 1 for end in ends]),
        tokens=np.array([spent[each, end].mean() for end in ends]),
        agreement=np.array([np.mean(winner == leaders[:, last]) for winner in winners]),
        right=np.array([right[winner].mean() for winner in winners]),
        full_right=float(right[leaders[:, last]].mean()),
        single=float(right[labels].mean()),
        covered=float(right.max()),
        votes=_votes(question, labels, right),
    )


def standings(labels: IntArray) -> tuple[Standing, IntArray]:
    """How each vote stands after each answer, and its winner's label, -1 for none.

    `labels` (S, n) holds S votes with n answers each in their order, -1 for no answer. Ties go to the answer that came
    first, as in `majority`. Takes O(S n) operations whatever the number of labels.
    """
    votes, length = labels.shape
    each, groups = np.arange(votes), int(labels.max(initial=-1)) + 1
    counts = np.zeros((votes, groups + 1), dtype=np.int64)  # the last column takes samples without an answer
    first = np.full((votes, groups + 1), length, dtype=np.int64)
    leader, ahead, behind = np.full(votes, -1), np.zeros(votes, np.int64), np.zeros(votes, np.int64)
    streak, before = np.zeros(votes, np.int64), np.full(votes, -1)
    leaders, tops, seconds, streaks = (np.empty((votes, length), dtype=np.int64) for _ in range(4))
    for place in range(length):
        label = labels[:, place]
        counts[each, label] += 1
        first[each, label] = np.minimum(first[each, label], place)
        count, votes_now = counts[each, label], label >= 0
        leads = votes_now & (label == leader)
        level = (count == ahead) & (first[each, label] < first[each, leader])
        takes = votes_now & ~leads & ((count > ahead) | level)
        behind = np.where(takes, ahead, np.where(votes_now & ~leads, np.maximum(behind, count), behind))
        ahead = np.where(takes | leads, count, ahead)
        leader = np.where(takes, label, leader)
        streak = np.where(votes_now, np.where(label == before, streak + 1, 1), 0)
        before = label
        leaders[:, place], tops[:, place], seconds[:, place], streaks[:, place] = leader, ahead, behind, streak
    seen = np.arange(1, length + 1)
    return Standing(tops, seconds, np.broadcast_to(seen, labels.shape), length - seen, streaks), leaders


def orders_of(question: Recorded, shuffles: int, *key: object) -> IntArray:
    """Random orders (shuffles, n) of a question's answers, named by a key."""
    generator = keyed_generator("orders", *key)
    return np.stack([generator.permutation(len(question.answers)) for _ in range(shuffles)])


def summarise_votes(played: Sequence[Played], rules: Sequence[StopRule]) -> VotesReplay:
    """The rules over all questions, with a bootstrap over questions."""
    generator = keyed_generator("votes", len(played))
    drawn = generator.multinomial(len(played), np.full(len(played), 1 / len(played)), size=RESAMPLES).astype(np.float64)
    counts, spent = (np.array([getattr(each, name) for each in played], np.float64) for name in ("count", "spent"))
    graded = [each for each in played if not np.isnan(each.full_right)]
    with_tokens = not np.isnan(spent).any()
    return VotesReplay(
        questions=len(played),
        graded=len(graded),
        samples=int(counts.sum()),
        tokens=int(spent.sum()) if with_tokens else None,
        accuracy=_mean([each.full_right for each in graded]),
        single=_mean([each.single for each in graded]),
        coverage=_mean([each.covered for each in graded]),
        votes=_vote_accuracies(graded),
        rules=tuple(_row(rule.name, index, played, counts, spent, drawn) for index, rule in enumerate(rules)),
    )


def _row(
    name: str, index: int, played: Sequence[Played], counts: FloatArray, spent: FloatArray, drawn: FloatArray
) -> RuleRow:
    samples, tokens, agreement, right = (
        np.array([getattr(each, field)[index] for each in played])
        for field in ("samples", "tokens", "agreement", "right")
    )
    ones = np.ones(len(played))
    graded = ~np.isnan(right)
    samples_saved, samples_interval = _ratio(counts, samples, drawn)
    agreed, agreed_interval = _ratio(agreement, ones, drawn)
    tokens_saved = None if np.isnan(spent).any() else _ratio(spent, tokens, drawn)
    accuracy = _ratio(np.where(graded, right, 0), graded.astype(np.float64), drawn) if graded.any() else None
    return RuleRow(
        rule=name,
        samples_saved=samples_saved,
        samples_saved_interval=samples_interval,
        tokens_saved=None if tokens_saved is None else tokens_saved[0],
        tokens_saved_interval=None if tokens_saved is None else tokens_saved[1],
        agreement=agreed,
        agreement_interval=agreed_interval,
        accuracy=None if accuracy is None else accuracy[0],
        accuracy_interval=None if accuracy is None else accuracy[1],
        samples_saved_by_question=float(np.mean(counts / samples)),
    )


def _ratio(above: FloatArray, below: FloatArray, drawn: FloatArray) -> tuple[float, Interval]:
    """Σ above / Σ below with its 95 % interval over the resamples `drawn` (B, Q), which may leave nothing below."""
    sums = drawn @ below
    ratios = (drawn @ above)[sums > 0] / sums[sums > 0]
    total = float(below.sum())
    low, high = np.quantile(ratios, [0.025, 0.975]) if len(ratios) else (1.0, 1.0)
    return (float(above.sum()) / total if total else 1.0), (float(low), float(high))


def _first_end(ends: BoolArray) -> IntArray:
    """The place of the first True in each row; the last place if there is none."""
    ends = ends.copy()
    ends[:, -1] = True
    return np.asarray(ends.argmax(axis=1), dtype=np.int64)


def _rights(question: Recorded, labels: IntArray) -> FloatArray:
    """Whether each group is right, (groups + 1,), by its most common spelling; the last entry is for no answer."""
    groups = int(labels.max(initial=-1)) + 1
    if question.gold is None:
        return np.full(groups + 1, np.nan)
    right = np.zeros(groups + 1)
    for label in range(groups):
        spellings = Counter(question.answers[place] for place in np.flatnonzero(labels == label))
        right[label] = equivalent(question.gold, str(spellings.most_common(1)[0][0]))
    return right


def _votes(question: Recorded, labels: IntArray, right: FloatArray) -> dict[str, float]:
    weights = np.ones(len(labels)) if question.weights is None else np.array(question.weights)
    names = ["majority"] if question.weights is None else ["majority", "weighted_majority", "best_of_n"]
    winners = {name: VOTES[name](labels, weights).label for name in names}
    return {name: float(right[-1 if label is None else label]) for name, label in winners.items()}


def _vote_accuracies(graded: Sequence[Played]) -> dict[str, float]:
    """The accuracy of each vote that every question has."""
    names = [name for name in VOTES if graded and all(name in each.votes for each in graded)]
    return {name: float(np.mean([each.votes[name] for each in graded])) for name in names}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
