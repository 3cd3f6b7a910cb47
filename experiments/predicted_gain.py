r"""Theory and experiment on one picture: one round's gain as the formula predicts it and as completions observe it.

    rollwise world rollouts stories --policy demonstrator --levels 4,5 --questions 60 --paths 64 \
        --completions 64 --out F
    python experiments/predicted_gain.py F --width 16 --reward "worth(0.2,1)" --svg docs/predicted-gain.svg

Reads completed prefixes. At every question and depth the unfinished paths are the candidates, their true states the
directions, and each strategy hands out --width rollouts once (0: as many as there are paths). Coverage is P(any right).

- Predicted: 1 - Π_j E[(1 - p_j)^S_j], S_j the rollouts of state j, p_j ~ Beta(κm_j, κ(1 - m_j)). m is the isotonic
  curve of the reward that `rollwise calibrate` fits, with the belief "size" also shifted in log-odds as
  `optimal_directions` does, by α (log paths of the state - its mean over states), α by maximum likelihood; κ comes from
  moments. All per depth, each state counting once, from the two thirds of the questions not judged.
- Observed: the completions of the prefixes that got rollouts. Of n completions c were right; without bias, S drawn of
  them all fail with chance C(n - c, S) / C(n, S). Where S > n, S = n is taken, which understates coverage: "cut short"
  says how often. Completions take no part in the reward, so nothing is used twice.

Gains are differences in coverage to REBASE in points, means over the questions of a depth; intervals are bootstraps
over questions. The picture has a point for every reward, depth and strategy.
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
from rollwise.calibration.estimators import (
    Curve,
    concentration_of,
    held_out_means,
    mean_curve,
    moment_sums,
    size_effect,
)
from rollwise.calibration.observations import Observations
from rollwise.calibration.prefixes import Prefix, load_prefixes
from rollwise.core import Belief, Candidates, Failure, FloatArray, IntArray, Problem
from rollwise.directions.kernel import from_labels, pool
from rollwise.numerics import bootstrap_interval, keyed_generator
from rollwise.registry import find_reward

BASE = "rebase"
COLOURS = {"temperature": "#8a8f98", "dora": "#c8502d", "optimal": "#2a9d55", "optimal_directions": "#184ea0"}
BELIEFS = ("reward", "size")
FOLDS = 3
LEAST_FITTED = 5  # a belief is fitted to so many questions at least
LEAST_PATHS = 8  # at fewer candidates there is little to allocate among


@dataclass(frozen=True)
class Situation:
    """One question at one depth: prefixes (P,) by paths, completions, right ones, state's number and reward."""

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
    """Predicted and observed coverage of one strategy, its rollouts' mean predicted chance and share of right ones, and
    whether completions were too few.
    """

    predicted: float
    observed: float
    chance: float
    right: float
    short: bool


@dataclass
class Row:
    """The gains of one reward, belief, depth and strategy over questions."""

    predicted: list[float] = field(default_factory=list)
    observed: list[float] = field(default_factory=list)
    levels: list[tuple[float, float, float, float]] = field(default_factory=list)
    fits: list[tuple[float, float]] = field(default_factory=list)
    short: int = 0


def situations(found: Sequence[tuple[Problem, list[Prefix]]], reward: str, world: str) -> list[Situation]:
    """The scored situations of a file; prefixes that the reward model fails on are left out."""
    from rollwise.calibration.scoring import score_prefixes

    model, many = find_reward(reward, world), []
    for number, (problem, prefixes) in enumerate(found):
        going = [prefix for prefix in prefixes if not prefix.ended]
        scores = asyncio.run(score_prefixes(model, problem, going))
        for depth in sorted({prefix.depth for prefix in going}):
            pairs = zip(going, scores, strict=True)
            here = [
                (one, float(value)) for one, value in pairs if one.depth == depth and not isinstance(value, Failure)
            ]
            if sum(one.size for one, _ in here) < LEAST_PATHS:
                continue
            states = from_labels([one.state for one, _ in here]).labels
            assert states is not None
            size, completions, right = (
                np.array([getattr(one, name) for one, _ in here]) for name in ("size", "completions", "right")
            )
            values = np.array([value for _, value in here])
            many.append(Situation(number, problem.level or 0, depth, size, completions, right, states, values))
    return many


@dataclass(frozen=True)
class Fit:
    """A belief of one depth, fitted by `rollwise.calibration`: the mean by reward, κ, and the exponent α of size."""

    curve: Curve
    concentration: float
    exponent: float

    def means(self, one: Situation) -> FloatArray:
        """The mean of each prefix (P,) of a situation."""
        sizes = np.bincount(one.state, one.size)
        among = np.zeros(len(sizes), dtype=np.int64)
        return expit(logit(self.curve(one.reward)) + (self.exponent * centred(sizes, among))[one.state])


def centred(sizes: FloatArray, problem: IntArray) -> FloatArray:
    """Log sizes (n,) minus their mean in each problem: what `optimal_directions` multiplies by α."""
    logs = np.log(sizes)
    return logs - (np.bincount(problem, logs) / np.maximum(1, np.bincount(problem)))[problem]


