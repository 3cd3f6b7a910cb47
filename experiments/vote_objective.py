"""Does it pay to allocate for the vote? Compares coverage and voted accuracy for one allocation with known chances.

    python experiments/vote_objective.py --width 16 --questions 40
    python experiments/vote_objective.py --width 16 --questions 40 --votes majority --worlds own --assume crowd

A question has paths in directions, whose sizes have the shares 1 / rank. Each direction has a mean m ~ Beta(0.7, 3) and
the belief p ~ Beta(κm, κ(1 - m)). The belief is true: p is drawn from it. N rollouts are allocated once. A right
rollout gives the right answer. The wrong answer of a wrong rollout depends on the world: in "crowd" it is usually one
answer common to all directions, in "own" usually one answer of its direction, in "scatter" an answer that no other
rollout gives, and "mixed" is half crowd and half own. The weight of a vote is 1 ("majority"), or a final reward that is
Beta(5, 2) for right rollouts and Beta(3, 3) for wrong rollouts ("weighted"). A tied vote counts half.

`vote_greedy` adds rollouts one by one to the direction with the largest gain in P(the vote is right). `vote_local` then
moves 1, 4 or 16 rollouts between directions while that helps. Both know the belief and the world, and use 256 drawn
scenarios; with --assume they use another world than the true one. All strategies are measured on 512 other scenarios of
every question. Intervals are paired bootstrap intervals over questions.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from rollwise.allocation.strategies import STRATEGIES
from rollwise.core import Belief, Candidates, FloatArray, IntArray
from rollwise.directions.kernel import from_labels
from rollwise.numerics import bootstrap_interval

WORLDS = {"crowd": (0.8, 0.0), "own": (0.0, 0.8), "scatter": (0.0, 0.0), "mixed": (0.4, 0.4)}
"""The shares of wrong rollouts that give the common wrong answer and that give the wrong answer of their direction."""
PLAIN = ("temperature", "rebase", "dora", "optimal", "optimal_directions")
RIGHT, COMMON, ALONE = 0, 1, 2  # columns of a tally; from 3 on the directions' own wrong answers


@dataclass(frozen=True)
class Question:
    """The direction label of each path (k,), and each direction's mean chance (J,)."""

    labels: IntArray
    means: FloatArray


def draw_question(
    generator: np.random.Generator, paths: int, a: float = 0.7, b: float = 3.0, directions: int = 12
) -> Question:
    """A question with paths in at most `directions` directions; the means are Beta(a, b)."""
    shares = 1 / np.arange(1, directions + 1)
    labels = np.unique(generator.choice(directions, size=paths, p=shares / shares.sum()), return_inverse=True)[1]
    return Question(labels.astype(np.int64), generator.beta(a, b, int(labels.max()) + 1))


def draw_tallies(
    question: Question, kappa: float, world: str, vote: str, width: int, scenarios: int, generator: np.random.Generator
) -> FloatArray:
    """The votes of the first B rollouts of each direction in each scenario: (J, width + 1, scenarios, answers).

    Answers that only one rollout gives do not add up. Their column holds the heaviest of them.
    """
    count = len(question.means)
    p = generator.beta(kappa * question.means, kappa * (1 - question.means), size=(scenarios, count)).T
    right = generator.random((count, width, scenarios)) < p[:, None, :]
    common, own = WORLDS[world]
    kind = generator.random(right.shape)
    directions = 3 + np.arange(count)[:, None, None]
    wrong = np.where(kind < common, COMMON, np.where(kind < common + own, directions, ALONE))
    answers = np.where(right, RIGHT, wrong)
    weight = np.ones(answers.shape)
    if vote == "weighted":
        weight = np.where(right, generator.beta(5, 2, answers.shape), generator.beta(3, 3, answers.shape))
    tallies = np.zeros((count, width + 1, scenarios, 3 + count), dtype=np.float32)
    for answer in range(3 + count):
        votes = np.where(answers == answer, weight, 0)
        summed = np.maximum.accumulate(votes, axis=1) if answer == ALONE else np.cumsum(votes, axis=1)
        tallies[:, 1:, :, answer] = summed
    return tallies


def together(tallies: FloatArray, totals: IntArray) -> FloatArray:
    """The tally (scenarios, answers) of `totals` (J,) rollouts of the directions."""
    parts = tallies[np.arange(len(totals)), totals]
    summed = parts.sum(axis=0)
    summed[:, ALONE] = parts[:, :, ALONE].max(axis=0)
    return summed


