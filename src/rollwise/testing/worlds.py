"""The contract of a world: problems that are functions of their names, and a known truth at every step."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rollwise.core import Problem, World
from rollwise.errors import InputError
from rollwise.testing.contract import promised, refused, require

SPLITS = ("test", "validation", "train")
LONGEST = 480
"""The tokens below which a solution with its question has to stay."""


@dataclass(frozen=True)
class WorldCase:
    """A world to check.

    `faultless` is the same world with a demonstrator that makes no mistakes. `canonical` maps a problem to a value that
    is equal for problems that differ only in what does not matter, such as the order of numbers.
    """

    world: World
    faultless: World
    canonical: Callable[[Problem], Hashable]


def check_world(
    world: World, faultless: World | None = None, canonical: Callable[[Problem], Hashable] | None = None
) -> None:
    """Raise ContractError unless a world keeps the contract of docs/worlds.md; `WORLD_CHECKS` lists the checks.

    Pass `faultless` if the world's own demonstrations contain mistakes. `canonical` defaults to the question. If the
    world has `literals`, the check needs the extra `local`, whose tokenizer reads them.
    """
    case = WorldCase(world, faultless or world, canonical or (lambda problem: problem.question))
    for check in WORLD_CHECKS:
        with promised(f"a world passes the check `{check.__name__}`"):
            check(case)


def demonstrations(world: World, level: int, count: int) -> list[tuple[Problem, list[str]]]:
    """The first `count` demonstrations of a level: the same at every call."""
    rng = np.random.default_rng(level)
    return [world.demonstration(rng, level) for _ in range(count)]


def problems_are_functions_of_their_names(case: WorldCase) -> None:
    """The same (level, seed, split) gives the same problem. Levels and splits that do not exist are refused."""
    world = case.world
    require(list(world.levels) == list(range(1, len(world.levels) + 1)), "levels count from 1", f"{world.levels}")
    for level in world.levels:
        drawn = [world.problem(level, seed) for seed in range(4)]
        promise = "(level, seed) names a problem: it is the same at every call"
        require(drawn == [case.faultless.problem(level, seed) for seed in range(4)], promise)
        ids, questions = {problem.id for problem in drawn}, {problem.question for problem in drawn}
        require(len(ids) == len(questions) == 4, "different seeds give different problems with different ids")
        places = {(problem.world, problem.level) for problem in drawn}
        require(places == {(world.name, level)}, "a problem names its world and level", f"found {places}")
    for wrong in ((0, 1, "test"), (len(world.levels) + 1, 1, "test"), (1, 1, "dev")):
        refused(functools.partial(world.problem, *wrong), f"there is no problem {wrong}")


def splits_share_nothing(case: WorldCase) -> None:
    """No two splits share a problem, even in another form. Demonstrations count as training problems."""
    world, levels = case.world, case.world.levels[:3]
    forms = {
        split: {case.canonical(world.problem(level, seed, split)) for level in levels for seed in range(60)}
        for split in SPLITS
    }
    fewest = 60 * len(levels) / 2
    require(all(len(problems) > fewest for problems in forms.values()), "a split has many different problems")
    for level in levels:
        forms["train"] |= {case.canonical(problem) for problem, _ in demonstrations(case.faultless, level, 300)}
    for split, other in itertools.combinations(SPLITS, 2):
        common = forms[split] & forms[other]
        require(not common, f"no problem of the split {split} is in {other}", f"{list(common)[:1]}")


def perfect_demonstrations_are_valid_and_right(case: WorldCase) -> None:
    r"""Each step is valid, and the answer is in \boxed{} and is right, also without the gold answer if checkable."""
    for level in case.faultless.levels:
        for problem, steps in demonstrations(case.faultless, level, 20):
            _check_demonstration(case.faultless, problem, steps)


def _check_demonstration(world: World, problem: Problem, steps: list[str]) -> None:
    for depth in range(len(steps) + 1):
        position = f"{problem.question!r} after {steps[:depth]}"
        require(world.step_is_valid(problem, steps[:depth]), "every step of a demonstration is valid", position)
        require(world.reachable(problem, steps[:depth]), "a demonstration can still reach a right answer", position)
    boxed = re.search(r"\\boxed\{(.+)\}", steps[-1])
    require(boxed, r"the last step has the answer in \boxed{}", f"found {steps[-1]!r}")
    assert boxed is not None
    answer = boxed[1]
    require(world.is_right(problem, answer), "a demonstration's answer is right", f"found {answer!r}")
    require(not world.is_right(problem, answer + "1"), "another answer is wrong", f"found {answer}1")
    if world.checkable:
        unknown = replace(problem, answer=None)
        require(world.is_right(unknown, answer), "a checkable answer is judged without the gold answer")
    require(len(steps) < world.curriculum.longest, "the curriculum's `longest` leaves room for a demonstration")


def a_wrong_step_stays_wrong(case: WorldCase) -> None:
    """After a wrong step no path is valid and no right answer is reachable, even if right steps follow."""
    world = case.faultless
    for level in world.levels:
        for problem, steps in demonstrations(world, level, 5):
            for path in _wrong_paths(steps):
                promise = "step_is_valid is False from the first wrong step on"
                require(not world.step_is_valid(problem, path), promise, f"{path}")
                require(
                    not world.reachable(problem, path), "no right answer is reachable after a wrong step", f"{path}"
                )


def _wrong_paths(steps: list[str]) -> Iterator[list[str]]:
    """Paths with one wrong step in place of a step of a demonstration, with and without the steps that follow it."""
    for depth in range(len(steps) - 1):
        for wrong in _wrong_steps(steps[depth]):
            yield [*steps[:depth], wrong]
            yield [*steps[:depth], wrong, *steps[depth + 1 : -1]]


def _wrong_steps(step: str) -> list[str]:
    """Nonsense, and the step with another result if it has one."""
    result = re.search(r"= (\d+)", step)
    altered = [step.replace(f"= {result[1]}", f"= {int(result[1]) + 1}")] if result else []
    return [*altered, "", "so far, so good"]


def states_are_complete(case: WorldCase) -> None:
    """States are hashable, change with every step, do not depend on separators, and equal reprs mean equal states."""
    world, by_repr = case.faultless, dict[str, Hashable]()
    for level in world.levels:
        problem, steps = demonstrations(world, level, 1)[0]
        states = [world.state(problem, steps[:depth]) for depth in range(len(steps) + 1)]
        require(len(set(states)) == len(states), "a step leads to another state")
        again = [world.state(problem, [f"{step}\n" for step in steps[:depth]]) for depth in range(len(steps) + 1)]
        require(states == again, "a state is a function of the steps, with or without line breaks after them")
        for state in states:
            text = repr(state)
            promise = "a state's repr keys randomness, so it contains no memory address"
            require(not re.search(r"0x[0-9a-f]{6,}", text), promise, text)
            require(by_repr.setdefault(text, state) == state, "states with equal repr are equal", text)


def texts_survive_the_tokenizer(case: WorldCase) -> None:
    """Every text is a sequence of the world's literals and short enough, and the separator is one token."""
    world: Any = case.world
    if not world.literals:
        return
    from rollwise.worlds import build_tokenizer

    tokenizer: Any = build_tokenizer(world.literals)
    separator_id = tokenizer.convert_tokens_to_ids(world.separator)
    rng = np.random.default_rng(0)
    for level in world.levels:
        for draw in range(200):
            problem, steps = (world.attempt if draw % 4 == 0 else world.demonstration)(rng, level)
            solution = world.separator.join(steps)
            chat = [{"role": "user", "content": problem.question}, {"role": "assistant", "content": solution}]
            whole = tokenizer.apply_chat_template(chat, tokenize=False)
            ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
            known = tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == whole
            require(known, "every text is a sequence of the world's literals", f"{whole!r}")
            require(len(ids) < LONGEST, f"a solution takes under {LONGEST} tokens", f"{len(ids)}")
            promise = "the separator is one token, and occurs between steps only"
            require(ids.count(separator_id) == len(steps) - 1, promise)


