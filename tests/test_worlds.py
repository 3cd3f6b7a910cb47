"""What every bundled world promises, held for each of them. A new world is added to WORLDS and PERFECT."""

from __future__ import annotations

import re
from collections.abc import Hashable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from rollwise.core import Problem, World
from rollwise.errors import InputError
from rollwise.parts import WORLDS
from rollwise.registry import find_world
from rollwise.rewards.dial import DialReward
from rollwise.runner import Config, Runner
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.demonstrator import Habits
from rollwise.worlds.stories import NAMES, THINGS, Stories
from rollwise.worlds.tokenizer import build_tokenizer

FAULTLESS = Habits(tempted_per_clause=0, slip=0, slip_long=0, long_way=0.5)
PERFECT: dict[str, World] = {
    "countdown": Countdown(),
    "stories": Stories("stories", FAULTLESS),
    "stories-even": Stories("stories-even", FAULTLESS),
}
SPLITS = ("test", "validation", "train")

each_world = pytest.mark.parametrize("name", WORLDS)


def canonical(problem: Problem) -> Hashable:
    """A question without what does not matter: the order of the numbers in the one world, all names in the other."""
    if problem.world == "countdown":
        *numbers, target = map(int, re.findall(r"\d+", problem.question))
        return (*sorted(numbers), target)
    words = re.findall(r"\w+", problem.question)
    people = list(dict.fromkeys(word for word in words if word in NAMES))
    return " ".join(str(people.index(word)) if word in people else word for word in words if word not in THINGS)


def demonstrations(name: str, level: int, count: int) -> list[tuple[Problem, list[str]]]:
    rng = np.random.default_rng(level)
    return [PERFECT[name].demonstration(rng, level) for _ in range(count)]


@each_world
def test_a_problem_is_a_function_of_its_name(name: str) -> None:
    world = find_world(name)
    assert set(PERFECT) == set(WORLDS)
    for level in world.levels:
        drawn = [world.problem(level, seed) for seed in range(4)]
        assert drawn == [PERFECT[name].problem(level, seed) for seed in range(4)]
        assert len({problem.question for problem in drawn}) == len({problem.id for problem in drawn}) == 4
        assert {(problem.world, problem.level) for problem in drawn} == {(name, level)}
    for wrong in ((0, 1, "test"), (len(world.levels) + 1, 1, "test"), (1, 1, "dev")):
        with pytest.raises(InputError, match=r"levels 1 to|test, validation, train"):
            world.problem(*wrong)


@each_world
def test_the_splits_share_nothing(name: str) -> None:
    world = find_world(name)
    forms = {
        split: {canonical(world.problem(level, seed, split)) for level in world.levels[:3] for seed in range(60)}
        for split in SPLITS
    }
    forms["train"] |= {
        canonical(problem) for level in world.levels[:3] for problem, _ in demonstrations(name, level, 300)
    }
    assert all(len(each) > 100 for each in forms.values())
    assert not forms["test"] & (forms["validation"] | forms["train"])
    assert not forms["validation"] & forms["train"]


@each_world
def test_a_perfect_demonstration_is_valid_throughout_and_right(name: str) -> None:
    world = PERFECT[name]
    for level in world.levels:
        for problem, steps in demonstrations(name, level, 20):
            for depth in range(len(steps) + 1):
                assert world.step_is_valid(problem, steps[:depth])
                assert world.reachable(problem, steps[:depth])
            boxed = re.fullmatch(r"Answer: \\boxed\{(.+)\}", steps[-1])
            assert boxed is not None
            assert world.is_right(problem, boxed[1])
            assert not world.is_right(problem, boxed[1] + "1")
            assert len(steps) < world.curriculum.longest


@each_world
def test_a_wrong_step_is_told_and_never_mended(name: str) -> None:
    world = PERFECT[name]
    for level in world.levels:
        for problem, steps in demonstrations(name, level, 5):
            for depth in range(len(steps) - 1):
                result = re.search(r"= (\d+)", steps[depth])
                assert result is not None
                wrong = steps[depth].replace(f"= {result[1]}", f"= {int(result[1]) + 1}")
                for nonsense in (wrong, "", "so far, so good"):
                    for tail in ([], steps[depth + 1 : -1]):
                        assert not world.step_is_valid(problem, [*steps[:depth], nonsense, *tail])
                        assert not world.reachable(problem, [*steps[:depth], nonsense, *tail])


