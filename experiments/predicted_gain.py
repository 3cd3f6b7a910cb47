r"""Compares theory and experiment: the gain of a round as the formula predicts it, and as completions observe it.

    rollwise world rollouts stories --policy demonstrator --levels 4,5 --questions 60 --paths 64 \
        --completions 64 --out F
    python experiments/predicted_gain.py F --width 16 --reward "worth(0.2,1)" --svg docs/predicted-gain.svg

The script reads completed prefixes. At every question and depth, the unfinished paths are the candidates, and their
true states are the directions. Each strategy allocates --width rollouts once (0: as many as there are paths). Coverage
is P(any right).

- Predicted: 1 - Π_j E[(1 - p_j)^S_j] with the rollouts S_j of state j and p_j ~ Beta(κm_j, κ(1 - m_j)). The mean m is
  the isotonic curve of the reward that `rollwise calibrate` fits. The belief "size" also shifts its log-odds as
  `optimal_directions` does, by α (log paths of the state - its mean over states), with α by maximum likelihood. κ comes
  from moments. Everything is fitted by depth on the two thirds of the questions that are not judged; each state counts
  once.
- Observed: the completions of the prefixes that got rollouts. If c of n completions were right, an unbiased estimate of
  the chance that S rollouts all fail is C(n - c, S) / C(n, S). If S > n, S = n is used, which understates coverage;
  "cut short" says how often. The reward does not use the completions, so no data are used twice.

Gains are differences in coverage to REBASE in percentage points, averaged over the questions of a depth. Intervals are
bootstrap intervals over questions. The picture has a point for every reward, depth and strategy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path as FilePath

import numpy as np
from scipy.special import expit, gammaln, logit

from rollwise.allocation.failure import log_expected_failure
from rollwise.allocation.strategies import STRATEGIES
from rollwise.calibration.estimators import Curve, concentration_of, held_out_means, mean_curve, moment_sums
from rollwise.calibration.observations import Observations
from rollwise.calibration.prefixes import Prefix, load_prefixes
from rollwise.calibration.regression import size_effect
from rollwise.core import Belief, Candidates, Failure, FloatArray, IntArray, Problem
from rollwise.directions.kernel import from_labels, pool
from rollwise.numerics import bootstrap_interval, keyed_generator
from rollwise.registry import find_reward

BASE = "rebase"
COLOURS = {"temperature": "#8a8f98", "dora": "#c8502d", "optimal": "#2a9d55", "optimal_directions": "#184ea0"}
BELIEFS = ("reward", "size")
FOLDS = 3
LEAST_FITTED = 5  # the smallest number of questions that a belief is fitted to
LEAST_PATHS = 8  # the smallest number of candidates for an allocation


@dataclass(frozen=True)
class Situation:
    """A question at a depth: for each prefix (P,) its paths, completions, right completions, state and reward."""

    question: int
    level: int
    depth: int
    size: IntArray
    completions: IntArray
    right: IntArray
    state: IntArray
    reward: FloatArray


@dataclass(frozen=True)
class Outcome:
    """Predicted and observed coverage of a strategy, the mean predicted chance of its rollouts and their share right.

    `short` says whether there were too few completions.
    """

    predicted: float
    observed: float
    chance: float
    right: float
    short: bool


@dataclass
class Row:
    """The gains of a reward, belief, depth and strategy over questions."""

    predicted: list[float] = field(default_factory=list)
    observed: list[float] = field(default_factory=list)
    levels: list[tuple[float, float, float, float]] = field(default_factory=list)
    fits: list[tuple[float, float]] = field(default_factory=list)
    short: int = 0


def situations(problems: Sequence[tuple[Problem, list[Prefix]]], reward: str, world: str) -> list[Situation]:
    """The situations of a file with rewards; prefixes that the reward model fails on are left out."""
    from rollwise.calibration.scoring import score_prefixes

    model, result = find_reward(reward, world), []
    for number, (problem, prefixes) in enumerate(problems):
        unfinished = [prefix for prefix in prefixes if not prefix.ended]
        scores = asyncio.run(score_prefixes(model, problem, unfinished))
        for depth in sorted({prefix.depth for prefix in unfinished}):
            pairs = zip(unfinished, scores, strict=True)
            here = [
                (prefix, float(value))
                for prefix, value in pairs
                if prefix.depth == depth and not isinstance(value, Failure)
            ]
            if sum(prefix.size for prefix, _ in here) < LEAST_PATHS:
                continue
            states = from_labels([prefix.state for prefix, _ in here]).labels
            assert states is not None
            size, completions, right = (
                np.array([getattr(prefix, name) for prefix, _ in here]) for name in ("size", "completions", "right")
            )
            values = np.array([value for _, value in here])
            result.append(Situation(number, problem.level or 0, depth, size, completions, right, states, values))
    return result


@dataclass(frozen=True)
class Fit:
    """A belief for a depth: the mean by reward, κ, and the size exponent α, fitted with `rollwise.calibration`."""

    curve: Curve
    concentration: float
    exponent: float

    def means(self, situation: Situation) -> FloatArray:
        """The mean of each prefix (P,) of a situation."""
        sizes = np.bincount(situation.state, situation.size)
        among = np.zeros(len(sizes), dtype=np.int64)
        return expit(logit(self.curve(situation.reward)) + (self.exponent * centred(sizes, among))[situation.state])


def centred(sizes: FloatArray, problem: IntArray) -> FloatArray:
    """Log sizes (n,) minus their mean in each problem, which `optimal_directions` multiplies by α."""
    logs = np.log(sizes)
    return logs - (np.bincount(problem, logs) / np.maximum(1, np.bincount(problem)))[problem]


def by_state(several: Sequence[Situation]) -> Observations:
    """The states of some situations, each as a single prefix with all its completions."""
    rows = []
    for situation in several:
        sums = [
            np.bincount(situation.state, each)
            for each in (situation.reward * situation.size, situation.right, situation.completions, situation.size)
        ]
        count = len(sums[0])
        rows.append(
            np.stack(
                [sums[0] / sums[3], *sums[1:], np.full(count, situation.question), np.full(count, situation.depth)]
            )
        )
    reward, *numbers = np.concatenate(rows, axis=1)
    right, completions, size, problem, depth = (each.astype(np.int64) for each in numbers)
    return Observations(reward, depth, right, completions, problem, np.arange(len(reward)), size)


def fitted(several: Sequence[Situation], sized: bool) -> Fit:
    """The belief fitted on situations of a depth: an isotonic mean, and κ by moments with means of other folds.

    With `sized`, it also has the α of `size_effect`.
    """
    observed = by_state(several)
    means, exponent = held_out_means(observed), 0.0
    effect = size_effect(observed, means, np.zeros(len(observed), dtype=np.int64)) if sized else None
    if effect is not None:
        exponent = effect.exponent
        means = expit(logit(means) + exponent * centred(observed.size, observed.problem))
    excess, scale = moment_sums(observed, means).sum(axis=0)
    return Fit(mean_curve(observed), float(concentration_of(excess, scale)), exponent)


def beliefs(several: Sequence[Situation], sized: bool) -> list[tuple[FloatArray, float, float] | None]:
    """The means (P,), κ and α of each situation, fitted on other folds at its depth; None with too few questions."""
    by_depth: dict[int, list[Situation]] = defaultdict(list)
    for situation in several:
        by_depth[situation.depth].append(situation)
    fits: dict[tuple[int, int], Fit] = {}
    for depth, here in by_depth.items():
        for fold in range(FOLDS):
            others = [situation for situation in here if situation.question % FOLDS != fold]
            if len(others) >= LEAST_FITTED:
                fits[depth, fold] = fitted(others, sized)
    result: list[tuple[FloatArray, float, float] | None] = []
    for situation in several:
        fit = fits.get((situation.depth, situation.question % FOLDS))
        result.append(None if fit is None else (fit.means(situation), fit.concentration, fit.exponent))
    return result


def log_none_right(completions: IntArray, right: IntArray, rollouts: IntArray) -> float:
    """The log of Π C(n - c, S) / C(n, S), with S capped at n."""
    n, wrong, drawn = completions, completions - right, np.minimum(rollouts, completions)
    if np.any(drawn > wrong):
        return -np.inf
    logs = gammaln(wrong + 1) - gammaln(wrong - drawn + 1) - gammaln(n + 1) + gammaln(n - drawn + 1)
    return float(logs.sum())


def outcome(situation: Situation, means: FloatArray, kappa: float, name: str, width: int) -> Outcome:
    """The predicted and the observed coverage of a strategy's allocation."""
    member = np.repeat(np.arange(len(situation.size)), situation.size)
    order = keyed_generator("keys", situation.question, situation.depth).permutation(
        len(member)
    )  # the position must carry no information
    paths = tuple((int(index),) for index in order)
    belief = Belief(means[member], np.full(len(member), kappa))
    among = Candidates(paths, situation.reward[member], from_labels(situation.state[member].tolist()), belief=belief)
    counts = np.bincount(
        member, STRATEGIES[name].bind()(among, width or len(member)).counts, minlength=len(situation.size)
    )
    totals = np.bincount(situation.state, counts)
    shared, _ = pool(means[member], np.full(len(member), kappa), situation.state[member])
    predicted = float(log_expected_failure(shared, np.full(len(shared), kappa), totals).sum())
    observed = log_none_right(situation.completions, situation.right, counts.astype(np.int64))
    chance, right = counts @ means / counts.sum(), counts @ (situation.right / situation.completions) / counts.sum()
    short = bool(np.any(counts > situation.completions))
    return Outcome(1 - np.exp(predicted), 1 - np.exp(observed), float(chance), float(right), short)