def parse_reads_the_worlds_questions(case: WorldCase) -> None:
    """`parse` reads the world's own questions. The error for any other question shows an example."""
    world = case.world
    for level in world.levels:
        for seed in range(5):
            problem = world.problem(level, seed)
            parsed = world.parse(f" {problem.question}\n")
            found = (parsed.question, parsed.answer, parsed.world)
            expected = (problem.question, problem.answer, world.name)
            require(found == expected, "parse reads the world's own questions", f"{found}")
            require(world.remark(problem) is None, "remark is None for a problem of the world itself")
    for foreign in ("What is 2 + 2?", "Whose turn is it, and why?"):
        try:
            world.parse(foreign)
        except InputError as error:
            require("like" in str(error), "the error of parse shows an example: write it like ...", f"found {error}")
        else:
            require(False, "parse refuses a question of another kind with an InputError", f"it accepted {foreign!r}")


def attempts_are_on_course_half_of_the_time(case: WorldCase) -> None:
    """Most attempts end wrong, and about half of their steps are on course."""
    world, rng = case.world, np.random.default_rng(1)
    for level in world.levels:
        attempts = [world.attempt(rng, level) for _ in range(100)]
        truths = [
            [world.reachable(problem, steps[: place + 1]) for place in range(len(steps))] for problem, steps in attempts
        ]
        right = float(np.mean([truth[-1] for truth in truths]))
        require(0.02 < right < 0.6, "attempts fail more often than not, but not always", f"level {level}: {right:.2f}")
        on_course = float(np.mean([step for truth in truths for step in truth]))
        require(0.25 < on_course < 0.85, "attempts are on course about half of the time", f"level {level}: {on_course}")


