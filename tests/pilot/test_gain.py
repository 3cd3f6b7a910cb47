"""The paired gain, the decision and the power, against scipy, worked figures and plain simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from rollwise.errors import InputError
from rollwise.pilot import (
    Answer,
    Score,
    answer_of,
    choose,
    decide,
    detectable_gain,
    paired_gain,
    power_of,
    questions_needed,
    split_ids,
)

outcomes = st.lists(st.sampled_from([-1, 0, 1]), min_size=2, max_size=80)


def counts(won: int, lost: int, equal: int) -> np.ndarray:
    return np.array([1] * won + [-1] * lost + [0] * equal)


@settings(deadline=None)
@given(outcomes)
def test_the_exact_chance_is_that_of_the_sign_test(differences: list[int]) -> None:
    found = paired_gain(np.array(differences))
    differing = found.won + found.lost
    expected = binomtest(found.won, differing, 0.5, alternative="greater").pvalue if differing else 1.0
    assert found.chance == pytest.approx(expected)


def test_the_exact_chance_of_several_seeds_is_that_of_all_sign_flips() -> None:
    differences = np.array([3, -1, 2, 0, 1, 1, -2, 3, 2])
    flipped = [np.dot(signs, differences) for signs in itertools.product([-1, 1], repeat=len(differences))]
    expected = np.mean(np.array(flipped) >= differences.sum())
    assert paired_gain(differences, seeds=3).chance == pytest.approx(expected)


def test_the_interval_is_bonett_and_prices() -> None:
    # b = 30 won, c = 10 lost of 1000: p = 31/1002 and 11/1002, z replaced by Student's quantile
    found = paired_gain(counts(30, 10, 960))
    centre, together = 20 / 1002, 42 / 1002
    half = 1.96234 * ((together - centre**2) / 1002) ** 0.5
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)


@settings(deadline=None)
@given(outcomes)
def test_the_interval_has_width_and_turns_round_with_the_sign(differences: list[int]) -> None:
    found, turned = paired_gain(np.array(differences)), paired_gain(-np.array(differences))
    assert found.low < found.high
    assert (found.low, found.high) == pytest.approx((-turned.high, -turned.low))


@settings(deadline=None)
@given(outcomes, st.integers(2, 5))
def test_repeating_every_question_in_its_group_proves_nothing_more(differences: list[int], times: int) -> None:
    once = paired_gain(np.array(differences))
    repeated = paired_gain(np.repeat(differences, times), groups=np.repeat(np.arange(len(differences)), times))
    assert repeated.chance == pytest.approx(once.chance)
    assert repeated.groups == once.questions
    assert (answer_of(repeated, 0.0) == Answer.INTRODUCE) <= (once.chance <= 0.025)


def test_groups_of_one_change_nothing() -> None:
    differences = counts(9, 4, 30)
    assert paired_gain(differences, groups=np.arange(43)[::-1]) == paired_gain(differences)


def test_impossible_differences_are_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        paired_gain(np.array([1]))
    with pytest.raises(InputError, match="number of seeds"):
        paired_gain(np.array([1, 2]))


@pytest.mark.parametrize(
    ("won", "lost", "equal", "answer"),
    [
        (20, 3, 100, Answer.INTRODUCE),
        (3, 20, 100, Answer.HARM),
        (10, 10, 5000, Answer.NO_GAIN),
        (60, 20, 5000, Answer.NO_GAIN),  # a gain for certain, and too small to be worth having
        (5, 0, 5, Answer.UNDECIDED),  # every question that differs is won, and it may still be luck
        (0, 0, 10, Answer.UNDECIDED),
    ],
)
def test_decisions(won: int, lost: int, equal: int, answer: Answer) -> None:
    assert decide(paired_gain(counts(won, lost, equal)), 0.02).answer == answer


@pytest.mark.parametrize(
    ("questions", "lost", "gain"), [(30, 0.02, 0.2), (60, 0.0, 0.1), (200, 0.08, 0.08), (400, 0.01, 0.03)]
)
def test_the_power_is_how_often_the_rule_advises(questions: int, lost: float, gain: float) -> None:
    draw = np.random.default_rng(questions).random((1500, questions))
    differences = np.where(draw < lost, -1, np.where(draw < 2 * lost + gain, 1, 0))
    advised = [answer_of(paired_gain(each), 0.02) == Answer.INTRODUCE for each in differences]
    assert np.mean(advised) == pytest.approx(power_of(questions, lost, gain, 0.02), abs=0.04)


def test_without_a_gain_the_rule_advises_in_few_cases() -> None:
    for questions in (8, 20, 100, 1000):
        for lost in (0.001, 0.02, 0.1, 0.4):
            assert power_of(questions, lost, 0.0, 0.02) <= 0.025


def test_needed_questions_and_detectable_gain_say_the_same() -> None:
    needed = questions_needed(0.06, 0.05, 0.02)
    assert needed is not None
    assert detectable_gain(needed, 0.05, 0.02) == pytest.approx(0.06, abs=0.001)
    assert detectable_gain(2, 0.05) is None
    assert questions_needed(0.0001, 0.2) is None


def test_dependent_questions_count_for_less() -> None:
    together = np.repeat(np.array([1, 1, -1, 0, 1, -1, 0, 0, 1, 0]), 5)
    told, untold = paired_gain(together, groups=np.repeat(np.arange(10), 5)), paired_gain(together)
    assert told.design > 3 > untold.design == 1
    assert told.high - told.low > untold.high - untold.low


def test_the_best_setting_is_chosen_then_the_cheapest_then_the_first() -> None:
    a, b, c, d = (
        Score(*each)
        for each in [("a", "m", 5, 10, 1.0), ("b", "m", 7, 10, 2.0), ("c", "m", 7, 10, 1.0), ("d", "m", 14, 20, 1.0)]
    )
    assert choose([a, b, c, d]) == c


@given(st.lists(st.text(max_size=5), unique=True, min_size=1, max_size=30), st.data())
def test_a_split_depends_on_ids_alone(ids: list[str], data: st.DataObject) -> None:
    tuned = data.draw(st.integers(0, len(ids)))
    tune, compare = split_ids(ids, tuned, seed=3)
    assert len(tune) == tuned
    assert sorted(tune + compare) == sorted(ids)
    assert set(split_ids(data.draw(st.permutations(ids)), tuned, seed=3)[0]) == set(tune)