def by_state(many: Sequence[Situation]) -> Observations:
    """The states of some situations, each as one prefix with all its completions."""
    rows = []
    for one in many:
        sums = [np.bincount(one.state, each) for each in (one.reward * one.size, one.right, one.completions, one.size)]
        count = len(sums[0])
        rows.append(np.stack([sums[0] / sums[3], *sums[1:], np.full(count, one.question), np.full(count, one.depth)]))
    reward, *numbers = np.concatenate(rows, axis=1)
    right, completions, size, problem, depth = (each.astype(np.int64) for each in numbers)
    return Observations(reward, depth, right, completions, problem, np.arange(len(reward)), size)


def fitted(many: Sequence[Situation], sized: bool) -> Fit:
    """The belief that situations of one depth teach: an isotonic mean, κ by moments with means of other folds, and with
    `sized` the α of `size_effect`.
    """
    seen = by_state(many)
    means, exponent = held_out_means(seen), 0.0
    effect = size_effect(seen, means, np.zeros(len(seen), dtype=np.int64)) if sized else None
    if effect is not None:
        exponent = effect[0]
        means = expit(logit(means) + exponent * centred(seen.size, seen.problem))
    excess, scale = moment_sums(seen, means).sum(axis=0)
    return Fit(mean_curve(seen), float(concentration_of(excess, scale)), exponent)


def beliefs(many: Sequence[Situation], sized: bool) -> list[tuple[FloatArray, float, float] | None]:
    """The means (P,), κ and α of each situation, from questions of other folds at its depth; None without enough."""
    by_depth: dict[int, list[Situation]] = defaultdict(list)
    for one in many:
        by_depth[one.depth].append(one)
    fits: dict[tuple[int, int], Fit] = {}
    for depth, here in by_depth.items():
        for fold in range(FOLDS):
            others = [one for one in here if one.question % FOLDS != fold]
            if len(others) >= LEAST_FITTED:
                fits[depth, fold] = fitted(others, sized)
    found: list[tuple[FloatArray, float, float] | None] = []
    for one in many:
        fit = fits.get((one.depth, one.question % FOLDS))
        found.append(None if fit is None else (fit.means(one), fit.concentration, fit.exponent))
    return found


def log_none_right(completions: IntArray, right: IntArray, rollouts: IntArray) -> float:
    """Log Π C(n - c, S) / C(n, S), S at most n."""
    n, wrong, drawn = completions, completions - right, np.minimum(rollouts, completions)
    if np.any(drawn > wrong):
        return -np.inf
    logs = gammaln(wrong + 1) - gammaln(wrong - drawn + 1) - gammaln(n + 1) + gammaln(n - drawn + 1)
    return float(logs.sum())


def outcome(one: Situation, means: FloatArray, kappa: float, name: str, width: int) -> Outcome:
    """What a strategy's counts are predicted and observed to cover."""
    member = np.repeat(np.arange(len(one.size)), one.size)
    order = keyed_generator("keys", one.question, one.depth).permutation(len(member))  # position must mean nothing
    paths = tuple((int(index),) for index in order)
    belief = Belief(means[member], np.full(len(member), kappa))
    among = Candidates(paths, one.reward[member], from_labels(one.state[member].tolist()), belief=belief)
    counts = np.bincount(member, STRATEGIES[name].bind()(among, width or len(member)).counts, minlength=len(one.size))
    totals = np.bincount(one.state, counts)
    shared, _ = pool(means[member], np.full(len(member), kappa), one.state[member])
    predicted = float(log_expected_failure(shared, np.full(len(shared), kappa), totals).sum())
    observed = log_none_right(one.completions, one.right, counts.astype(np.int64))
    chance, right = counts @ means / counts.sum(), counts @ (one.right / one.completions) / counts.sum()
    short = bool(np.any(counts > one.completions))
    return Outcome(1 - np.exp(predicted), 1 - np.exp(observed), float(chance), float(right), short)


def gains(many: Sequence[Situation], width: int, sized: bool) -> dict[tuple[int, str], Row]:
    """(depth, strategy) → gains over REBASE, one a question."""
    rows: dict[tuple[int, str], Row] = defaultdict(Row)
    for one, belief in zip(many, beliefs(many, sized), strict=True):
        if belief is None:
            continue
        means, kappa, exponent = belief
        base = outcome(one, means, kappa, BASE, width)
        for name in (BASE, *COLOURS):
            here = base if name == BASE else outcome(one, means, kappa, name, width)
            row = rows[one.depth, name]
            row.predicted.append(100 * (here.predicted - base.predicted))
            row.observed.append(100 * (here.observed - base.observed))
            row.levels.append((100 * here.predicted, 100 * here.observed, 100 * here.chance, 100 * here.right))
            row.fits.append((kappa, exponent))
            row.short += here.short
    return rows