def gains(several: Sequence[Situation], width: int, sized: bool) -> dict[tuple[int, str], Row]:
    """(depth, strategy) → gains over REBASE, a value per question."""
    rows: dict[tuple[int, str], Row] = defaultdict(Row)
    for situation, belief in zip(several, beliefs(several, sized), strict=True):
        if belief is None:
            continue
        means, kappa, exponent = belief
        base = outcome(situation, means, kappa, BASE, width)
        for name in (BASE, *COLOURS):
            here = base if name == BASE else outcome(situation, means, kappa, name, width)
            row = rows[situation.depth, name]
            row.predicted.append(100 * (here.predicted - base.predicted))
            row.observed.append(100 * (here.observed - base.observed))
            row.levels.append((100 * here.predicted, 100 * here.observed, 100 * here.chance, 100 * here.right))
            row.fits.append((kappa, exponent))
            row.short += here.short
    return rows


def spread(several: Sequence[Situation], sized: bool) -> tuple[float, float]:
    """How much the number of right states varies, and the share of situations without hope.

    The first is the variance over questions of Σ_j (worth_j - m_j) divided by that of independent states, averaged over
    depths. The second is the share of situations in which no state has a twentieth of its completions right.
    """
    sums: dict[int, list[tuple[float, float, bool]]] = defaultdict(list)
    for situation, belief in zip(several, beliefs(several, sized), strict=True):
        if belief is not None:
            worth = np.bincount(situation.state, situation.right) / np.bincount(situation.state, situation.completions)
            off = worth - np.bincount(situation.state, belief[0] * situation.size) / np.bincount(
                situation.state, situation.size
            )
            sums[situation.depth].append((float(off.sum()), float((off**2).sum()), bool(worth.max() < 0.05)))
    tables = [np.array(rows) for rows in sums.values()]
    ratios = [table[:, 0].var() / table[:, 1].mean() for table in tables]
    return float(np.mean(ratios)), float(np.concatenate(tables)[:, 2].mean())


