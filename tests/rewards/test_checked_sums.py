"""The reward that checks sums and counts which numbers of the question they use."""

from __future__ import annotations

import pytest

from rollwise.core import Path, Problem, Step, Stop
from rollwise.registry import find_reward
from rollwise.rewards.sums import checked_sums
from rollwise.search import run_to_end
from rollwise.testing import check_reward

QUESTION = "Ann has 3 bags with 12 nuts in each and eats 20% of them."


@pytest.mark.parametrize(
    ("steps", "reward"),
    [
        (["There are nuts."], 1 / 2),
        (["3*12 = 36 nuts."], (1 + 2 / 3) / 2),
        (["3*12 = 36 nuts.", "36*.2 = 7.2"], 1),
        (["3*12 = 36 nuts.", "36*20/100 = 7.2"], 1),
        (["3*12 = 38 nuts."], 0),
        (["3*12 = 38 nuts.", "38*.2 = 7.6"], 0),
    ],
)
def test_a_wrong_sum_is_worth_nothing_and_each_given_number_counts(steps: list[str], reward: float) -> None:
    assert checked_sums(QUESTION, steps) == pytest.approx(reward)


def test_without_numbers_only_the_sums_count() -> None:
    assert checked_sums("How many legs have two cats?", ["2*4 = 8"]) == 1
    assert checked_sums("How many legs have two cats?", ["2*4 = 9"]) == 0


def test_it_is_found_by_name_and_reads_whole_paths() -> None:
    session = find_reward("sums", "text").open(Problem("q", QUESTION), 0)
    steps = (Step("3*12 = 36.\n\n", 5, Stop.STEP), Step("36*.2 = 7.2", 5, Stop.END))
    paths = [Path((0,), steps[:1]), Path((0, 0), steps)]
    assert run_to_end(session.score(paths)) == [pytest.approx(5 / 6), 1]


def test_it_keeps_the_contract() -> None:
    check_reward(find_reward("sums", "text"))