def spread(many: Sequence[Situation], sized: bool) -> tuple[float, float]:
    """The variance over questions of Σ_j (worth_j - m_j) divided by that of independent states, averaged over depths;
    and the share of situations where no state has a twentieth of its completions right.
    """
    sums: dict[int, list[tuple[float, float, bool]]] = defaultdict(list)
    for one, belief in zip(many, beliefs(many, sized), strict=True):
        if belief is not None:
            worth = np.bincount(one.state, one.right) / np.bincount(one.state, one.completions)
            off = worth - np.bincount(one.state, belief[0] * one.size) / np.bincount(one.state, one.size)
            sums[one.depth].append((float(off.sum()), float((off**2).sum()), bool(worth.max() < 0.05)))
    tables = [np.array(rows) for rows in sums.values()]
    ratios = [table[:, 0].var() / table[:, 1].mean() for table in tables]
    return float(np.mean(ratios)), float(np.concatenate(tables)[:, 2].mean())


@dataclass(frozen=True)
class Point:
    """A point of the picture, in points of coverage."""

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
    """Predicted gain against observed gain, the diagonal, and a bar for each interval."""
    ends = [value for one in points for value in (one.predicted, one.observed)]
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
    step = next(one for one in (0.5, 1, 2, 5, 10, 20, 50) if (high - low) / one <= 10)
    for tick in np.arange(np.ceil(low / step) * step, high, step).tolist():
        style = f'stroke="{"#999" if tick == 0 else "#eee"}"'
        parts += [line(x(tick), y(low), x(tick), y(high), style), line(x(low), y(tick), x(high), y(tick), style)]
        parts += [text(x(tick), y(low) + 16, f"{tick:+g}"), text(x(low) - 6, y(tick) + 4, f"{tick:+g}", "end")]
    for one in points:
        colour = COLOURS[one.strategy]
        tip = f"{one.strategy}, {one.reward}, depth {one.depth}: {one.predicted:+.1f} predicted, {one.observed:+.1f}"
        bar = line(x(one.predicted), y(one.low), x(one.predicted), y(one.high), f'stroke="{colour}" opacity="0.35"')
        fill = colour if one.belief == "size" else "white"
        place = f'cx="{x(one.predicted):.1f}" cy="{y(one.observed):.1f}" r="4"'
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
    """Print the table, and how prediction and observation agree by belief."""
    print("| reward | belief | depth | questions | κ | α | strategy | right rollouts predicted | observed | coverage "
          "predicted | observed | gain predicted | observed (95 %) | cut short, % |")  # fmt: skip
    print("| --- " * 14 + "|")
    for one in points:
        print(
            f"| {one.reward} | {one.belief} | {one.depth} | {one.questions} | {one.concentration:.2f} | "
            f"{one.exponent:.2f} | {one.strategy} | {one.right_predicted:.1f} | {one.right_observed:.1f} | "
            f"{one.coverage_predicted:.1f} | {one.coverage_observed:.1f} | "
            f"{one.predicted:+.2f} | {one.observed:+.2f} ({one.low:+.2f} to {one.high:+.2f}) | {100 * one.short:.0f} |"
        )
    for belief in BELIEFS:
        here = [one for one in points if one.belief == belief]
        drawn = [one for one in here if one.strategy != BASE]
        x, y = np.array([[one.predicted, one.observed] for one in drawn]).T
        inside = np.mean([one.low <= one.predicted <= one.high for one in drawn])
        chance = np.mean([one.right_predicted - one.right_observed for one in here])
        off = np.mean([one.coverage_predicted - one.coverage_observed for one in here])
        print(f"\nbelief {belief}: {len(drawn)} points, correlation of gains {np.corrcoef(x, y)[0, 1]:.2f}, "
              f"slope through 0 {x @ y / (x @ x):.2f}, prediction inside the interval {100 * inside:.0f} %;\n    "
              f"predicted − observed, points: right rollouts {chance:+.1f}, coverage {off:+.1f}")  # fmt: skip
        for name in COLOURS:
            pair = np.mean([[one.predicted, one.observed] for one in drawn if one.strategy == name], axis=0)
            print(f"    {name}: mean gain predicted {pair[0]:+.2f}, observed {pair[1]:+.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=FilePath)
    parser.add_argument("--reward", action="append", help="a reward model's name or folder; may be given several times")
    parser.add_argument("--width", type=int, default=0, help="rollouts of the round; 0 for as many as there are paths")
    parser.add_argument("--least-questions", type=int, default=20, help="depths with fewer are left out")
    parser.add_argument("--svg", type=FilePath)
    parser.add_argument("--json", type=FilePath)
    given = parser.parse_args(arguments)
    found = list(load_prefixes(given.file))
    world, points = found[0][0].world or "stories", []
    for reward in given.reward or ["worth(0.2,1)"]:
        scored = situations(found, reward, world)
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
    drawn = [one for one in points if one.strategy != BASE]
    if given.svg:
        given.svg.write_text(picture(drawn, f"One round of allocation, {world}"), encoding="utf-8")
    if given.json:
        given.json.write_text(json.dumps([vars(one) for one in points], indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
