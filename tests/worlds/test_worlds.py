"""The promises of every bundled world. To add a world, add it to WORLDS and PERFECT."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from itertools import islice

import pytest

from rollwise.core import Problem, World
from rollwise.errors import InputError
from rollwise.names import WORLDS
from rollwise.registry import find_world
from rollwise.rewards.dial import DialReward
from rollwise.search.config import Config
from rollwise.search.runner import Runner
from rollwise.testing.worlds import WORLD_CHECKS, WorldCase, demonstrations
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.demonstrator import Habits
from rollwise.worlds.stories import Stories
from rollwise.worlds.story_drawing import NAMES, THINGS

FAULTLESS = Habits(tempted_per_clause=0, slip=0, slip_long=0, long_way=0.5)
PERFECT: dict[str, World] = {
    "countdown": Countdown(),
    "stories": Stories("stories", FAULTLESS),
    "stories-even": Stories("stories-even", FAULTLESS),
}

each_world = pytest.mark.parametrize("name", WORLDS)


def canonical(problem: Problem) -> Hashable:
    """A question without irrelevant detail: the order of the numbers in countdown, names and things in stories."""
    if problem.world == "countdown":
        *numbers, target = map(int, re.findall(r"\d+", problem.question))
        return (*sorted(numbers), target)
    words = re.findall(r"\w+", problem.question)
    people = list(dict.fromkeys(word for word in words if word in NAMES))
    return " ".join(str(people.index(word)) if word in people else word for word in words if word not in THINGS)


@each_world
@pytest.mark.parametrize("check", WORLD_CHECKS, ids=lambda check: check.__name__)
def test_a_world_keeps_its_promises(name: str, check: Callable[[WorldCase], None]) -> None:
    assert set(PERFECT) == set(WORLDS)
    check(WorldCase(find_world(name), PERFECT[name], canonical))


@each_world
def test_a_state_can_be_read_back(name: str) -> None:
    problem, steps = demonstrations(PERFECT[name], 2, 1)[0]
    states = [PERFECT[name].state(problem, steps[:depth]) for depth in range(len(steps) + 1)]
    assert eval(repr(states)) == states


@each_world
def test_answers_that_cannot_be_checked_are_voted_on(name: str) -> None:
    world, reward = find_world(name), DialReward(find_world(name), 0.2, 0.0)
    config = Config.of(world=name, reward=reward, policy=reward, directions="state")
    assert Runner(config).parts.config.vote == ("verified" if world.checkable else "weighted_majority")
    if not world.checkable:
        with pytest.raises(InputError, match=r"cannot be checked.*weighted_majority"):
            Runner(config.model_copy(update={"vote": "verified"}))


def test_both_worlds_of_stories_ask_the_same_questions() -> None:
    stories, even = find_world("stories"), find_world("stories-even")
    for level in stories.levels:
        pairs = [(stories.problem(level, seed), even.problem(level, seed)) for seed in range(3)]
        assert all(first.id == second.id and first.question == second.question for first, second in islice(pairs, 3))
