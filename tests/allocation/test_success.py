"""The chance of success against simulation and against the closed form of independent paths."""

from __future__ import annotations

import numpy as np
import pytest

from rollwise.allocation import sharing, success_chance
from rollwise.core import Belief
from rollwise.errors import InputError


@pytest.mark.parametrize("correlation", [1.0, 0.4])
def test_it_is_the_share_of_simulated_rounds_with_a_right_path(correlation: float) -> None:
    rng, draws = np.random.default_rng(7), 200_000
    labels, counts = np.array([0, 0, 1, 2]), np.array([3, 1, 2, 0])
    mean, kappa = np.array([0.2, 0.2, 0.1, 0.5]), 2.5
    common, own = sharing(kappa, correlation)
    failed = np.ones(draws)
    for label in (0, 1):
        m = mean[labels == label][0]
        shared = rng.beta(common * m, common * (1 - m), size=draws)
        for count in counts[labels == label]:
            chance = shared if correlation == 1 else rng.beta(own * shared + 1e-300, own * (1 - shared) + 1e-300)
            failed *= (1 - chance) ** count
    belief = Belief(mean, np.full(4, kappa), correlation)
    assert success_chance(belief, counts, labels) == pytest.approx(1 - failed.mean(), abs=0.003)


def test_certain_paths_of_their_own_fail_independently() -> None:
    belief = Belief(np.array([0.3, 0.1]), np.array([np.inf, np.inf]))
    assert success_chance(belief, np.array([2, 1])) == pytest.approx(1 - 0.7**2 * 0.9)
    assert success_chance(belief, np.array([0, 0])) == 0


@pytest.mark.parametrize("correlation", [1.0, 0.3])
def test_rollouts_known_to_have_failed_lower_the_chance(correlation: float) -> None:
    fresh = Belief(np.array([0.3]), np.array([2.0]), correlation)
    tired = Belief(np.array([0.3]), np.array([2.0]), correlation, spent=np.array([3]))
    assert 0 < success_chance(tired, np.array([2])) < success_chance(fresh, np.array([2]))


def test_a_belief_about_other_candidates_is_refused() -> None:
    with pytest.raises(InputError, match="mean for each"):
        success_chance(Belief(np.array([0.3]), np.array([2.0])), np.array([1, 1]))
