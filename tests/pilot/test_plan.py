"""The plan of a pilot: it stays within what is allowed, and leaves enough questions to compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollwise.errors import InputError
from rollwise.pilot.plan import FEWEST, PROBED, Plan, Rate, Wanted, make_plan
from rollwise.pilot.split import hashed_order
from rollwise.pilot.tuning import FAMILIES, Score, best_of_families, family_of, settings_grid

IDS = [f"q{number}" for number in range(400)]
RATE = Rate(tokens=500.0, seconds=0.5, plain_tokens=100.0, plain_seconds=0.25)


def wanted(limit: float, believed: bool = True, larger: bool = False) -> Wanted:
    return Wanted(
        budget=8, tokens=500 * limit, seconds=1e9, soft=True, believed=believed, larger=larger, worthwhile=0.02
    )


@given(st.floats(3_000, 200_000), st.booleans(), st.booleans())
def test_a_plan_takes_no_more_than_is_allowed(limit: float, believed: bool, larger: bool) -> None:
    plan = make_plan(IDS, wanted(limit, believed, larger), RATE)
    assert plan.tokens <= 500 * limit
    assert 100 * plan.rollouts < plan.tokens < 500 * plan.rollouts
    assert 0 < plan.tuned_by < plan.searched_by < 1
    assert len(plan.compare) >= FEWEST
    assert not set(plan.tune) & set(plan.compare)
    assert set(plan.tune) | set(plan.compare) <= set(IDS)


def test_the_probed_questions_are_tuned_on() -> None:
    for limit in (3_000, 30_000):
        plan = make_plan(IDS, wanted(limit), RATE)
        assert set(hashed_order(IDS)[:PROBED]) <= set(plan.tune)


def test_more_time_means_more_questions_and_a_smaller_gain_that_is_found() -> None:
    plans = [make_plan(IDS, wanted(limit), RATE) for limit in (8_000, 30_000, 90_000)]
    assert [len(plan.compare) for plan in plans] == sorted(len(plan.compare) for plan in plans)
    reach = [plan.detectable for plan in plans if plan.detectable is not None]
    assert reach == sorted(reach, reverse=True)
    assert len(plans[0].settings) < len(plans[-1].settings)


def test_too_little_is_refused_with_what_is_needed() -> None:
    with pytest.raises(InputError, match=r"takes about \d+ minutes and [\d,]+ tokens here"):
        make_plan(IDS, wanted(100), RATE)
    with pytest.raises(InputError, match="needs at least 17 questions, and there are 10"):
        make_plan(IDS[:10], wanted(1e9), RATE)


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = make_plan(IDS, wanted(30_000), RATE)
    assert (
        Plan.of({name: list(each) if isinstance(each, tuple) else each for name, each in plan.as_dict().items()})
        == plan
    )


def test_every_setting_has_a_family_and_the_best_of_each_is_kept() -> None:
    labels = settings_grid("full", soft=True, believed=True)
    assert len(labels) == len(set(labels))
    assert {family_of(label) for label in labels} == set(FAMILIES)
    scores = [Score(label, "majority", place, 20, 1.0) for place, label in enumerate(labels)]
    best = best_of_families(scores)
    assert [family_of(score.label) for score in best] == [*FAMILIES]
    assert best[-1] == scores[-1]
    assert {family_of(label) for label in settings_grid("small", soft=False, believed=False)} == {*FAMILIES} - {
        "optimum"
    }
