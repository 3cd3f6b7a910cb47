"""Does it pay to allocate for the vote? One shot, directions of known chances: coverage and voted accuracy.

    python experiments/vote_objective.py --width 16 --questions 40
    python experiments/vote_objective.py --width 16 --questions 40 --votes majority --worlds own --assume crowd

A question has paths in directions (sizes as shares 1 / rank), each direction a mean m ~ Beta(0.7, 3) and the belief
p ~ Beta(κm, κ(1 - m)), which is true: p is drawn from it. N rollouts are handed out once. A right rollout says the
right answer; a wrong one says, in the world "crowd", mostly one wrong answer common to all directions; "own", mostly
one of its direction's; "scatter", one that no other says; "mixed" is half crowd and half own. A rollout's vote weighs 1
("majority") or a final reward, Beta(5, 2) for right ones and Beta(3, 3) for wrong ones ("weighted"). A tied vote counts
half.

`vote_greedy` hands out rollouts one by one to the direction with the largest gain in P(the vote is right), `vote_local`
goes on by moving 1, 4 or 16 rollouts between directions while that helps; both know the belief and the world and count
on 256 drawn scenarios (--assume has them count on another world than the true one). All are measured on 512 other
scenarios of every question; intervals are the paired bootstrap's over questions.
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
"""Of wrong rollouts, the share that says the common wrong answer and the share that says the direction's."""
PLAIN = ("temperature", "rebase", "dora", "optimal", "optimal_directions")
RIGHT, COMMON, ALONE = 0, 1, 2  # columns of a tally; from 3 on the directions' own wrong answers


@dataclass(frozen=True)
class Question:
    """The label of each path (k,), and each direction's mean chance (J,)."""

    labels: IntArray
    means: FloatArray


def draw_question(
    generator: np.random.Generator, paths: int, a: float = 0.7, b: float = 3.0, directions: int = 12
) -> Question:
    """Paths in at most so many directions."""
    shares = 1 / np.arange(1, directions + 1)
    labels = np.unique(generator.choice(directions, size=paths, p=shares / shares.sum()), return_inverse=True)[1]
    return Question(labels.astype(np.int64), generator.beta(a, b, int(labels.max()) + 1))


def draw_tallies(
    question: Question, kappa: float, world: str, vote: str, width: int, scenarios: int, generator: np.random.Generator
) -> FloatArray:
    """What the first B rollouts of each direction vote for in each scenario: (J, width + 1, scenarios, answers).

    Answers that stand alone have the heaviest of them in their column, since they do not add up.
    """
    count = len(question.means)
    p = generator.beta(kappa * question.means, kappa * (1 - question.means), size=(scenarios, count)).T
    right = generator.random((count, width, scenarios)) < p[:, None, :]
    common, own = WORLDS[world]
    kind = generator.random(right.shape)
    directions = 3 + np.arange(count)[:, None, None]
    wrong = np.where(kind < common, COMMON, np.where(kind < common + own, directions, ALONE))
    said = np.where(right, RIGHT, wrong)
    weight = np.ones(said.shape)
    if vote == "weighted":
        weight = np.where(right, generator.beta(5, 2, said.shape), generator.beta(3, 3, said.shape))
    tallies = np.zeros((count, width + 1, scenarios, 3 + count), dtype=np.float32)
    for answer in range(3 + count):
        votes = np.where(said == answer, weight, 0)
        summed = np.maximum.accumulate(votes, axis=1) if answer == ALONE else np.cumsum(votes, axis=1)
        tallies[:, 1:, :, answer] = summed
    return tallies


def together(tallies: FloatArray, totals: IntArray) -> FloatArray:
    """The tally (scenarios, answers) of so many rollouts of each direction."""
    parts = tallies[np.arange(len(totals)), totals]
    summed = parts.sum(axis=0)
    summed[:, ALONE] = parts[:, :, ALONE].max(axis=0)
    return summed


def voted(tally: FloatArray) -> float:
    """The share of scenarios whose vote is right, half for a tie."""
    right, wrong = tally[:, RIGHT], tally[:, 1:].max(axis=1)
    return float(np.mean((right > wrong + 1e-5) + 0.5 * ((np.abs(right - wrong) <= 1e-5) & (right > 0))))


def vote_greedy(tallies: FloatArray, width: int) -> IntArray:
    """Rollouts one by one to the largest gain; ties to the direction with more already, then the earlier."""
    totals = np.zeros(len(tallies), dtype=np.int64)
    unit = np.eye(len(tallies), dtype=np.int64)
    for _ in range(width):
        worth = [(voted(together(tallies, totals + step)), int(totals[j]), -j) for j, step in enumerate(unit)]
        totals[-max(worth)[2]] += 1
    return totals


def vote_local(tallies: FloatArray, totals: IntArray) -> IntArray:
    """Move rollouts between two directions while the vote gets better by it."""
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
    """What a strategy gives each direction, its scores being the calibrated means."""
    scores = question.means[question.labels]
    belief = Belief(scores, np.full(len(scores), kappa))
    paths = tuple((index,) for index in range(len(scores)))
    among = Candidates(paths, scores, from_labels(question.labels.tolist()), belief=belief)
    return np.bincount(question.labels, STRATEGIES[name].bind()(among, width).counts).astype(np.int64)


def measured(given: argparse.Namespace, world: str, vote: str) -> dict[str, FloatArray]:
    """(questions, 3) of each strategy: coverage, voted accuracy, effective number of directions that got rollouts."""
    found: dict[str, list[tuple[float, float, float]]] = {}
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
            found.setdefault(name, []).append(figures)
    return {name: np.array(rows) for name, rows in found.items()}


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
            found = measured(given, world, vote)
            for name, rows in found.items():
                gap = 100 * (rows[:, 1] - found["optimal_directions"][:, 1])
                low, high = bootstrap_interval(gap, np.random.default_rng(0))
                shown = "" if name == "optimal_directions" else f"{gap.mean():+.1f} ({low:+.1f} to {high:+.1f})"
                coverage, share, spread = rows.mean(axis=0)
                figures = f"{100 * coverage:.1f} | {100 * share:.1f} | {shown} | {spread:.1f}"
                print(f"| {world} | {vote} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