def the_curriculum_names_existing_kinds(case: WorldCase) -> None:
    """Shares sum to 1, stages end with the training, and the world can draw every kind that the curriculum names."""
    world, curriculum = case.world, case.world.curriculum
    ends = [until for until, _ in curriculum.stages]
    require(ends == sorted(ends) and ends[-1] == 1, "stages are in order and the last stage ends at 1", f"found {ends}")
    for shares in (*(stage for _, stage in curriculum.stages), curriculum.reward_kinds):
        require(abs(sum(shares.values()) - 1) < 1e-9, "the shares of kinds sum to 1", f"found {shares}")
        for level, after in shares:
            world.demonstration(np.random.default_rng(0), level, after)
            world.attempt(np.random.default_rng(0), level, after)
    shares_by_level = curriculum.level_shares
    complete = set(shares_by_level) == set(world.levels) and abs(sum(shares_by_level.values()) - 1) < 1e-9
    require(complete, "level_shares has a share for every level, and they sum to 1", f"found {shares_by_level}")


def worth_is_the_demonstrators_chance(case: WorldCase, samples: int = 300) -> None:
    """`worth` is the share of demonstrations that end right; it lies in [0, 1] and is 1 after a right answer.

    In a world without a demonstrator it raises an InputError.
    """
    world, level = case.world, case.world.levels[0]
    problem = world.problem(level, 0)
    if world.demonstrator() is None:
        refused(lambda: world.worth(problem, []), "a world without a demonstrator has no worth")
        return
    promise = "worth is the exact chance that the demonstrator ends right"
    for other, steps in demonstrations(case.faultless, level, 3):
        values = [world.worth(other, steps[:depth]) for depth in range(len(steps) + 1)]
        require(all(0 <= value <= 1 for value in values), promise, f"found {values}")
        require(values[-1] == 1, promise, f"{values[-1]} after a right answer")
    drawn = demonstrations(world, level, samples)
    chances = np.array([world.worth(demonstrated, []) for demonstrated, _ in drawn])
    rights = np.array([world.reachable(demonstrated, steps) for demonstrated, steps in drawn], dtype=float)
    five_sigma = 5 * np.sqrt((chances * (1 - chances)).sum()) / samples + 1e-9
    difference = float(abs(rights.mean() - chances.mean()))
    found = f"{rights.mean():.3f} of {samples} ended right, and worth is {chances.mean():.3f}"
    require(difference <= five_sigma, promise, found)


WORLD_CHECKS: tuple[Callable[[WorldCase], None], ...] = (
    problems_are_functions_of_their_names,
    splits_share_nothing,
    perfect_demonstrations_are_valid_and_right,
    a_wrong_step_stays_wrong,
    states_are_complete,
    texts_survive_the_tokenizer,
    parse_reads_the_worlds_questions,
    attempts_are_on_course_half_of_the_time,
    the_curriculum_names_existing_kinds,
    worth_is_the_demonstrators_chance,
)
"""The checks of `check_world`, each a function of a WorldCase. Run each as a test of its own to see which one fails."""