@dataclass(frozen=True)
class Point:
    """A point of the picture; gains and coverage are in percentage points."""

    reward: str
    belief: str
    depth: int
    strategy: str
    questions: int
    concentration: float
    exponent: float
    predicted: float
    observed: float
    low: float
    high: float
    coverage_predicted: float
    coverage_observed: float
    right_predicted: float
    right_observed: float
    short: float


def point(reward: str, belief: str, depth: int, name: str, row: Row) -> Point:
    observed = np.array(row.observed)
    low, high = bootstrap_interval(observed, np.random.default_rng(0), resamples=2000)
    return Point(
        reward, belief, depth, name, len(observed), *np.median(row.fits, axis=0).tolist(),
        float(np.mean(row.predicted)), float(observed.mean()), low, high, *np.mean(row.levels, axis=0).tolist(),
        row.short / len(observed),
    )  # fmt: skip


_SIZE, _MARGIN = 560, 64


def picture(points: Sequence[Point], title: str) -> str:
    """An SVG picture of predicted against observed gains, with the diagonal and a bar for each interval."""
    ends = [value for point in points for value in (point.predicted, point.observed)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    pad = 0.05 * (high - low or 1.0)
    low, high = low - pad, high + pad
    room = _SIZE - 2 * _MARGIN

    def x(value: float) -> float:
        return _MARGIN + room * (value - low) / (high - low)

    def y(value: float) -> float:
        return _SIZE - x(min(max(value, low), high))

    def text(left: float, top: float, words: str, anchor: str = "middle", colour: str = "#666") -> str:
        place = f'x="{left:.1f}" y="{top:.1f}" font-size="11" text-anchor="{anchor}" fill="{colour}"'
        return f"<text {place}>{escape(words)}</text>"

    def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE} {_SIZE}" font-family="sans-serif">',
        f'<rect width="{_SIZE}" height="{_SIZE}" fill="white"/>',
        f'<text x="{_MARGIN}" y="24" font-size="14" fill="#222">{escape(title)}</text>',
        line(x(low), y(low), x(high), y(high), 'stroke="#bbb" stroke-dasharray="4 4"'),
    ]
    step = next(width for width in (0.5, 1, 2, 5, 10, 20, 50) if (high - low) / width <= 10)
    for tick in np.arange(np.ceil(low / step) * step, high, step).tolist():
        style = f'stroke="{"#999" if tick == 0 else "#eee"}"'
        parts += [line(x(tick), y(low), x(tick), y(high), style), line(x(low), y(tick), x(high), y(tick), style)]
        parts += [text(x(tick), y(low) + 16, f"{tick:+g}"), text(x(low) - 6, y(tick) + 4, f"{tick:+g}", "end")]
    for point in points:
        colour = COLOURS[point.strategy]
        gains = f"{point.predicted:+.1f} predicted, {point.observed:+.1f}"
        tip = f"{point.strategy}, {point.reward}, depth {point.depth}: {gains}"
        bar = line(
            x(point.predicted), y(point.low), x(point.predicted), y(point.high), f'stroke="{colour}" opacity="0.35"'
        )
        fill = colour if point.belief == "size" else "white"
        place = f'cx="{x(point.predicted):.1f}" cy="{y(point.observed):.1f}" r="4"'
        dot = f'<circle {place} fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
        parts.append(f"<g><title>{escape(tip)}</title>{bar}{dot}</g>")
    for index, (name, colour) in enumerate(COLOURS.items()):
        left, top = _SIZE - _MARGIN - 200, _SIZE - _MARGIN - 88 + 16 * index
        parts += [f'<circle cx="{left}" cy="{top}" r="4" fill="{colour}"/>', text(left + 10, top + 4, name, "start")]
    hollow = "hollow: the belief does not see sizes"
    parts.append(text(_SIZE - _MARGIN - 204, _SIZE - _MARGIN - 84 + 16 * len(COLOURS), hollow, "start"))
    middle = f'transform="rotate(-90 16 {_SIZE / 2})" font-size="12" text-anchor="middle" fill="#222"'
    parts += [
        text(_SIZE / 2, _SIZE - 16, "predicted gain in coverage over REBASE, points", colour="#222"),
        f'<text x="16" y="{_SIZE / 2}" {middle}>observed gain, points (95 %)</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def report(points: Sequence[Point]) -> None:
    """Print the table, and for each belief how well prediction and observation agree."""
    print("| reward | belief | depth | questions | κ | α | strategy | right rollouts predicted | observed | coverage "
          "predicted | observed | gain predicted | observed (95 %) | cut short, % |")  # fmt: skip
    print("| --- " * 14 + "|")
    for point in points:
        print(
            f"| {point.reward} | {point.belief} | {point.depth} | {point.questions} | {point.concentration:.2f} | "
            f"{point.exponent:.2f} | {point.strategy} | {point.right_predicted:.1f} | {point.right_observed:.1f} | "
            f"{point.coverage_predicted:.1f} | {point.coverage_observed:.1f} | "
            f"{point.predicted:+.2f} | {point.observed:+.2f} ({point.low:+.2f} to {point.high:+.2f}) | "
            f"{100 * point.short:.0f} |"
        )
    for belief in BELIEFS:
        here = [point for point in points if point.belief == belief]
        drawn = [point for point in here if point.strategy != BASE]
        x, y = np.array([[point.predicted, point.observed] for point in drawn]).T
        inside = np.mean([point.low <= point.predicted <= point.high for point in drawn])
        chance = np.mean([point.right_predicted - point.right_observed for point in here])
        off = np.mean([point.coverage_predicted - point.coverage_observed for point in here])
        print(f"\nbelief {belief}: {len(drawn)} points, correlation of gains {np.corrcoef(x, y)[0, 1]:.2f}, "
              f"slope through 0 {x @ y / (x @ x):.2f}, prediction inside the interval {100 * inside:.0f} %;\n    "
              f"predicted − observed, points: right rollouts {chance:+.1f}, coverage {off:+.1f}")  # fmt: skip
        for name in COLOURS:
            pair = np.mean([[point.predicted, point.observed] for point in drawn if point.strategy == name], axis=0)
            print(f"    {name}: mean gain predicted {pair[0]:+.2f}, observed {pair[1]:+.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=FilePath)
    parser.add_argument("--reward", action="append", help="a reward model's name or folder; may be repeated")
    parser.add_argument("--width", type=int, default=0, help="rollouts of the round; 0 uses the number of paths")
    parser.add_argument(
        "--least-questions", type=int, default=20, help="the smallest number of questions for a depth to be shown"
    )
    parser.add_argument("--svg", type=FilePath)
    parser.add_argument("--json", type=FilePath)
    given = parser.parse_args(arguments)
    problems = list(load_prefixes(given.file))
    world, points = problems[0][0].world or "stories", []
    for reward in given.reward or ["worth(0.2,1)"]:
        scored = situations(problems, reward, world)
        for belief in BELIEFS:
            ratio, hopeless = spread(scored, belief == "size")
            print(f"{reward}, belief {belief}: the number of right states varies by {ratio:.2f} of independent ones' "
                  f"variance; none is right in {100 * hopeless:.1f} % of situations")  # fmt: skip
            for (depth, name), row in sorted(gains(scored, given.width, belief == "size").items()):
                if len(row.observed) >= given.least_questions:
                    points.append(point(reward, belief, depth, name, row))
    if not points:
        parser.error(
            f"no depth has {given.least_questions} questions: complete more of them, or lower --least-questions"
        )
    report(points)
    drawn = [each for each in points if each.strategy != BASE]
    if given.svg:
        given.svg.write_text(picture(drawn, f"One round of allocation, {world}"), encoding="utf-8")
    if given.json:
        given.json.write_text(json.dumps([vars(each) for each in points], indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