@each_world
def test_the_state_is_a_function_of_what_was_computed(name: str) -> None:
    world = PERFECT[name]
    for level in world.levels:
        problem, steps = demonstrations(name, level, 1)[0]
        states = [world.state(problem, steps[:depth]) for depth in range(len(steps) + 1)]
        assert len(set(states)) == len(states)
        assert states == [world.state(problem, [f"{step}\n" for step in steps[:at]]) for at in range(len(steps) + 1)]
        assert eval(repr(states)) == states, "a state's repr keys randomness, so it must say all"


@each_world
def test_text_survives_the_tokenizer(name: str) -> None:
    world: Any = find_world(name)
    tokenizer: Any = build_tokenizer(world.literals)
    ends = tokenizer.convert_tokens_to_ids(world.separator)
    rng = np.random.default_rng(0)
    for level in world.levels:
        for draw in range(200):
            problem, steps = (world.attempt if draw % 4 == 0 else world.demonstration)(rng, level)
            solution = world.separator.join(steps)
            chat = [{"role": "user", "content": problem.question}, {"role": "assistant", "content": solution}]
            whole = tokenizer.apply_chat_template(chat, tokenize=False)
            ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == whole
            assert len(ids) < 480
            assert ids.count(ends) == len(steps) - 1


@each_world
def test_a_question_is_read_as_it_was_meant(name: str) -> None:
    world = find_world(name)
    for level in world.levels:
        for seed in range(5):
            problem = world.problem(level, seed)
            typed = world.parse(f" {problem.question}\n")
            assert (typed.question, typed.answer, typed.world) == (problem.question, problem.answer, name)
            assert world.remark(problem) is None
    with pytest.raises(InputError, match="write it like"):
        world.parse("What is 2 + 2?")


@each_world
def test_attempts_are_on_course_about_half_of_the_time(name: str) -> None:
    world = find_world(name)
    rng = np.random.default_rng(1)
    for level in world.levels:
        attempts = [world.attempt(rng, level) for _ in range(100)]
        truths = [
            [world.reachable(problem, steps[: at + 1]) for at in range(len(steps))] for problem, steps in attempts
        ]
        assert 0.02 < np.mean([truth[-1] for truth in truths]) < 0.6
        assert 0.25 < np.mean([step for truth in truths for step in truth]) < 0.85


@each_world
def test_the_curriculum_names_kinds_that_there_are_in_shares(name: str) -> None:
    world = find_world(name)
    curriculum = world.curriculum
    assert [until for until, _ in curriculum.stages] == sorted(until for until, _ in curriculum.stages)
    assert curriculum.stages[-1][0] == 1
    for shares in (*(stage for _, stage in curriculum.stages), curriculum.reward_kinds):
        assert sum(shares.values()) == pytest.approx(1)
        for level, after in shares:
            world.demonstration(np.random.default_rng(0), level, after)
            world.attempt(np.random.default_rng(0), level, after)
    assert set(curriculum.level_shares) == set(world.levels)
    assert sum(curriculum.level_shares.values()) == pytest.approx(1)


@each_world
def test_answers_are_voted_on_where_they_cannot_be_checked(name: str) -> None:
    world, reward = find_world(name), DialReward(find_world(name), 0.2, 0.0)
    config = Config.of(world=name, reward=reward, policy=reward, directions="state")
    assert Runner(config).vote == ("verified" if world.checkable else "weighted_majority")
    if not world.checkable:
        with pytest.raises(InputError, match=r"cannot be checked.*weighted_majority"):
            Runner(config.model_copy(update={"vote": "verified"}))


def test_both_worlds_of_stories_ask_the_same_questions() -> None:
    one, other = find_world("stories"), find_world("stories-even")
    for level in one.levels:
        pairs = [(one.problem(level, seed), other.problem(level, seed)) for seed in range(3)]
        assert all(first.id == second.id and first.question == second.question for first, second in islice(pairs, 3))