def voted(tally: FloatArray) -> float:
    """The share of scenarios in which the vote is right; a tie counts half."""
    right, wrong = tally[:, RIGHT], tally[:, 1:].max(axis=1)
    return float(np.mean((right > wrong + 1e-5) + 0.5 * ((np.abs(right - wrong) <= 1e-5) & (right > 0))))


def vote_greedy(tallies: FloatArray, width: int) -> IntArray:
    """Adds rollouts one by one where the gain is largest; ties go to the larger count, then the earlier direction."""
    totals = np.zeros(len(tallies), dtype=np.int64)
    unit = np.eye(len(tallies), dtype=np.int64)
    for _ in range(width):
        worth = [(voted(together(tallies, totals + step)), int(totals[j]), -j) for j, step in enumerate(unit)]
        totals[-max(worth)[2]] += 1
    return totals


def vote_local(tallies: FloatArray, totals: IntArray) -> IntArray:
    """Moves rollouts between two directions as long as this improves the vote."""
    best, worth = totals.copy(), voted(together(tallies, totals))
    for size in (16, 4, 1):
        moved = True
        while moved:
            moved = False
            for source in np.flatnonzero(best >= size):
                for target in range(len(best)):
                    if best[source] < size or source == target:
                        continue
                    tried = best.copy()
                    tried[source] -= size
                    tried[target] += size
                    value = voted(together(tallies, tried))
                    if value > worth:
                        best, worth, moved = tried, value, True
    return best


def plain_totals(question: Question, kappa: float, name: str, width: int) -> IntArray:
    """The rollouts that a strategy gives each direction if the scores are the calibrated means."""
    scores = question.means[question.labels]
    belief = Belief(scores, np.full(len(scores), kappa))
    paths = tuple((index,) for index in range(len(scores)))
    among = Candidates(paths, scores, from_labels(question.labels.tolist()), belief=belief)
    return np.bincount(question.labels, STRATEGIES[name].bind()(among, width).counts).astype(np.int64)


def measured(given: argparse.Namespace, world: str, vote: str) -> dict[str, FloatArray]:
    """For each strategy (questions, 3): coverage, voted accuracy, effective number of directions with rollouts."""
    figures_of: dict[str, list[tuple[float, float, float]]] = {}
    for index in range(given.questions):
        generator = np.random.default_rng([given.seed, index])
        question = draw_question(generator, given.width, *map(float, given.means.split(":")))
        known, fresh = (
            draw_tallies(question, given.confidence, home, vote, given.width, count, generator)
            for home, count in ((given.assume or world, 256), (world, 512))
        )
        totals = {name: plain_totals(question, given.confidence, name, given.width) for name in PLAIN}
        totals["vote_greedy"] = vote_greedy(known, given.width)
        totals["vote_local"] = vote_local(known, totals["vote_greedy"])
        for name, each in totals.items():
            tally, shares = together(fresh, each), each / each.sum()
            figures = float(np.mean(tally[:, RIGHT] > 0)), voted(tally), float(1 / (shares**2).sum())
            figures_of.setdefault(name, []).append(figures)
    return {name: np.array(rows) for name, rows in figures_of.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--confidence", type=float, default=4.0, help="κ of every direction")
    parser.add_argument("--means", default="0.7:3", help="a:b of the directions' means, Beta(a, b)")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worlds", default="crowd,own,scatter")
    parser.add_argument("--assume", choices=WORLDS)
    parser.add_argument("--votes", default="majority,weighted")
    given = parser.parse_args()
    print("| world | vote | strategy | coverage | voted | voted − optimal_directions, points (95 %) | directions |")
    print("| --- " * 7 + "|")
    for world in given.worlds.split(","):
        for vote in given.votes.split(","):
            measures = measured(given, world, vote)
            for name, rows in measures.items():
                gap = 100 * (rows[:, 1] - measures["optimal_directions"][:, 1])
                low, high = bootstrap_interval(gap, np.random.default_rng(0))
                shown = "" if name == "optimal_directions" else f"{gap.mean():+.1f} ({low:+.1f} to {high:+.1f})"
                coverage, share, spread = rows.mean(axis=0)
                figures = f"{100 * coverage:.1f} | {100 * share:.1f} | {shown} | {spread:.1f}"
                print(f"| {world} | {vote} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
